"""What a comparison of the two engines comes to: bounds that are kept or not, and which mechanism is off."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from dataclasses import dataclass, fields
from itertools import combinations
from pathlib import Path

import numpy as np

from experiments.conformance import COUNTED, WITHIN, WITHIN_POINTS, WITHIN_SHARE, Cell, World
from simulator.files import whole_file

SHARE_WITHIN = 0.9
LEAST_RANK_CORRELATION = 0.9
MOST_PLACES_OFF = 1


@dataclass(frozen=True, slots=True)
class Bound:
    """A bound and what was reached; NaN where nothing could be judged, which keeps it."""

    name: str
    goal: str
    reached: str
    is_kept: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a comparison comes to.

    Attributes:
        counted: cells whose violations count.
        share_within: of them; NaN without any.
        worst_cost: largest relative error, and largest of those less what chance explains.
        worst_utilization: likewise.
        rank_correlations: of each world in which the truth tells policies apart.
        pairs: how many pairs of policies it tells apart by violations, in all worlds.
        targets_off: most ``places_off`` of all worlds.
        misses: cells that are out of bounds, the worst first.
        mechanisms: share of cells out of bounds by an axis of the grid and its value, the largest first.
    """

    counted: int
    share_within: float
    worst_cost: tuple[float, float]
    worst_utilization: tuple[float, float]
    rank_correlations: dict[World, float]
    pairs: int
    targets_off: int
    misses: tuple[Cell, ...]
    mechanisms: dict[str, float]

    @property
    def worst_error(self) -> float:
        """Of cost and utilisation, less what chance explains."""
        return max(self.worst_cost[1], self.worst_utilization[1])

    @property
    def rank_correlation(self) -> float:
        """The lowest; NaN without any."""
        return min(self.rank_correlations.values(), default=math.nan)

    @property
    def bounds(self) -> tuple[Bound, ...]:
        """All bounds, kept or not."""
        ranks = list(self.rank_correlations.values())
        middle = float(np.median(ranks)) if ranks else math.nan
        return (
            Bound(
                f"violations within {_percent(WITHIN_POINTS)} points or {WITHIN_SHARE:.0%}, where the truth is "
                f"{_percent(COUNTED[0])} to {_percent(COUNTED[1])} %",
                f"in {SHARE_WITHIN:.0%} of the cells",
                f"in {self.share_within:.1%} of {self.counted}" if self.counted else "no cell counts",
                not self.share_within < SHARE_WITHIN,
            ),
            _worst("cost", self.worst_cost),
            _worst("utilisation", self.worst_utilization),
            Bound(
                "rank correlation of the policies, by cost and by violations",
                f"at least {LEAST_RANK_CORRELATION:g} in every world",
                f"lowest {self.rank_correlation:.2f}, median {middle:.2f}, {self.pairs} pairs differ in violations"
                if ranks
                else "no policies differ",
                not self.rank_correlation < LEAST_RANK_CORRELATION,
            ),
            Bound(
                "cheapest policy within the budget",
                f"at most {MOST_PLACES_OFF} place away",
                f"{self.targets_off} away",
                self.targets_off <= MOST_PLACES_OFF,
            ),
        )

    @property
    def passes(self) -> bool:
        """Whether all bounds are kept."""
        return all(bound.is_kept for bound in self.bounds)


def _percent(ratio: float) -> str:
    return f"{100 * ratio:g}"


def _worst(name: str, found: tuple[float, float]) -> Bound:
    largest, sure = found
    reached = f"at most {largest:.1%}, {sure:.1%} of it beyond chance"
    return Bound(f"{name}, relative error beyond chance", f"at most {WITHIN:.0%}", reached, sure <= WITHIN)


def judge(cells: list[Cell], budget: float) -> Verdict:
    """Hold cells against the bounds."""
    counted = [cell for cell in cells if cell.is_counted]
    misses = sorted((cell for cell in cells if cell.excess > 1), key=lambda cell: cell.excess, reverse=True)
    worlds = list(_by_world(cells))
    ranks = {world[0].world: rank_correlation(world) for world in worlds}
    return Verdict(
        counted=len(counted),
        share_within=float(np.mean([cell.violations_off <= 1 for cell in counted])) if counted else math.nan,
        worst_cost=_largest(cells, 0),
        worst_utilization=_largest(cells, 1),
        rank_correlations={world: rank for world, rank in ranks.items() if not math.isnan(rank)},
        pairs=sum(1 for world in worlds for _ in _ordered(_violations(world), WITHIN_POINTS, WITHIN_SHARE)),
        targets_off=max(places_off(world, budget) for world in worlds),
        misses=tuple(misses),
        mechanisms=_mechanisms(cells, misses),
    )


def _largest(cells: list[Cell], measure: int) -> tuple[float, float]:
    return max(abs(cell.errors[measure]) for cell in cells), max(cell.sure_errors[measure] for cell in cells)


def _by_world(cells: list[Cell]) -> Iterator[list[Cell]]:
    for world in dict.fromkeys(cell.world for cell in cells):
        yield [cell for cell in cells if cell.world == world]


def rank_correlation(cells: list[Cell]) -> float:
    """How far the batch engine orders a world's policies as the truth does: from -1 to 1, by the worse of two orders.

    For violations and for cost alike it is Somers' d with a tolerance::

        d = (pairs in the same order - pairs in the opposite order) / pairs that the truth tells apart

    Two policies are told apart where their truths differ by more than an error that the bounds allow: for violations
    the larger of WITHIN_POINTS and WITHIN_SHARE of the larger one, for cost WITHIN of it. What lies closer together is
    noise, and its order says nothing. The batch engine has no tolerance: the right order must come out, and equal
    values count as 0. NaN where the truth tells no two policies apart by either.
    Source: R. Somers, A new asymmetric measure of association for ordinal variables, 1962.
    """
    orders = (
        list(_ordered(_violations(cells), WITHIN_POINTS, WITHIN_SHARE)),
        list(_ordered([cell.cost_usd for cell in cells], 0.0, WITHIN)),
    )
    return min((float(np.mean(order)) for order in orders if order), default=math.nan)


def _violations(cells: list[Cell]) -> list[tuple[float, float]]:
    return [cell.violations for cell in cells]


def _ordered(values: list[tuple[float, float]], least: float, share: float) -> Iterator[float]:
    """Of each pair that the truth tells apart: 1 in the same order, -1 in the opposite one, 0 where equal."""
    for (truth, found), (other_truth, other_found) in combinations(values, 2):
        if _is_told_apart(truth, other_truth, least, share):
            yield float(np.sign(other_truth - truth) * np.sign(other_found - found))


def _is_told_apart(truth: float, other: float, least: float, share: float) -> bool:
    return abs(other - truth) > max(least, share * max(truth, other))


def places_off(cells: list[Cell], budget: float) -> int:
    """Places between the batch engine's best policy within the budget and the truth's, in the policies' order.

    Where the truth does not tell others apart from its best one, by cost and violations, the nearest of them counts.
    """
    best = cells[_best(cells, 0, budget)]
    as_good = [
        place
        for place, cell in enumerate(cells)
        if (cell.violations[0] <= budget) == (best.violations[0] <= budget)
        and not _is_told_apart(cell.cost_usd[0], best.cost_usd[0], 0.0, WITHIN)
        and not _is_told_apart(cell.violations[0], best.violations[0], WITHIN_POINTS, WITHIN_SHARE)
    ]
    return min(abs(place - _best(cells, 1, budget)) for place in as_good)


def _best(cells: list[Cell], engine: int, budget: float) -> int:
    """The place of the cheapest policy within the budget, else of the one with the fewest violations."""
    within = [place for place, cell in enumerate(cells) if cell.violations[engine] <= budget]
    if within:
        return min(within, key=lambda place: cells[place].cost_usd[engine])
    return min(range(len(cells)), key=lambda place: cells[place].violations[engine])


def axis_values(cells: list[Cell]) -> list[tuple[str, object]]:
    """The axes of the grid that vary in these cells, each with each of its values."""
    found = []
    for axis in (field.name for field in fields(World)):
        values = list(dict.fromkeys(getattr(cell.world, axis) for cell in cells))
        if len(values) > 1:
            found += [(axis, value) for value in values]
    return found


def _mechanisms(cells: list[Cell], misses: list[Cell]) -> dict[str, float]:
    found = {}
    for axis, value in axis_values(cells):
        out = sum(getattr(cell.world, axis) == value for cell in misses)
        found[f"{axis}={value}"] = out / sum(getattr(cell.world, axis) == value for cell in cells)
    return dict(sorted(found.items(), key=lambda one: -one[1]))


def write_table(cells: list[Cell], path: Path) -> None:
    """The cells as CSV, a row each."""
    axes = [field.name for field in fields(World)]
    measures = ("violations", "cost_usd", "utilization")
    header = [*axes, "policy", *(f"{name}_{engine}" for name in measures for engine in ("request", "batch"))]
    lines = [[*header, "seeds", "counted", "within"]]
    for cell in cells:
        values = [getattr(cell.world, axis) for axis in axes]
        numbers = [f"{value:.6g}" for name in measures for value in getattr(cell, name)]
        flags = [str(flag).lower() for flag in (cell.is_counted, cell.excess <= 1)]
        lines.append(
            ["" if value is None else str(value) for value in values]
            + [cell.policy, *numbers, str(cell.seeds), *flags]
        )
    with whole_file(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(lines)
