"""A run by service and by class adds up to the whole."""

from __future__ import annotations

import numpy as np
import pytest

from agents.runner import Decision
from envs.task import load_task
from experiments.breakdown import CALLS, REQUESTS, Breakdown
from experiments.run import Run, execute
from experiments.timeline import outcome_lines
from simulator.plant import Interval
from simulator.trace import Trace

Seen = tuple[Breakdown, list[Interval], dict[str, np.ndarray], dict[str, float]]


@pytest.fixture(scope="module", name="found")
def found_of() -> Seen:
    """Three times the load that the fewest pods of the shop's database carry, for a minute."""
    task = load_task("shop3")
    breakdown, intervals = Breakdown(task.scenario), []

    def see(_: Decision, interval: Interval) -> None:
        breakdown.add(interval)
        intervals.append(interval)

    load = Trace(np.array([6000.0, 480_000.0, 6000.0]), 60.0)
    outcome = execute(Run(task, load, None, "fixed:replicas=2", "fixed", 0), see=see)
    return breakdown, intervals, outcome.timeline, outcome.row


def test_every_count_is_the_sum(
    found: Seen,
) -> None:
    breakdown, intervals, timeline, row = found
    services, classes = breakdown.services(), breakdown.classes()
    assert [each["service"] for each in services] == ["web", "app", "db"]
    assert [each["class"] for each in classes] == ["browse", "order"]
    for name in CALLS:
        assert [each[name] for each in services] == sum(getattr(one, name) for one in intervals).tolist()
    for name in REQUESTS:
        total = sum(getattr(one.requests, name) for one in intervals)
        assert [each[name] for each in classes] == total.tolist()
    assert [each["mean pods"] for each in services] == [2.0, 2.0, 2.0]
    lost = sum(int(each[name]) for each in classes for name in ("dropped", "timed_out", "failed"))
    assert lost / sum(int(each["offered"]) for each in classes) == pytest.approx(row["error_ratio"])
    assert lost > 0
    assert sum(timeline["served_rps"]) * 15 == pytest.approx(sum(int(each["served"]) for each in classes))


def test_the_timeline_shows_what_was_lost(
    found: Seen,
) -> None:
    *_, timeline, _ = found
    lines = {label: values for label, values, _ in outcome_lines(timeline)}
    assert lines.keys() > {"served"}
    assert np.sum(list(lines.values())[1:]) > 0
    healthy = timeline | {name: np.zeros(1) for name in ("dropped_rps", "timed_out_rps", "failed_rps")}
    assert outcome_lines(healthy) == []
