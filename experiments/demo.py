"""``setpoint demo``: the whole line in one go, each stage timed."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from rich.table import Table

from envs.task import load_task
from envs.vector import AutoscaleVectorEnv
from experiments.commands import CONSOLE, Part, Training, train
from experiments.evaluation import evaluate
from experiments.outputs import check_folder
from simulator.trace import write_trace
from simulator.workload import load_model

DAYS = 10
JUDGED_FROM_DAY = 9.25
MEAN_RPS = 300.0
SEED = 2
SEEDS = 5
_DAY_SECONDS = 86_400.0
_JUDGED_SECONDS = 43_200.0


def run_demo(out: Path, steps: int | None) -> None:
    """Draw a workload, train on its first nine days, judge from 6 to 18 o'clock on the tenth."""
    check_folder("--out", out)
    times: dict[str, float] = {}
    if os.environ.get("SETPOINT_SETUP_SECONDS"):
        times["install"] = float(os.environ["SETPOINT_SETUP_SECONDS"])
    trace, bundle = out / "workload.csv.gz", out / "ppo.bundle"
    out.mkdir(parents=True, exist_ok=True)
    with _stage("compile", times):
        _compile()
    with _stage("draw the workload", times):
        rng = np.random.default_rng(SEED)
        drawn = load_model("nasa").draw(DAYS * _DAY_SECONDS, MEAN_RPS, rng)
        write_trace(drawn, trace)
    before = JUDGED_FROM_DAY * _DAY_SECONDS
    with _stage("train", times):
        train(Part("web", trace, 0.0, before, None), Training("ppo", steps, 0), bundle)
    with _stage("calibrate, judge and report", times):
        part = Part("web", trace, before, _JUDGED_SECONDS, None)
        evaluate([part], ("hpa", "hindsight-hpa", str(bundle)), SEEDS, out, None)
    _print_times(times)


def _compile() -> None:
    """Run some steps of the task on both engines, so that the kernels are compiled and cached."""
    task = load_task("web")
    trace = task.scenario.workload.draw(task.horizon_seconds, np.random.default_rng(0))
    task.build(0, trace).advance(60.0)
    clusters = AutoscaleVectorEnv(1, task, trace)
    clusters.reset(seed=0)
    clusters.step(np.full(1, task.actions.hold))


@contextmanager
def _stage(name: str, times: dict[str, float]) -> Iterator[None]:
    CONSOLE.rule(name, align="left")
    begin = time.perf_counter()
    yield
    times[name] = time.perf_counter() - begin


def _print_times(times: dict[str, float]) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("stage")
    table.add_column("seconds", justify="right")
    for name, seconds in (*times.items(), ("in all", sum(times.values()))):
        table.add_row(name, f"{seconds:.0f}")
    CONSOLE.print(table)
