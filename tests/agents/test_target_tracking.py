"""AWS target tracking against a table of cases, and as a policy."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from case_tables import Case, parameters
from fakes import FakePlant

from agents.baselines.hpa_behavior import Bounds
from agents.baselines.target_tracking import (
    TargetTracking,
    TargetTrackingSettings,
    Tracker,
    make_target_tracking,
)
from agents.policy import Context
from simulator.plant import Desired

CONTEXT = Context(("web",), np.array([2]), np.array([50]))
TABLE = "aws_target_tracking_derived"


def bounds(fewest: int, most: int) -> Bounds:
    return Bounds(np.array([fewest]), np.array([most]))


def capacities(
    settings: TargetTrackingSettings, capacity: int, metric: list[float | None], low: int, high: int
) -> list[int]:
    tracker = Tracker(settings, settings.target, (1,), bounds(low, high))
    now, found = np.array([capacity]), []
    for minute, point in enumerate(metric):
        value = np.array([np.nan if point is None else point])
        now = tracker.step(now, value, np.array([60.0 * minute]))
        found.append(int(now[0]))
    return found


@pytest.mark.parametrize(("table", "row"), parameters({TABLE}))
def test_case(table: str, row: Case) -> None:
    assert row["kind"] == "target_tracking"
    settings = TargetTrackingSettings(
        target=row["target"],
        high_datapoints=row["high_datapoints"],
        low_datapoints=row["low_datapoints"],
        low_fraction=row["low_fraction"],
        scale_out_cooldown=row["scale_out_cooldown_s"],
        scale_in_cooldown=row["scale_in_cooldown_s"],
        disable_scale_in=row["disable_scale_in"],
    )
    limits = row["min_capacity"], row["max_capacity"]
    assert capacities(settings, row["capacity"], row["metric"], *limits) == row["expected"]["capacity"]


def test_the_table_is_there() -> None:
    assert len(parameters({TABLE})) >= 6


PERCENT = TargetTrackingSettings(target=50)


@pytest.mark.parametrize(
    ("told", "metric", "expected"),
    [
        ("a missing minute breaks the row", [60, 60, None, 60, 60, 60], [10, 10, 10, 10, 10, 12]),
        ("nothing but missing data", [None] * 20, [10] * 20),
        ("a missing minute breaks a scale-in, too", [*[40] * 14, None, *[40] * 14], [10] * 29),
        (
            "in the cooldown what was added counts, also what was added in it",
            [60, 60, 60, 60, 70, 70, 70],
            [10, 10, 12, 12, 14, 14, 14],
        ),
        (
            "a further scale-out begins the cooldown's time anew; after it the capacity is what there is",
            [60, 60, 60, 60, 60, 60, 70, 70, 70, 70, 70, 70],
            [10, 10, 12, 12, 12, 12, 14, 14, 14, 14, 14, 20],
        ),
        (
            "a scale-in waits for its cooldown",
            [40] * 20,
            [*[10] * 14, *[8] * 5, 7],
        ),
        ("scale-in goes to the minimum", [1] * 15, [*[10] * 14, 2]),
    ],
)
def test_minute_by_minute(told: str, metric: list[float | None], expected: list[int]) -> None:
    assert capacities(PERCENT, 10, metric, 2, 50) == expected, told


def test_scale_in_can_be_disabled() -> None:
    settings = TargetTrackingSettings(target=50, disable_scale_in=True)
    assert capacities(settings, 10, [10] * 30, 2, 50) == [10] * 30


def test_a_scale_in_ends_the_cooldown_of_a_scale_out() -> None:
    settings = TargetTrackingSettings(
        target=50, high_datapoints=1, low_datapoints=1, scale_out_cooldown=3600, scale_in_cooldown=0
    )
    assert capacities(settings, 10, [100, 25, 100], 2, 50) == [20, 10, 20]


def driven(policy: TargetTracking, plant: FakePlant, points: list[tuple[float, float]]) -> list[int]:
    found = []
    for plant.cpu, plant.rate in points:
        desired = policy.decide(plant.snapshot())
        found.append(int(desired.replicas[0]))
        plant.apply(desired)
        plant.advance(policy.period_seconds)
    return found


def test_a_plant_is_tracked_minute_by_minute() -> None:
    policy = make_target_tracking(TargetTrackingSettings(target=0.5), CONTEXT)
    assert policy.period_seconds == 60
    assert driven(policy, FakePlant(4), [(0.75, 1), (0.75, 1), (0.75, 1), (0.5, 1)]) == [4, 4, 6, 6]


def test_requests_are_taken_per_ready_pod() -> None:
    policy = make_target_tracking(TargetTrackingSettings(target=30, metric="requests"), CONTEXT)
    assert driven(policy, FakePlant(4), [(0.1, 200)] * 4) == [4, 4, 7, 7]
    none_ready = dataclasses.replace(FakePlant(4, rate=200).snapshot(), ready=np.array([0]))
    desired = policy.decide(none_ready)
    assert desired.replicas.tolist() == [4]
    assert desired.reason == "requests unknown, held"


def test_reasons() -> None:
    settings = TargetTrackingSettings(target=0.5, high_datapoints=2)
    policy, plant = make_target_tracking(settings, CONTEXT), FakePlant(4, cpu=0.75)
    assert policy.decide(plant.snapshot()).reason == "cpu 0.75, target 0.5, held"
    assert policy.decide(plant.snapshot()).reason == "cpu 0.75, target 0.5 -> 6"
    two = Context(("web", "db"), np.array([1, 1]), np.array([9, 9]))
    snapshot = plant.snapshot()
    both = dataclasses.replace(
        snapshot,
        wanted=np.array([4, 4]),
        cpu=dataclasses.replace(snapshot.cpu, value=np.array([0.5, np.nan])),
    )
    reason = make_target_tracking(settings, two).decide(both).reason
    assert reason == "web: cpu 0.5, target 0.5, held | db: cpu unknown, held"


def test_targets_of_each_cluster() -> None:
    each = [TargetTrackingSettings(target=target, high_datapoints=1) for target in (0.25, 0.5)]
    snapshot = FakePlant(4, cpu=0.75).snapshot()
    stacked = dataclasses.replace(
        snapshot,
        time_seconds=np.zeros(2),
        wanted=np.array([[4], [4]]),
        cpu=dataclasses.replace(snapshot.cpu, value=np.array([[0.75], [0.75]])),
    )
    desired: Desired = make_target_tracking(each, CONTEXT).decide(stacked)
    assert desired.replicas.tolist() == [[12], [6]]
    assert desired.reason == ""
