"""A retry storm that outlives its cause, and what ends it.

``python -m experiments.retry_storm --out docs/retry-storm.png`` draws the picture of ``docs/retry-storm.md``
and prints the page's tables. Sources: N. Bronson et al., Metastable failures in distributed systems, HotOS
2021; L. Huang et al., Metastable failures in the wild, OSDI 2022; Google, Site Reliability Engineering,
2016, ch. 22 (retries multiply from tier to tier).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml
from rich.console import Console

from agents.registry import make
from agents.runner import run
from envs.task import Task
from experiments.run import make_context
from experiments.wording import plain_number
from simulator.arrays import Floats
from simulator.files import whole_file
from simulator.plant import Interval
from simulator.trace import Trace

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WORLD = """
# Clients call web, web calls app, and app is what can be full. web waits without holding a thread.
workload: {model: nasa, mean_rps: 600}   # the load of a run is given as a trace
prices: {usd_per_vcpu_hour: 0.04}
application:
  services:
    - name: web
      slots_per_pod: 8
      vcpu_per_pod: 1
      holds_slot_while_calling: false
      operations:
        - service_time: {law: lognormal, mean_seconds: 0.002, scv: 1}
          steps: [[{to: app, network_seconds: 0.0005, timeout_seconds: 1}]]
      start_up: {p50_seconds: 12, p95_seconds: 25}
      min_replicas: 4
      max_replicas: 4
    - name: app
      slots_per_pod: 4
      vcpu_per_pod: 1
      service_time: {law: lognormal, mean_seconds: 0.04, scv: 1}
      queue_limit_per_pod: 500           # 5 s of work
      start_up: {p50_seconds: 25, p95_seconds: 45}
      min_replicas: 10
      max_replicas: 10
  classes:
    - entry: {to: web, timeout_seconds: 3}
"""
"""The world without retries, as YAML; a Variant adds to it."""

CLIENTS_RPS, BURST_RPS = 600.0, 1500.0
BURST_FROM_SECONDS, BURST_UNTIL_SECONDS = 60.0, 80.0
CAPACITY_RPS = 1000.0
ATTEMPTS = 9
"""Of a client's request at app: three of web's for each of the client's three."""
RUN_SECONDS, SCALED_RUN_SECONDS, STEP_SECONDS, LAST_SECONDS = 600.0, 1200.0, 5.0, 60.0
BACK = 0.95
SEEDS = range(10)
LOADS = (0.05, 0.08, 0.10, 0.12, 0.15, 0.30, 0.60, 0.64, 0.66, 0.68, 0.70, 0.80)
GREY, BLUE, ORANGE, INK, RULE = "#8a94a0", "#0072b2", "#d55e00", "#1f2933", "#e4e7eb"
"""Okabe and Ito's blue and vermilion, which the colour-blind tell apart."""


@dataclass(frozen=True, slots=True)
class Variant:
    """What callers and the last tier do about calls that fail.

    Attributes:
        retry: fields of the retries on both edges; None for no retries.
        breaker: fields of the circuit breaker before app; None for none.
        app: fields of app that differ from the world's.
        policy: what scales app; empty where replicas are fixed.
    """

    name: str
    retry: dict[str, Any] | None = None
    breaker: dict[str, Any] | None = None
    app: dict[str, Any] = field(default_factory=dict)
    policy: str = ""

    def build(self) -> Task:
        """The world with it, as a Task."""
        world = yaml.safe_load(WORLD)
        web, app = world["application"]["services"]
        inner = web["operations"][0]["steps"][0][0]
        for call in (world["application"]["classes"][0]["entry"], inner):
            call["retry"] = self.retry
        inner["breaker"] = self.breaker
        app.update(self.app)
        return Task.model_validate(
            {
                "name": self.name,
                "scenario": world,
                "objective": {"slo_seconds": 1, "violation_budget": 0.01, "usd_per_violation": 3e-5},
                "period_seconds": 15,
                "horizon_seconds": RUN_SECONDS,
            }
        )


THREE: dict[str, Any] = {"max_attempts": 3}
NO_RETRIES = Variant("no retries")
STORM = Variant("retries without limits", THREE)
BUDGET = Variant("a retry budget", THREE | {"budget": {}})
BREAKER = Variant("a circuit breaker", THREE, breaker={"open_seconds": 10})
BACK_OFF = Variant("longer back-off (1 s, 2 s)", THREE | {"back_off_seconds": 1, "back_off_cap_seconds": 10})
DISCARDING = Variant("app discards expired calls", THREE, app={"discards_expired": True})
SHEDDING = Variant("app sheds load", THREE, app={"shedding": {"after_waiting_seconds": 0.5}})
SHORT_QUEUE = Variant("app's queue holds 0.5 s of work", THREE, app={"queue_limit_per_pod": 50})
SCALED = Variant("HPA", THREE, app={"min_replicas": 2, "max_replicas": 200}, policy="hpa:target=0.6")
SHOWN = (NO_RETRIES, STORM, BUDGET, BREAKER)
VARIANTS = (NO_RETRIES, STORM, BACK_OFF, DISCARDING, BUDGET, BREAKER, SHEDDING, SHORT_QUEUE)


@dataclass(frozen=True, slots=True)
class Course:
    """What happened in a run, step by step; float64 ``(T,)`` each.

    Attributes:
        seconds: when each step began.
        offered: clients' requests/s.
        served: clients' requests/s that were served: the goodput.
        app_offered: calls/s that reach app, retries among them.
        app_served: calls/s that app served while somebody waited.
        app_wasted: calls/s that app worked on, and whose callers had timed out when it was done.
        app_pods: pods of app on average.
        cost_usd: of all pods.
    """

    seconds: Floats
    offered: Floats
    served: Floats
    app_offered: Floats
    app_served: Floats
    app_wasted: Floats
    app_pods: Floats
    cost_usd: Floats

    def goodput(self, begin: float, end: float) -> float:
        """Requests served per request offered in ``[begin, end)``."""
        part = self._part(begin, end)
        return float(self.served[part].sum() / self.offered[part].sum())

    def amplification(self, begin: float, end: float) -> float:
        """Calls to app per client's request in ``[begin, end)``."""
        part = self._part(begin, end)
        return float(self.app_offered[part].sum() / self.offered[part].sum())

    @property
    def end_seconds(self) -> float:
        """When the run ended."""
        return float(self.seconds[-1] + STEP_SECONDS)

    @property
    def back_after_seconds(self) -> float:
        """From the burst's end until 95 % are served in every step that follows; inf if never."""
        low = self.seconds[self.served < BACK * self.offered]
        well = max(low[-1] + STEP_SECONDS, BURST_UNTIL_SECONDS) if low.size else BURST_UNTIL_SECONDS
        return float(well - BURST_UNTIL_SECONDS) if well < self.end_seconds else np.inf

    def _part(self, begin: float, end: float) -> Any:  # noqa: ANN401 - a mask
        return (self.seconds >= begin) & (self.seconds < end)


def play(
    variant: Variant, seed: int = 0, clients_rps: float = CLIENTS_RPS, run_seconds: float = RUN_SECONDS
) -> Course:
    """Run a variant under a flat load with one burst."""
    task = variant.build()
    trace = make_load(clients_rps, run_seconds)
    cluster = task.build(seed, trace)
    intervals: list[Interval] = []

    def advance(seconds: float) -> None:
        intervals.extend(cluster.advance(STEP_SECONDS) for _ in range(round(seconds / STEP_SECONDS)))

    if variant.policy:
        policy = make(variant.policy, make_context(task, None, seed))
        for _ in run(cluster, policy, task.interface.new_guard(), advance, run_seconds):
            pass
    else:
        advance(run_seconds)
    columns: list[Floats] = list(np.array([_look(interval) for interval in intervals]).T)
    return Course(np.arange(len(intervals), dtype=np.float64) * STEP_SECONDS, *columns)


def make_load(clients_rps: float, run_seconds: float) -> Trace:
    """A flat load with a burst of 20 s."""
    rates = np.full(round(run_seconds / STEP_SECONDS), clients_rps)
    rates[round(BURST_FROM_SECONDS / STEP_SECONDS) : round(BURST_UNTIL_SECONDS / STEP_SECONDS)] = BURST_RPS
    return Trace(STEP_SECONDS * rates, STEP_SECONDS, name="a burst")


def _look(interval: Interval) -> tuple[float, ...]:
    """A step's part of each of a Course's arrays."""
    clients, app = interval.requests, 1
    counts = (
        clients.offered[0],
        clients.served[0],
        interval.offered[app],
        interval.served[app],
        max(interval.started[app] - interval.served[app], 0),
        interval.pod_seconds[app],
    )
    return (*(float(count) / STEP_SECONDS for count in counts), float(interval.cost_usd.sum()))


def draw(courses: dict[str, Course]) -> Figure:
    """A column for each course: what clients get, what reaches app, what becomes of it."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3 * len(courses), 6.4), layout="constrained")
    grid = figure.subplots(3, len(courses), sharex=True, sharey="row", squeeze=False)
    for (name, course), column in zip(courses.items(), grid.T, strict=True):
        column[0].set_title(name, color=INK, fontsize=11)
        for axes in column:
            axes.axvspan(BURST_FROM_SECONDS, BURST_UNTIL_SECONDS, color="#f1e3c6", linewidth=0)
            axes.spines[["top", "right"]].set_visible(False)
            axes.grid(axis="y", color=RULE, linewidth=0.6)
            axes.set_axisbelow(True)
        _draw_course(column, course)
        column[2].set_xlabel("time, s")
        column[2].set_xlim(0, course.end_seconds)
    for axes, text in zip(
        grid[:, 0],
        ("clients' requests/s", "calls/s offered to app", "calls/s that app works on"),
        strict=True,
    ):
        axes.set_ylabel(text)
        axes.set_ylim(bottom=0)
    _label(grid, list(courses.values()))
    return figure


def _draw_course(column: Iterable[Axes], course: Course) -> None:
    top, middle, bottom = column
    edges = np.append(course.seconds, course.end_seconds)
    offered, served, app_offered, app_served, app_wasted = (
        np.append(values, values[-1])
        for values in (
            course.offered,
            course.served,
            course.app_offered,
            course.app_served,
            course.app_wasted,
        )
    )
    top.step(edges, offered, where="post", color=GREY, linewidth=1.2)
    top.step(edges, served, where="post", color=BLUE, linewidth=1.8)
    middle.fill_between(
        edges, offered, app_offered, app_offered > offered, step="post", color=ORANGE, alpha=0.25, linewidth=0
    )
    middle.step(edges, offered, where="post", color=GREY, linewidth=1.2)
    middle.step(edges, app_offered, where="post", color=ORANGE, linewidth=1.5)
    middle.axhline(CAPACITY_RPS, color=INK, linewidth=1, linestyle="--")
    bottom.stackplot(edges, app_served, app_wasted, step="post", colors=(BLUE, ORANGE), linewidth=0)


def _label(grid: Any, courses: list[Course]) -> None:  # noqa: ANN401 - an array of Axes
    """Names beside the lines, each once: in the first column without a storm and in the first with one."""
    stormy = [course.back_after_seconds == np.inf for course in courses]
    if False in stormy:
        top, middle, bottom = grid[:, stormy.index(False)]
        _write(top, 0.98, 650, "offered", "#5b6570", "right")
        _write(top, 0.98, 440, "served", BLUE, "right")
        _write(top, 0.15, 1420, "a burst of 20 s", "#7a5f16", "left")
        _write(middle, 0.98, 1300, "app's capacity", INK, "right")
        _write(bottom, 0.57, 270, "served", "white", "center")
    if True in stormy:
        _, middle, bottom = grid[:, stormy.index(True)]
        _write(middle, 0.98, 5900, "offered", ORANGE, "right")
        _write(middle, 0.57, 2700, "retries", "#8f3e00", "center")
        _write(bottom, 0.57, 460, "timed out: in vain", "white", "center")


def _write(axes: Axes, place: float, height: float, text: str, color: str, side: str) -> None:
    """Text at a share of the width and a value of the height."""
    at = axes.get_yaxis_transform()
    axes.text(
        place, height, text, color=color, ha=side, va="bottom", fontsize=9.5, transform=at
    ).set_in_layout(False)


def describe_variants(seeds: Iterable[int] = SEEDS) -> Iterator[str]:
    """A Markdown table of the variants: the range over the seeds of each figure."""
    yield (
        "| | served during the burst, % | back after its end, s "
        "| served in the last minute, % | calls to app per request then |"
    )
    yield "|---|---|---|---|---|"
    seeds = tuple(seeds)
    for variant in VARIANTS:
        courses = [play(variant, seed) for seed in seeds]
        begin, end = RUN_SECONDS - LAST_SECONDS, RUN_SECONDS
        back = _range(course.back_after_seconds for course in courses)
        during, good = (
            _range(round(100 * course.goodput(*part)) for course in courses)
            for part in ((BURST_FROM_SECONDS, BURST_UNTIL_SECONDS), (begin, end))
        )
        calls = _range(round(course.amplification(begin, end), 1) for course in courses)
        yield f"| {variant.name} | {during} | {back} | {good} | {calls} |"


def describe_loads(seeds: Iterable[int] = SEEDS) -> Iterator[str]:
    """A Markdown table of loads: in how many runs the storm is still there at the end."""
    yield (
        "| load, of app's capacity | with nine attempts | storm at the end, no limits "
        "| with two full budgets | storm at the end, budgets |"
    )
    yield "|---|---|---|---|---|"
    seeds = tuple(seeds)
    for load in LOADS:
        clients_rps = load * CAPACITY_RPS
        storms = [
            sum(np.isinf(play(variant, seed, clients_rps).back_after_seconds) for seed in seeds)
            for variant in (STORM, BUDGET)
        ]
        limited = budgeted_rps(clients_rps) / CAPACITY_RPS
        yield (
            f"| {load:.2f} | {ATTEMPTS * load:.2f} | {storms[0]} of {len(seeds)} "
            f"| {limited:.3f} | {storms[1]} of {len(seeds)} |"
        )


def budgeted_rps(clients_rps: float) -> float:
    """Calls/s that reach app when every budget is used up: each tier adds 20 % and 10 a second."""
    for _ in range(2):
        clients_rps += 0.2 * clients_rps + 10.0
    return clients_rps


def describe_scaling(seeds: Iterable[int] = SEEDS) -> Iterator[str]:
    """What the HPA does about the storm, and what that costs."""
    seeds = tuple(seeds)
    courses = [play(SCALED, seed, run_seconds=SCALED_RUN_SECONDS) for seed in seeds]
    fixed = play(NO_RETRIES, run_seconds=SCALED_RUN_SECONDS).cost_usd.sum()
    back = _range(course.back_after_seconds for course in courses)
    before = _range(round(course.app_pods[0]) for course in courses)
    most = _range(round(course.app_pods.max()) for course in courses)
    cost = _range(round(course.cost_usd.sum() / fixed, 1) for course in courses)
    yield f"{SCALED.policy}: back after {back} s, with {most} pods of app instead of {before};"
    yield f"the bill of {SCALED_RUN_SECONDS / 60:.0f} minutes is {cost} times that of the fixed replicas."


def _range(values: Iterable[float]) -> str:
    found = sorted(set(values))
    low, high = (plain_number(value) if np.isfinite(value) else "never" for value in (found[0], found[-1]))
    return low if low == high else f"{low} to {high}"


def main() -> None:
    """Draw the picture and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=Path("retry-storm.png"), help="the picture's file")
    out = parser.parse_args().out
    figure = draw({variant.name: play(variant) for variant in SHOWN})
    with whole_file(out) as partial:
        figure.savefig(partial, format="png", dpi=120, metadata={"Software": None})
    console = Console(soft_wrap=True, highlight=False, markup=False)
    for lines in (describe_variants(), describe_loads(), describe_scaling()):
        for line in lines:
            console.print(line)
        console.print()


if __name__ == "__main__":
    main()
