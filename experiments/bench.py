"""``make bench``: each figure beside a peer's, measured in the same run."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import simpy
from rich.console import Console
from rich.table import Table

from envs.autoscale import AutoscaleEnv
from simulator.application import Application
from simulator.arrivals import PoissonArrivals
from simulator.fcfs import OneQueue
from simulator.randomness import seed_key
from simulator.service import Service
from simulator.trace import Trace

SERVERS, UTILIZATION, MEAN_SERVICE_SECONDS = 100, 0.9, 0.05
RATE_RPS = SERVERS * UTILIZATION / MEAN_SERVICE_SECONDS
REPEATS, ENVIRONMENT_STEPS = 5, 480
Figure = dict[str, Any]


def kernel_requests(seconds: float, seed: int = 0) -> int:
    """Requests of M/M/100 that the kernel starts in simulated seconds, cut every 15 s."""
    arrivals_seed, requests_seed = np.random.SeedSequence(seed).spawn(2)
    load = Trace(np.array([RATE_RPS * seconds]), seconds)
    arrivals = PoissonArrivals(load, np.random.default_rng(arrivals_seed))
    service = {
        "slots_per_pod": SERVERS,
        "vcpu_per_pod": 1.0,
        "service_time": {"law": "exponential", "mean_seconds": MEAN_SERVICE_SECONDS},
        "start_up": {"p50_seconds": 25, "p95_seconds": 45},
        "min_replicas": 1,
        "max_replicas": 1,
    }
    queue = OneQueue(Application.of(Service.model_validate(service)), seed_key(requests_seed), (0.3,))
    queue.open_pod(0)
    for until in np.arange(15.0, seconds + 1, 15.0):
        queue.advance(until, arrivals.until(until))
    return int(queue.totals().services["started"][0])


def simpy_requests(seconds: float, seed: int = 0) -> int:
    """Requests of M/M/100 served in simulated seconds by one SimPy process a request."""
    rng = np.random.default_rng(seed)
    env = simpy.Environment()
    servers = simpy.Resource(env, SERVERS)
    served = 0

    def request(demand: float) -> Generator[simpy.Event]:
        nonlocal served
        with servers.request() as slot:
            yield slot
            yield env.timeout(demand)
        served += 1

    def source() -> Generator[simpy.Event]:
        while True:
            yield env.timeout(rng.exponential(1 / RATE_RPS))
            env.process(request(rng.exponential(MEAN_SERVICE_SECONDS)))

    env.process(source())
    env.run(until=seconds)
    return served


def environment_requests(steps: int) -> int:
    """Requests that setpoint/Web-v1 offers in so many steps with random actions."""
    env = AutoscaleEnv()
    env.action_space.seed(0)
    env.reset(seed=0)
    offered = 0
    for _ in range(steps):
        *_, truncated, info = env.step(env.action_space.sample())
        offered += int(info["offered"])
        if truncated:
            env.reset()
    return offered


def _rate(work: Callable[[], int]) -> float:
    begin = time.perf_counter()
    count = work()
    return count / (time.perf_counter() - begin)


def measure() -> list[Figure]:
    """All figures; ratio and peer from alternating repeats, medians of each."""
    kernel_requests(15.0)
    ours, peers = [], []
    for _ in range(REPEATS):
        ours.append(_rate(lambda: kernel_requests(1500.0)))
        peers.append(_rate(lambda: simpy_requests(30.0)))
    value, peer = median(ours), median(peers)
    offered = median(_rate(lambda: environment_requests(ENVIRONMENT_STEPS)) for _ in range(REPEATS))
    per_step = environment_requests(ENVIRONMENT_STEPS) / ENVIRONMENT_STEPS
    steps = offered / per_step
    return [
        _figure("request_engine_mm100", value, "requests/s", "a SimPy process per request", peer),
        _figure("environment_web", steps, "steps/s", "SimPy, steps of as many requests", peer / per_step),
    ]


def _figure(name: str, value: float, unit: str, peer: str, peer_value: float) -> Figure:
    return {
        "name": name,
        "value": value,
        "unit": unit,
        "peer": peer,
        "peer_value": peer_value,
        "ratio": value / peer_value,
    }


def main() -> None:
    """Measure, print and write the figures."""
    figures = measure()
    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("name", "value", "unit", "peer", "peer_value", "ratio"):
        table.add_column(title, justify="left" if title in {"name", "unit", "peer"} else "right")
    for figure in figures:
        shown = (f"{one:,.0f}" if isinstance(one, float) else str(one) for one in figure.values())
        table.add_row(*shown)
    Console(width=120).print(table)
    path = Path(sys.argv[1] if len(sys.argv) > 1 else "build/bench.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
