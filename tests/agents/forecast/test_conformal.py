"""Intervals around forecasts."""

from __future__ import annotations

import numpy as np
import pytest

from agents.forecast.conformal import Candidate, Conformal
from agents.forecast.forecaster import HIGH, LEVELS, LOW, MEDIAN, Grid
from agents.forecast.registry import make
from agents.forecast.scores import KEPT, Scores
from simulator.arrays import Floats

GRID = Grid(300.0, 3)


class Mean:
    """Forecasts the mean of its history, whatever comes."""

    def fit(self, history: Floats) -> None:
        self._path = np.full(GRID.steps, history.mean())

    def update(self, values: Floats) -> None:
        assert not np.isnan(values).any()

    def point(self) -> Floats:
        return self._path


def conformal(needs: int = 1) -> Conformal:
    return Conformal(GRID, [Candidate("mean", lambda _: Mean(), needs)])


def coverage(values: Floats, history: int, ahead: int) -> float:
    forecaster = conformal()
    forecaster.fit(values[:history])
    held = []
    for place in range(history, len(values) - ahead):
        found = forecaster.predict(GRID.steps)[ahead - 1]
        held.append(found[LOW] <= values[place + ahead - 1] <= found[HIGH])
        forecaster.update(values[place : place + 1])
    return float(np.mean(held))


@pytest.mark.parametrize("ahead", [1, 3])
def test_intervals_cover_independent_noise_as_they_say(ahead: int) -> None:
    values = np.random.default_rng(ahead).gamma(9.0, 10.0, size=5000)
    assert coverage(values, 1000, ahead) == pytest.approx(0.9, abs=0.015)


def test_intervals_follow_noise_that_grows() -> None:
    rng = np.random.default_rng(0)
    values = 100 + np.repeat([5.0, 25.0], [1500, 2500]) * rng.uniform(-1, 1, 4000)
    assert coverage(values, 1000, 1) == pytest.approx(0.9, abs=0.03)


def test_each_quantile_is_that_of_the_scores() -> None:
    scores = Scores(2)
    drawn = np.random.default_rng(0).normal(size=20_000)
    for score in drawn:
        scores.add(np.array([1]), np.array([score]))
    found = scores.quantiles()
    kept = np.quantile(drawn[-KEPT:], LEVELS)
    assert found[0] == pytest.approx(kept - kept[MEDIAN], rel=0.25, abs=0.05)
    assert (found[1] == 0).all()


def test_the_median_is_the_models_own_forecast() -> None:
    values = np.random.default_rng(0).gamma(9.0, 10.0, size=1000)
    forecaster = conformal()
    forecaster.fit(values)
    assert forecaster.predict(1)[0, MEDIAN] == pytest.approx(values[:750].mean())


def test_a_better_one_takes_over_as_soon_as_it_can() -> None:
    grid = Grid(3600.0, 2)
    forecaster = make("harmonic", grid)
    said = []
    for hour in range(80):
        forecaster.update(np.array([100 + 50 * np.sin(2 * np.pi * hour / 24)]))
        said.append(forecaster.note)
    assert said[0] == "1 bins of history, harmonic needs 64: last-value instead"
    assert said[50] == "51 bins of history, harmonic needs 64: autoregression instead"
    assert said[-1] == ""


def test_taking_over_it_knows_what_it_would_have_known() -> None:
    grid = Grid(3600.0, 2)
    values = 100 + 50 * np.sin(2 * np.pi * np.arange(64) / 24)
    grown, fitted = make("harmonic", grid), make("harmonic", grid)
    for value in values:
        grown.update(np.array([value]))
    fitted.fit(values)
    assert grown.predict(2).tobytes() == fitted.predict(2).tobytes()


def test_what_comes_in_one_update_counts_as_in_many() -> None:
    values = np.random.default_rng(0).gamma(9.0, 10.0, size=600)
    many, one = conformal(), conformal()
    for forecaster in (many, one):
        forecaster.fit(values[:400])
    for value in values[400:]:
        many.update(np.array([value]))
    one.update(values[400:])
    assert one.predict(1)[0, MEDIAN] == many.predict(1)[0, MEDIAN]


def test_from_the_second_bin_on_there_is_an_interval() -> None:
    forecaster = make("last-value", GRID)
    for rate in (100.0, 130.0, 90.0):
        forecaster.update(np.array([rate]))
    found = forecaster.predict(1)[0]
    assert found[LOW] < found[MEDIAN] < found[HIGH]


def test_how_often_it_is_asked_changes_nothing() -> None:
    values = np.random.default_rng(0).gamma(9.0, 10.0, size=600)
    asked, left = conformal(), conformal()
    for forecaster in (asked, left):
        forecaster.fit(values[:400])
    for place in range(400, 600):
        asked.predict(3)
        asked.predict(1)
        asked.update(values[place : place + 1])
        left.update(values[place : place + 1])
    assert asked.predict(3).tobytes() == left.predict(3).tobytes()


def test_nothing_new_changes_nothing() -> None:
    values = np.random.default_rng(0).gamma(9.0, 10.0, size=500)
    told, left = conformal(), conformal()
    for forecaster in (told, left):
        forecaster.fit(values[:400])
    for value in values[400:]:
        told.update(np.empty(0))
        for forecaster in (told, left):
            forecaster.update(np.array([value]))
    assert told.predict(3).tobytes() == left.predict(3).tobytes()
