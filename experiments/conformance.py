"""Both engines on a grid of scenarios with the same policies; ``experiments.verdict`` says where they differ.

The request engine is the truth. ``setpoint conformance`` runs it; a small grid is a test.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, product
from typing import Any

import numpy as np

from agents.each import Alone
from agents.registry import RULES, is_bundle, make, parse_spec
from agents.runner import run
from envs.task import Task
from experiments.run import Run, make_context
from experiments.sweep import Sweep
from simulator.errors import InputError
from simulator.fluid import FluidClusters
from simulator.fluid_plant import FluidPlant
from simulator.prices import SECONDS_PER_HOUR
from simulator.randomization import Randomization
from simulator.trace import Trace

HPA_TARGETS = tuple(f"hpa:target={target}" for target in (0.5, 0.6, 0.7, 0.8, 0.9))
MADE_LOADS = ("sine", "walk", "jumps")
GRIDS = ("small", "cover", "full")
WITHIN = 0.02
"""Largest relative error of cost and of utilisation."""
WITHIN_POINTS, WITHIN_SHARE = 1e-3, 0.25
"""Largest error of a violation ratio: the larger of so much, and of so much of the truth."""
COUNTED = (1e-3, 0.05)
"""Violation ratios whose truth is outside are not counted: they are noise, or an outage."""
SEEDS_AGAIN = 16
"""A cell that is out of bounds gets so many runs: a run's cost may be 5 % off its mean by chance."""
_FEWEST_SEEDS = 8
"""With fewer runs their spread says too little, and nothing is allowed for it."""
_DEVIATIONS = 2.0
_MEASURES = ("slo_violation_ratio", "cost_usd", "cpu_utilization")
_BIN_SECONDS = 60.0
_CLUSTERS = 128
_CLUSTERS_ALONE = 16
"""Of a rule that learns of each cluster by itself."""
_WALK_SEED = 5

LAWS: dict[str, dict[str, Any]] = {
    "lognormal": {"law": "lognormal", "scv": 1.0},
    "constant": {"law": "deterministic"},
    "heavy": {"law": "lognormal", "scv": 4.0},
}
BURSTS = {"process": "mmpp", "levels": [0.7, 1.9], "mean_sojourn_seconds": [60, 20]}
FAULTS: dict[str, list[dict[str, Any]]] = {
    "pods killed": [{"kind": "pod_kill", "at_seconds": 1000.0 * n, "count": 3} for n in range(1, 4)],
    "CPU short": [{"kind": "cpu_starvation", "at_seconds": 2000.0, "duration_seconds": 300.0, "share": 0.7}],
    "slow starts": [{"kind": "slow_start", "at_seconds": 600.0, "duration_seconds": 3000.0}],
    "no metrics": [{"kind": "metric_outage", "at_seconds": 1500.0, "duration_seconds": 600.0}],
    "API refuses": [
        {"kind": "api_refusal", "at_seconds": 600.0, "duration_seconds": 3000.0, "probability": 0.7}
    ],
}
NO_TROUBLE, BURSTY, NOISY = "none", "bursts", "noisy metrics"
TROUBLES = (BURSTY, NOISY, *FAULTS)


@dataclass(frozen=True, slots=True)
class World:
    """One scenario of the grid, as changes of a task.

    Attributes:
        load: one of MADE_LOADS, or the name of a trace that was given.
        law: a key of LAWS; None for the task's own.
        slots: of a pod; as many times the service time is worked on, so that a pod's capacity stays. None for the
            task's own.
        start_up_seconds: median; None for the task's own.
        lag_seconds: of the metrics; None for the task's own.
        level: times the task's mean rate.
        trouble: NO_TROUBLE or one of TROUBLES.
    """

    load: str = "sine"
    law: str | None = "lognormal"
    slots: int | None = 4
    start_up_seconds: float | None = 25.0
    lag_seconds: float | None = 15.0
    level: float = 1.0
    trouble: str = NO_TROUBLE

    def task(self, base: Task) -> Task:
        """The base with these changes; the SLO keeps its ratio to the mean service time of a single service."""
        content = base.model_dump(mode="json", exclude_none=True)
        scenario = content["scenario"]
        services = [scenario["service"]] if "service" in scenario else scenario["application"]["services"]
        if self.start_up_seconds is not None:
            start_up = {"p50_seconds": self.start_up_seconds, "p95_seconds": 1.8 * self.start_up_seconds}
            for service in services:
                service["start_up"] |= start_up
        if self.lag_seconds is not None:
            scenario["metrics"]["lag_seconds"] = self.lag_seconds
        scenario.setdefault("faults", []).extend(FAULTS.get(self.trouble, []))
        if self.trouble == BURSTY:
            scenario["workload"]["arrivals"] = BURSTS
        if self.trouble == NOISY:
            scenario["metrics"] |= {"noise": 0.25, "gap_probability": 0.1}
        if self.law is not None and self.slots is not None:
            service, law = services[0], base.scenario.system.services[0].all_operations[0].service_time
            stretch = self.slots / service["slots_per_pod"]
            service["slots_per_pod"] = self.slots
            operation = service["operations"][0] if service.get("operations") else service
            operation["service_time"] = {"mean_seconds": law.mean_seconds * stretch, **LAWS[self.law]}
            content["objective"]["slo_seconds"] *= stretch
        return Task.model_validate(content)


SMALL = (
    World(),
    World(load="jumps", slots=1),
    World(load="walk", law="heavy", start_up_seconds=90.0),
    World(level=4.0, trouble="pods killed"),
)
"""The grid that is always tested."""
ASIDE = (*(World(level=level) for level in (0.25, 4.0)), *(World(trouble=trouble) for trouble in TROUBLES))
"""What is tried by itself, not with all else, in the larger grids."""
_CROSSED = ("load", "law", "slots", "start_up_seconds", "lag_seconds")


def full_grid(loads: Sequence[str] = MADE_LOADS) -> tuple[World, ...]:
    """All combinations of loads, laws, slots, start-ups and lags."""
    return tuple(World(*one) for one in product(loads, LAWS, (1, 4, 16), (10.0, 90.0), (0.0, 60.0)))


def covering_grid(loads: Sequence[str] = MADE_LOADS, strength: int = 3) -> tuple[World, ...]:
    """A part of the full grid in which any values of so many axes still meet.

    Worlds are taken one after another, each time the first of those in which most combinations are new.
    Source: D. Cohen et al., The AETG system, 1997.
    """
    axes = list(combinations(_CROSSED, strength))

    def combined(world: World) -> set[tuple[object, ...]]:
        return {(names, *(getattr(world, name) for name in names)) for names in axes}

    left = {world: combined(world) for world in full_grid(loads)}
    chosen = []
    while any(left.values()):
        best = max(left, key=lambda world: len(left[world]))
        new = left.pop(best)
        chosen.append(best)
        left = {world: rest - new for world, rest in left.items()}
    return tuple(chosen)


def grid(name: str, base: Task, traces: Sequence[str] = ()) -> tuple[World, ...]:
    """A grid by its name, with traces among the loads; an application keeps its service times and slots.

    A task with nodes is tried as it is, at several levels of load: how its pods come up is what it is about.

    Raises:
        InputError: if there is no such grid.
    """
    if name not in GRIDS:
        msg = f"--grid {name!r} is unknown; there are: {', '.join(GRIDS)}"
        raise InputError(msg)
    if base.scenario.cluster is not None:
        levels = {"small": (1.0,), "cover": (0.5, 1.0, 2.0), "full": (0.5, 1.0, 2.0, 4.0)}[name]
        loads = (*(MADE_LOADS[::2] if name == "small" else MADE_LOADS), *traces)
        return tuple(
            World(load, None, None, start_up_seconds=None, lag_seconds=None, level=level)
            for load, level in product(loads, levels)
        )
    if name == "small":
        worlds = (*SMALL, *(World(load=trace) for trace in traces))
    else:
        crossed = full_grid if name == "full" else covering_grid
        worlds = (*crossed((*MADE_LOADS, *traces)), *ASIDE)
    if not base.scenario.system.is_one_queue:
        worlds = tuple(dict.fromkeys(replace(world, law=None, slots=None) for world in worlds))
    return worlds


def made_load(name: str, mean_rps: float, hours: int) -> Trace:
    """A load of the grid in bins of a minute: a sine of 6 h, a random walk, or jumps every half hour."""
    minutes = np.arange(60 * hours)
    if name == "sine":
        shape = 1 + 0.5 * np.sin(2 * np.pi * minutes / 360)
    elif name == "walk":
        shape = np.exp(np.cumsum(0.05 * np.random.default_rng(_WALK_SEED).standard_normal(len(minutes))))
    else:
        shape = np.where((minutes // 30) % 2 == 0, 0.6, 1.5)
    return Trace(shape / shape.mean() * mean_rps * _BIN_SECONDS, _BIN_SECONDS, name=name)


def given_load(trace: Trace, mean_rps: float, hours: int, start_seconds: float | None = None) -> Trace:
    """A part of a trace at a mean rate, as counts; from its beginning if no start is given.

    Raises:
        InputError: if the part is not within the trace, or holds no requests.
    """
    start = trace.start_seconds if start_seconds is None else start_seconds
    counted = replace(trace, times_seconds=None, classes=None, class_index=None)
    part = counted.refine().slice(start, hours * SECONDS_PER_HOUR)
    if not part.requests.any():
        msg = f"{trace.name}: no requests in the {hours} h from {start:.10g} s; choose another --start"
        raise InputError(msg)
    return part.scale(mean_rps / part.mean_rps)


@dataclass(frozen=True, slots=True)
class Cell:
    """A policy in a World on both engines; the truth is the request engine's mean over seeds.

    Attributes:
        violations: violation ratio, of the truth and of the batch engine.
        cost_usd: likewise.
        utilization: of CPU, likewise.
        chance: by how much the truths of these three may be off by chance: two standard errors; 0 with few seeds.
        seeds: of the truth.
    """

    world: World
    policy: str
    violations: tuple[float, float]
    cost_usd: tuple[float, float]
    utilization: tuple[float, float]
    chance: tuple[float, float, float] = (0.0, 0.0, 0.0)
    seeds: int = 1

    @property
    def is_counted(self) -> bool:
        """Whether its violations are neither noise nor an outage."""
        return COUNTED[0] <= self.violations[0] <= COUNTED[1]

    @property
    def errors(self) -> tuple[float, float]:
        """Relative errors of cost and utilisation."""
        return _relative(*self.cost_usd), _relative(*self.utilization)

    @property
    def sure_errors(self) -> tuple[float, float]:
        """How large the errors are at least, less what chance explains."""
        cost, utilization = map(abs, self.errors)
        _, usd, share = self.chance
        by_chance = _share(usd, self.cost_usd[0]), _share(share, self.utilization[0])
        return max(cost - by_chance[0], 0.0), max(utilization - by_chance[1], 0.0)

    @property
    def violations_off(self) -> float:
        """The error of the violation ratio, less what chance explains, over the largest within the bounds."""
        truth, found = self.violations
        return max(abs(found - truth) - self.chance[0], 0.0) / max(WITHIN_POINTS, WITHIN_SHARE * truth)

    @property
    def excess(self) -> float:
        """The largest of its errors over its bound; above 1 the cell is a miss."""
        off = max(self.sure_errors) / WITHIN
        return max(off, self.violations_off) if self.is_counted else off


def _relative(truth: float, found: float) -> float:
    """The error over the truth; 0 where both are 0."""
    return _share(found - truth, truth)


def _share(part: float, whole: float) -> float:
    return part / whole if whole else math.copysign(math.inf, part) if part else 0.0


def compare(
    base: Task,
    worlds: tuple[World, ...],
    loads: dict[str, Trace],
    sweep: Sweep,
    *,
    policies: tuple[str, ...] = HPA_TARGETS,
    seeds: int = 2,
    done: Callable[[Run], None] | None = None,
    compared: Callable[[Cell], None] | None = None,
) -> list[Cell]:
    """Every policy in every world on both engines; what is out of bounds is judged on SEEDS_AGAIN runs.

    Args:
        done: hears of each run of the request engine.
        compared: hears of each cell, once the batch engine has run it, too.
    """

    def load_of(world: World) -> Trace:
        return loads[world.load].scale(world.level)

    def runs(world: World, policy: str, count: int) -> list[Run]:
        task, load = world.task(base), load_of(world)
        return [Run(task, load, None, policy, policy, seed) for seed in range(count)]

    places = list(product(worlds, policies))
    rows = iter(sweep.outcomes([run for place in places for run in runs(*place, seeds)], done))
    cells = []
    for world, policy in places:
        truth = [next(rows).row for _ in range(seeds)]
        found = on_batch_engine(world.task(base), load_of(world), policy)
        cells.append(make_cell(world, policy, truth, found))
        if compared:
            compared(cells[-1])
    again = [cell for cell in cells if cell.excess > 1 and cell.seeds < SEEDS_AGAIN]
    rows = iter(
        sweep.outcomes([run for cell in again for run in runs(cell.world, cell.policy, SEEDS_AGAIN)], done)
    )
    settled = {}
    for cell in again:
        truth = [next(rows).row for _ in range(SEEDS_AGAIN)]
        found = cell.violations[1], cell.cost_usd[1], cell.utilization[1]
        settled[cell.world, cell.policy] = make_cell(cell.world, cell.policy, truth, found)
    return [settled.get((cell.world, cell.policy), cell) for cell in cells]


def make_cell(
    world: World, policy: str, truth: Sequence[dict[str, Any]], found: tuple[float, float, float]
) -> Cell:
    """A cell from the rows of the request engine's runs, and what the batch engine found."""
    values = np.array([[row[name] for name in _MEASURES] for row in truth])
    violations, usd, utilization = values.mean(axis=0).tolist()
    chance = 0.0, 0.0, 0.0
    if len(truth) >= _FEWEST_SEEDS:
        chance = tuple((_DEVIATIONS * values.std(axis=0, ddof=1) / np.sqrt(len(truth))).tolist())
    pairs = (violations, found[0]), (usd, found[1]), (utilization, found[2])
    return Cell(world, policy, *pairs, chance=chance, seeds=len(truth))


def on_batch_engine(task: Task, trace: Trace, policy: str) -> tuple[float, float, float]:
    """Violation ratio, cost of a run and CPU utilisation of a policy, over many clusters."""
    context = make_context(task, None, 0, trace.start_seconds)
    rule, count = make(policy, context), _CLUSTERS
    if not is_bundle(policy) and RULES[parse_spec(policy).name].refits:
        count = _CLUSTERS_ALONE
        rule = Alone([make(policy, context) for _ in range(count)])
    clusters = FluidClusters(
        task.scenario,
        [trace],
        count,
        period_seconds=rule.period_seconds,
        horizon_seconds=trace.duration_seconds,
        slo_seconds=task.objective.slo_seconds,
        randomization=Randomization.none(),
    )
    everyone = np.arange(count)
    clusters.seed(everyone, everyone.tolist())
    clusters.begin(everyone)
    plant = FluidPlant(clusters)
    late = offered = usd = cpu = capacity = 0.0
    for _, interval in run(plant, rule, task.interface.new_guard(), plant.advance, trace.duration_seconds):
        late += float(interval.requests.late.sum())
        offered += float(interval.requests.offered.sum())
        usd += float(interval.total_usd.sum())
        cpu += float(interval.cpu_seconds.sum())
        capacity += float(interval.cpu_capacity_seconds.sum())
    clusters.close()
    return _share(late, offered), usd / count, _share(cpu, capacity)
