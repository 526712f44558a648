"""Intervals around any model's forecasts, learned from how far these were off."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agents.forecast.forecaster import Grid, Model
from agents.forecast.gaps import close_gaps
from agents.forecast.outstanding import Outstanding
from agents.forecast.scores import Scores
from simulator.arrays import Floats

Bools = NDArray[np.bool_]
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

    A score is by how much the root of what came was off the root of what was forecast. The model is fitted to the
    first three quarters of the history and forecasts through the rest, which gives the first scores; later ones come
    with each update. The median is the model's own forecast; quantiles of the last scores, off their median, make the
    intervals around it. These are stretched while they cover too little and shrunk while they cover too much.
    Sources: Lei et al., 2018 (split conformal); Gibbs and Candes, 2021 (adaptive).

    Of several candidates, best first, the first works whose needs the history meets; a better one takes over as soon
    as it can, but not where updates have leading axes. Gaps in a history are closed from what is around them
    (``gaps.close_gaps``), later ones from forecasts; there are no scores in them.
    """

    def __init__(self, grid: Grid, candidates: Sequence[Candidate]) -> None:
        self._grid = grid
        self._candidates = tuple(candidates)
        self._history = np.empty(0)
        self._begin(self._history)

    @property
    def note(self) -> str:
        """As Forecaster.note."""
        if self._chosen == 0:
            return ""
        asked, chosen = self._candidates[0], self._candidates[self._chosen]
        known, needed = np.count_nonzero(~np.isnan(self._history)), math.ceil(asked.needs / _FITTED_SHARE)
        return f"{known} bins of history, {asked.name} needs {needed}: {chosen.name} instead"

    @property
    def at_work(self) -> str:
        """As Forecaster.at_work."""
        return self._candidates[self._chosen].name

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
        if not values.shape[-1]:
            return
        if self._chosen > 0 and values.ndim == 1:
            self._history = np.concatenate((self._history, values))
            if self._choose(self._history) < self._chosen:
                self._begin(self._history)
                return
        self._advance(values)

    def predict(self, horizon: int) -> Floats:
        """As Forecaster.predict."""
        if not 1 <= horizon <= self._grid.steps:
            msg = f"horizon is {horizon}; must be 1 to {self._grid.steps}"
            raise ValueError(msg)
        roots = np.sqrt(self._path[..., :horizon, np.newaxis]) + self._scores.quantiles()[..., :horizon, :]
        return np.asarray(np.where(self._seen[..., np.newaxis], np.maximum(roots, 0.0) ** 2, np.nan))

    def _begin(self, history: Floats) -> None:
        """Choose, fit to the first part of a history ``(T,)`` and forecast through the rest."""
        self._scores = Scores(self._grid.steps)
        self._outstanding = Outstanding(self._grid.steps)
        known = np.flatnonzero(~np.isnan(history))
        self._seen: Bools = np.array([len(known) > 0])
        self._chosen = self._choose(history)
        self._history = history if self._chosen > 0 else np.empty(0)
        first = int(known[0]) if len(known) else len(history)
        closed = close_gaps(history[first:], self._grid.day) if len(known) else np.zeros(1)
        fitted = max(int(_FITTED_SHARE * len(closed)), 1)
        chosen = self._candidates[self._chosen]
        self._model = chosen.make(self._grid)
        self._model.fit(closed[:fitted])
        self._issue()
        rest = history[first + fitted :]
        stride = max(len(rest) // chosen.origins, 1)
        for begin in range(0, len(rest), stride):
            self._advance(rest[begin : begin + stride])
        if chosen.refit:
            self._model.fit(closed)
            self._issue()

    def _advance(self, values: Floats) -> None:
        count = values.shape[-1]
        gaps = np.isnan(values)
        self._seen = self._seen | ~gaps.all(axis=-1, keepdims=True)
        for place in range(count):
            steps, forecasts = self._outstanding.due(values.ndim - 1)
            self._scores.add(steps, np.sqrt(values[..., place]) - np.sqrt(forecasts))
        ahead = np.minimum(np.arange(count), self._grid.steps - 1)
        self._model.update(np.where(gaps, self._path[..., ahead], values))
        self._issue()

    def _issue(self) -> None:
        self._path = np.maximum(self._model.point(), 0.0)
        self._outstanding.issue(np.where(self._seen, self._path, np.nan))

    def _choose(self, history: Floats) -> int:
        known = _FITTED_SHARE * np.count_nonzero(~np.isnan(history))
        able = [place for place, one in enumerate(self._candidates) if known >= one.needs]
        return able[0] if able else len(self._candidates) - 1


def _check(values: Floats) -> None:
    wrong = values[(values < 0) | np.isinf(values)]
    if wrong.size:
        msg = f"a rate is {wrong.flat[0]:g}; must be at least 0 and finite, or NaN for a gap"
        raise ValueError(msg)
