"""Calls that are made at once: known answers, and the batch engine against the request engine."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from batches import front_on_both

from simulator.arrays import Floats
from simulator.flow.at_once import largest_of, longer, longest_copy

DRAWS = 1_000_000


def response(mean: float, deviation: float, skewness: float = 0.0) -> tuple[float, ...]:
    return mean, deviation**2, skewness * deviation**3, 0.0, mean


def cumulants(draws: Floats) -> Floats:
    offset = draws - draws.mean()
    return np.array([draws.mean(), np.mean(offset**2), np.mean(offset**3)])


def test_the_largest_of_two_normal_numbers() -> None:
    mean, _, variance, *_ = largest_of(2)
    assert mean == pytest.approx(1 / math.sqrt(math.pi), rel=1e-5)
    assert variance == pytest.approx(1 - 1 / math.pi, rel=1e-5)


@pytest.mark.parametrize("count", [2, 3, 10])
def test_the_longest_copy_of_an_exponential_time(count: int) -> None:
    """Its k-th part is the shortest of k times: cumulants add up."""
    found = longest_copy(response(1.0, 1.0, 2.0), largest_of(count))
    parts = 1 / np.arange(1, count + 1)
    assert found[:3] == pytest.approx((parts.sum(), (parts**2).sum(), 2 * (parts**3).sum()))


@pytest.mark.parametrize(("one", "other"), [(1.0, 1.0), (1.0, 3.0), (0.2, 5.0)])
def test_the_longer_of_two_exponential_times(one: float, other: float) -> None:
    found = longer(response(one, one, 2.0), response(other, other, 2.0))
    assert found[0] == pytest.approx(one + other - 1 / (1 / one + 1 / other))
    rng = np.random.default_rng(0)
    draws = np.maximum(rng.exponential(one, DRAWS), rng.exponential(other, DRAWS))
    assert found[:3] == pytest.approx(cumulants(draws), rel=0.02)


@pytest.mark.parametrize("ahead", [-3.0, -0.5, 0.0, 1.0, 4.0])
@pytest.mark.parametrize("skewness", [0.0, 1.0, 2.0])
def test_the_longer_of_two_gamma_times(ahead: float, skewness: float) -> None:
    """Deviations of 1 and 0.5; the mean to a hundredth of them, the variance to a tenth."""
    rng = np.random.default_rng(1)
    one, other = (rng.standard_normal((2, DRAWS)) if not skewness else _gamma(rng, skewness)) * [[1.0], [0.5]]
    found = longer(response(10 + ahead, 1.0, skewness), response(10.0, 0.5, skewness))
    truth = cumulants(np.maximum(one + ahead, other))
    assert found[0] == pytest.approx(10 + truth[0], abs=0.02)
    assert found[1] == pytest.approx(truth[1], rel=0.1)


def _gamma(rng: np.random.Generator, skewness: float) -> Floats:
    shape = 4 / skewness**2
    return np.asarray((rng.gamma(shape, size=(2, DRAWS)) - shape) / math.sqrt(shape))


def test_of_times_that_do_not_vary_the_longer_counts() -> None:
    assert longer(response(1.0, 0.0), response(2.0, 0.0)) == response(2.0, 0.0)
    assert longest_copy(response(1.0, 0.0), largest_of(3)) == response(1.0, 0.0)


def service(name: str, mean_seconds: float, slots: int, vcpu: float, **changes: Any) -> dict[str, Any]:
    return {
        "name": name,
        "slots_per_pod": slots,
        "vcpu_per_pod": vcpu,
        "operations": [
            {"service_time": {"law": "exponential", "mean_seconds": mean_seconds}}
            | changes.pop("operation", {})
        ],
        "start_up": {"p50_seconds": 10, "p95_seconds": 15},
        "min_replicas": 0,
        "max_replicas": 50,
    } | changes


@pytest.mark.parametrize(
    "steps",
    [
        [[{"to": "some", "count": 3}], [{"to": "other"}]],
        [[{"to": "some"}, {"to": "other"}]],
        [[{"to": "some", "count": 4}, {"to": "other"}], [{"to": "other"}]],
    ],
    ids=["copies, then one", "two", "both, then one"],
)
def test_requests_that_wait_for_the_longest_call(steps: list[Any]) -> None:
    """At a load of 0.5, some percent late."""
    shared = {"discipline": "processor_sharing"}
    front = service("front", 0.005, 64, 4, operation={"steps": steps}, **shared)
    some, other = service("some", 0.04, 64, 8, **shared), service("other", 0.05, 64, 8)
    found, truth = front_on_both([front, some, other], 50.0, 0.25)
    assert 0.005 < truth[0] < 0.2
    assert found[0] == pytest.approx(truth[0], rel=0.25)


@pytest.mark.parametrize(("discipline", "slots"), [("slots", 8), ("processor_sharing", 64)])
def test_calls_at_once_are_in_each_others_way(discipline: str, slots: int) -> None:
    """At a load of 0.7, three at a time."""
    steps = [[{"to": "some", "count": 3}]]
    front = service("front", 0.005, 64, 4, operation={"steps": steps}, discipline="processor_sharing")
    some = service("some", 0.04, slots, 8, discipline=discipline)
    found, truth = front_on_both([front, some], 93.0, 0.2)
    assert truth[0] > 0.02
    assert found[0] == pytest.approx(truth[0], rel=0.25)
