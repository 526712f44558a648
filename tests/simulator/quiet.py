"""Worlds that leave nothing to chance, where both engines must agree at every decision."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

import numpy as np
import pytest
from batches import clusters

from envs.task import Task
from simulator.cluster import Cluster
from simulator.fluid_plant import FluidPlant
from simulator.plant import Desired, Snapshot
from simulator.trace import Trace

Fields = dict[str, Any]
STEPS = 100
EXPANDERS = ("least_waste", "most_pods", "least_nodes", "price", "priority")
MAY_TIE = {"most_pods", "least_nodes"}
INSTANCE_TYPES = ("m5.large", "c5.xlarge", "t3.2xlarge", "r5.xlarge")


def always(seconds: float) -> Fields:
    return {"p50_seconds": seconds, "p95_seconds": seconds}


def world(rng: Random, faults: Sequence[Fields] = (), *, has_room: bool = False) -> Task:
    """Services that hardly anybody calls, on nodes whose lives hold no chance.

    Nothing happens at a step's very end, where an engine may count it before or after; and no pods of two services wait
    for what several pods leave at a time, in an order that is nobody's.
    """
    count = rng.choice((1, 1, 2))
    services: list[Fields] = [
        {
            "name": f"s{number}",
            "slots_per_pod": 4,
            "vcpu_per_pod": rng.choice((0.5, 1.0, 1.7)),
            "memory": {"request_gib": rng.choice((0.5, 2.0, 6.0))},
            "service_time": {"law": "deterministic", "mean_seconds": 0.01},
            "start_up": always(rng.choice((3.1, 22.1))) | {"pending_share": 0.5},
            "min_replicas": 1,
            "max_replicas": 20,
            **({"image": always(rng.choice((10.0, 40.0)))} if number == 0 else {}),
        }
        for number in range(count)
    ]
    expander = rng.choice(EXPANDERS)
    kinds = rng.sample(INSTANCE_TYPES, 1 if expander in MAY_TIE else rng.randint(1, 3))
    groups: list[Fields] = [
        {
            "name": f"g{number}",
            "instance_type": kind,
            "zone": rng.choice("ab"),
            "min_nodes": 60 if has_room else rng.choice((0, 0, 1)),
            "max_nodes": 60 if has_room else rng.choice((3, 10)) if count == 1 else 40,
            "priority": number,
            "boot": always(rng.choice((31.0, 62.0))),
            "shutdown_seconds": 31.0,
        }
        for number, kind in enumerate(kinds)
    ]
    calls = [{"name": each["name"], "share": 1, "entry": {"to": each["name"]}} for each in services]
    return Task.model_validate(
        {
            "name": "lives",
            "question": "Do both engines let pods and nodes live alike?",
            "scenario": {
                "workload": {"model": "nasa", "mean_rps": 0.01},
                "application": {"name": "a", "services": services, "classes": calls},
                "faults": list(faults),
                "cluster": {
                    "groups": groups,
                    "packing": rng.choice(("least_allocated", "most_allocated")),
                    "autoscaler": {
                        "expander": expander,
                        "unneeded_seconds": 60.0,
                        "after_add_seconds": 60.0,
                        **({"consolidation": {}} if rng.random() < 0.3 else {}),
                    },
                },
            },
            "objective": {"slo_seconds": 1.0, "violation_budget": 0.01, "usd_per_violation": 1e-5},
            "period_seconds": 15,
            "horizon_seconds": 15 * STEPS,
            "judged_seconds": 3600,
        }
    )


def seen(snapshot: Snapshot) -> list[int]:
    """What is there of each service and node group."""
    counts, nodes = [snapshot.wanted, snapshot.ready, snapshot.starting], snapshot.nodes
    if nodes is not None:
        counts += [nodes.starting, nodes.ready, nodes.draining]
    return [int(value) for values in counts for value in np.ravel(values)]


def change(rng: Random, wanted: np.ndarray, starting: np.ndarray) -> np.ndarray:
    """More of all services, or fewer where none waits: several that go at once leave their room in no certain order."""
    goes_up = rng.random() < 0.5 or starting.any()
    return np.array([rng.randint(*(now, 20) if goes_up else (1, now)) for now in wanted.tolist()])


def check_same(task: Task, rng: Random) -> None:
    """Let both engines live through the same changes: what is there and what it costs is the same."""
    trace = Trace(np.full(STEPS, 0.001), 15.0, name="nobody")
    truth: Cluster = task.build(0, trace)
    batch = FluidPlant(clusters(task, trace, 1))
    wanted = np.full(len(task.scenario.system.services), 1)
    cost, found = [], []
    for step in range(STEPS):
        assert seen(truth.snapshot()) == seen(batch.snapshot()), step
        if rng.random() < 0.15:
            wanted = change(rng, wanted, truth.snapshot().starting)
        truth.apply(Desired(wanted))
        batch.apply(Desired(wanted[np.newaxis]))
        here, there = truth.advance(15.0), batch.advance(15.0)
        assert here.pods_started.tolist() == there.pods_started[0].tolist(), step
        if here.nodes is not None and there.nodes is not None:
            assert here.nodes.launched.tolist() == there.nodes.launched[0].tolist(), step
        cost.append(float(here.total_usd))
        found.append(float(there.total_usd[0]))
    assert sum(found) == pytest.approx(sum(cost), rel=0.01)


def without_nodes(task: Task) -> Task:
    """The same pods, each paid by itself."""
    content = task.model_dump(mode="json", exclude_none=True)
    del content["scenario"]["cluster"]
    content["scenario"]["prices"] = {"usd_per_vcpu_hour": 0.04}
    for service in content["scenario"]["application"]["services"]:
        service.pop("image", None)
    return Task.model_validate(content)
