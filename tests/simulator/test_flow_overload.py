"""What the batch engine does with more calls than it can work on: against the request engine, and nothing is lost."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from batches import clusters

from envs.task import Task, load_task
from simulator.arrays import Floats
from simulator.fluid_plant import FluidPlant
from simulator.plant import Desired
from simulator.trace import Trace

CAPACITY = 480.0
"""Calls that three pods can work on a second."""
BURST = [0.6] * 2 + [1.5] + [0.6] * 7
SEEDS = 2
Classes = list[dict[str, Any]]


def app(**changes: Any) -> dict[str, Any]:
    return {
        "name": "app",
        "slots_per_pod": 8,
        "vcpu_per_pod": 1,
        "service_time": {"law": "exponential", "mean_seconds": 0.05},
        "start_up": {"p50_seconds": 10, "p95_seconds": 15},
        "min_replicas": 0,
        "max_replicas": 50,
    } | changes


def clients(**entry: Any) -> Classes:
    return [{"entry": {"to": "app"} | entry}]


def two_classes(low_seconds: float | None = None, high_seconds: float | None = None) -> Classes:
    """Half of the requests have a priority of 2; each class with a time-out, or none."""
    return [
        {
            "name": name,
            "priority": priority,
            "entry": {"to": "app"} | ({"timeout_seconds": seconds} if seconds else {}),
        }
        for name, priority, seconds in (("low", 0, low_seconds), ("high", 2, high_seconds))
    ]


def world(service: dict[str, Any], classes: Classes, slo_seconds: float) -> Task:
    content = load_task("shop3").model_dump(mode="json", exclude_none=True)
    content["scenario"]["application"] = {"services": [service], "classes": classes}
    content["objective"]["slo_seconds"] = slo_seconds
    return Task.model_validate(content)


def load(levels: list[float]) -> Trace:
    return Trace(60 * CAPACITY * np.array(levels), 60.0, name="made")


def both_engines(task: Task, levels: list[float], pods: int = 3) -> tuple[Floats, Floats]:
    """Of all requests, the share late and the share dropped, and CPU-seconds of each: batch, then request engine."""
    trace = load(levels)
    made = FluidPlant(clusters(task, trace, 4))
    plants = [task.build(seed, trace) for seed in range(SEEDS)]
    sums = np.zeros((2, 4))
    for _ in range(round(trace.duration_seconds / task.period_seconds)):
        for row, plant in [(0, made), *((1, each) for each in plants)]:
            plant.apply(Desired(np.full((4, 1), pods) if row == 0 else np.array([pods])))
            interval = plant.advance(task.period_seconds)
            late, offered = interval.requests.late.sum(), interval.requests.offered.sum()
            sums[row] += [offered, late, interval.dropped.sum(), interval.cpu_seconds.sum()]
    shares = sums[:, 1:] / sums[:, :1]
    return shares[0], shares[1]


@pytest.mark.parametrize(
    ("service", "classes", "levels"),
    [
        ({"shedding": {"after_waiting_seconds": 0.2}}, clients(), [1.3] * 5),
        ({"shedding": {"after_waiting_seconds": 2.0}}, clients(), [1.3] * 10),
        ({"shedding": {"after_waiting_seconds": 0.4}}, clients(timeout_seconds=1.0, retry={}), BURST),
        ({"discards_expired": True}, clients(timeout_seconds=1.0), BURST),
        ({"discards_expired": True}, clients(timeout_seconds=1.0, retry={"budget": {}}), BURST),
        ({"discards_expired": True}, two_classes(1.0, 2.0), [1.3] * 5),
        ({}, two_classes(), BURST),
        ({"queue_limit_per_pod": 60}, two_classes(), BURST),
        ({"shedding": {"after_waiting_seconds": 0.8}}, two_classes(), [1.3] * 5),
        ({"shedding": {"after_waiting_seconds": 0.5, "spares_priority": 1}}, two_classes(), BURST),
    ],
    ids=[
        "sheds soon",
        "sheds late",
        "sheds what is tried again",
        "discards",
        "discards what is tried again",
        "discards by class",
        "priorities",
        "priorities and a queue's limit",
        "priorities and shedding",
        "shedding spares the high",
    ],
)
def test_overload_is_that_of_the_request_engine(
    service: dict[str, Any], classes: Classes, levels: list[float]
) -> None:
    """Within the bounds of conformance: violations to a quarter, CPU to 2 %; and what is dropped to a fifth."""
    found, truth = both_engines(world(app(**service), classes, 0.8), levels)
    assert truth[0] > 0.05
    assert found[0] == pytest.approx(truth[0], rel=0.25)
    assert found[1] == pytest.approx(truth[1], rel=0.2, abs=0.001)
    assert found[2] == pytest.approx(truth[2], rel=0.02)


@pytest.mark.parametrize("back_off_seconds", [0.1, 0.2])
def test_an_attempt_that_is_refused_costs_the_back_off_alone(back_off_seconds: float) -> None:
    """At 1.2 times the capacity of short queues; the SLO is that of a call that is tried again once."""
    retry = {"back_off_seconds": back_off_seconds, "back_off_cap_seconds": 4.0}
    task = world(app(queue_limit_per_pod=8), clients(timeout_seconds=1.0, retry=retry), 0.3)
    found, truth = both_engines(task, [1.2] * 3)
    assert found[0] == pytest.approx(truth[0], rel=0.25)


@pytest.mark.parametrize("pods", [1, 3])
def test_priorities_where_load_is_steady(pods: int) -> None:
    """Pods of four slots at 0.9: violations with and without priorities."""
    few = app(slots_per_pod=4, service_time={"law": "exponential", "mean_seconds": 0.075})
    levels = [0.9 * 4 * pods / 0.075 / CAPACITY] * 60
    for classes in (two_classes(), clients()):
        found, truth = both_engines(world(few, classes, 0.3), levels, pods)
        assert found[0] == pytest.approx(truth[0], rel=0.25)


@pytest.mark.parametrize("discipline", ["slots", "processor_sharing"])
def test_long_times_of_a_lognormal_service_where_hardly_any_call_waits(discipline: str) -> None:
    """At a load of 0.5, of calls that take six times the mean service time."""
    own = app(service_time={"law": "lognormal", "mean_seconds": 0.05, "scv": 2.0}, discipline=discipline)
    load_per_pod = 8 / 0.05 if discipline == "slots" else 1 / 0.05
    found, truth = both_engines(world(own, two_classes(), 0.5), [0.5 * 3 * load_per_pod / CAPACITY] * 60)
    assert truth[0] > 1e-3
    assert found[0] == pytest.approx(truth[0], rel=0.15)


@pytest.mark.parametrize(
    ("service", "classes"),
    [
        ({"shedding": {"after_waiting_seconds": 0.3}}, two_classes()),
        ({"shedding": {"after_waiting_seconds": 0.3, "spares_priority": 2}}, two_classes()),
        ({"discards_expired": True}, two_classes(1.0, 3.0)),
        (
            {"shedding": {"after_waiting_seconds": 0.9}, "queue_limit_per_pod": 40, "discards_expired": True},
            two_classes(1.0, 3.0),
        ),
    ],
    ids=["sheds", "sheds the low", "discards", "all of it"],
)
def test_nothing_is_lost_in_overload(service: dict[str, Any], classes: Classes) -> None:
    """What comes is worked off, dropped, thrown away or waits, whatever pods come and go."""
    trace = load([0.5, 1.6, 0.2, 1.3, 0.0, 1.2])
    steady = {"law": "deterministic", "mean_seconds": 0.05}
    made = clusters(world(app(**service, service_time=steady), classes, 0.8), trace, 5)
    offered, dropped, expired, busy = np.zeros((4, 5, 1))
    for step in range(24):
        made.apply(np.full((5, 1), 2 + step % 3))
        happened = made.advance()
        assert (made.expired >= 0).all()
        assert (happened.dropped >= 0).all()
        offered, dropped = offered + happened.offered, dropped + happened.dropped
        expired, busy = expired + made.expired, busy + happened.busy_seconds
        served = busy / made.world.mean_seconds
        waiting = made.state.backlog / made.world.mean_seconds
        np.testing.assert_allclose(served + dropped + expired + waiting, offered, rtol=1e-9, atol=0.5)
    let_go = {"shedding": dropped, "discards_expired": expired}
    assert all((let_go[what] > 0.05 * offered).all() for what in list(service)[:1])


def test_each_cluster_is_a_function_of_its_own_seed() -> None:
    service = {"discards_expired": True, "shedding": {"after_waiting_seconds": 0.9}}
    task, trace = world(app(**service), two_classes(1.0, 3.0), 0.8), load(BURST)
    few, many = clusters(task, trace, 3), clusters(task, trace, 600)
    for _ in range(20):
        late = [each.advance().late[:3].tolist() for each in (few, many)]
        assert late[0] == late[1]
        np.testing.assert_array_equal(few.state.backlog, many.state.backlog[:3])
