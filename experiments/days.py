"""Whole days on the request engine, as ``make bench`` times them."""

from __future__ import annotations

import numpy as np

from agents.registry import make
from agents.runner import run
from envs.task import Task, load_task
from experiments.run import make_context
from simulator.plant import NodeCounts, Snapshot
from simulator.trace import Trace

DAY_SECONDS = 86_400.0
PODS, NODES = 20_000, 1_000
LARGE_RPS = 1000.0


def large_task() -> Task:
    """20,000 pods of a service on 1,000 nodes, which the node autoscaler has to launch first."""
    return Task.model_validate(
        {
            "name": "large",
            "scenario": {
                "workload": {"model": "nasa", "mean_rps": LARGE_RPS},
                "service": {
                    "slots_per_pod": 4,
                    "vcpu_per_pod": 0.75,
                    "service_time": {"law": "lognormal", "mean_seconds": 0.05, "scv": 1.0},
                    "image": {"p50_seconds": 20, "p95_seconds": 40},
                    "start_up": {"p50_seconds": 2, "p95_seconds": 4},
                    "min_replicas": 1,
                    "max_replicas": PODS,
                },
                "cluster": {
                    "groups": [
                        {
                            "name": "nodes",
                            "instance_type": "m5.4xlarge",
                            "reserved_vcpu": 1,
                            "max_nodes": NODES,
                        }
                    ]
                },
            },
            "objective": {"slo_seconds": 0.3, "violation_budget": 0.01, "usd_per_violation": 3.0e-5},
            "period_seconds": 15,
            "horizon_seconds": 3600,
        }
    )


def run_day(task: Task, policy: str, mean_rps: float) -> tuple[int, Snapshot]:
    """A day of a load that goes up and down by half: requests offered, and what is seen at its end."""
    minutes = np.arange(DAY_SECONDS / 60)
    rate = mean_rps * (1 + 0.5 * np.sin(2 * np.pi * minutes * 60 / DAY_SECONDS))
    load = Trace(60 * rate, 60.0, name="a day")
    cluster = task.build(0, load)
    policy_made = make(policy, make_context(task, None, 0))
    offered = 0
    for _, interval in run(cluster, policy_made, task.interface.new_guard(), cluster.advance, DAY_SECONDS):
        offered += int(interval.requests.offered.sum())
    return offered, cluster.snapshot()


def day_of_web() -> int:
    """A day of the task web at 200 requests/s under the HPA; requests offered."""
    return run_day(load_task("web"), "hpa", 200.0)[0]


def day_of_20000_pods() -> int:
    """A day of 1,000 requests/s on 20,000 pods and 1,000 nodes; requests offered."""
    offered, seen = run_day(large_task(), f"fixed:replicas={PODS}", LARGE_RPS)
    nodes = seen.nodes or NodeCounts(*(np.zeros(1, np.int64),) * 3)
    if seen.ready.sum() != PODS or nodes.ready.sum() != NODES:
        msg = f"{seen.ready.sum()} pods on {nodes.ready.sum()} nodes; should be {PODS} on {NODES}"
        raise RuntimeError(msg)
    return offered
