"""Calibration: a rule's settings that are cheapest with violations within the budget."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np

from experiments.run import Outcome, Run, with_policy
from experiments.sweep import Sweep
from experiments.trials import Report, Trial, is_possible, try_together

Point = tuple[int, ...]

TARGETS = tuple(round(0.30 + 0.05 * step, 2) for step in range(14))
WINDOWS_SECONDS = (0, 60, 300, 600)
SCALE_UP = ("default", "gentle")
MOST_ROUNDS = 12
TRIAL_SEEDS = 4
"""Of each setting on the batch engine."""
CLEARLY_DEARER, CLEARLY_OVER = 1.02, 1.3
"""A neighbour that the batch engine finds so much dearer, or over so many budgets, is not run."""
_FEWEST_VIOLATIONS = 1e-6
FRONT_BUDGETS = 10.0
"""A front is run as far as its violations are within so many budgets."""


@dataclass(frozen=True, slots=True)
class Space:
    """A grid of settings of a rule.

    Attributes:
        axes: the values along each axis, by the setting's name.
        coarse: the indices along each axis of what is tried first where the batch engine does not model the task.
    """

    name: str
    axes: dict[str, tuple[object, ...]]
    coarse: tuple[tuple[int, ...], ...]

    @property
    def points(self) -> list[Point]:
        """All of the grid."""
        return list(product(*(range(len(values)) for values in self.axes.values())))

    def spec(self, point: Point) -> str:
        """The policy's spec at a point of the grid."""
        pairs = zip(self.axes.items(), point, strict=True)
        return f"{self.name}:" + ",".join(f"{name}={values[index]}" for (name, values), index in pairs)

    def neighbours(self, point: Point) -> list[Point]:
        """The points that differ by at most one step on every axis."""
        steps = product((-1, 0, 1), repeat=len(point))
        near = (tuple(place + step for place, step in zip(point, move, strict=True)) for move in steps)
        sizes = [len(values) for values in self.axes.values()]
        return [
            other
            for other in near
            if all(0 <= place < size for place, size in zip(other, sizes, strict=True))
        ]

    def __str__(self) -> str:
        """For reports."""
        axes = "; ".join(f"{name} in {', '.join(map(str, values))}" for name, values in self.axes.items())
        return f"{self.name}: {axes}"


SPACES = {
    "hpa": Space(
        "hpa",
        {"target": TARGETS, "window": WINDOWS_SECONDS, "scale_up": SCALE_UP},
        coarse=((1, 4, 7, 10, 13), (0, 2), (0,)),
    ),
}


@dataclass(frozen=True, slots=True)
class Tried:
    """Settings and what they came to."""

    spec: str
    cost_usd: float
    slo_violation_ratio: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """The chosen settings, and all that were tried.

    Attributes:
        tried: on the request engine.
        within_budget: False where no settings kept the budget and those with the fewest
            violations were taken.
        batch: the whole grid on the batch engine; empty where that does not model the task.
    """

    chosen: Tried
    tried: tuple[Tried, ...]
    within_budget: bool
    batch: tuple[Tried, ...] = ()


@dataclass(frozen=True, slots=True)
class Search:
    """What is searched, and on what.

    Attributes:
        template: the run whose policy is exchanged: task, trace part and seed.
        budget: most violations, as a share of the requests.
        front: so many settings of the batch engine's front are run as well, so that there is a front that is true.
    """

    template: Run
    space: Space
    budget: float
    front: int = 0


def calibrate(
    search: Search, sweep: Sweep, note: Callable[[str], None], report: Report | None = None
) -> Calibration:
    """The cheapest settings with violations within the budget; where there are none, those with fewest violations.

    The batch engine tries the whole grid. Its best, and neighbours of that which may be better, are run on the
    request engine, which is right where the two differ: the search goes on to neighbours of the best found there
    until none may be better. Where the batch engine does not model the task, a coarse grid on the request engine
    comes first instead, and every neighbour is run.

    Args:
        note: told of each setting that was run.
        report: told the share of the batch engine's work that is done.
    """
    template, space, budget = search.template, search.space, search.budget
    batch = _try_all(search, sweep, note, report) if is_possible(template.task, template.judged) else {}
    tried: dict[Point, Tried] = {}
    finished: list[Run] = []

    def done(run: Run) -> None:
        finished.append(run)
        note(f"{template.label}: {len(finished)} run on the request engine, last {run.policy}")

    asked = _first(search, batch)
    for _ in range(MOST_ROUNDS):
        runs = [with_policy(template, space.spec(point), space.spec(point)) for point in asked]
        for point, outcome in zip(asked, sweep.outcomes(runs, done), strict=True):
            row = outcome.row
            tried[point] = Tried(space.spec(point), row["cost_usd"], row["slo_violation_ratio"])
        best = min(tried, key=lambda point: rank(tried[point], budget))
        asked = [point for point in _promising(search, batch, best, tried[best]) if point not in tried]
        if not asked:
            break
    chosen = tried[best]
    ordered = tuple(tried[point] for point in sorted(tried))
    within = chosen.slo_violation_ratio <= budget
    return Calibration(chosen, ordered, within, tuple(batch[point] for point in sorted(batch)))


def rank(tried: Tried, budget: float) -> tuple[bool, float, float]:
    """Lower is better: within the budget by cost, then the others by violations."""
    over = not tried.slo_violation_ratio <= budget
    first = tried.slo_violation_ratio if over else tried.cost_usd
    return over, first, tried.cost_usd


def _try_all(
    search: Search, sweep: Sweep, note: Callable[[str], None], report: Report | None
) -> dict[Point, Tried]:
    """The whole grid on the batch engine, or what is kept of it."""
    points, seed = search.space.points, search.template.seed
    specs = tuple(search.space.spec(point) for point in points)
    trial = Trial(search.template, specs, tuple(range(seed, seed + TRIAL_SEEDS)))

    def work() -> Outcome:
        note(f"{search.template.label}: {len(specs)} settings x {TRIAL_SEEDS} seeds on the batch engine")
        usd, ratio = try_together(trial, report)
        return Outcome({}, {"cost_usd": usd, "slo_violation_ratio": ratio})

    found = sweep.kept(trial.key, work).timeline
    figures = zip(found["cost_usd"].tolist(), found["slo_violation_ratio"].tolist(), strict=True)
    return {point: Tried(spec, *figure) for point, spec, figure in zip(points, specs, figures, strict=True)}


def _first(search: Search, batch: dict[Point, Tried]) -> list[Point]:
    """What the request engine runs first."""
    if not batch:
        return list(product(*search.space.coarse))
    best = min(batch, key=lambda point: rank(batch[point], search.budget))
    near = _promising(search, batch, best, batch[best])
    return list(dict.fromkeys((best, *near, *_spread(batch, search))))


def _promising(search: Search, batch: dict[Point, Tried], best: Point, truth: Tried) -> list[Point]:
    """The neighbours of the best that may be better, by the best's truth and the batch engine's ratios to it."""
    near = search.space.neighbours(best)
    if not batch:
        return near
    shown, budget = batch[best], search.budget
    dearer = _ratio(truth.cost_usd, shown.cost_usd)
    worse = _ratio(truth.slo_violation_ratio, shown.slo_violation_ratio)
    found = [
        (point, dearer * batch[point].cost_usd, worse * batch[point].slo_violation_ratio) for point in near
    ]
    if truth.slo_violation_ratio <= budget:
        most_usd, most_late = CLEARLY_DEARER * truth.cost_usd, CLEARLY_OVER * budget
        return [point for point, cost, late in found if cost <= most_usd and late <= most_late]
    return [point for point, _, late in found if late < truth.slo_violation_ratio]


def _ratio(truth: float, shown: float) -> float:
    return truth / shown if truth and shown else 1.0


def _spread(batch: dict[Point, Tried], search: Search) -> list[Point]:
    """Points of the batch engine's front."""
    most = FRONT_BUDGETS * search.budget
    curve = front(tuple(tried for tried in batch.values() if 0 < tried.slo_violation_ratio <= most))
    specs = {tried.spec for tried in thin(curve, search.front)}
    return [point for point, tried in batch.items() if tried.spec in specs]


def thin(curve: list[Tried], count: int) -> list[Tried]:
    """At most so many points of a front, as even in the logarithm of their violations as there are."""
    if len(curve) <= count:
        return curve
    violations = np.log([max(tried.slo_violation_ratio, _FEWEST_VIOLATIONS) for tried in curve])
    evenly = np.linspace(violations[0], violations[-1], count)
    return [curve[place] for place in sorted({int(np.abs(violations - at).argmin()) for at in evenly})]


def front(points: tuple[Tried, ...]) -> list[Tried]:
    """The points that no other beats in both cost and violations, by rising cost."""
    best: list[Tried] = []
    for point in sorted(points, key=lambda one: (one.cost_usd, one.slo_violation_ratio)):
        if not best or point.slo_violation_ratio < best[-1].slo_violation_ratio:
            best.append(point)
    return best
