"""Start-up laws, and what a service refuses."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from scipy import stats

from simulator.service import Service, StartUpLaw

SIZE = 200_000
LEVEL = 0.001
SERVICE: dict[str, Any] = {
    "slots_per_pod": 4,
    "vcpu_per_pod": 1.0,
    "service_time": {"law": "lognormal", "mean_seconds": 0.05},
    "start_up": {"p50_seconds": 25, "p95_seconds": 45},
    "min_replicas": 2,
    "max_replicas": 200,
}


def test_start_ups_have_their_percentiles() -> None:
    law = StartUpLaw(p50_seconds=25, p95_seconds=45)
    draws = law.sample(np.random.default_rng(5), SIZE)
    for seconds, fraction in ((25.0, 0.5), (45.0, 0.95)):
        below = int(np.count_nonzero(draws <= seconds))
        assert stats.binomtest(below, SIZE, fraction).pvalue > LEVEL


def test_equal_percentiles_are_one_time() -> None:
    draws = StartUpLaw(p50_seconds=7, p95_seconds=7).sample(np.random.default_rng(5), 4)
    np.testing.assert_allclose(draws, 7.0)


def test_a_service_is_frozen() -> None:
    service = Service.model_validate(SERVICE)
    with pytest.raises(ValidationError, match="frozen"):
        service.slots_per_pod = 5  # type: ignore[misc]


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        ("name", "", "at least 1 character"),
        ("slots_per_pod", 0, "greater than or equal to 1"),
        ("slots_per_pod", 1.5, "integer"),
        ("slots_per_pod", 10_001, "less than or equal to 10000"),
        ("vcpu_per_pod", 0, "greater than 0"),
        ("vcpu_per_pod", math.nan, "a finite number"),
        ("vcpu_per_pod", math.inf, "a finite number"),
        ("vcpu_per_pod", "much", "valid number"),
        ("drain_grace_seconds", -1, "greater than or equal to 0"),
        ("min_replicas", -1, "greater than or equal to 0"),
        ("max_replicas", 0, "greater than or equal to 1"),
        ("max_replicas", 1, r"max_replicas \(1\) must be at least min_replicas \(2\)"),
        ("service_time", {"law": "weibull", "mean_seconds": 1}, "'lognormal', 'exponential'"),
        ("service_time.lognormal.mean_seconds", {"law": "lognormal", "mean_seconds": 0}, "greater than 0"),
        ("start_up.p50_seconds", {"p50_seconds": 0, "p95_seconds": 45}, "greater than 0"),
        ("start_up.p95_seconds", {"p50_seconds": 1, "p95_seconds": 3601}, "less than or equal to 3600"),
        (
            "start_up",
            {"p50_seconds": 9, "p95_seconds": 8},
            r"p95_seconds \(8\) must be at least p50_seconds \(9\)",
        ),
        (
            "start_up.pending_share",
            {"p50_seconds": 1, "p95_seconds": 2, "pending_share": 1.1},
            "less than or equal to 1",
        ),
        ("replicas", 3, "not permitted"),
    ],
)
def test_a_wrong_field_is_named(field: str, value: Any, allowed: str) -> None:
    top = field.partition(".")[0]
    with pytest.raises(ValidationError, match=allowed) as caught:
        Service.model_validate(SERVICE | {top: value})
    assert field in str(caught.value)


@pytest.mark.parametrize("field", sorted(SERVICE.keys() - {"service_time"}))
def test_a_missing_field_is_named(field: str) -> None:
    with pytest.raises(ValidationError, match=rf"{field}\n\s+Field required"):
        Service.model_validate({name: value for name, value in SERVICE.items() if name != field})


@pytest.mark.parametrize("kind", [Service, StartUpLaw])
def test_every_field_is_described(kind: type[Service]) -> None:
    for name, field in kind.model_fields.items():
        assert name == "law" or field.description, name
