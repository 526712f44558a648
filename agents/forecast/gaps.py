"""Histories with gaps, closed from what is known around them."""

from __future__ import annotations

import numpy as np

from simulator.arrays import Floats

_SHORT_BINS = 3


def close_gaps(values: Floats, day: int) -> Floats:
    """A history without NaN, float64 ``(T,)``, of one with at least one value.

    A gap of up to three bins is a straight line; in a longer one stands what was there a day before, or a day later, as
    far as that is known. Beyond the first and the last value stand these.
    """
    gaps = np.isnan(values)
    if not gaps.any():
        return values
    closed = values.copy()
    if day:
        for place in _in_long_gaps(gaps):
            for other in (place - day, place + day):
                if 0 <= other < len(values) and not np.isnan(closed[other]):
                    closed[place] = closed[other]
                    break
    known = np.flatnonzero(~np.isnan(closed))
    return np.interp(np.arange(len(values)), known, closed[known])


def _in_long_gaps(gaps: np.typing.NDArray[np.bool_]) -> list[int]:
    edges = np.flatnonzero(np.diff(np.concatenate(([False], gaps, [False]))))
    long = [(begin, end) for begin, end in edges.reshape(-1, 2) if end - begin > _SHORT_BINS]
    return [place for begin, end in long for place in range(begin, end)]
