"""What holds for every registered forecaster."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec

import numpy as np
import pytest

from agents.forecast.forecaster import LEVELS, MEDIAN, Grid
from agents.forecast.registry import DEFAULT, FORECASTERS, REFERENCE, for_control, installed, make
from simulator.arrays import Floats
from simulator.errors import InputError

HOUR = 3600.0
STEPS = 3
HISTORY, NEW = 11 * 24, 30
GRID = Grid(HOUR, STEPS)
NAMES = list(FORECASTERS)
LIGHT = [name for name, entry in FORECASTERS.items() if entry.light]


def rates(seed: int = 0) -> Floats:
    """Days that look alike, with noise."""
    hours = np.arange(HISTORY + NEW)
    noise = np.random.default_rng(seed).normal(size=len(hours))
    return np.maximum(100 + 50 * np.sin(2 * np.pi * hours / 24) + 5 * noise, 0.0)


def need(name: str) -> None:
    library = FORECASTERS[name].library
    if library and find_spec(library) is None:
        pytest.skip(f"{library} is not installed")


def rolled(name: str, values: Floats, grid: Grid = GRID) -> Floats:
    """Forecasts before each of the new bins, float64 ``(NEW, H, Q)``."""
    forecaster = make(name, grid)
    forecaster.fit(values[:HISTORY])
    found = []
    for place in range(HISTORY, len(values)):
        found.append(forecaster.predict(grid.steps))
        forecaster.update(values[place : place + 1])
    assert forecaster.note == ""
    return np.array(found)


@cache
def usual(name: str) -> Floats:
    return rolled(name, rates())


@pytest.mark.parametrize("name", NAMES)
def test_quantiles_are_ascending_and_no_rate_is_negative(name: str) -> None:
    need(name)
    found = usual(name)
    assert found.shape == (NEW, STEPS, len(LEVELS))
    assert found.dtype == np.float64
    assert (np.diff(found, axis=-1) >= 0).all()
    assert (found >= 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_another_future_changes_no_forecast_made_before_it(name: str) -> None:
    need(name)
    other = rates()
    turn = HISTORY + 10
    other[turn:] = 3 * other[turn:][::-1]
    found = rolled(name, other)
    assert found[:11].tobytes() == usual(name)[:11].tobytes()
    assert (found[13:] != usual(name)[13:]).any()


@pytest.mark.parametrize("name", NAMES)
def test_it_follows_days_that_look_alike(name: str) -> None:
    need(name)
    ahead = 1
    actual = rates()[HISTORY:]
    off = np.abs(usual(name)[:, ahead - 1, MEDIAN] - actual).mean()
    assert off < (20 if name == "last-value" else 10)


@pytest.mark.parametrize("name", NAMES)
def test_gaps_are_closed_and_nothing_is_made_of_them(name: str) -> None:
    need(name)
    values = rates()
    values[[5, 6, 100, *range(150, 170), HISTORY - 1, HISTORY + 3]] = np.nan
    values[HISTORY + 5 : HISTORY + 12] = np.nan
    found = rolled(name, values)
    assert np.isfinite(found).all()
    assert found.max() < 400


@pytest.mark.parametrize("name", NAMES)
def test_with_little_history_a_simpler_one_works_and_says_so(name: str) -> None:
    need(name)
    forecaster = make(name, GRID)
    assert np.isnan(forecaster.predict(2)).all()
    forecaster.fit(np.array([np.nan, 7.0, np.nan]))
    assert np.isfinite(forecaster.predict(STEPS)).all()
    if name == "last-value":
        assert forecaster.note == ""
    else:
        assert (
            forecaster.note
            == f"1 bins of history, {name} needs {forecaster.note.split()[6][:-1]}: last-value instead"
        )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("horizon", [0, STEPS + 1])
def test_a_horizon_beyond_the_grid_is_refused(name: str, horizon: int) -> None:
    need(name)
    with pytest.raises(ValueError, match=f"horizon is {horizon}; must be 1 to {STEPS}"):
        make(name, GRID).predict(horizon)


def test_the_same_seed_gives_the_same_bytes_and_another_one_does_not() -> None:
    again = rolled("dense", rates())
    assert again.tobytes() == usual("dense").tobytes()
    other = rolled("dense", rates(), Grid(HOUR, STEPS, seed=1))
    assert other.tobytes() != again.tobytes()


@pytest.mark.parametrize("name", [name for name in NAMES if name != "dense"])
def test_again_it_gives_the_same_bytes(name: str) -> None:
    need(name)
    assert rolled(name, rates()).tobytes() == usual(name).tobytes()


@pytest.mark.parametrize("name", LIGHT)
def test_many_clusters_are_forecast_as_each_alone(name: str) -> None:
    values = rates()
    new = values[HISTORY:] * np.random.default_rng(1).uniform(0.5, 1.5, (3, 2, NEW))
    new[1, 0, 4:6] = np.nan
    new[2, 1, 0] = np.nan
    together, alone = make(name, GRID), make(name, GRID)
    together.fit(values[:HISTORY])
    alone.fit(values[:HISTORY])
    for place in range(NEW):
        together.update(new[..., place : place + 1])
        alone.update(new[1:2, 0, place : place + 1])
        found = together.predict(STEPS)
        assert found.shape == (3, 2, STEPS, len(LEVELS))
        assert found[1, 0].tobytes() == alone.predict(STEPS)[0].tobytes()


@pytest.mark.parametrize("name", LIGHT)
def test_of_many_clusters_without_history_the_unknown_are_nan(name: str) -> None:
    forecaster = make(name, GRID)
    forecaster.update(np.array([[5.0], [np.nan]]))
    found = forecaster.predict(STEPS)
    assert found[0] == pytest.approx(5)
    assert np.isnan(found[1]).all()
    forecaster.update(np.array([[5.0], [8.0]]))
    assert forecaster.predict(1)[:, 0, MEDIAN] == pytest.approx([5, 8])


@pytest.mark.parametrize("rate", [-1.0, np.inf])
def test_a_rate_that_cannot_be_is_refused(rate: float) -> None:
    forecaster = make(DEFAULT, GRID)
    with pytest.raises(ValueError, match="must be at least 0 and finite, or NaN for a gap"):
        forecaster.fit(np.array([1.0, rate]))
    with pytest.raises(ValueError, match="must be at least 0 and finite, or NaN for a gap"):
        forecaster.update(np.array([rate]))


def test_a_history_of_many_clusters_is_refused() -> None:
    with pytest.raises(ValueError, match=r"the history has shape \(2, 3\); must be \(T,\)"):
        make(DEFAULT, GRID).fit(np.ones((2, 3)))


@pytest.mark.parametrize(("bin_seconds", "steps"), [(0.0, 1), (np.inf, 1), (60.0, 0)])
def test_a_grid_that_cannot_be_is_refused(bin_seconds: float, steps: int) -> None:
    with pytest.raises(ValueError, match="must be"):
        Grid(bin_seconds, steps)


def test_an_unknown_name_is_refused_with_those_there_are() -> None:
    with pytest.raises(
        InputError, match="forecaster 'oracle' is unknown; there are: last-value, seasonal-naive"
    ):
        make("oracle", GRID)


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agents.forecast.registry.find_spec", lambda _: None)
    with pytest.raises(ModuleNotFoundError) as caught:
        make("boosting", GRID)
    assert caught.value.name == "sklearn"
    assert installed() == LIGHT


def test_what_a_control_loop_may_use_is_what_is_quick_enough() -> None:
    offered = set(for_control())
    assert {DEFAULT, REFERENCE} <= set(LIGHT) <= offered
    assert not offered & {"mstl", "theta", "arima"}
