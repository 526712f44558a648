"""MSTL: seasons taken off by repeated loess, the rest forecast by exponential smoothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from agents.forecast.forecaster import Grid
from agents.forecast.tape import Tape
from simulator.arrays import Floats, Ints

_KEPT_DAYS = 28
_CYCLES = 2
_FINE_DAY = 48
"""A week is decomposed only where a day has at most so many bins; else it would take seconds."""
_TAIL = 720


class Decomposed:
    """A model of what is left when the seasons are taken off; statsforecast does both.

    Roots of the last four weeks are decomposed anew every day, into a daily season and, in bins of half an hour or
    more, a weekly one (Bandara, Hyndman and Bergmeir, 2021). The last cycle of each goes on; the rest goes to the
    model, which is fitted to its last part then and takes in what comes since as it is.

    Args:
        make: makes a model of statsforecast, with ``fit`` and ``forward``.
    """

    def __init__(self, grid: Grid, make: Callable[[], Any]) -> None:
        self._grid = grid
        self._make = make
        self._day = grid.day or grid.week
        self._periods = [self._day, *([grid.week] if 0 < grid.day <= _FINE_DAY else [])]
        self._keep = max(_KEPT_DAYS * grid.day, 4 * grid.week)

    def fit(self, history: Floats) -> None:
        """As Model.fit; needs two days."""
        self._tape = Tape(np.sqrt(history), self._keep)
        self._solve()

    def update(self, values: Floats) -> None:
        """As Model.update, of one cluster."""
        self._tape.extend(np.sqrt(values))
        self._since += len(values)
        if self._since >= self._day:
            self._solve()

    def point(self) -> Floats:
        """As Model.point."""
        tail, steps, now = self._tape.kept[-_TAIL:], self._grid.steps, len(self._tape)
        rest = tail - self._season(np.arange(now - len(tail), now))
        middle = self._model.forward(y=rest, h=steps)["mean"]
        roots = middle + self._season(np.arange(now, now + steps))
        return np.asarray(np.maximum(roots, 0.0) ** 2)

    def _season(self, places: Ints) -> Floats:
        """What all seasons add up to, at places of the series."""
        parts = (cycle[(places - begin) % len(cycle)] for begin, cycle in self._cycles)
        return np.asarray(sum(parts, np.zeros(len(places))))

    def _solve(self) -> None:
        from statsforecast.mstl import mstl

        roots, now = self._tape.kept.copy(), len(self._tape)
        periods = [period for period in self._periods if len(roots) >= _CYCLES * period]
        self._cycles: list[tuple[int, Floats]] = []
        if periods:
            table = mstl(roots, periods)
            names = ["seasonal"] if len(periods) == 1 else [f"seasonal{period}" for period in periods]
            for name, period in zip(names, periods, strict=True):
                self._cycles.append((now - period, table[name].to_numpy()[-period:]))
        rest = roots - self._season(np.arange(now - len(roots), now))
        self._model = self._make()
        self._model.fit(rest[-_TAIL:])
        self._since = 0


def mstl_ets(grid: Grid) -> Decomposed:
    """MSTL with exponential smoothing, whose kind is chosen by Akaike's criterion."""

    def make() -> Any:  # noqa: ANN401 - statsforecast has no common type
        from statsforecast.models import AutoETS

        return AutoETS(model="ZZN")

    return Decomposed(grid, make)
