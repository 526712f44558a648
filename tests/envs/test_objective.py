"""The objective: dollars and violations on one scale."""

from __future__ import annotations

import numpy as np
import pytest
from intervals import interval
from pydantic import ValidationError

from envs.objective import Objective


def test_the_loss_is_cost_of_all_services_and_violations_of_the_first_threshold() -> None:
    objective = Objective(slo_seconds=0.3, violation_budget=0.01, usd_per_violation=0.25)
    late = np.array([[[4, 900], [0, 900]], [[1, 0], [1, 0]]])
    costs = np.array([[1.0, 2.0, 0.0], [0.0, 0.0, 0.5]])
    loss = objective.loss_usd(interval((2, 3), classes=2, cost_usd=costs, requests_late=late))
    assert loss.tolist() == [4.0, 1.0]


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
