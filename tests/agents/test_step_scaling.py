"""AWS step scaling: the worked examples of its guides, and as a policy."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from fakes import FakePlant
from pydantic import ValidationError

from agents.baselines.hpa_behavior import Bounds
from agents.baselines.step_scaling import (
    Step,
    Stepper,
    StepPolicy,
    StepScalingSettings,
    make_step_scaling,
)
from agents.policy import Context

CONTEXT = Context(("web",), np.array([2]), np.array([50]))
OUT = StepPolicy(
    steps=(
        Step(lower=0, upper=10, adjustment=0),
        Step(lower=10, upper=20, adjustment=10),
        Step(lower=20, adjustment=30),
    ),
    evaluation_periods=1,
)
IN = StepPolicy(
    steps=(
        Step(lower=-10, upper=0, adjustment=0),
        Step(lower=-20, upper=-10, adjustment=-10),
        Step(upper=-20, adjustment=-30),
    ),
    evaluation_periods=1,
)
EXAMPLE = StepScalingSettings(high=50.001, low=50, scale_out=OUT, scale_in=IN)
"""Of the EC2 guide: steps of -30, -10, 0, 10 and 30 percent around 50; its two alarms are over and under it."""


def capacities(
    settings: StepScalingSettings, capacity: int, points: list[tuple[float, float]], most: int = 100
) -> list[int]:
    """The capacity after each point, which are (seconds, metric)."""
    bounds = Bounds(np.array([1]), np.array([most]))
    stepper = Stepper(settings, settings.high, settings.low, (1,), bounds)
    now, found = np.array([capacity]), []
    for seconds, value in points:
        now = stepper.step(now, np.array([value]), np.array([seconds]))
        found.append(int(now[0]))
    return found


def test_the_example_of_the_guide() -> None:
    """10 instances; 60 adds a tenth, 70 then three tenths of 11; 40 removes a tenth of 14, 30 three tenths of 13."""
    points = [(0.0, 60.001), (600.0, 70.001), (1200.0, 40.0), (1800.0, 30.0)]
    assert capacities(EXAMPLE, 10, points) == [11, 14, 13, 10]


def test_what_warms_up_counts_towards_the_next_step() -> None:
    """In the same step nothing is added; a higher one adds the difference: three tenths of 10 less 1."""
    assert capacities(EXAMPLE, 10, [(0.0, 60.001), (60.0, 62.0), (120.0, 70.001)]) == [11, 11, 13]


def test_the_example_of_a_cooldown() -> None:
    """Two are added; in the cooldown a step of three adds one more."""
    out = StepPolicy(
        adjustment_type="ChangeInCapacity",
        steps=(Step(lower=0, upper=10, adjustment=2), Step(lower=10, adjustment=3)),
        evaluation_periods=1,
    )
    settings = StepScalingSettings(high=60, scale_out=out, scale_in="none")
    points = [(0.0, 65.0), (60.0, 65.0), (120.0, 75.0), (180.0, 75.0), (420.0, 75.0)]
    assert capacities(settings, 4, points) == [6, 6, 7, 7, 10]


def test_a_scale_in_waits_and_a_scale_out_does_not() -> None:
    points = [(0.0, 30.0), (60.0, 30.0), (120.0, 80.0), (180.0, 30.0)]
    assert capacities(EXAMPLE, 20, points) == [14, 14, 18, 13]


@pytest.mark.parametrize(
    ("percent", "capacity", "magnitude", "expected"),
    [
        (25, 4, 2, 6),
        (25, 4, 0, 5),
        (127, 10, 0, 22),
        (67, 1, 0, 2),
        (-58, 1, 0, 0),
        (-67, 10, 0, 4),
        (-667, 1, 0, 0),
        (30, 11, 0, 14),
        (-10, 14, 3, 11),
        (0, 10, 3, 10),
        (50, 0, 0, 0),
        (10, 100, 0, 110),
    ],
)
def test_percentages_are_cut_and_move_at_least_one(
    percent: int, capacity: int, magnitude: int, expected: int
) -> None:
    policy = StepPolicy(
        steps=(Step(lower=0, adjustment=percent),), min_adjustment_magnitude=magnitude, evaluation_periods=1
    )
    assert policy.adjusted(np.array([capacity]), percent).tolist() == [expected]


def test_exact_capacity_within_the_bounds() -> None:
    out = StepPolicy(
        adjustment_type="ExactCapacity",
        steps=(Step(lower=0, upper=10, adjustment=7), Step(lower=10, adjustment=500)),
        evaluation_periods=1,
    )
    settings = StepScalingSettings(high=60, scale_out=out, scale_in="none")
    assert capacities(settings, 4, [(0.0, 61.0), (60.0, 61.0), (120.0, 70.0)]) == [7, 7, 100]
    assert capacities(settings, 9, [(0.0, 61.0)]) == [9], "a scale-out does not remove"


def test_an_alarm_takes_m_of_n_points() -> None:
    out = StepPolicy(
        adjustment_type="ChangeInCapacity",
        steps=(Step(lower=0, adjustment=1),),
        evaluation_periods=3,
        datapoints_to_alarm=2,
        cooldown=0,
    )
    settings = StepScalingSettings(high=60, scale_out=out, scale_in="none")
    values = [70.0, 10.0, np.nan, 70.0, 70.0, 10.0, 70.0]
    points = [(60.0 * minute, value) for minute, value in enumerate(values)]
    assert capacities(settings, 4, points) == [4, 4, 4, 4, 5, 5, 6]


def test_a_step_holds_the_end_that_is_nearer_the_threshold() -> None:
    policy, capacity = OUT, np.array([10, 10, 10])
    assert policy.wish(capacity, np.array([60.0, 69.9, 70.0]), 50.0, above=True).tolist() == [11, 11, 13]
    assert IN.wish(capacity, np.array([40.0, 30.1, 30.0]), 50.0, above=False).tolist() == [9, 9, 7]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"steps": [{"lower": 0, "upper": 10, "adjustment": 1}]}, "to no upper end"),
        ({"steps": [{"lower": 5, "adjustment": 1}]}, "steps must reach from the threshold"),
        ({"steps": [{"adjustment": 1}]}, "neither a lower nor an upper end"),
        (
            {"steps": [{"lower": 0, "upper": 1, "adjustment": 1}, {"lower": 2, "adjustment": 2}]},
            "a step ends at 1.0 and the next begins at 2.0: no gap or overlap",
        ),
        ({"steps": [{"lower": 2, "upper": 1, "adjustment": 1}]}, "a step goes from 2.0 to 1.0"),
        (
            {"steps": [{"lower": 0, "adjustment": 1}], "datapoints_to_alarm": 3},
            "datapoints_to_alarm is 3: at most evaluation_periods \\(2\\)",
        ),
    ],
)
def test_wrong_steps_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        StepPolicy.model_validate(settings)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"high": 0.4, "low": 0.4}, "low is 0.4: only a threshold below high"),
        (
            {"scale_out": {"steps": [{"lower": 0, "adjustment": -1}]}},
            "scale_out: an adjustment is -1: only 0 or more",
        ),
        (
            {"scale_in": {"steps": [{"upper": 0, "adjustment": 1}]}},
            "scale_in: an adjustment is 1: only 0 or less",
        ),
        (
            {"scale_in": {"adjustment_type": "ExactCapacity", "steps": [{"upper": 0, "adjustment": -1}]}},
            "scale_in: an adjustment is -1: only 0 or more",
        ),
    ],
)
def test_wrong_policies_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        StepScalingSettings.model_validate(settings)


def test_a_plant_is_scaled_and_missing_data_holds() -> None:
    policy, plant, found = make_step_scaling(StepScalingSettings(), CONTEXT), FakePlant(10), []
    for plant.cpu in (0.65, 0.65, 0.75, np.nan, 0.35, 0.35, 0.35, 0.35, 0.35):
        desired = policy.decide(plant.snapshot())
        found.append((int(desired.replicas[0]), desired.reason))
        plant.apply(desired)
        plant.advance(policy.period_seconds)
    assert [replicas for replicas, _ in found] == [10, 11, 13, 13, 13, 13, 13, 13, 12]
    assert found[1][1] == "cpu 0.65, alarms at 0.4 and 0.6 -> 11"
    assert found[3][1] == "cpu unknown, held"


def test_thresholds_of_each_cluster() -> None:
    quick = StepPolicy(steps=(Step(lower=0, adjustment=50),), evaluation_periods=1)
    each = [StepScalingSettings(high=high, scale_out=quick) for high in (0.6, 0.9)]
    snapshot = FakePlant(4).snapshot()
    stacked = dataclasses.replace(
        snapshot,
        time_seconds=np.zeros(2),
        wanted=np.array([[4], [4]]),
        cpu=dataclasses.replace(snapshot.cpu, value=np.array([[0.75], [0.75]])),
    )
    assert make_step_scaling(each, CONTEXT).decide(stacked).replicas.tolist() == [[6], [4]]
