"""What pods' nodes do to their calls in the batch engine, against the request engine: latencies and shared CPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from batches import clusters
from quiet import always

from envs.task import Task, load_task
from simulator.arrays import Floats
from simulator.fluid_plant import FluidPlant
from simulator.plant import Desired
from simulator.trace import Trace

SEEDS = 2
Fields = dict[str, Any]


def world(service: Fields, groups: list[Fields], rps: float, slo_seconds: float) -> Task:
    content = load_task("shop3").model_dump(mode="json", exclude_none=True)
    app = {
        "name": "app",
        "slots_per_pod": 8,
        "vcpu_per_pod": 1,
        "service_time": {"law": "exponential", "mean_seconds": 0.05},
        "start_up": always(10.0),
        "min_replicas": 1,
        "max_replicas": 40,
    }
    nodes = {"instance_type": "c5.xlarge", "max_nodes": 20, "boot": always(30.0)}
    del content["scenario"]["prices"]
    content["scenario"]["application"] = {
        "services": [app | service],
        "classes": [{"entry": {"to": "app"}}],
    }
    content["scenario"]["cluster"] = {"groups": [nodes | group for group in groups]}
    content["scenario"]["workload"] = {"model": "nasa", "mean_rps": rps}
    content["objective"]["slo_seconds"] = slo_seconds
    return Task.model_validate(content)


def both_engines(task: Task, pods: list[int]) -> tuple[Floats, Floats]:
    """Late requests and CPU-seconds a request, with so many pods in each 5 min: batch engine, then request engine."""
    trace = Trace(np.full(5 * len(pods), 60 * task.scenario.workload.mean_rps), 60.0, name="steady")
    plants = [FluidPlant(clusters(task, trace, 4)), *(task.build(seed, trace) for seed in range(SEEDS))]
    sums = np.zeros((2, 3))
    steps = round(300 / task.period_seconds)
    for step in range(steps * len(pods)):
        for number, plant in enumerate(plants):
            row = min(number, 1)
            plant.apply(Desired(np.full((4, 1) if row == 0 else 1, pods[step // steps])))
            interval = plant.advance(task.period_seconds)
            late, offered = interval.requests.late.sum(), interval.requests.offered.sum()
            sums[row] += [offered, late, interval.cpu_seconds.sum()]
    shares = sums[:, 1:] / sums[:, :1]
    return shares[0], shares[1]


@pytest.mark.parametrize("slo_seconds", [0.15, 0.2, 0.25])
def test_answers_come_as_much_later_as_where_pods_are(slo_seconds: float) -> None:
    zones = ((0, "a", 0.0), (1, "b", 0.02), (2, "c", 0.1))
    groups = [
        {"name": f"g{number}", "zone": zone, "latency_seconds": seconds, "initial_nodes": 3}
        for number, zone, seconds in zones
    ]
    found, truth = both_engines(world({}, groups, 200.0, slo_seconds), [4, 6, 9, 3])
    assert truth[0] > 0.004
    assert found[0] == pytest.approx(truth[0], rel=0.25)
    assert found[1] == pytest.approx(truth[1], rel=0.02)


@pytest.mark.parametrize(("nodes", "rps"), [(8, 60.0), (8, 110.0), (2, 60.0), (2, 110.0), (3, 110.0)])
def test_pods_share_what_their_nodes_have_left_of_cpu(nodes: int, rps: float) -> None:
    """Three and six pods on nodes with room for three: with the CPU that they may use, or with less."""
    service = {
        "discipline": "processor_sharing",
        "vcpu_limit_per_pod": 3,
        "dispatch": "least_requests",
        "slots_per_pod": 60,
        "service_time": {"law": "exponential", "mean_seconds": 0.04},
    }
    groups = [{"name": "g", "initial_nodes": nodes}]
    found, truth = both_engines(world(service, groups, rps, 0.15), [6, 3, 6, 4])
    assert truth[0] > 0.004
    assert found[0] == pytest.approx(truth[0], rel=0.25)
    assert found[1] == pytest.approx(truth[1], rel=0.02)
