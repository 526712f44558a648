"""Calibration: a rule's settings that are cheapest with violations within the budget."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

from experiments.run import Run, with_policy
from experiments.sweep import Sweep

Point = tuple[int, ...]

TARGETS = tuple(round(0.30 + 0.05 * step, 2) for step in range(14))
WINDOWS_SECONDS = (0, 60, 300, 600)
SCALE_UP = ("default", "gentle")
MOST_ROUNDS = 12


@dataclass(frozen=True, slots=True)
class Space:
    """A grid of settings of a rule, and the coarse part of it that is tried first.

    Attributes:
        axes: the values along each axis, by the setting's name.
        coarse: the indices along each axis that make up the coarse grid.
    """

    name: str
    axes: dict[str, tuple[object, ...]]
    coarse: tuple[tuple[int, ...], ...]

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
        within_budget: False where no settings kept the budget and those with the fewest
            violations were taken.
    """

    chosen: Tried
    tried: tuple[Tried, ...]
    within_budget: bool


def calibrate(
    template: Run, space: Space, budget: float, sweep: Sweep, note: Callable[[str], None]
) -> Calibration:
    """Search a space on the request engine: a coarse grid first, then the best point's neighbours.

    Cheapest with violations within the budget; where none is, fewest violations. It ends where no
    neighbour is better, so it finds a local best of the grid.

    Args:
        template: the run whose policy is exchanged: task, trace part and seed.
        note: told of each setting that was tried.
    """
    tried: dict[Point, Tried] = {}
    finished: list[Run] = []

    def done(run: Run) -> None:
        finished.append(run)
        note(f"{template.label}: {len(finished)} settings tried, last {run.policy}")

    asked = list(product(*space.coarse))
    for _ in range(MOST_ROUNDS):
        runs = [with_policy(template, space.spec(point), space.spec(point)) for point in asked]
        for point, outcome in zip(asked, sweep.outcomes(runs, done), strict=True):
            row = outcome.row
            tried[point] = Tried(space.spec(point), row["cost_usd"], row["slo_violation_ratio"])
        best = min(tried, key=lambda point: _rank(tried[point], budget))
        asked = [point for point in space.neighbours(best) if point not in tried]
        if not asked:
            break
    chosen = tried[best]
    ordered = tuple(tried[point] for point in sorted(tried))
    return Calibration(chosen, ordered, chosen.slo_violation_ratio <= budget)


def _rank(tried: Tried, budget: float) -> tuple[bool, float, float]:
    over = not tried.slo_violation_ratio <= budget
    first = tried.slo_violation_ratio if over else tried.cost_usd
    return over, first, tried.cost_usd
