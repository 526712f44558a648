"""A plain forecaster: harmonic regression on the time of day and week, and an autoregression, on root counts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LAGS = 12
_DAY = 86_400.0
_RIDGE = 1.0
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Forecaster:
    """Forecasts the change of root counts ``ahead`` bins on."""

    weights: Floats
    center: Floats
    middle: float
    bin_seconds: float
    ahead: int
    weekly: bool

    @classmethod
    def fit(cls, parts: list[Floats], bin_seconds: float, ahead: int, *, weekly: bool) -> Forecaster:
        """From series that start at time 0."""
        tables = [features(part, 0.0, bin_seconds, ahead, weekly=weekly) for part in parts]
        inputs = np.vstack([table for table, _ in tables])
        wanted = np.concatenate([change for _, change in tables])
        center, middle = inputs.mean(axis=0), float(wanted.mean())
        within = inputs - center
        square = within.T @ within + _RIDGE * np.eye(within.shape[1])
        weights = np.linalg.solve(square, within.T @ (wanted - middle))
        return cls(weights, center, middle, bin_seconds, ahead, weekly)

    def error(self, counts: Floats, start_seconds: float) -> float:
        """Mean absolute error of the forecast counts."""
        table, _ = features(counts, start_seconds, self.bin_seconds, self.ahead, weekly=self.weekly)
        change = (table - self.center) @ self.weights + self.middle
        forecast = np.maximum(np.sqrt(counts[LAGS - 1 : len(counts) - self.ahead]) + change, 0) ** 2
        return float(np.abs(forecast - counts[LAGS - 1 + self.ahead :]).mean())


def unchanged_error(counts: Floats, ahead: int) -> float:
    """Mean absolute error of saying that nothing changes."""
    return float(np.abs(counts[LAGS - 1 : len(counts) - ahead] - counts[LAGS - 1 + ahead :]).mean())


def features(
    counts: Floats, start_seconds: float, bin_seconds: float, ahead: int, *, weekly: bool
) -> tuple[Floats, Floats]:
    """What is known at each bin, and the change of the root count until ``ahead`` bins later."""
    roots = np.sqrt(counts)
    now = np.arange(LAGS - 1, len(roots) - ahead)
    days = (start_seconds + (now + ahead) * bin_seconds) / _DAY
    cycles = [h * days for h in (1, 2, 3, 4)] + [h * days / 7 for h in (1, 2, 3) if weekly]
    columns = [roots[now], *(roots[now - lag] - roots[now] for lag in range(1, LAGS))]
    columns += [wave(2 * np.pi * cycle) for cycle in cycles for wave in (np.sin, np.cos)]
    return np.column_stack(columns), roots[now + ahead] - roots[now]
