"""``make bench``: each figure beside a peer's, measured in the same run."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from envs.autoscale import AutoscaleEnv
from envs.task import load_task
from experiments.bench_batch import (
    CLUSTERS,
    MANY_CLUSTERS,
    VectorSteps,
    memory_of,
    plain_steps,
)
from experiments.days import day_of_20000_pods, day_of_web
from experiments.peers import SimpyApplication, ciw_mmc, simpy_mmc
from experiments.run import Run, execute
from simulator.application import Application, load_application
from simulator.arrivals import PoissonArrivals
from simulator.dataplane import DataPlane
from simulator.fcfs import OneQueue
from simulator.randomness import seed_key
from simulator.service import Service
from simulator.trace import Trace

SERVERS, UTILIZATION, MEAN_SERVICE_SECONDS = 100, 0.9, 0.05
RATE_RPS = SERVERS * UTILIZATION / MEAN_SERVICE_SECONDS
APPLICATION_RPS, APPLICATION_UTILIZATION = 1000.0, 0.7
REPEATS, ENVIRONMENT_STEPS = 5, 480
STRETCH_SECONDS = 15.0
BATCH_SECONDS, PLAIN_STEPS, BOUTIQUE_STEPS = 3.0, 50_000, 40
WEEK_HOURS, DECISIONS_PER_HOUR = 168.0, 240
Figure = dict[str, Any]


def queue_requests(seconds: float, seed: int = 0) -> int:
    """Requests of M/M/100 that the kernel of one queue starts in simulated seconds."""
    service = {
        "slots_per_pod": SERVERS,
        "vcpu_per_pod": 1.0,
        "service_time": {"law": "exponential", "mean_seconds": MEAN_SERVICE_SECONDS},
        "start_up": {"p50_seconds": 25, "p95_seconds": 45},
        "min_replicas": 1,
        "max_replicas": 1,
    }
    arrivals_seed, requests_seed = np.random.SeedSequence(seed).spawn(2)
    queue = OneQueue(Application.of(Service.model_validate(service)), seed_key(requests_seed), (0.3,))
    queue.open_pod(0)
    _run(queue, RATE_RPS, seconds, arrivals_seed)
    return int(queue.totals().services["started"][0])


def application_requests(name: str, seconds: float, seed: int = 0) -> int:
    """Clients' requests to an application that ships, served in simulated seconds."""
    application = load_application(name)
    arrivals_seed, requests_seed = np.random.SeedSequence(seed).spawn(2)
    plane = DataPlane(application, seed_key(requests_seed), (0.3,))
    row = 0
    for service, pods in enumerate(_pods(application)):
        for _ in range(pods):
            plane.open_pod(row, service)
            row += 1
    _run(plane, APPLICATION_RPS, seconds, arrivals_seed)
    return int(plane.totals().classes["served"].sum())


def _pods(application: Application) -> list[int]:
    """Pods of each service at the utilisation that is measured at, whatever its bounds."""
    return [
        int(np.ceil(APPLICATION_RPS * load / service.slots_per_pod / APPLICATION_UTILIZATION))
        for load, service in zip(application.load_seconds(), application.services, strict=True)
    ]


def _run(plane: OneQueue | DataPlane, rate: float, seconds: float, seed: np.random.SeedSequence) -> None:
    load = Trace(np.array([rate * seconds]), seconds)
    arrivals = PoissonArrivals(load, np.random.default_rng(seed))
    for until in np.arange(STRETCH_SECONDS, seconds + 1, STRETCH_SECONDS):
        plane.advance(until, arrivals.until(until))


def environment_requests(steps: int, task: str = "web") -> int:
    """Requests that a task offers in so many steps with random actions."""
    env = AutoscaleEnv(task)
    env.action_space.seed(0)
    env.reset(seed=0)
    offered = 0
    for _ in range(steps):
        *_, truncated, info = env.step(env.action_space.sample())
        offered += int(info["offered"])
        if truncated:
            env.reset()
    return offered


def hpa_settings(hours: float) -> int:
    """A thousand HPA settings on setpoint/Web-v1 at once on the batch engine: decisions made for each of them."""
    from experiments.sweep import Sweep
    from experiments.trials import Trial, try_together

    grid = product(range(30, 80), range(0, 600, 60), ("default", "gentle"))
    specs = tuple(f"hpa:target={percent / 100},window={window},scale_up={up}" for percent, window, up in grid)
    with tempfile.TemporaryDirectory() as folder, Sweep(Path(folder)) as sweep:
        try_together(Trial(_web_run(hours), specs, (0,)), sweep=sweep)
    return round(hours * DECISIONS_PER_HOUR)


def hpa_setting(hours: float) -> int:
    """One HPA setting on setpoint/Web-v1 on the request engine: decisions made."""
    execute(_web_run(hours))
    return round(hours * DECISIONS_PER_HOUR)


def _web_run(hours: float) -> Run:
    task = load_task("web")
    part = task.scenario.workload.draw(3600.0 * hours, np.random.default_rng(0))
    return Run(task, part, None, "hpa", "hpa", 0)


def training_rate(engine: str, steps: int) -> float:
    """Environment steps/s from one update of PPO to the last, with the settings that ship for an engine."""
    from agents.learn.ppo import DEFAULTS
    from agents.learn.training import Plan, train

    told: list[tuple[float, int]] = []
    plan = Plan(load_task("web"), None, steps, 0, DEFAULTS[engine], engine)
    with tempfile.TemporaryDirectory() as folder:
        train(
            plan,
            Path(folder) / "ppo.bundle",
            lambda progress: told.append((time.perf_counter(), progress.steps)),
        )
    (begin, first), (end, last) = told[0], told[-1]
    return (last - first) / (end - begin)


def first_call(seconds: float) -> dict[str, float]:
    """In a fresh process: seconds until the first request of the shop is run, and MiB in the end."""
    begin = time.perf_counter()
    application_requests("shop", STRETCH_SECONDS)
    first = time.perf_counter() - begin
    application_requests("shop", seconds)
    return {"first_call_s": first, "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def fresh_process(seconds: float, cache: Path) -> dict[str, float]:
    """What ``first_call`` says in a process of its own with this cache of compiled code."""
    code = f"import json; from experiments.bench import first_call; print(json.dumps(first_call({seconds})))"
    environment = os.environ | {"NUMBA_CACHE_DIR": str(cache)}
    done = subprocess.run(  # noqa: S603 - our own code
        [sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _rate(work: Callable[[], int]) -> float:
    begin = time.perf_counter()
    count = work()
    return count / (time.perf_counter() - begin)


def _side_by_side(*works: Callable[[], int]) -> list[float]:
    """Median rate of each, from alternating repeats."""
    rates = [[_rate(work) for work in works] for _ in range(REPEATS)]
    return [median(column) for column in zip(*rates, strict=True)]


def measure() -> list[Figure]:
    """All figures."""
    return [
        *_queue_figures(),
        *_application_figures(),
        *_batch_figures(),
        *_process_figures(),
        *_calibration_figures(),
        *_training_figures(),
    ]


def _queue_figures() -> list[Figure]:
    queue_requests(STRETCH_SECONDS)
    model = SERVERS, RATE_RPS, MEAN_SERVICE_SECONDS
    ours, in_simpy, in_ciw = _side_by_side(
        lambda: queue_requests(1500.0), lambda: simpy_mmc(*model, 30.0), lambda: ciw_mmc(*model, 15.0)
    )
    (offered,) = _side_by_side(lambda: environment_requests(ENVIRONMENT_STEPS))
    per_step = environment_requests(ENVIRONMENT_STEPS) / ENVIRONMENT_STEPS
    return [
        _figure("request_engine_mm100", ours, "requests/s", "a SimPy process per request", in_simpy),
        _figure("request_engine_mm100", ours, "requests/s", "Ciw", in_ciw),
        _figure(
            "environment_web",
            offered / per_step,
            "steps/s",
            "SimPy, steps of as many requests",
            in_simpy / per_step,
        ),
        *_day_figures(in_simpy),
    ]


def _day_figures(simpy_rps: float) -> list[Figure]:
    """Seconds that whole days take, beside what their requests alone would take as SimPy processes."""
    day_of_web()
    figures = []
    for day in (day_of_web, day_of_20000_pods):
        begin = time.perf_counter()
        offered = day()
        seconds = time.perf_counter() - begin
        peer = "s, a SimPy process per request"
        figures.append(_figure(day.__name__, seconds, "s", peer, offered / simpy_rps))
    return figures


def _application_figures() -> list[Figure]:
    figures = []
    for figure, name, seconds in (
        ("request_engine_shop3", "shop", 600.0),
        ("request_engine_boutique11", "boutique", 300.0),
    ):
        application = load_application(name)
        application_requests(name, STRETCH_SECONDS)
        slots = tuple(
            pods * service.slots_per_pod
            for pods, service in zip(_pods(application), application.services, strict=True)
        )

        def peer(application: Application = application, slots: tuple[int, ...] = slots) -> int:
            return SimpyApplication(application, slots).run(APPLICATION_RPS, 3.0)

        def ours(name: str = name, seconds: float = seconds) -> int:
            return application_requests(name, seconds)

        value, peer_value = _side_by_side(ours, peer)
        figures.append(
            _figure(figure, value, "user requests/s", "a SimPy process per call, simplified", peer_value)
        )
    return figures


def _boutique_figure() -> Figure:
    """Steps of clusters of eleven services."""
    batch = VectorSteps(CLUSTERS, "boutique11")
    batch.run(BATCH_SECONDS)

    def single() -> int:
        environment_requests(BOUTIQUE_STEPS, "boutique11")
        return BOUTIQUE_STEPS

    ours, alone = _side_by_side(lambda: batch.run(BATCH_SECONDS), single)
    return _figure("batch_engine_boutique11", ours, "steps/s", "a single environment, request engine", alone)


def _batch_figures() -> list[Figure]:
    """Steps of single clusters a second, their CPU time, and memory."""
    batch = VectorSteps()
    batch.run(BATCH_SECONDS)
    batch.cpu_ns.clear()

    def single() -> int:
        environment_requests(ENVIRONMENT_STEPS)
        return ENVIRONMENT_STEPS

    ours, alone, plain = _side_by_side(
        lambda: batch.run(BATCH_SECONDS), single, lambda: plain_steps(PLAIN_STEPS)
    )
    name, growth = "batch_engine_web", memory_of(MANY_CLUSTERS)
    return [
        _boutique_figure(),
        _figure(name, ours, "steps/s", "a single environment, request engine", alone),
        _figure(name, ours, "steps/s", "a plain Python step, simplified", plain),
        _figure(
            f"{name}_cpu", median(batch.cpu_ns), "CPU ns/step", "a plain Python step, simplified", 1e9 / plain
        ),
        _figure(
            f"{name}_memory", growth, f"MiB, {MANY_CLUSTERS:,}", f"MiB, {CLUSTERS:,}", memory_of(CLUSTERS)
        ),
    ]


def _training_figures() -> list[Figure]:
    batch, request = training_rate("batch", 1_000_000), training_rate("request", 16_384)
    return [_figure("ppo_train", batch, "steps/s", "training on the request engine", request)]


def _process_figures() -> list[Figure]:
    with tempfile.TemporaryDirectory() as cache:
        compiled = fresh_process(60.0, Path(cache))
        cached = fresh_process(60.0, Path(cache))
        longer = fresh_process(1200.0, Path(cache))
    return [
        _figure("first_call", cached["first_call_s"], "s, cached", "s, compiling", compiled["first_call_s"]),
        _figure("memory_of_20_min", longer["peak_mib"], "MiB", "MiB of 1 min", cached["peak_mib"]),
    ]


def _calibration_figures() -> list[Figure]:
    """Seconds that a thousand HPA settings take over a week: together, and one by one, from hours of one."""
    hpa_settings(0.1)
    hpa_setting(0.1)
    decisions = DECISIONS_PER_HOUR * WEEK_HOURS
    together = decisions / _rate(lambda: hpa_settings(WEEK_HOURS))
    one_by_one = 1000 * decisions / _rate(lambda: hpa_setting(6.0))
    return [_figure("hpa_settings_week", together, "s", "s, one by one, every request", one_by_one)]


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
        table.add_row(*(_shown(one) for one in figure.values()))
    Console(width=140).print(table)
    path = Path(sys.argv[1] if len(sys.argv) > 1 else "build/bench.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def _shown(value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 10 else f"{value:.3g}"


if __name__ == "__main__":
    main()
