"""Every rule's calibration on a short trace, on both engines or on one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from refused import refused_task

from agents.registry import make, parse_spec
from envs.task import Task, load_task
from experiments import calibrate as module
from experiments import engines
from experiments.calibrate import SPACES, Calibration, Search, calibrate
from experiments.recipes import MARGIN, SEED, resolve
from experiments.run import Run, execute
from experiments.sampling import Sampling
from experiments.sweep import Sweep
from experiments.tried import rank
from simulator.trace import Split, Trace, split_trace

WEB = load_task("web")
MINUTES = np.arange(60)
LOAD = Trace(np.round(60 * (120 + 80 * np.sin(MINUTES / 8) + 90 * (MINUTES % 25 > 21))), 60.0, name="waves")
SPLIT = split_trace(LOAD, 1800.0, 1200.0)


@pytest.fixture(autouse=True)
def few_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ON_BATCH", Sampling(generations=3, size=6))
    monkeypatch.setattr(module, "ON_REQUEST", Sampling(generations=2, size=4))


def search_of(name: str, task: Task = WEB, split: Split = SPLIT) -> Search:
    return Search(Run(task, split.judged, split.history, name, name, SEED), SPACES[name], 0.01)


def found(search: Search, folder: Path) -> Calibration:
    with Sweep(folder, 1) as sweep:
        return calibrate(search, sweep, lambda _: None)


@pytest.mark.parametrize("name", SPACES)
def test_the_chosen_settings_are_never_worse_than_the_defaults_and_run_as_they_are_written(
    name: str, tmp_path: Path
) -> None:
    search = search_of(name)
    calibration = found(search, tmp_path)
    chosen, default = calibration.chosen, calibration.default
    assert (default is None) == (name in {"fixed", "keda", "schedule"})
    if default is not None:
        assert make(default.spec, search.template.context) is not None
        plain = execute(replace(search.template, policy=name)).row
        assert (default.cost_usd, default.slo_violation_ratio) == (
            plain["cost_usd"],
            plain["slo_violation_ratio"],
        )
        assert rank(chosen, calibration.limit) <= rank(default, calibration.limit)
        assert default.spec in {tried.spec for tried in calibration.batch}
    assert parse_spec(chosen.spec).name == name
    truth = execute(replace(search.template, policy=chosen.spec)).row
    assert (chosen.cost_usd, chosen.slo_violation_ratio) == (truth["cost_usd"], truth["slo_violation_ratio"])
    limit = calibration.limit
    assert all(rank(chosen, limit) <= rank(tried, limit) for tried in calibration.tried)


def test_from_points_of_equal_settings_the_search_steps_to_others() -> None:
    """Many shares of the load's need come to one count of pods; the counts next to it are neighbours all the same."""
    search = search_of("fixed")
    counts = {point: int(search.spec(point).partition("=")[2]) for point in search.space.points}
    for point, count in counts.items():
        near = {counts[other] for other in search.neighbours(point)}
        above = [other for other in counts.values() if other > count]
        below = [other for other in counts.values() if other < count]
        assert not above or min(above) in near
        assert not below or max(below) in near


@pytest.mark.parametrize("name", ["pid", "schedule"])
def test_again_it_finds_the_same_whether_it_is_kept_or_not(name: str, tmp_path: Path) -> None:
    first = found(search_of(name), tmp_path / "one")
    assert found(search_of(name), tmp_path / "one") == first
    assert found(search_of(name), tmp_path / "two") == first


def test_stopped_in_the_middle_it_goes_on_with_what_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = found(search_of("pid"), tmp_path / "whole")
    try_together, generations = engines.try_together, []

    def stopped(*arguments: object) -> object:
        generations.append(arguments)
        if len(generations) == 3:
            raise KeyboardInterrupt
        return try_together(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(engines, "try_together", stopped)
    with pytest.raises(KeyboardInterrupt):
        found(search_of("pid"), tmp_path / "stopped")
    assert found(search_of("pid"), tmp_path / "stopped") == whole
    assert len(generations) == 3 + 2, "the defaults and the first generation are not tried again"


def test_progress_goes_from_nothing_to_all_over_the_generations(tmp_path: Path) -> None:
    shares: list[float] = []
    with Sweep(tmp_path, 1) as sweep:
        calibrate(search_of("pid"), sweep, lambda _: None, shares.append)
    assert shares == sorted(shares)
    assert 0 < shares[0] < 0.1
    assert shares[-1] == 1


@pytest.mark.parametrize("name", ["keda", "pid"])
def test_where_the_batch_engine_does_not_model_the_task_the_request_engine_tries_fewer(
    name: str, tmp_path: Path
) -> None:
    calibration = found(search_of(name, refused_task()), tmp_path)
    assert calibration.batch == ()
    assert len(calibration.tried) >= (8 if name == "pid" else 10)
    assert len(calibration.tried) < 100


def test_where_the_defaults_are_best_they_are_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A space in which everything is dear: the rule as it is is better than any of its points."""
    dear = replace(SPACES["hpa"], axes={"target": (0.3, 0.31), "window": (600,)})
    search = replace(search_of("hpa"), space=dear, budget=0.5)
    calibration = found(search, tmp_path)
    assert calibration.chosen == calibration.default
    assert calibration.chosen.spec == "hpa"


def test_a_recipe_is_the_same_search_on_what_lies_before(tmp_path: Path) -> None:
    template = Run(WEB, SPLIT.judged, SPLIT.history, "", "", 0)
    with Sweep(tmp_path, 1) as sweep:
        resolved = resolve("calibrated-schedule", template, SPLIT, sweep, lambda _: None)
    assert SPLIT.history is not None
    before = search_of("schedule", split=Split(None, SPLIT.history, factor=1.0, coarse=False))
    assert resolved.calibration == found(replace(before, margin=MARGIN), tmp_path)
    assert resolved.policy.startswith("schedule:lines=[")
