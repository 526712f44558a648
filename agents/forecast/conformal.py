"""Intervals around any model's forecasts, learned from how far these were off."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from agents.forecast.forecaster import LEVELS, Grid, Model
from agents.forecast.gaps import close_gaps
from agents.forecast.outstanding import Outstanding
from agents.forecast.scores import Scores
from simulator.arrays import Floats

_FITTED_SHARE = 0.75


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model that may be put to work.

    Attributes:
        needs: the fewest bins it can be fitted to.
        origins: from at most so many moments of the history it forecasts before it begins.
        refit: whether it has to be fitted again, on all of the history, since it does not take in new values itself.
    """

    name: str
    make: Callable[[Grid], Model]
    needs: int = 1
    origins: int = 384
    refit: bool = False


class Conformal:
    """A Forecaster of any model: its forecasts with rolling, adaptive conformal intervals, for each step ahead.

    A score is by how much the root of what came was off the root of what was forecast. The model is fitted to the first three
    quarters of the history and forecasts through the rest, which gives the first scores; later ones come with each update.
    Quantiles of the last scores make the intervals; these are stretched while they cover too little and shrunk while they
    cover too much. The point forecast, the median, is set right by the scores' median, too. Sources: Lei et al., 2018 (split
    conformal); Gibbs and Candes, 2021 (adaptive).

    Of several candidates, best first, the first works whose needs the history meets; a better one takes over as soon as it can.

    Gaps in a history are closed from what is around them (``gaps.close_gaps``), later ones from the forecast; there are no
    scores in them.
    """

    def __init__(self, grid: Grid, candidates: Sequence[Candidate]) -> None:
        self._grid = grid
        self._candidates = tuple(candidates)
        self._begin(np.empty(0))

    @property
    def note(self) -> str:
        """As Forecaster.note."""
        return self._note

    def fit(self, history: Floats) -> None:
        """As Forecaster.fit.

        Raises:
            ValueError: if the history has more than one axis, or values that are negative or infinite.
        """
        if history.ndim != 1:
            msg = f"the history has shape {history.shape}; must be (T,)"
            raise ValueError(msg)
        _check(history)
        self._begin(history)

    def update(self, values: Floats) -> None:
        """As Forecaster.update.

        Raises:
            ValueError: if values are negative or infinite.
        """
        _check(values)
        if self._chosen == 0:
            self._advance(values)
            return
        lead = values.shape[:-1]
        known = np.broadcast_to(self._history, (*lead, self._history.shape[-1]))
        self._history = np.concatenate((known, values), axis=-1)
        if self._choose(self._pooled()) < self._chosen:
            self._begin(self._history)
        else:
            self._advance(values)

    def predict(self, horizon: int) -> Floats:
        """As Forecaster.predict."""
        if not 1 <= horizon <= self._grid.steps:
            msg = f"horizon is {horizon}; must be 1 to {self._grid.steps}"
            raise ValueError(msg)
        if self._model is None:
            return np.full((*self._history.shape[:-1], horizon, len(LEVELS)), np.nan)
        roots = np.sqrt(self._path[..., :horizon, np.newaxis]) + self._scores.quantiles()[..., :horizon, :]
        return np.asarray(np.maximum(roots, 0.0) ** 2)

    def _begin(self, history: Floats) -> None:
        """Choose, fit to the first part and forecast through the rest, a history ``(..., T)``."""
        self._history = history
        self._model: Model | None = None
        self._scores = Scores(self._grid.steps)
        self._outstanding = Outstanding(self._grid.steps)
        pooled = self._pooled()
        known = np.flatnonzero(~np.isnan(pooled))
        self._chosen = self._choose(pooled)
        self._note = self._why(pooled)
        if not len(known):
            return
        first = int(known[0])
        closed = close_gaps(pooled[first:], self._grid.day)
        fitted = max(int(_FITTED_SHARE * len(closed)), 1)
        chosen = self._candidates[self._chosen]
        self._model = chosen.make(self._grid)
        self._model.fit(closed[:fitted])
        self._issue()
        rest = history[..., first + fitted :]
        stride = max(rest.shape[-1] // chosen.origins, 1)
        for begin in range(0, rest.shape[-1], stride):
            self._advance(rest[..., begin : begin + stride])
        if chosen.refit:
            self._model.fit(closed)
            self._issue()
        if self._chosen == 0:
            self._history = np.empty(0)

    def _advance(self, values: Floats) -> None:
        if self._model is None:
            if not np.isnan(values).all():
                self._begin(self._history)
            return
        count = values.shape[-1]
        ahead = np.minimum(np.arange(count), self._grid.steps - 1)
        for place in range(count):
            steps, forecasts = self._outstanding.due()
            if len(steps):
                self._scores.add(steps, np.sqrt(values[..., place]) - np.sqrt(forecasts))
        self._model.update(np.where(np.isnan(values), self._path[..., ahead], values))
        self._issue()

    def _issue(self) -> None:
        assert self._model is not None
        self._path = np.maximum(self._model.point(), 0.0)
        self._outstanding.issue(self._path)

    def _pooled(self) -> Floats:
        """The history of one cluster, or the mean of many, float64 ``(T,)``."""
        if self._history.ndim == 1:
            return self._history
        flat = self._history.reshape(-1, self._history.shape[-1])
        known = ~np.isnan(flat)
        sums, counts = np.where(known, flat, 0.0).sum(axis=0), known.sum(axis=0)
        return np.divide(sums, counts, out=np.full(len(sums), np.nan), where=counts > 0)

    def _choose(self, pooled: Floats) -> int:
        known = _FITTED_SHARE * np.count_nonzero(~np.isnan(pooled))
        able = [place for place, one in enumerate(self._candidates) if known >= one.needs]
        return able[0] if able else len(self._candidates) - 1

    def _why(self, pooled: Floats) -> str:
        known = np.count_nonzero(~np.isnan(pooled))
        if not known:
            return "no value is known yet"
        if self._chosen == 0:
            return ""
        asked, chosen = self._candidates[0], self._candidates[self._chosen]
        needed = math.ceil(asked.needs / _FITTED_SHARE)
        return f"{known} bins of history, {asked.name} needs {needed}: {chosen.name} instead"


def _check(values: Floats) -> None:
    wrong = values[(values < 0) | np.isinf(values)]
    if wrong.size:
        msg = f"a rate is {wrong.flat[0]:g}; must be at least 0 and finite, or NaN for a gap"
        raise ValueError(msg)
