"""Estimates against SciPy, known answers and properties."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from experiments.estimates import (
    estimate,
    interquartile_mean,
    matched_cost_usd,
    probability_of_improvement,
)
from experiments.tried import Tried, front

VALUES = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40).map(np.array)


@given(VALUES)
def test_the_interquartile_mean_is_scipys_trimmed_mean_where_quarters_are_whole(values: np.ndarray) -> None:
    four_times = np.repeat(values, 4)
    expected = stats.trim_mean(four_times, 0.25)
    assert interquartile_mean(four_times) == pytest.approx(expected, rel=1e-9, abs=1e-6)
    assert interquartile_mean(values) == pytest.approx(expected, rel=1e-9, abs=1e-6), (
        "as if each came four times"
    )


def test_the_interquartile_mean_of_five_counts_the_edges_by_their_share() -> None:
    assert interquartile_mean(np.array([9.0, 1.0, 2.0, 4.0, -50.0])) == pytest.approx(
        (0.75 * 1 + 2 + 0.75 * 4) / 2.5
    )


def test_intervals_cover_the_mean_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(200):
        found = estimate(rng.normal(3.0, 1.0, 20))
        assert found.low <= found.value <= found.high
        covered += found.low <= 3.0 <= found.high
    assert 0.85 <= covered / 200 <= 0.98


def test_equal_values_have_no_width_and_nan_stays_nan() -> None:
    same = estimate(np.full(5, 2.5))
    assert (same.low, same.value, same.high) == (2.5, 2.5, 2.5)
    assert all(math.isnan(part) for part in vars_of(estimate(np.array([1.0, np.nan]))))


def vars_of(found: object) -> list[float]:
    return [getattr(found, name) for name in ("value", "low", "high")]


TOLD_APART = st.lists(st.integers(-(10**6), 10**6).map(float), min_size=1, max_size=40).map(np.array)


@given(TOLD_APART, TOLD_APART)
def test_the_probability_of_improvement_is_mann_and_whitneys_u(ours: np.ndarray, theirs: np.ndarray) -> None:
    u = stats.mannwhitneyu(theirs, ours).statistic
    found = probability_of_improvement(ours, theirs)
    assert found == pytest.approx(u / (len(ours) * len(theirs)))
    assert found + probability_of_improvement(theirs, ours) == pytest.approx(1.0)


def test_what_differs_by_rounding_is_a_tie() -> None:
    value = np.array([-1e6])
    assert probability_of_improvement(value, np.nextafter(value, 0.0)) == 0.5


POINTS = st.lists(st.tuples(st.integers(1, 30), st.integers(0, 30)), min_size=1, max_size=25).map(
    lambda pairs: tuple(Tried(f"p{index}", cost, late / 100) for index, (cost, late) in enumerate(pairs))
)


@given(POINTS)
def test_nothing_beats_a_point_of_the_front_and_something_beats_every_other(
    points: tuple[Tried, ...],
) -> None:
    def beats(one: Tried, other: Tried) -> bool:
        no_worse = one.cost_usd <= other.cost_usd and one.slo_violation_ratio <= other.slo_violation_ratio
        return no_worse and (one.cost_usd, one.slo_violation_ratio) != (
            other.cost_usd,
            other.slo_violation_ratio,
        )

    curve = front(points)
    for point in points:
        if point in curve:
            assert not any(beats(other, point) for other in points)
        else:
            assert any(beats(other, point) for other in points) or any(
                (other.cost_usd, other.slo_violation_ratio) == (point.cost_usd, point.slo_violation_ratio)
                for other in curve
            )


def test_matched_cost_is_linear_in_the_logarithm_and_never_extrapolated() -> None:
    points = (Tried("a", 2.0, 0.1), Tried("b", 6.0, 0.001), Tried("worse", 7.0, 0.05))
    assert matched_cost_usd(points, 0.1) == pytest.approx(2.0)
    assert matched_cost_usd(points, 0.01) == pytest.approx(4.0)
    assert matched_cost_usd(points, 0.001) == pytest.approx(6.0)
    assert math.isnan(matched_cost_usd(points, 0.11))
    assert math.isnan(matched_cost_usd(points, 0.0009))
    assert math.isnan(matched_cost_usd(points[:1], 0.1))
    assert math.isnan(matched_cost_usd((), 0.1))
