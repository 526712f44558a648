"""Applications on a cluster: several services under one control plane."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.cluster import Cluster
from simulator.plant import Desired, Interval
from simulator.scenario import Scenario
from simulator.trace import Trace

THRESHOLDS = (0.05, 0.5)
OUTCOMES = ("served", "dropped", "timed_out", "failed")


def scenario(application: Any = "shop", **fields: Any) -> Scenario:
    return Scenario.model_validate(
        {
            "workload": {"model": "nasa", "mean_rps": 100},
            "application": application,
            "prices": {"usd_per_vcpu_hour": 0.04},
        }
        | fields
    )


def load(*rates_rps: float) -> Trace:
    return Trace(np.array(rates_rps) * 60.0, 60.0, name="load")


def build(trace: Trace, seed: int = 1, **fields: Any) -> Cluster:
    return scenario(**fields).build(seed, THRESHOLDS, trace)


def assert_conserved(interval: Interval, before: Interval | None) -> None:
    """What came is served, gone, or still there; by service, and by class end to end."""
    waiting, in_service, in_flight = (
        (before.waiting, before.in_service, before.requests.in_flight) if before else (0, 0, 0)
    )
    left = sum(getattr(interval, name) for name in OUTCOMES)
    assert (interval.offered + waiting + in_service == left + interval.waiting + interval.in_service).all()
    requests = interval.requests
    over = sum(getattr(requests, name) for name in OUTCOMES)
    assert (requests.offered + in_flight == over + requests.in_flight).all()
    assert interval.latency_counts.sum(axis=1).tolist() == interval.served.tolist()
    assert requests.latency_counts.sum(axis=1).tolist() == requests.served.tolist()
    assert (interval.busy_slot_seconds <= interval.serving_slot_seconds + 1e-6).all()
    assert (interval.cpu_seconds <= interval.cpu_capacity_seconds + 1e-6).all()


@settings(deadline=None, max_examples=25)
@given(
    rates=st.lists(st.sampled_from([0.0, 20.0, 200.0, 900.0]), min_size=1, max_size=3),
    steps=st.lists(
        st.tuples(st.lists(st.integers(0, 5), min_size=3, max_size=3), st.sampled_from([1.0, 15.0, 40.0])),
        min_size=1,
        max_size=8,
    ),
    seed=st.integers(0, 2**32),
)
def test_no_call_and_no_request_is_lost(
    rates: list[float], steps: list[tuple[list[int], float]], seed: int
) -> None:
    cluster, before = build(load(*rates), seed), None
    for replicas, seconds in steps:
        cluster.apply(Desired(np.array(replicas)))
        if cluster.now_seconds + seconds > len(rates) * 60:
            break
        interval = cluster.advance(seconds)
        assert_conserved(interval, before)
        before = interval


def test_each_service_has_its_pods_metrics_and_price() -> None:
    cluster = build(load(300.0, 300.0))
    before = cluster.snapshot()
    assert before.wanted.tolist() == before.ready.tolist()
    cluster.apply(Desired(np.array([4, 6, 3])))
    interval, snapshot = cluster.advance(60.0), cluster.snapshot()
    assert snapshot.wanted.tolist() == [4, 6, 3]
    assert snapshot.ready.tolist() == [4, 6, 3]
    assert interval.pods_started.tolist() == (np.array([4, 6, 3]) - before.wanted).clip(0).tolist()
    vcpu = np.array([service.vcpu_per_pod for service in scenario().system.services])
    assert interval.cost_usd == pytest.approx(interval.pod_seconds * vcpu * 0.04 / 3600)
    assert snapshot.rate.value == pytest.approx([300, 300, 300], rel=0.1)
    used = interval.cpu_seconds / interval.cpu_capacity_seconds
    assert snapshot.cpu.value == pytest.approx(used, rel=0.3)
    groups = snapshot.pods["cpu"]
    assert groups.counted.count.shape == (3,)
    total = groups.counted.count + groups.unready.count + groups.missing.count
    assert total.tolist() == [4, 6, 3]


def test_policies_meet_the_same_requests_with_the_same_work() -> None:
    """Few pods or many, in whatever order things happen: the classes and all work are the same."""
    trace = load(80.0, 0.0, 0.0, 0.0)
    seen = []
    for replicas in ([2, 3, 2], [9, 9, 9]):
        cluster = build(trace, 5)
        cluster.apply(Desired(np.array(replicas)))
        interval = cluster.advance(240.0)
        assert interval.retried.sum() == 0
        assert interval.requests.served.tolist() == interval.requests.offered.tolist()
        seen.append((interval.requests.offered.tolist(), interval.offered.tolist(), interval.cpu_seconds))
    assert seen[0][:2] == seen[1][:2]
    assert seen[0][2] == pytest.approx(seen[1][2], rel=1e-9)


def test_the_same_seed_gives_the_same_bytes() -> None:
    def play(seed: int) -> list[bytes]:
        cluster = build(load(400.0, 900.0), seed)
        found = []
        for replicas in ([2, 3, 2], [4, 2, 2], [1, 8, 3], [3, 3, 3]):
            cluster.apply(Desired(np.array(replicas)))
            interval, snapshot = cluster.advance(25.0), cluster.snapshot()
            found += [interval.requests.latency_counts.tobytes(), interval.cpu_seconds.tobytes()]
            found += [snapshot.cpu.value.tobytes(), interval.response_seconds.tobytes()]
        return found

    assert play(3) == play(3)
    assert play(3) != play(4)


@pytest.mark.parametrize(
    "arrivals",
    [
        {"process": "deterministic"},
        {"process": "mmpp", "levels": [0.2, 3.0], "mean_sojourn_seconds": [20.0, 5.0]},
    ],
)
def test_requests_come_as_the_workload_says(arrivals: dict[str, Any]) -> None:
    workload = {"model": "nasa", "mean_rps": 100, "arrivals": arrivals}
    cluster = build(load(100.0, 100.0, 100.0, 100.0), workload=workload)
    counts = [int(cluster.advance(1.0).requests.offered.sum()) for _ in range(240)]
    spread = np.var(counts) / np.mean(counts)
    assert spread < 0.05 if arrivals["process"] == "deterministic" else spread > 5


def test_one_service_in_an_application_is_the_service_alone() -> None:
    service = {
        "name": "web",
        "slots_per_pod": 4,
        "vcpu_per_pod": 1.0,
        "service_time": {"law": "lognormal", "mean_seconds": 0.05, "scv": 1.0},
        "start_up": {"p50_seconds": 10, "p95_seconds": 20},
        "min_replicas": 1,
        "max_replicas": 20,
    }
    entry = {"to": "web"}
    application = {"services": [service], "classes": [{"name": "a", "entry": entry}]}
    # A network delay of nothing worth mentioning is enough for the general kernel.
    slow = {"services": [service], "classes": [{"name": "a", "entry": entry | {"network_seconds": 1e-12}}]}
    worlds = [
        {"application": None, "service": service},
        {"application": application},
        {"application": slow},
    ]
    found = []
    for world in worlds:
        cluster = build(load(200.0, 250.0), **world)
        cluster.apply(Desired(np.array([5])))
        interval = cluster.advance(110.0)
        found.append((interval.offered.tolist(), interval.served.tolist(), interval.requests.late.tolist()))
    assert found[0] == found[1] == found[2]
