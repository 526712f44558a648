"""From samples as a control loop sees them to the even bins of a forecaster."""

from __future__ import annotations

import math

import numpy as np

from simulator.arrays import Floats

_ROUNDING = 1e-9


class Binning:
    """Means of samples in bins ``(begin, begin + bin_seconds]``, given out as the bins end.

    A sample speaks of the time before it, so one at a bin's very end is that bin's. NaN is no sample; a bin without
    one is NaN. The first bin given out is that of the first sample, or ``first``, and samples before that are dropped.

    Args:
        first: place of the first bin; bin 0 begins at 0.
    """

    def __init__(self, bin_seconds: float, first: int | None = None) -> None:
        self._bin_seconds, self._first = bin_seconds, first
        self._place: int | None = None
        self._sums = np.empty(0)
        self._counts = np.empty(0)

    def add(self, time_seconds: float, rates: Floats) -> Floats:
        """Take a sample ``(...)``; gives the bins that have ended since the last one, float64 ``(..., k)``.

        Args:
            time_seconds: never before that of the last sample.
        """
        bins = time_seconds / self._bin_seconds
        place = math.ceil(bins - _ROUNDING) - 1
        if self._place is None:
            self._begin(place if self._first is None else self._first, rates)
        if place < self.place:
            return np.empty((*rates.shape, 0))
        ended = self._end_before(place, rates)
        known = ~np.isnan(rates)
        self._sums = self._sums + np.where(known, rates, 0.0)
        self._counts = self._counts + known
        if place + 1 - bins <= _ROUNDING:
            ended += self._end_before(place + 1, rates)
        return np.stack(ended, axis=-1) if ended else np.empty((*rates.shape, 0))

    @property
    def place(self) -> int:
        """Of the bin that goes on; it begins at ``place * bin_seconds``. Known with the first sample."""
        if self._place is None:
            msg = "there is no bin before the first sample"
            raise ValueError(msg)
        return self._place

    def _begin(self, place: int, rates: Floats) -> None:
        self._place = place
        self._sums, self._counts = np.zeros(rates.shape), np.zeros(rates.shape)

    def _end_before(self, place: int, rates: Floats) -> list[Floats]:
        """The means of the bins before a place."""
        ended = []
        while self._place is not None and self._place < place:
            nothing = np.full(rates.shape, np.nan)
            ended.append(np.divide(self._sums, self._counts, out=nothing, where=self._counts > 0))
            self._begin(self._place + 1, rates)
        return ended
