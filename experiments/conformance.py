"""Both engines on a grid of scenarios with the same policies: where the batch engine is off, and by which mechanism.

The request engine is the truth. ``setpoint conformance`` runs it; a small grid is a test.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from agents.registry import make
from agents.runner import run
from envs.task import Task
from experiments.run import Run, make_context
from experiments.sweep import Sweep
from simulator.arrays import Floats
from simulator.fluid import FluidClusters
from simulator.fluid_plant import FluidPlant
from simulator.randomization import Randomization
from simulator.trace import Trace

WITHIN = 0.02
"""Largest relative error of cost and of utilisation."""
WITHIN_POINTS, WITHIN_SHARE = 1e-3, 0.25
"""Largest error of a violation ratio: the larger of so much, and of so much of the truth."""
COUNTED = (1e-3, 0.05)
"""Violation ratios whose truth is outside are not counted: they are noise, or an outage."""
SHARE_WITHIN = 0.9
LEAST_RANK_CORRELATION = 0.9
HPA_TARGETS = tuple(f"hpa:target={target}" for target in (0.5, 0.6, 0.7, 0.8, 0.9))
_BIN_SECONDS = 60.0
_CLUSTERS = 128
_WALK_SEED = 5

LAWS: dict[str, dict[str, Any]] = {
    "lognormal": {"law": "lognormal", "scv": 1.0},
    "constant": {"law": "deterministic"},
    "heavy": {"law": "lognormal", "scv": 4.0},
}


@dataclass(frozen=True, slots=True)
class World:
    """One scenario of the grid, as changes of a task.

    Attributes:
        load: "sine", "walk", "jumps", or the name of a trace that was given.
        law: a key of LAWS.
        slots: of a pod; as many times the service time is worked on, so that a pod's capacity stays.
        start_up_seconds: median.
        lag_seconds: of the metrics.
    """

    load: str = "sine"
    law: str = "lognormal"
    slots: int = 4
    start_up_seconds: float = 25.0
    lag_seconds: float = 15.0

    def task(self, base: Task) -> Task:
        """The base with these changes; the SLO keeps its ratio to the mean service time."""
        content = base.model_dump(mode="json", exclude_none=True)
        service = content["scenario"]["service"]
        stretch = self.slots / service["slots_per_pod"]
        mean = service["service_time"]["mean_seconds"] * stretch
        service |= {
            "slots_per_pod": self.slots,
            "service_time": {"mean_seconds": mean, **LAWS[self.law]},
            "start_up": {"p50_seconds": self.start_up_seconds, "p95_seconds": 1.8 * self.start_up_seconds},
        }
        content["scenario"]["metrics"]["lag_seconds"] = self.lag_seconds
        content["objective"]["slo_seconds"] *= stretch
        return Task.model_validate(content)


SMALL = (World(), World(load="jumps", slots=1), World(load="walk", law="heavy", start_up_seconds=90.0))
"""The grid that is always tested."""


def full_grid(loads: tuple[str, ...] = ("sine", "walk", "jumps")) -> tuple[World, ...]:
    """All combinations of loads, laws, slots, start-ups and lags."""
    return tuple(World(*one) for one in product(loads, LAWS, (1, 4, 16), (10.0, 90.0), (0.0, 60.0)))


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


@dataclass(frozen=True, slots=True)
class Cell:
    """A policy in a World on both engines; the truth is the request engine's mean over seeds.

    Attributes:
        violations: violation ratio, of the truth and of the batch engine.
        cost_usd: likewise.
        utilization: of CPU, likewise.
    """

    world: World
    policy: str
    violations: tuple[float, float]
    cost_usd: tuple[float, float]
    utilization: tuple[float, float]

    @property
    def is_counted(self) -> bool:
        """Whether its violations are neither noise nor an outage."""
        return COUNTED[0] <= self.violations[0] <= COUNTED[1]

    @property
    def is_within(self) -> bool:
        """Whether its violations are within the bounds."""
        truth, found = self.violations
        return abs(found - truth) <= max(WITHIN_POINTS, WITHIN_SHARE * truth)

    @property
    def errors(self) -> tuple[float, float]:
        """Relative errors of cost and utilisation."""
        return self.cost_usd[1] / self.cost_usd[0] - 1, self.utilization[1] / self.utilization[0] - 1


def compare(
    base: Task,
    worlds: tuple[World, ...],
    loads: dict[str, Trace],
    sweep: Sweep,
    *,
    policies: tuple[str, ...] = HPA_TARGETS,
    seeds: int = 2,
    done: Callable[[Run], None] | None = None,
) -> list[Cell]:
    """Every policy in every world on both engines."""
    runs = [
        Run(world.task(base), loads[world.load], None, policy, policy, seed)
        for world in worlds
        for policy in policies
        for seed in range(seeds)
    ]
    rows = iter([outcome.row for outcome in sweep.outcomes(runs, done)])
    cells = []
    for world in worlds:
        task = world.task(base)
        for policy in policies:
            truth = [next(rows) for _ in range(seeds)]
            found = on_batch_engine(task, loads[world.load], policy)
            names = ("slo_violation_ratio", "cost_usd", "cpu_utilization")
            pairs = [
                (float(np.mean([row[name] for row in truth])), value)
                for name, value in zip(names, found, strict=True)
            ]
            cells.append(Cell(world, policy, *pairs))
    return cells


def on_batch_engine(task: Task, trace: Trace, policy: str) -> tuple[float, float, float]:
    """Violation ratio, cost of a run and CPU utilisation of a policy, over many clusters."""
    clusters = FluidClusters(
        task.scenario,
        [trace],
        _CLUSTERS,
        period_seconds=task.period_seconds,
        horizon_seconds=trace.duration_seconds,
        slo_seconds=task.objective.slo_seconds,
        randomization=Randomization.none(),
    )
    everyone = np.arange(_CLUSTERS)
    clusters.seed(everyone, everyone.tolist())
    clusters.begin(everyone)
    plant = FluidPlant(clusters)
    rule = make(policy, make_context(task, None, 0))
    late = offered = usd = cpu = capacity = 0.0
    for _, interval in run(plant, rule, task.interface.new_guard(), plant.advance, trace.duration_seconds):
        late += float(interval.requests.late.sum())
        offered += float(interval.requests.offered.sum())
        usd += float(interval.cost_usd.sum())
        cpu += float(interval.cpu_seconds.sum())
        capacity += float(interval.cpu_capacity_seconds.sum())
    clusters.close()
    return late / offered, usd / _CLUSTERS, cpu / capacity


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a comparison comes to.

    Attributes:
        share_within: of the counted cells; NaN without any.
        worst_error: of cost and utilisation, relative.
        rank_correlation: lowest over worlds, of the policies by cost and violations.
        targets_off: most grid steps between the best policies of the two engines within the budget.
        misses: cells that are out of bounds.
        mechanisms: share of cells out of bounds, by an axis of the grid and its value.
    """

    share_within: float
    worst_error: float
    rank_correlation: float
    targets_off: int
    misses: tuple[Cell, ...]
    mechanisms: dict[str, float]

    @property
    def passes(self) -> bool:
        """Whether all bounds are kept."""
        return (
            not self.share_within < SHARE_WITHIN
            and self.worst_error <= WITHIN
            and not self.rank_correlation < LEAST_RANK_CORRELATION
            and self.targets_off <= 1
        )


def judge(cells: list[Cell], budget: float) -> Verdict:
    """Hold cells against the bounds."""
    counted = [cell for cell in cells if cell.is_counted]
    misses = tuple(
        cell
        for cell in cells
        if (cell.is_counted and not cell.is_within) or max(map(abs, cell.errors)) > WITHIN
    )
    worlds = list(_by_world(cells))
    return Verdict(
        share_within=float(np.mean([cell.is_within for cell in counted])) if counted else float("nan"),
        worst_error=max(max(map(abs, cell.errors)) for cell in cells),
        rank_correlation=min(map(_rank_correlation, worlds)),
        targets_off=max(abs(_best(world, 0, budget) - _best(world, 1, budget)) for world in worlds),
        misses=misses,
        mechanisms=_mechanisms(cells, misses),
    )


def _by_world(cells: list[Cell]) -> Iterator[list[Cell]]:
    for world in dict.fromkeys(cell.world for cell in cells):
        yield [cell for cell in cells if cell.world == world]


def _rank_correlation(cells: list[Cell]) -> float:
    """Spearman's, of violations; differences that are within the bound of an error are ties."""
    if len(cells) < 2:
        return 1.0
    truth, found = (_ranks(np.array([cell.violations[engine] for cell in cells])) for engine in (0, 1))
    if np.ptp(truth) == 0 or np.ptp(found) == 0:
        return 1.0
    return float(np.corrcoef(truth, found)[0, 1])


def _ranks(values: Floats) -> Floats:
    rounded = np.round(values / WITHIN_POINTS)
    below = (rounded[:, np.newaxis] > rounded).sum(axis=1)
    same = (rounded[:, np.newaxis] == rounded).sum(axis=1)
    return np.asarray(below + (same - 1) / 2)


def _best(cells: list[Cell], engine: int, budget: float) -> int:
    """The place of the cheapest policy within the budget, else of the one with the fewest violations."""
    within = [place for place, cell in enumerate(cells) if cell.violations[engine] <= budget]
    if within:
        return min(within, key=lambda place: cells[place].cost_usd[engine])
    return min(range(len(cells)), key=lambda place: cells[place].violations[engine])


def _mechanisms(cells: list[Cell], misses: tuple[Cell, ...]) -> dict[str, float]:
    found = {}
    for axis in World.__dataclass_fields__:
        values = dict.fromkeys(getattr(cell.world, axis) for cell in cells)
        if len(values) < 2:
            continue
        for value in values:
            out = sum(getattr(cell.world, axis) == value for cell in misses)
            found[f"{axis}={value}"] = out / sum(getattr(cell.world, axis) == value for cell in cells)
    return found


def write_table(cells: list[Cell], path: Path) -> None:
    """The cells as CSV, a row each."""
    from simulator.files import whole_file

    axes = list(World.__dataclass_fields__)
    measures = ("violations", "cost_usd", "utilization")
    header = [*axes, "policy", *(f"{name}_{engine}" for name in measures for engine in ("request", "batch"))]
    lines = [",".join([*header, "counted", "within"])]
    for cell in cells:
        values = [getattr(cell.world, axis) for axis in axes] + [cell.policy]
        numbers = [f"{value:.6g}" for name in measures for value in getattr(cell, name)]
        flags = [str(cell.is_counted).lower(), str(cell.is_within).lower()]
        lines.append(",".join([*map(str, values), *numbers, *flags]))
    with whole_file(path) as partial:
        partial.write_text("\n".join(lines) + "\n", encoding="utf-8")
