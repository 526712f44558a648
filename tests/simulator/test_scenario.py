"""A Scenario: what it refuses, what it builds."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from simulator.application import load_application
from simulator.scenario import MetricPipeline, Prices, Scenario, Workload
from simulator.trace import Trace

FIELDS: dict[str, Any] = {
    "workload": {"model": "nasa", "mean_rps": 200},
    "service": {
        "slots_per_pod": 4,
        "vcpu_per_pod": 2.0,
        "service_time": {"law": "lognormal", "mean_seconds": 0.05},
        "start_up": {"p50_seconds": 25, "p95_seconds": 45},
        "min_replicas": 2,
        "max_replicas": 200,
    },
    "metrics": {"scrape_seconds": 15, "window_seconds": 30, "lag_seconds": 15},
    "prices": {"usd_per_vcpu_hour": 0.04},
}


def changed(path: str, value: Any) -> dict[str, Any]:
    fields = copy.deepcopy(FIELDS)
    *above, last = path.split(".")
    place = fields
    for name in above:
        place = place[name]
    place[last] = value
    return fields


@pytest.mark.parametrize(
    ("path", "value", "allowed"),
    [
        ("workload.mean_rps", 0, "greater than 0"),
        ("workload.mean_rps", math.nan, "a finite number"),
        ("workload.mean_rps", 1e8, "less than or equal to 10000000"),
        ("workload.model", 5, "valid string"),
        ("workload.trace", "x.csv", "not permitted"),
        ("service.slots_per_pod", 0, "greater than or equal to 1"),
        ("metrics.scrape_seconds", 0, "greater than 0"),
        ("metrics.window_seconds", 20, "must be a whole number of scrape_seconds"),
        ("prices.usd_per_vcpu_hour", -1, "greater than or equal to 0"),
        ("prices.usd_per_vcpu_hour", math.inf, "a finite number"),
        ("staffing_quality", -1, "greater than or equal to 0"),
        ("staffing_quality", "good", "valid number"),
        ("fault", [], "not permitted"),
    ],
)
def test_a_wrong_field_is_named(path: str, value: Any, allowed: str) -> None:
    with pytest.raises(ValidationError, match=allowed) as caught:
        Scenario.model_validate(changed(path, value))
    name = path if path != "metrics.window_seconds" else "window_seconds"
    assert name in str(caught.value)


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ("workload", r"workload\n\s+Field required"),
        ("prices", "one of cluster .* and prices .* must be given"),
    ],
)
def test_a_missing_part_is_named(field: str, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Scenario.model_validate({name: value for name, value in FIELDS.items() if name != field})


def test_there_is_one_application() -> None:
    without = {name: value for name, value in FIELDS.items() if name != "service"}
    for fields in (without, FIELDS | {"application": "shop"}):
        with pytest.raises(ValidationError, match="one of service and application must be given"):
            Scenario.model_validate(fields)
    with pytest.raises(ValidationError, match="application 'shoop' is unknown; there are: boutique, shop"):
        Scenario.model_validate(without | {"application": "shoop"})
    assert Scenario.model_validate(without | {"application": "shop"}).system == load_application("shop")
    assert [service.name for service in Scenario.model_validate(FIELDS).system.services] == ["web"]


def test_defaults_are_a_scrape_of_15_s() -> None:
    scenario = Scenario.model_validate({name: value for name, value in FIELDS.items() if name != "metrics"})
    metrics = scenario.metrics
    assert (metrics.scrape_seconds, metrics.window_seconds, metrics.lag_seconds) == (15.0, 15.0, 15.0)
    assert scenario.staffing_quality == 2.0
    assert scenario.service is not None
    assert scenario.service.drain_grace_seconds == 30.0


def test_whole_multiples_are_so_but_for_rounding() -> None:
    pipeline = MetricPipeline(scrape_seconds=0.1, window_seconds=0.3)
    assert pipeline.window_seconds / pipeline.scrape_seconds != 3
    with pytest.raises(ValidationError, match="whole number of scrape_seconds"):
        MetricPipeline(scrape_seconds=0.1, window_seconds=0.35)


def test_what_is_written_reads_as_the_same() -> None:
    scenario = Scenario.model_validate(FIELDS)
    assert Scenario.model_validate_json(scenario.model_dump_json()) == scenario
    assert Scenario.model_validate(scenario.model_dump()) == scenario
    assert hash(scenario) == hash(Scenario.model_validate(FIELDS))


@pytest.mark.parametrize("kind", [Workload, Prices])
def test_every_field_is_described(kind: type[Workload]) -> None:
    for name, field in kind.model_fields.items():
        assert field.description, name


def test_prices_and_staffing_reach_the_cluster() -> None:
    """100/s x 0.05 s is a = 5: ceil(5 + q sqrt(5)) slots of 4 a pod, 2 vCPU each."""
    trace = Trace(np.array([6000.0, 6000.0]), 60.0)
    for quality, pods in ((0.0, 2), (2.0, 3), (10.0, 7)):
        cluster = Scenario.model_validate(FIELDS | {"staffing_quality": quality}).build(1, (0.3,), trace)
        assert cluster.snapshot().ready.tolist() == [pods]
        interval = cluster.advance(90.0)
        assert float(interval.cost_usd[0]) == pytest.approx(pods * 2.0 * 0.04 * 90 / 3600)
        assert interval.requests.late.shape == (1, 1)


def test_a_workload_draws_from_its_model() -> None:
    workload = Workload(model="nasa", mean_rps=50.0)
    one, two = (workload.draw(7200.0, np.random.default_rng(4)) for _ in range(2))
    assert one.requests.tobytes() == two.requests.tobytes()
    assert one.duration_seconds == 7200.0
    tripled = Workload(model="nasa", mean_rps=150.0).draw(7200.0, np.random.default_rng(4))
    np.testing.assert_allclose(tripled.requests, 3 * one.requests)
