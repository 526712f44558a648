"""What is sampled of a space: within it, the same again, and better than by chance."""

from __future__ import annotations

import math

import numpy as np
import pytest

from agents.registry import RULES
from agents.space import Point, Range, Space
from experiments.calibrate import ON_BATCH
from experiments.sampling import INTERESTING_BUDGETS, Sampling, sample

SPACE = Space(
    "any", {"x": Range(0.0, 1.0), "y": Range(0.01, 10.0, log=True), "n": (1, 2, 5), "k": ("a", "b")}
)
BUDGET = 0.01


def figures(point: Point) -> tuple[float, float]:
    """The cheapest within the budget is 10 at x = 0.7, y = 1, k = "b"; x buys violations for cost."""
    x, y, n, kind = point
    cost = 10 + 10 * (0.7 - x) + math.log10(y) ** 2 + 0.1 * (n - 1) + (kind == "a")
    return cost, BUDGET * 100 ** (x - 0.7)


def sampled(seed: int, sampling: Sampling = ON_BATCH, space: Space = SPACE) -> list[list[Point]]:
    asked: list[list[Point]] = []

    def measure(points: list[Point]) -> list[tuple[float, float]]:
        asked.append(points)
        return [figures(point) for point in points]

    sample(space, BUDGET, seed, sampling, measure)
    return asked


def test_generations_are_asked_as_a_whole_and_lie_within_the_space() -> None:
    asked = sampled(1, Sampling(generations=3, size=7))
    assert [len(points) for points in asked] == [7, 7, 7]
    for x, y, n, kind in (point for points in asked for point in points):
        assert 0 <= x <= 1
        assert 0.01 <= y <= 10
        assert n in {1, 2, 5}
        assert kind in {"a", "b"}


def test_the_same_seed_asks_for_the_same() -> None:
    few = Sampling(generations=3, size=6)
    assert sampled(5, few) == sampled(5, few)
    assert sampled(5, few) != sampled(6, few)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_it_finds_the_cheapest_within_the_budget_where_as_many_by_chance_do_not(seed: int) -> None:
    def cheapest(points: list[Point]) -> float:
        return min((cost for cost, late in map(figures, points) if late <= BUDGET), default=math.inf)

    rng = np.random.default_rng(seed)
    asked = [point for points in sampled(seed) for point in points]
    by_chance: list[Point] = [
        (
            float(rng.random()),
            float(10 ** rng.uniform(-2, 1)),
            int(rng.choice([1, 2, 5])),
            str(rng.choice(["a", "b"])),
        )
        for _ in asked
    ]
    assert cheapest(asked) < 10.25
    assert cheapest(asked) < cheapest(by_chance)


def test_it_looks_where_violations_are_near_the_budget() -> None:
    asked = sampled(3)
    near = [
        np.mean(
            [1 / INTERESTING_BUDGETS <= figures(point)[1] / BUDGET <= INTERESTING_BUDGETS for point in points]
        )
        for points in asked
    ]
    assert np.mean(near[4:]) > near[0] + 0.1


def test_points_without_a_measure_are_left_out() -> None:
    asked: list[Point] = []

    def measure(points: list[Point]) -> list[tuple[float, float]]:
        asked.extend(points)
        return [(math.nan, math.nan) if point[0] > 0.5 else figures(point) for point in points]

    sample(SPACE, BUDGET, 1, Sampling(generations=4, size=16), measure)
    assert len(asked) == 64


def test_what_is_sampled_is_what_is_no_grid() -> None:
    names = {name for name, rule in RULES.items() if rule.space and not rule.space.is_grid}
    assert names == {"pid", "predictive_hpa", "mpc"}
