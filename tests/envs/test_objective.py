"""The objective: dollars and violations on one scale."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from envs.objective import Objective
from simulator.plant import Interval


def interval(cost_usd: list[float], late: list[list[int]]) -> Interval:
    costs, counts = np.array(cost_usd), np.array(late)
    zeros, ints = 0.0 * costs, np.zeros(costs.shape, dtype=np.int64)
    return Interval(
        start_seconds=np.array(0.0),
        duration_seconds=np.array(15.0),
        offered=ints,
        started=ints,
        served=ints,
        failed=ints,
        late=counts,
        latency_counts=ints[..., np.newaxis],
        waited_seconds=zeros,
        waiting_request_seconds=zeros,
        busy_slot_seconds=zeros,
        serving_slot_seconds=zeros,
        waiting=ints,
        in_service=ints,
        pod_seconds=zeros,
        pods_started=ints,
        cost_usd=costs,
    )


def test_the_loss_is_cost_and_violations_of_the_first_threshold() -> None:
    objective = Objective(slo_seconds=0.3, violation_budget=0.01, usd_per_violation=0.25)
    loss = objective.loss_usd(interval([1.0, 2.0, 0.0], [[4, 900], [0, 900], [1, 0]]))
    assert loss.tolist() == [2.0, 2.0, 0.25]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("slo_seconds", 0),
        ("slo_seconds", 3601),
        ("violation_budget", 0),
        ("violation_budget", 1),
        ("usd_per_violation", -1),
    ],
)
def test_wrong_values_are_refused(field: str, value: float) -> None:
    right = {"slo_seconds": 0.3, "violation_budget": 0.01, "usd_per_violation": 0.0}
    Objective.model_validate(right)
    with pytest.raises(ValidationError, match=field):
        Objective.model_validate(right | {field: value})
