"""A Scenario: what it refuses, what it builds."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from simulator.application import load_application
from simulator.errors import InputError
from simulator.scenario import MetricPipeline, Prices, Scenario, Workload
from simulator.settings import parse_settings
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


WITH_NODES = """
workload: {model: nasa, mean_rps: 1}
service: {name: web, slots_per_pod: 4, vcpu_per_pod: 1.0, service_time: {law: exponential, mean_seconds: 0.1},
  start_up: {p50_seconds: 2, p95_seconds: 3}, min_replicas: 1, max_replicas: 5}
cluster:
  groups: [{name: east, vcpu: 4, memory_gib: 8, usd_per_hour: 0.2, region: here, zone: a}]
"""
ON_SPOT = WITH_NODES.replace("vcpu: 4, memory_gib: 8, usd_per_hour: 0.2", "vcpu: 4, memory_gib: 8, spot: {}")
CYCLE = """
workload: {model: nasa, mean_rps: 1}
prices: {usd_per_vcpu_hour: 0.04}
application:
  services:
    - {name: a, slots_per_pod: 1, vcpu_per_pod: 1, start_up: {p50_seconds: 2, p95_seconds: 3}, min_replicas: 1,
       max_replicas: 5, operations: [{service_time: {law: exponential, mean_seconds: 0.1}, steps: [[{to: b}]]}]}
    - {name: b, slots_per_pod: 1, vcpu_per_pod: 1, start_up: {p50_seconds: 2, p95_seconds: 3}, min_replicas: 1,
       max_replicas: 5, operations: [{service_time: {law: exponential, mean_seconds: 0.1}, steps: [[{to: a}]]}]}
  classes: [{name: all, entry: {to: a}}]
"""


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "zone: a",
            "zoned: a",
            r"cluster\.groups\.0\.zoned: is no field of NodeGroup, did you mean zone\? \(",
        ),
        (
            "usd_per_hour: 0.2",
            "usd_per_hour: -0.2",
            r"cluster\.groups\.0\.usd_per_hour: .*greater than or equal to 0 \(it is -0\.2\)",
        ),
        ("usd_per_hour: 0.2", "priority: 1", r"cluster\.groups\.0: .*'east': usd_per_hour must be given"),
        ("vcpu: 4", "vcpu: 1", r"service: a pod \(vcpu_per_pod 1, .*\) fits on no node: east has 0\.94 vCPU"),
        (
            "name: web,",
            "name: web, region: there,",
            r"service: region is 'there'; cluster\.groups are in here",
        ),
        ("name: web,", "name: web, gpus_per_pod: 1,", r"fits on no node: east has .* 0 GPUs"),
        ("vcpu: 4", "instance_type: m5.lage, vcpu: 4", r"'m5\.lage' is not in .*did you mean .*m5\.large"),
        ("zone: a", "min_nodes: 5, max_nodes: 2", r"max_nodes \(2\) must be at least min_nodes \(5\)"),
        ("zone: a", "initial_nodes: 500", r"initial_nodes \(500\) must be within min_nodes and max_nodes"),
        ("zone: a", "boot: {p50_seconds: 9, p95_seconds: 3}", r"groups\.0\.boot: p95_seconds \(3\) must be"),
    ],
)
def test_a_wrong_node_group_is_named_by_its_place(old: str, new: str, said: str) -> None:
    assert WITH_NODES.count(old) == 1
    with pytest.raises(InputError, match=said):
        parse_settings(Scenario, WITH_NODES.replace(old, new), "world.yaml")


def test_spot_nodes_need_a_price_and_calls_in_a_circle_are_named() -> None:
    with pytest.raises(InputError, match=r"cluster\.groups\.0: .*'east': usd_per_hour must be given"):
        parse_settings(Scenario, ON_SPOT, "world.yaml")
    with pytest.raises(InputError, match=r"application: the calls go in a circle: a\.serve -> b\.serve -> a"):
        parse_settings(Scenario, CYCLE, "world.yaml")


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (
            "{kind: quake, at_seconds: 1}",
            r"faults\.0: kind 'quake' is unknown \(there are: pod_kill, node_loss",
        ),
        ("{kind: pod_kill}", r"faults\.0: one of at_seconds and per_hour"),
        (
            "{kind: pod_kill, at_seconds: -1}",
            r"faults\.0\.at_seconds: .*greater than or equal to 0",
        ),
        (
            "{kind: latency, at_seconds: 1, service: wob}",
            r"faults\.0 \(latency\): service is 'wob'; there are: web",
        ),
        ("{kind: stock_out, at_seconds: 1, group: west}", r"faults\.0 .*group is 'west'; there are: east"),
        (
            "{kind: zone_loss, at_seconds: 1, region: here, zone: q}",
            r"no node group in here/q; there are: here/a",
        ),
        ("{kind: region_loss, at_seconds: 1, region: q}", r"no node group in q/\*; there are: here/a"),
        ("{kind: cpu_starvation, at_seconds: 1, share: 1.0}", r"faults\.0\.share: .*less than 1"),
    ],
)
def test_a_wrong_fault_is_named_by_its_place(fault: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        parse_settings(Scenario, f"{WITH_NODES}faults: [{fault}]", "world.yaml")


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ("image: {p50_seconds: 1, p95_seconds: 2}", "image needs nodes"),
        ("region: here", "region needs nodes"),
        ("gpus_per_pod: 1", "gpus_per_pod needs nodes"),
    ],
)
def test_what_needs_nodes_says_so(field: str, said: str) -> None:
    alone = WITH_NODES[: WITH_NODES.index("cluster:")] + "prices: {usd_per_vcpu_hour: 0.04}\n"
    with pytest.raises(InputError, match=rf"service: {said} \(give cluster\)"):
        parse_settings(Scenario, alone.replace("name: web,", f"name: web, {field},"), "world.yaml")
    with pytest.raises(InputError, match=r"faults\.0 \(node_loss\) needs nodes"):
        parse_settings(Scenario, f"{alone}faults: [{{kind: node_loss, at_seconds: 1}}]", "world.yaml")
