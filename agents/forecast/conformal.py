"""Intervals around any model's forecasts, from how far those were off."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from agents.forecast.forecaster import LEVELS, Grid, Model
from agents.forecast.outstanding import Outstanding
from simulator.arrays import Floats

_SCORES = 512
_CALIBRATED_SHARE = 0.25
_CALIBRATED_ORIGINS = 384


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model, and how many bins of history it needs."""

    name: str
    make: Callable[[Grid], Model]
    needs: int
    origins: int = _CALIBRATED_ORIGINS


class Scores:
    def __init__(self, steps: int) -> None:
        self._kept = None
        self._counts = np.zeros(steps, np.int64)
        self._steps = steps
        self._since = 0
        self._quantiles = None

    def add(self, ahead, scores):
        if self._kept is None:
            self._kept = np.full((self._steps, _SCORES, *scores.shape[1:]), np.nan)
        elif self._kept.ndim < scores.ndim + 1:
            self._kept = np.broadcast_to(self._kept.reshape(self._steps, _SCORES, *(1,) * (scores.ndim - 1)), (self._steps, _SCORES, *scores.shape[1:])).copy()
        places = ahead - 1
        self._kept[places, self._counts[places] % _SCORES] = scores
        self._counts[places] += 1
        self._since += 1

    def quantiles(self):
        """(..., H, Q)"""
        if self._quantiles is None or self._since >= 8:
            if self._kept is None:
                return np.full((self._steps, len(LEVELS)), 0.0)
            out = np.zeros((self._steps, len(LEVELS), *self._kept.shape[2:]))
            n = min(int(self._counts.min()), _SCORES)
            if n == self._counts.max() or n == _SCORES:
                if n:
                    out = np.quantile(self._kept[:, :n], LEVELS, axis=1, method="weibull").swapaxes(0, 1)
            else:
                for h in range(self._steps):
                    m = min(int(self._counts[h]), _SCORES)
                    if m:
                        out[h] = np.quantile(self._kept[h, :m], LEVELS, axis=0, method="weibull")
            self._quantiles = np.moveaxis(out, (0, 1), (-2, -1))
            self._since = 0
        return self._quantiles


class Conformal:
    def __init__(self, grid: Grid, candidates: Sequence[Candidate]) -> None:
        self._grid = grid
        self._candidates = tuple(candidates)
        self.note = ""

    def fit(self, history: Floats) -> None:
        self._path = None
        filled = fill(history)
        model = self._candidates[0].make(self._grid)
        n = len(filled)
        calib = max(int(n * _CALIBRATED_SHARE), 1)
        self._scores = Scores(self._grid.steps)
        self._out = Outstanding(self._grid.steps)
        model.fit(filled[:-calib])
        self._model = model
        self._path = model.point()
        self._out.issue(self._path)
        stride = max(calib // self._candidates[0].origins, 1)
        for at in range(n - calib, n, stride):
            self._advance(history[at : at + stride])
        model = self._candidates[0].make(self._grid)
        model.fit(filled)
        self._model = model
        self._path = model.point()
        self._out.issue(self._path)

    def update(self, values):
        self._advance(values)

    def _advance(self, values):
        k = values.shape[-1]
        path = self._path[..., np.minimum(np.arange(k), self._grid.steps - 1)]
        filled = np.where(np.isnan(values), path, values)
        for j in range(k):
            ahead, preds = self._out.due()
            v = values[..., j]
            if not len(ahead): continue
            if np.isnan(v).any(): continue
            self._scores.add(ahead, np.sqrt(v) - np.sqrt(preds))
        self._model.update(filled)
        self._path = self._model.point()
        self._out.issue(self._path)

    def predict(self, horizon):
        q = self._scores.quantiles()[..., :horizon, :]
        roots = np.sqrt(self._path[..., :horizon, None]) + q
        return np.maximum(roots, 0) ** 2


def fill(values):
    if not np.isnan(values).any(): return values
    idx = np.arange(len(values)); ok = ~np.isnan(values)
    return np.interp(idx, idx[ok], values[ok])
