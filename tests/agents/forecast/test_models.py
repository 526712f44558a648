"""Models on series whose continuation is known."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.forecast.blocks import block_edges, block_means, last_means
from agents.forecast.ensemble import Ensemble
from agents.forecast.forecaster import Grid, Model
from agents.forecast.gaps import close_gaps
from agents.forecast.harmonic import Harmonic
from agents.forecast.holt_winters import HoltWinters
from agents.forecast.outstanding import Outstanding
from agents.forecast.regression import regress
from agents.forecast.seasonal_naive import SeasonalNaive, naive_error, season_of
from agents.forecast.tape import Tape
from simulator.arrays import Floats

HOUR = 3600.0
GRID = Grid(HOUR, 6)


def days(count: int, period: int = 24) -> Floats:
    return 100 + 60 * np.sin(2 * np.pi * np.arange(count) / period)


def errors(model: Model, values: Floats, history: int, step: int = 1) -> Floats:
    """How far off forecasts of the rest were, so many steps ahead."""
    model.fit(values[:history])
    off = []
    for place in range(history, len(values) - step + 1):
        off.append(model.point()[step - 1] - values[place + step - 1])
        model.update(values[place : place + 1])
    return np.array(off)


@pytest.mark.parametrize("step", [1, 6])
def test_seasonal_naive_is_exact_where_days_repeat(step: int) -> None:
    assert errors(SeasonalNaive(GRID), days(24 * 8), 24 * 5, step) == pytest.approx(0, abs=1e-9)


def test_seasonal_naive_takes_the_season_that_repeats() -> None:
    weekly = days(24 * 40) * np.repeat(np.tile([1, 1, 1, 1, 1, 0.5, 0.3], 6)[:40], 24)
    assert season_of(weekly, GRID) == 24 * 7
    assert season_of(days(24 * 40), GRID) == 24
    assert season_of(weekly[: 24 * 3], GRID) == 24
    assert season_of(weekly[:30], GRID) == 1
    assert errors(SeasonalNaive(GRID), weekly, 24 * 28) == pytest.approx(0, abs=1e-9)


def test_without_a_season_it_is_the_last_value() -> None:
    model = SeasonalNaive(GRID)
    model.fit(np.array([1.0, 5.0]))
    assert (model.point() == 5).all()
    model.update(np.array([2.0, 9.0]))
    assert (model.point() == 9).all()


@pytest.mark.parametrize("make", [Harmonic, HoltWinters])
def test_days_that_repeat_are_foreseen(make: type[Harmonic | HoltWinters]) -> None:
    off = errors(make(GRID), days(24 * 20), 24 * 14, 3)
    assert np.abs(off).max() < 2


def test_a_trend_is_foreseen_by_holt_winters() -> None:
    values = (10 + 0.01 * np.arange(24 * 20)) ** 2
    assert np.abs(errors(HoltWinters(GRID), values, 24 * 14, 3)).max() < 0.05 * values.max()


def test_an_autoregression_is_near_the_best_there_is() -> None:
    rng = np.random.default_rng(0)
    roots = np.full(6000, 20.0)
    for place in range(1, len(roots)):
        roots[place] = 20 + 0.8 * (roots[place - 1] - 20) + 0.5 * rng.normal()
    values = roots**2
    off = errors(Harmonic(GRID, seasonal=False), values, 4000)
    best = (20 + 0.8 * (roots[3999:-1] - 20)) ** 2 - values[4000:]
    assert np.abs(off).mean() < 1.02 * np.abs(best).mean()


def test_many_refits_later_the_seasons_are_still_in_place() -> None:
    grid = Grid(HOUR, 2)
    values = days(24 * 7 * 12)
    assert np.abs(errors(Harmonic(grid), values, 24 * 14)[-24 * 7 :]).max() < 1


class Always:
    """Forecasts one number."""

    def __init__(self, value: float) -> None:
        self._path = np.full(GRID.steps, value)

    def fit(self, history: Floats) -> None:
        assert len(history)

    def update(self, values: Floats) -> None:
        assert values.shape[-1]

    def point(self) -> Floats:
        return self._path


def test_an_ensemble_goes_to_the_member_that_is_right() -> None:
    model = Ensemble(GRID, (lambda _: Always(10.0), lambda _: Always(20.0)))
    model.fit(np.array([1.0]))
    assert model.point() == pytest.approx(15)
    for _ in range(30):
        model.update(np.array([12.0]))
    assert model.point() == pytest.approx(np.average([10, 20], weights=[2.0**-4, 8.0**-4]), rel=1e-6)


def test_outstanding_forecasts_meet_what_they_were_for() -> None:
    outstanding = Outstanding(3)
    met = {}
    for now in range(6):
        outstanding.issue(np.array([now * 10 + ahead for ahead in (1, 2, 3)], dtype=float))
        ahead, forecasts = outstanding.due()
        met[now] = dict(zip(ahead.tolist(), forecasts.tolist(), strict=True))
    assert met[0] == {1: 1}
    assert met[4] == {1: 41, 2: 32, 3: 23}
    assert met[5] == {1: 51, 2: 42, 3: 33}


@given(st.lists(st.integers(1, 7), max_size=30), st.integers(1, 9))
def test_a_tape_keeps_the_last_values(counts: list[int], keep: int) -> None:
    tape, come = Tape(np.arange(3.0), keep), 3
    for count in counts:
        tape.extend(np.arange(come, come + count, dtype=float))
        come += count
    assert len(tape) == come
    assert len(tape.kept) >= min(keep, come)
    assert (tape.kept == np.arange(tape.first, come)).all()


def test_blocks_of_the_past_are_the_means_they_say() -> None:
    values = np.random.default_rng(0).normal(size=60)
    edges = block_edges(20)
    assert edges.tolist() == [0, 1, 2, 3, 5, 9, 17]
    table = block_means(values, edges)
    assert table[-1] == pytest.approx([values[::-1][low:high].mean() for low, high in pairwise(edges)])
    assert last_means(values[-17:], edges) == pytest.approx(table[-1])
    assert table[0] == pytest.approx(values[0])


def test_a_regression_is_near_the_median_in_spite_of_bursts() -> None:
    rng = np.random.default_rng(0)
    table = np.column_stack((np.ones(2000), rng.normal(size=2000)))
    wanted = table @ [[3.0], [2.0]] + 0.1 * rng.normal(size=(2000, 1))
    wanted[::20] += 100
    assert regress(table, wanted)[:, 0] == pytest.approx([3, 2], abs=0.05)


def test_short_gaps_are_lines_and_long_ones_the_day_before_or_after() -> None:
    values = np.arange(100.0)
    gone = values.copy()
    gone[[40, 41]] = np.nan
    assert (close_gaps(gone, 24) == values).all()
    gone[60:66] = np.nan
    assert (close_gaps(gone, 24)[60:66] == values[36:42]).all()
    gone[0:5] = np.nan
    assert (close_gaps(gone, 24)[:5] == values[24:29]).all()
    assert (close_gaps(gone, 0)[:5] == 5).all()
    assert close_gaps(gone, 0)[60:66] == pytest.approx(values[60:66])


def test_the_naive_error_leaves_gaps_out() -> None:
    assert naive_error(np.array([1.0, 2.0, np.nan, 7.0, 9.0]), 1) == pytest.approx(1.5)
    assert np.isnan(naive_error(np.array([1.0]), 1))
