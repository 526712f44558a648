"""The hardest day of a long part in place of all of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.space import Space
from envs.task import Task, load_task
from experiments.calibrate import Calibration, Search, calibrate
from experiments.hardest_day import can_be_cut, exchange, hardest_day
from experiments.parts import DAY_SECONDS
from experiments.recipes import SEED
from experiments.run import Run
from experiments.sweep import Sweep
from simulator.trace import Trace, split_trace

SPACE = Space("hpa", {"target": (0.5, 0.65, 0.8), "window": (0, 300)})


def waves(days: float, hard: int | None = None) -> Trace:
    """Days of 10 to 50 requests/s; the hard one, from 0, has jumps to 150 in every third hour."""
    minutes = np.arange(round(days * 1440))
    rate = 30 - 20 * np.cos(2 * np.pi * minutes / 1440)
    jumps = (minutes // 1440 == hard) & (minutes % 180 < 10)
    return Trace(60 * np.where(jumps, 150.0, rate), 60.0, name="waves")


def run_of(trace: Trace, start_seconds: float, seconds: float) -> Run:
    split = split_trace(trace, start_seconds, seconds)
    return Run(load_task("web"), split.judged, split.history, "hpa", "hpa", SEED)


def test_the_day_has_the_most_violations_and_all_before_it_as_history() -> None:
    trace = waves(9)
    spec = run_of(trace, 2 * DAY_SECONDS, 6.25 * DAY_SECONDS)
    assert can_be_cut(spec)
    found = hardest_day(spec, np.array([1.0, 2.0, 9.0, 2.0, 1.0, 0.0, 3.0]))
    assert not can_be_cut(found)
    assert (found.judged.start_seconds, found.judged.end_seconds) == (4 * DAY_SECONDS, 5 * DAY_SECONDS)
    assert found.history is not None
    assert (found.history.start_seconds, found.history.end_seconds) == (0.0, 4 * DAY_SECONDS)
    everything = np.concatenate((found.history.requests, found.judged.requests))
    assert everything == pytest.approx(trace.requests[: len(everything)])


def test_the_last_day_may_begin_before_the_rest_of_a_day_does() -> None:
    spec = run_of(waves(9), 0.0, 2.5 * DAY_SECONDS)
    found = hardest_day(spec, np.array([1.0, 0.0, 5.0]))
    assert (found.judged.start_seconds, found.judged.end_seconds) == (1.5 * DAY_SECONDS, 2.5 * DAY_SECONDS)


def test_a_fault_with_a_time_would_be_moved() -> None:
    task = load_task("web").model_dump(mode="json", exclude_none=True)
    fault: dict[str, object] = {"kind": "pod_kill", "count": 1}
    for when, cut in (({"at_seconds": 100_000.0}, False), ({"per_hour": 1.0}, True)):
        changed = Task.model_validate(task | {"scenario": task["scenario"] | {"faults": [fault | when]}})
        assert can_be_cut(Run(changed, waves(2), None, "hpa", "hpa", SEED)) == cut


def test_without_violations_the_day_with_most_requests_is_taken() -> None:
    """The first of three days has none at all, and no ratio."""
    requests = np.concatenate((np.zeros(1440), np.full(1440, 5.0), np.full(1440, 3.0)))
    spec = Run(load_task("web"), Trace(requests, 60.0), None, "hpa", "hpa", SEED)
    assert hardest_day(spec, np.zeros(3)).judged.start_seconds == DAY_SECONDS


def test_the_first_day_has_the_history_that_there_was() -> None:
    spec = run_of(waves(9), DAY_SECONDS, 3 * DAY_SECONDS)
    assert hardest_day(spec, np.array([1.0, 0.0, 0.0])).history == spec.history
    assert hardest_day(run_of(waves(9), 0.0, 3 * DAY_SECONDS), np.array([1.0, 0.0, 0.0])).history is None


@given(st.lists(st.tuples(*(st.floats(0.0, 1.0),) * 2, st.floats(0.1, 1.0)), min_size=2, max_size=7))
def test_a_day_is_exchanged_and_the_others_stay(days: list[tuple[float, float, float]]) -> None:
    """By hand: each day's ratio on both engines, and its requests."""
    batch, request, weight = np.array(days).T
    mixed = np.concatenate((request[:1], batch[1:]))
    found = exchange(
        float(np.average(batch, weights=weight)), batch[0], request[0], float(weight[0] / weight.sum())
    )
    assert found == pytest.approx(np.average(mixed, weights=weight))
    assert exchange(float(batch.sum()), batch[0], request[0]) == pytest.approx(mixed.sum())


def calibrated(trace: Trace, folder: Path, *, by_day: bool) -> Calibration:
    spec = run_of(trace, 0.0, trace.duration_seconds)
    with Sweep(folder) as sweep:
        return calibrate(Search(spec, SPACE, 0.01, by_day=by_day), sweep, lambda _: None)


def test_a_day_tells_what_the_whole_part_tells(tmp_path: Path) -> None:
    trace = waves(2, hard=1)
    part, whole = (calibrated(trace, tmp_path, by_day=by_day) for by_day in (True, False))
    assert part.day is not None
    assert part.day.start_seconds == DAY_SECONDS
    assert whole.day is None
    assert part.batch == whole.batch
    both = [(one, other) for one in part.tried for other in whole.tried if one.spec == other.spec]
    assert len(both) > 2
    for one, other in both:
        assert one.cost_usd == pytest.approx(other.cost_usd, rel=0.01)
        assert one.slo_violation_ratio == pytest.approx(other.slo_violation_ratio, rel=0.2, abs=5e-4)
    assert part.chosen.spec == whole.chosen.spec
