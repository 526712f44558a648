"""What a policy expects to come: forecasts of each service's rate, from the Snapshots that it is shown."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from pydantic import Field, field_validator

from agents.forecast.binning import Binning
from agents.forecast.forecaster import LEVELS, Forecaster, Grid
from agents.forecast.registry import DEFAULT, FORECASTERS
from agents.forecast.registry import make as make_forecaster
from agents.policy import Context, Mask
from simulator.arrays import Floats, Ints
from simulator.plant import Snapshot
from simulator.settings import Settings
from simulator.trace import Trace

SIMPLEST: Final = "last-value"
"""What works where there is too little history for any other."""
_KEPT_SECONDS: Final = 5 * 7 * 86_400.0
_AXES: Final = 4


class OutlookSettings(Settings):
    """Settings of what is forecast by which forecaster."""

    forecaster: str = Field(
        default=DEFAULT, description="What forecasts the rate; see setpoint forecast list for the light ones."
    )
    bin: float = Field(default=60.0, ge=1, le=3600, description="Seconds of which mean rates are forecast.")

    @field_validator("forecaster")
    @classmethod
    def _light(cls, forecaster: str) -> str:
        light = [name for name, one in FORECASTERS.items() if one.light]
        if forecaster not in light:
            msg = f"only {', '.join(light)} are allowed"
            raise ValueError(msg)
        return forecaster


@dataclass(frozen=True, slots=True)
class Expected:
    """What is expected at one moment.

    Attributes:
        quantiles: float64 ``(..., S, H, Q)``; requests/s in this bin and the next ones, at LEVELS; NaN where no rate is
            known yet.
        begins_seconds: float64 ``(..., H)``; when each bin begins, from now; the first one at or before now.
        blind: ``(..., S)``; where there is too little history for anything but the last value.
        notes: of each service of a single cluster, who forecasts and why it is not the one asked for.
    """

    quantiles: Floats
    begins_seconds: Floats
    blind: Mask
    notes: tuple[str, ...] = ()

    def at(self, level: float | Floats) -> Floats:
        """The quantile at a level, float64 ``(..., S, H)``, between LEVELS on straight lines.

        Args:
            level: one for all, or float64 ``(N, 1)``.
        """
        place = np.asarray(np.interp(level, LEVELS, np.arange(len(LEVELS))))[..., np.newaxis]
        low = np.minimum(np.floor(place).astype(np.int64), len(LEVELS) - 2)
        if np.ndim(level) == 0:
            index = int(low[0])
            below, above = self.quantiles[..., index], self.quantiles[..., index + 1]
        else:
            at = np.broadcast_to(low[..., np.newaxis], (*self.quantiles.shape[:-1], 1))
            below = np.take_along_axis(self.quantiles, at, axis=-1)[..., 0]
            above = np.take_along_axis(self.quantiles, at + 1, axis=-1)[..., 0]
        return np.asarray(below + (place - low) * (above - below))


class Outlook:
    """Forecasts of the rate of each service and cluster, made of the rates that Snapshots show.

    Bins go on where the history ends, at the Plant's time 0; without a history they begin with the first Snapshot. A
    history counts what clients ask for; a service's rates are taken as multiples of that.

    A single cluster's forecasters are fitted anew from time to time, and better ones take over as soon as what was seen
    is enough for them. Many clusters share what was learned from the history, and keep that. Clusters that were reset,
    and those whose clocks differ, begin with the history again. A missing rate is a gap, over which forecasts go on.
    """

    def __init__(self, settings: OutlookSettings, steps: int, context: Context) -> None:
        self._settings = settings
        self._grid = Grid(settings.bin, steps, context.seed)
        self._history = context.history
        calls = np.broadcast_to(context.calls_per_request, (len(context.services),))
        self._calls = np.where(np.isnan(calls), 1.0, calls)
        self._fitted: Forecaster | None = None
        self._shape: tuple[int, ...] = ()
        self._fresh = np.empty(0, np.bool_)
        self._parts: list[_Part] = []

    def observe(self, snapshot: Snapshot) -> Expected:
        """Take what a Snapshot shows; what is expected now."""
        rate = snapshot.rate.value
        *lead, services = rate.shape
        if self._shape != rate.shape:
            self._shape, self._parts = rate.shape, []
            self._fresh = np.ones(math.prod(lead), np.bool_)
        times = np.broadcast_to(snapshot.time_seconds, lead).reshape(-1)
        rates = (rate / np.where(self._calls > 0, self._calls, 1.0)).reshape(-1, services)
        self._begin(times, alone=not lead)
        paths = np.empty((len(times), services, self._grid.steps, len(LEVELS)))
        elapsed, blind = np.empty(len(times)), np.empty((len(times), services), np.bool_)
        for part in self._parts:
            elapsed[part.places] = part.take(float(times[part.places[0]]), rates[part.places])
            paths[part.places], blind[part.places] = part.paths, part.blind
        begins = np.arange(self._grid.steps) * self._grid.bin_seconds - elapsed[:, np.newaxis]
        return Expected(
            paths.reshape(*rate.shape, *paths.shape[2:]) * self._calls[:, np.newaxis, np.newaxis],
            begins.reshape(*lead, -1),
            blind.reshape(rate.shape),
            () if lead else self._parts[0].notes,
        )

    def reset(self, mask: Mask | None = None) -> None:
        """Forget all but the history; with a mask ``(...)``, only for the clusters where it is True."""
        if mask is None:
            self._shape = ()
        elif self._shape:
            self._fresh |= mask.reshape(-1)

    def _begin(self, times: Floats, *, alone: bool) -> None:
        """Give those that have nothing yet, or no more, a forecaster as it is after the history."""
        if not self._fresh.any():
            return
        for part in self._parts:
            part.leave(self._fresh)
        self._parts = [part for part in self._parts if len(part.places)]
        for time in np.unique(times[self._fresh]):
            places = np.flatnonzero(self._fresh & (times == time))
            services = self._shape[-1] if alone else None
            first = None if self._history is None else 0
            self._parts.append(_Part(places, self._after_history(), self._grid, services, first))
        self._fresh = np.zeros_like(self._fresh)

    def _after_history(self) -> Forecaster:
        if self._fitted is None:
            self._fitted = make_forecaster(self._settings.forecaster, self._grid)
            self._fitted.fit(_bins_of(self._history, self._grid.bin_seconds))
        return self._fitted


def _bins_of(history: Trace | None, bin_seconds: float) -> Floats:
    """The rates of the last whole bins before a history's end, float64 ``(T,)``."""
    if history is None:
        return np.empty(0)
    bins = int(min(history.duration_seconds, _KEPT_SECONDS) / bin_seconds)
    if bins < 1:
        return np.empty(0)
    seconds = bins * bin_seconds
    return history.slice(history.end_seconds - seconds, seconds).resample(bin_seconds).rate_rps


class _Part:
    """Clusters that began at the same time, n of them.

    Args:
        places: of the clusters among all, int64 ``(n,)``.
        fitted: a forecaster as it is after the history.
        services: of a single cluster, which have a forecaster each; None where one is for all.
        first: place of the first bin; that of the first sample if None.
    """

    def __init__(
        self, places: Ints, fitted: Forecaster, grid: Grid, services: int | None, first: int | None
    ) -> None:
        self.places, self._rows, self._size = places, np.arange(len(places)), len(places)
        self._alone, self._grid = services is not None, grid
        self._forecasters = [copy.deepcopy(fitted) for _ in range(services or 1)]
        self._binning = Binning(grid.bin_seconds, first)
        self._paths: Floats | None = None

    @property
    def paths(self) -> Floats:
        """Quantiles, float64 ``(n, S, H, Q)``, or what goes with that."""
        if self._paths is None:
            made = [one.predict(self._grid.steps) for one in self._forecasters]
            self._paths = np.stack(made)[np.newaxis] if self._alone else made[0]
        return self._paths[self._rows] if self._paths.ndim == _AXES else self._paths

    @property
    def blind(self) -> Mask:
        """Whether nothing but the last value is at work though more was asked for; for each service or for all."""
        return np.array([bool(one.note) and one.at_work == SIMPLEST for one in self._forecasters])

    @property
    def notes(self) -> tuple[str, ...]:
        """Who forecasts each service, and why."""
        return tuple(one.note or one.at_work for one in self._forecasters)

    def take(self, now_seconds: float, rates: Floats) -> float:
        """Take the rates of a moment ``(n, S)``; gives the seconds since the bin that goes on began."""
        seen = np.full((self._size, rates.shape[-1]), np.nan)
        seen[self._rows] = rates
        bins = self._binning.add(now_seconds, seen)
        if bins.shape[-1]:
            for one, its_bins in zip(self._forecasters, bins[0] if self._alone else (bins,), strict=True):
                one.update(its_bins)
            self._paths = None
        return now_seconds - self._binning.place * self._grid.bin_seconds

    def leave(self, gone: Mask) -> None:
        """Let go of the clusters under a mask over all of them."""
        stays = ~gone[self.places]
        self.places, self._rows = self.places[stays], self._rows[stays]
