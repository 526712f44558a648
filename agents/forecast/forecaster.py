"""What forecasts: the Protocol, the grid it works on, and the models behind it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from simulator.arrays import Floats

LEVELS = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
"""The quantiles that are forecast, along the last axis Q."""
MEDIAN, LOW, HIGH = LEVELS.index(0.5), LEVELS.index(0.05), LEVELS.index(0.95)
"""Places in LEVELS: the point forecast, and the ends of the 90 % interval."""
_DAY_SECONDS = 86_400.0
_LEAST_SEASON = 4


@dataclass(frozen=True, slots=True)
class Grid:
    """The even grid that rates are given on.

    Attributes:
        bin_seconds: width of a bin.
        steps: how many bins ahead a forecast reaches at most.
        seed: for forecasters that draw.
    """

    bin_seconds: float
    steps: int
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the figures.

        Raises:
            ValueError: if the width is not above 0 or there is no step.
        """
        if not (self.bin_seconds > 0 and math.isfinite(self.bin_seconds)):
            msg = f"bin_seconds is {self.bin_seconds:g}; must be a finite number above 0"
            raise ValueError(msg)
        if self.steps < 1:
            msg = f"steps is {self.steps}; must be at least 1"
            raise ValueError(msg)

    @property
    def day(self) -> int:
        """Bins a day; 0 where bins are too wide to show one."""
        bins = round(_DAY_SECONDS / self.bin_seconds)
        return bins if bins >= _LEAST_SEASON else 0

    @property
    def week(self) -> int:
        """Bins a week."""
        return max(round(7 * _DAY_SECONDS / self.bin_seconds), 1)


class Forecaster(Protocol):
    """Forecasts the request rate of one service from what it was.

    Rates are requests/s in bins of one width, oldest first; NaN is a gap. The last value given is that of the bin
    that has just ended, and step 1 of a forecast is the bin that begins now. Nothing else is known: a forecast is a
    function of the values given so far and of the seed.
    """

    @property
    def note(self) -> str:
        """Why a simpler forecaster than asked for is at work; empty where it is the one asked for."""
        ...

    @property
    def at_work(self) -> str:
        """The name of the forecaster that is at work, the one asked for or a simpler one."""
        ...

    def fit(self, history: Floats) -> None:
        """Begin anew, with a history float64 ``(T,)``; it may be short or empty."""
        ...

    def update(self, values: Floats) -> None:
        """Take what came since, float64 ``(..., k)``; k may be 0.

        Light forecasters take leading axes: many clusters that share a history and what was learned from it, each of
        which is forecast as it would be alone. They stay as they are in the first update after ``fit``, and so does
        what was learned.
        """
        ...

    def predict(self, horizon: int) -> Floats:
        """Quantiles at LEVELS for the next ``horizon`` bins, float64 ``(..., H, Q)``, at least 0, ascending along Q.

        NaN where no value is known yet, or of that cluster.

        Raises:
            ValueError: if the horizon is not 1 to the grid's steps.
        """
        ...


class Model(Protocol):
    """Forecasts the middle of what comes; ``conformal.Conformal`` puts intervals around it and deals with gaps."""

    def fit(self, history: Floats) -> None:
        """Begin anew, with a history float64 ``(T,)`` without gaps, at least as long as the model needs."""
        ...

    def update(self, values: Floats) -> None:
        """Take what came since, float64 ``(..., k)`` without gaps."""
        ...

    def point(self) -> Floats:
        """The next bins, as many as the grid has steps: float64 ``(..., H)``."""
        ...
