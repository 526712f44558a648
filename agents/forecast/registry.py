"""The forecasters there are, by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec

from agents.forecast.conformal import Candidate, Conformal
from agents.forecast.ensemble import Ensemble
from agents.forecast.forecaster import Forecaster, Grid, Model
from agents.forecast.harmonic import Harmonic
from agents.forecast.holt_winters import HoltWinters
from agents.forecast.seasonal_naive import SeasonalNaive
from simulator.errors import InputError

DEFAULT = "ensemble"
REFERENCE = "seasonal-naive"
CONTROL_SERVICES, CONTROL_SECONDS = 100, 15.0
"""A forecaster for control updates so many services within so many seconds."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A forecaster.

    Attributes:
        model: makes what forecasts the middle; heavy libraries are imported in there.
        summary: a line about it.
        needs: the fewest bins of history that it is fitted to, on a grid.
        light: numpy alone, and leading axes in updates.
        control: whether it may be used in a control loop: as measured (docs/forecast.md), its updates for
            CONTROL_SERVICES services take at most CONTROL_SECONDS.
        library: what it needs beyond the core, as it is imported.
        origins: as in Candidate.
        refit: as in Candidate.
        fallbacks: what works until there is history enough, best first.
    """

    model: Callable[[Grid], Model]
    summary: str
    needs: Callable[[Grid], int]
    light: bool = False
    control: bool = False
    library: str = ""
    origins: int = 1024
    refit: bool = False
    fallbacks: tuple[str, ...] = ("autoregression", "last-value")


def _one(_grid: Grid) -> int:
    return 1


def _hour(grid: Grid) -> int:
    return max(round(3600.0 / grid.bin_seconds), 32)


def _day(grid: Grid) -> int:
    return 2 * (grid.day or grid.week)


def _last_value(grid: Grid) -> Model:
    return SeasonalNaive(grid, season=1)


AUTOREGRESSION = partial(Harmonic, seasonal=False)
LIGHT_MEMBERS: tuple[Callable[[Grid], Model], ...] = (
    Harmonic,
    AUTOREGRESSION,
    HoltWinters,
    SeasonalNaive,
    _last_value,
)


def _ensemble(grid: Grid) -> Model:
    return Ensemble(grid, LIGHT_MEMBERS)


def _mstl(grid: Grid) -> Model:
    from agents.forecast.mstl import mstl_ets

    return mstl_ets(grid)


def _theta(grid: Grid) -> Model:
    from agents.forecast.theta import theta

    return theta(grid)


def _arima(grid: Grid) -> Model:
    from agents.forecast.arima import arima

    return arima(grid)


def _boosting(grid: Grid) -> Model:
    from agents.forecast.boosting import Boosting

    return Boosting(grid)


def _prophet(grid: Grid) -> Model:
    from agents.forecast.prophet import Prophet

    return Prophet(grid)


def _lstm(grid: Grid) -> Model:
    from agents.forecast.neural import lstm

    return lstm(grid)


def _dense(grid: Grid) -> Model:
    from agents.forecast.neural import dense

    return dense(grid)


FORECASTERS: dict[str, Entry] = {
    "last-value": Entry(_last_value, "what it is now", _one, light=True, control=True, fallbacks=()),
    "seasonal-naive": Entry(
        SeasonalNaive,
        "what it was a day or a week ago, whichever is nearer",
        _day,
        light=True,
        control=True,
        fallbacks=("last-value",),
    ),
    "autoregression": Entry(
        AUTOREGRESSION, "the last six hours, regressed on", _hour, light=True, control=True
    ),
    "harmonic": Entry(Harmonic, "harmonic regression with an autoregression", _day, light=True, control=True),
    "holt-winters": Entry(
        HoltWinters, "level, damped trend and season, smoothed", _day, light=True, control=True
    ),
    "ensemble": Entry(
        _ensemble, "the five above, weighed by how far off they were of late", _day, light=True, control=True
    ),
    "mstl": Entry(_mstl, "MSTL with exponential smoothing", _day, library="statsforecast", origins=384),
    "theta": Entry(_theta, "MSTL with the Theta method", _day, library="statsforecast", origins=384),
    "arima": Entry(_arima, "MSTL with ARIMA", _day, library="statsforecast", origins=384),
    "boosting": Entry(
        _boosting, "gradient boosting on lags", _day, control=True, library="sklearn", origins=384
    ),
    "prophet": Entry(_prophet, "Prophet", _day, control=True, library="prophet", origins=384),
    "lstm": Entry(_lstm, "an LSTM", _day, control=True, library="torch", origins=384, refit=True),
    "dense": Entry(
        _dense,
        "a dense network beside a linear forecast",
        _day,
        control=True,
        library="torch",
        origins=384,
        refit=True,
    ),
}


def make(name: str, grid: Grid) -> Forecaster:
    """A forecaster by its name, with conformal intervals, and simpler ones to fall back to.

    Raises:
        InputError: if there is none of that name.
        ModuleNotFoundError: naming the library that is missing.
    """
    entry = check_forecaster(name)
    if entry.library and find_spec(entry.library) is None:
        msg = f"forecaster {name!r} needs {entry.library}"
        raise ModuleNotFoundError(msg, name=entry.library)
    candidates = [_candidate(name, grid)]
    candidates += [_candidate(other, grid) for other in entry.fallbacks if other != name]
    return Conformal(grid, candidates)


def check_forecaster(name: str) -> Entry:
    """A forecaster's entry.

    Raises:
        InputError: naming what there is.
    """
    if name not in FORECASTERS:
        msg = f"forecaster {name!r} is unknown; there are: {', '.join(FORECASTERS)}"
        raise InputError(msg)
    return FORECASTERS[name]


def installed() -> Sequence[str]:
    """The forecasters whose libraries are there."""
    return [name for name, one in FORECASTERS.items() if not one.library or find_spec(one.library)]


def for_control() -> Sequence[str]:
    """The forecasters that a control loop may use."""
    return [name for name, one in FORECASTERS.items() if one.control]


def _candidate(name: str, grid: Grid) -> Candidate:
    entry = FORECASTERS[name]
    return Candidate(name, entry.model, entry.needs(grid), entry.origins, entry.refit)
