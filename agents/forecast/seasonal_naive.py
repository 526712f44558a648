"""Seasonal naive: as it was a day or a week ago."""

from __future__ import annotations

import numpy as np

from agents.forecast.forecaster import Grid
from agents.forecast.tape import Tape
from simulator.arrays import Floats

_CYCLES = 2
"""So often must a season have been seen before it is believed."""
_SAME = 1e-9
"""Errors below this share of the mean are rounding."""


def naive_error(values: Floats, lag: int) -> float:
    """Mean absolute difference of values ``lag`` bins apart, gaps left out; NaN where there are none."""
    apart = np.abs(values[lag:] - values[:-lag])
    apart = apart[~np.isnan(apart)]
    return float(apart.mean()) if len(apart) else np.nan


def season_of(values: Floats, grid: Grid) -> int:
    """The season in bins that values repeat best, a day or a week; 1, no season, where neither was seen twice.

    A week is taken where the values of a week ago are nearer than those of a day ago.
    """
    seasons = [lag for lag in (grid.day, grid.week) if lag > 1 and len(values) >= _CYCLES * lag]
    if not seasons:
        return 1
    errors = {lag: naive_error(values, lag) for lag in seasons}
    known = [lag for lag in seasons if not np.isnan(errors[lag])]
    same = _SAME * float(np.nanmean(values)) if known else 0.0
    return min(known, key=lambda lag: (max(errors[lag] - same, 0.0), lag)) if known else 1


class SeasonalNaive:
    """The value of one season before; without a season the last value.

    Args:
        season: in bins; chosen from the history by ``season_of`` if None.
    """

    def __init__(self, grid: Grid, season: int | None = None) -> None:
        self._grid = grid
        self._asked = season

    def fit(self, history: Floats) -> None:
        """As Model.fit; needs one value."""
        season = self._asked or season_of(history, self._grid)
        self._season = min(season, len(history))
        self._tape = Tape(history, self._season)

    def update(self, values: Floats) -> None:
        """As Model.update; takes leading axes."""
        self._tape.extend(values)

    def point(self) -> Floats:
        """As Model.point."""
        ahead = np.arange(self._grid.steps) % self._season
        return self._tape.kept[..., ahead - self._season]
