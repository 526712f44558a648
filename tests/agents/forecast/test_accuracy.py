"""Measures of forecasts, and the rolling origin."""

from __future__ import annotations

from itertools import count

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.forecast.accuracy import measure, needed_replicas, pinball, share_right, share_right_at_best
from agents.forecast.backtest import Backtest, roll
from agents.forecast.forecaster import HIGH, LEVELS, LOW, MEDIAN
from agents.forecast.seasonal_naive import naive_error
from simulator.arrays import Floats

NAN = float("nan")


def certain(forecast: Floats) -> Floats:
    """Quantiles that are all the same."""
    return np.repeat(forecast[:, np.newaxis], len(LEVELS), axis=1)


def test_known_answers() -> None:
    found = measure(np.array([10.0, 0.0, 20.0]), certain(np.array([8.0, 0.0, 30.0])), 2.0, 20.0)
    assert found.mape == pytest.approx((0.2 + 0.5) / 2)
    assert found.smape == pytest.approx((4 / 18 + 0 + 20 / 50) / 3)
    assert found.mase == pytest.approx((2 + 0 + 10) / 3 / 2)
    assert found.coverage == pytest.approx(1 / 3)
    assert found.right == pytest.approx(1 / 3)


@pytest.mark.parametrize("lag", [1, 24])
def test_mase_of_the_naive_forecast_in_its_own_history_is_one(lag: int) -> None:
    values = np.random.default_rng(0).gamma(4.0, 10.0, size=300)
    found = measure(values[lag:], certain(values[:-lag]), naive_error(values, lag), 1.0)
    assert found.mase == pytest.approx(1)


def test_pinball_of_a_sure_forecast_is_half_the_absolute_error() -> None:
    actual = np.array([10.0, 3.0])
    assert pinball(actual, certain(np.array([6.0, 5.0]))) == pytest.approx((4 + 2) / 2 / 2)


@given(st.integers(0, 1000))
def test_true_quantiles_lose_least(seed: int) -> None:
    rng = np.random.default_rng(seed)
    actual = rng.uniform(size=4000)
    true = np.tile(LEVELS, (4000, 1))
    assert pinball(actual, true) < pinball(actual, true + 0.1)
    assert measure(actual, true, 1.0, 1.0).coverage == pytest.approx(LEVELS[HIGH] - LEVELS[LOW], abs=0.03)


def test_what_is_not_known_is_left_out() -> None:
    quantiles = certain(np.array([1.0, 1.0, NAN]))
    assert measure(np.array([1.0, NAN, 1.0]), quantiles, 1.0, 1.0).coverage == 1
    assert np.isnan(measure(np.array([NAN]), quantiles[:1], 1.0, 1.0).mase)


def test_replicas_for_a_rate() -> None:
    assert needed_replicas(np.array([0.0, 1.0, 50.0, 50.1, 100.0]), 50.0).tolist() == [1, 1, 20, 21, 40]
    assert share_right(np.array([50.0, 50.0, 50.0]), np.array([45.0, 55.0, 42.0]), 50.0) == pytest.approx(
        2 / 3
    )
    assert np.isnan(share_right(np.array([1.0]), np.array([1.0]), 0.0))


def test_chance_alone_leaves_some_steps_wrong() -> None:
    rng = np.random.default_rng(0)
    counts = rng.poisson(200.0, size=3000).astype(float)
    told = share_right_at_best(counts, counts, 200.0)
    assert told == pytest.approx(share_right(counts, np.full(3000, 200.0), 200.0), abs=0.05)
    assert share_right_at_best(counts, 1e9 * counts, 200.0) > 0.99


class Recorder:
    """Forecasts how many bins it has been given."""

    note = "says what it knows"

    def __init__(self) -> None:
        self.given = 0

    def fit(self, history: Floats) -> None:
        self.given = len(history)

    def update(self, values: Floats) -> None:
        self.given += len(values)

    def predict(self, horizon: int) -> Floats:
        return np.tile(self.given + np.arange(horizon)[:, np.newaxis], (1, len(LEVELS))).astype(float)


def test_each_bin_is_forecast_from_what_lies_before() -> None:
    backtest = Backtest(np.arange(30.0), 20, (1, 4))
    told: list[float] = []
    clock = count()
    found = roll(backtest, Recorder(), lambda: float(next(clock)), told.append)
    for place, ahead in enumerate(backtest.horizons):
        actual, quantiles = backtest.pairs(found, place)
        assert len(actual) == 10 - ahead + 1
        assert (quantiles[:, MEDIAN] == actual).all()
    assert (found.seconds == 1).all()
    assert found.fit_seconds == 1
    assert found.note == "says what it knows"
    assert told[-1] == 1
