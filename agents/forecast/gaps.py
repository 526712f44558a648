"""Histories with gaps, closed from what is known around them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from simulator.arrays import Floats

_SHORT_BINS = 3


def close_gaps(values: Floats, day: int) -> Floats:
    """A history without NaN, float64 ``(T,)``, of one with at least one value.

    A gap of up to three bins is a straight line; in a longer one stands what was there a day before, or a day later, as
    far as that is known. Beyond the first and the last value stand these.
    """
    if not np.isnan(values).any():
        return values
    closed = values.copy()
    short, long = _by_length(np.isnan(values))
    closed[short] = _lines(closed)[short]
    for place in long if day else ():
        for other in (place - day, place + day):
            if 0 <= other < len(values) and not np.isnan(closed[other]):
                closed[place] = closed[other]
                break
    return _lines(closed)


def _lines(values: Floats) -> Floats:
    known = np.flatnonzero(~np.isnan(values))
    return np.interp(np.arange(len(values)), known, values[known])


def _by_length(gaps: NDArray[np.bool_]) -> tuple[list[int], list[int]]:
    """The places in short gaps, and those in long ones."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], gaps, [False])))).reshape(-1, 2)
    runs = [list(range(begin, end)) for begin, end in edges]
    short = [place for run in runs if len(run) <= _SHORT_BINS for place in run]
    return short, [place for run in runs if len(run) > _SHORT_BINS for place in run]
