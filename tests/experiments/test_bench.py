"""What the figures are made of; their size is the machine's business."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from agents.learn.ppo import DEFAULTS, PpoSettings
from envs.autoscale import AutoscaleEnv
from envs.vector import AutoscaleVectorEnv
from experiments import bench
from experiments.bench_batch import PlainCluster, VectorSteps, memory_of


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


def test_a_run_of_the_batch_counts_the_steps_of_single_clusters(monkeypatch: pytest.MonkeyPatch) -> None:
    stepped: list[int] = []
    step = AutoscaleVectorEnv.step

    def counted(env: AutoscaleVectorEnv, actions: object) -> object:
        stepped.append(env.num_envs)
        return step(env, actions)  # type: ignore[arg-type]

    monkeypatch.setattr(AutoscaleVectorEnv, "step", counted)
    batch = VectorSteps(clusters=3)
    assert batch.run(0.01) == sum(stepped) > 0
    assert len(batch.cpu_ns) == 1


def test_the_plain_peer_is_a_cluster_that_scales_waits_and_costs() -> None:
    few, many = PlainCluster(), PlainCluster()
    for _ in range(20):
        scarce, starved = few.step(0)
        ample, served = many.step(7)
    pod = 15 * 0.04 / 3600
    assert starved < -3e-5 * 1000
    assert served == pytest.approx(-200 * pod, rel=0.05)
    assert len(scarce) == len(ample) == 10
    assert scarce[3] == 1.0
    assert ample[3] < 0.1
    assert ample[1] + ample[2] == pytest.approx(1.0)


def test_the_memory_of_a_batch_is_within_its_share_of_the_goal() -> None:
    """Two GiB for 16,384 clusters; what does not depend on their number is there before."""
    assert 1 < memory_of(4096) < 2048 / 4


def test_a_thousand_settings_are_held_against_one_a_thousand_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both make 240 decisions an hour, at 10 a second."""
    monkeypatch.setattr(bench, "WEEK_HOURS", 0.1)

    def rate(work: Callable[[], int]) -> float:
        assert work() in {24, 1440}
        return 10.0

    monkeypatch.setattr(bench, "_rate", rate)
    (figure,) = bench._calibration_figures()
    assert figure["name"] == "hpa_settings_week"
    assert figure["value"] == pytest.approx(2.4)
    assert figure["peer_value"] == pytest.approx(2400.0)


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
