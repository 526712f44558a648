"""What the figures are made of; their size is the machine's business."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from agents.learn.ppo import DEFAULTS, PpoSettings
from envs.autoscale import AutoscaleEnv
from experiments import bench


def test_the_environments_peer_serves_as_many_requests_as_its_steps_offered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every rate is 9,000 requests a second, so steps a second are the same on both sides."""

    def rate(work: Callable[[], int]) -> float:
        assert work() >= 0
        return 9000.0

    offered: list[int] = []
    step = AutoscaleEnv.step

    def counted(env: AutoscaleEnv, action: object) -> object:
        found = step(env, action)  # type: ignore[arg-type]
        offered.append(found[4]["offered"])
        return found

    monkeypatch.setattr(AutoscaleEnv, "step", counted)
    monkeypatch.setattr(bench, "_rate", rate)
    monkeypatch.setattr(bench, "queue_requests", lambda _seconds: 0)
    for peer in ("simpy_mmc", "ciw_mmc"):
        monkeypatch.setattr(bench, peer, lambda *_model: 0)
    monkeypatch.setattr(bench, "REPEATS", 1)
    figure = next(one for one in bench._queue_figures() if one["name"] == "environment_web")
    mean = sum(offered) / len(offered)
    assert mean > 0
    assert figure["peer_value"] == pytest.approx(9000.0 / mean)
    assert figure["ratio"] == pytest.approx(1.0)


@pytest.mark.parametrize("engine", ["batch", "request"])
def test_training_is_timed_from_its_first_update_to_its_last(
    engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a clock that ticks twice an update."""
    tiny = PpoSettings(environments=2, rollout_steps=16, batch_size=16, epochs=1, hidden=(8,))
    monkeypatch.setitem(DEFAULTS, engine, tiny)
    ticks = itertools.count(step=2.0)
    monkeypatch.setattr(bench, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    assert bench.training_rate(engine, 96) == 16
