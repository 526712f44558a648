"""Snapshots to one float32 vector: named features, units, fixed scales."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from simulator.arrays import Floats
from simulator.plant import Metric, Snapshot
from simulator.settings import Settings

VERSION = 1
"""Raised whenever the same Snapshots would give another vector."""


@dataclass(frozen=True, slots=True)
class Feature:
    """One number of the vector: ``clip(raw / scale, low, high)``."""

    name: str
    unit: str
    scale: float
    low: float = 0.0
    high: float = 10.0


FEATURES = (
    Feature("wanted", "log2(1 + replicas)", 8.0),
    Feature("ready", "share of wanted", 1.0),
    Feature("starting", "share of wanted", 1.0),
    Feature("draining", "share of wanted", 1.0),
    Feature("cpu", "share of request", 1.0),
    Feature("load", "offered load over capacity of wanted", 1.0),
    Feature("load_change_1m", "load now less load a minute ago", 0.5, low=-10.0),
    Feature("load_change_5m", "load now less load five minutes ago", 0.5, low=-10.0),
    Feature("load_highest_5m", "highest load of five minutes over capacity of wanted", 1.0),
    Feature("latency_p95", "log(1 + p95 / SLO)", 1.0),
    Feature("queue", "log(1 + waiting / slots of wanted)", 1.0),
    Feature("metric_age", "seconds", 60.0),
    Feature("metric_missing", "1 if cpu or rate is missing", 1.0),
    Feature("latency_missing", "1 if there is no latency", 1.0),
)
_HISTORY_SECONDS = 300.0
_MINUTE_SECONDS = 60.0


class ObserverSettings(Settings):
    """The constants of an Observer; all of them are facts of the Task."""

    capacity_rps: tuple[float, ...] = Field(description="Requests/s one pod serves at most, by service.")
    slots_per_pod: tuple[int, ...] = Field(description="Slots of a pod, by service.")
    slo_seconds: float = Field(gt=0, description="The SLO.")
    period_seconds: float = Field(gt=0, description="Between two observations.")


@dataclass(frozen=True, slots=True)
class Facts:
    """What is observed, in arrays; those of clusters that differ are ``(..., S)`` and the SLO ``(..., 1)``.

    Attributes:
        capacity_rps: requests/s one pod serves at most.
        slots_per_pod: slots of a pod.
        slo_seconds: the SLO.
    """

    capacity_rps: Floats
    slots_per_pod: Floats
    slo_seconds: Floats


class Observer:
    """Remembers five minutes of rates; a missing metric becomes 0 with its flag set, never NaN.

    Args:
        facts: what is observed, where it is not the settings': clusters that differ, drawn around them.
    """

    def __init__(self, settings: ObserverSettings, facts: Facts | None = None) -> None:
        self.settings = settings
        self._facts = facts or Facts(
            np.array(settings.capacity_rps), np.array(settings.slots_per_pod), np.array(settings.slo_seconds)
        )
        self._low = np.array([[feature.low] for feature in FEATURES], np.float32)
        self._high = np.array([[feature.high] for feature in FEATURES], np.float32)
        self._minute = max(1, round(_MINUTE_SECONDS / settings.period_seconds))
        self._depth = max(2, round(_HISTORY_SECONDS / settings.period_seconds) + 1)
        self._values = np.empty((len(FEATURES), 0), np.float32)
        self._rates: Floats | None = None
        self._newest = 0
        self._seen_seconds: Floats | None = None

    @property
    def size(self) -> int:
        """Length F of the vector."""
        return len(FEATURES) * len(self.settings.capacity_rps)

    @property
    def bounds(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Lowest and highest values: two float32 ``(F,)``."""
        services = len(self.settings.capacity_rps)
        return np.repeat(self._low, services), np.repeat(self._high, services)

    def reset(self, mask: NDArray[np.bool_] | None = None) -> None:
        """Forget the rates; with a mask ``(...)``, only where it is True."""
        if mask is None or self._rates is None:
            self._rates = self._seen_seconds = None
        else:
            self._rates[:, mask] = np.nan

    def observe(self, snapshot: Snapshot) -> NDArray[np.float32]:
        """The vector after this Snapshot: float32 ``(..., F)``, feature-major."""
        self._remember(snapshot.time_seconds, snapshot.rate)
        return self.look(snapshot)

    def look(self, snapshot: Snapshot) -> NDArray[np.float32]:
        """The same with what is remembered already: of clusters that were reset after this step's vector.

        Raises:
            ValueError: if nothing is remembered at all.
        """
        rates = self._rates
        if rates is None:
            msg = "look needs an observation before it"
            raise ValueError(msg)
        wanted = np.maximum(snapshot.wanted, 1)
        facts = self._facts
        capacity = facts.capacity_rps * wanted
        now = rates[self._newest]
        with np.errstate(invalid="ignore"):
            queue = snapshot.queue.value / (facts.slots_per_pod * wanted)
            raw = (
                np.log2(1.0 + snapshot.wanted),
                snapshot.ready / wanted,
                snapshot.starting / wanted,
                snapshot.draining / wanted,
                snapshot.cpu.value,
                now / capacity,
                (now - rates[self._newest - self._minute]) / capacity,
                (now - rates[self._newest + 1 - self._depth]) / capacity,
                np.fmax.reduce(rates, axis=0) / capacity,
                np.log1p(snapshot.latency_p95.value / facts.slo_seconds),
                np.log1p(queue, out=queue, where=queue != 0),
                np.maximum(snapshot.cpu.age_seconds, snapshot.rate.age_seconds),
                np.isnan(snapshot.cpu.value) | np.isnan(now),
                np.isnan(snapshot.latency_p95.value),
            )
        return self._scaled(raw)

    def _scaled(self, raw: tuple[NDArray[Any], ...]) -> NDArray[np.float32]:
        """The vector, new each time, of raw features, each ``(..., S)``; a feature's values lie together until then."""
        shape = raw[0].shape
        if self._values.shape[1:] != shape:
            self._values = np.empty((len(raw), *shape), np.float32)
        values = self._values
        with np.errstate(over="ignore"):
            for row, feature, value in zip(values, FEATURES, raw, strict=True):
                row[...] = value if feature.scale == 1.0 else value / feature.scale
        rows = values.reshape(len(raw), -1)
        np.copyto(rows, 0.0, where=np.isnan(rows))
        np.clip(rows, self._low, self._high, out=rows)
        vector = np.empty((*shape[:-1], self.size), np.float32)
        vector.reshape(*shape[:-1], len(raw), -1)[...] = np.moveaxis(values, 0, -2)
        return vector

    def _remember(self, time_seconds: Floats, rate: Metric) -> None:
        """Keep the rates of five minutes, a ring around the newest; a period in which nobody looked is NaN."""
        if self._rates is None or self._seen_seconds is None:
            self._rates = np.full((self._depth, *rate.value.shape), np.nan)
            self._seen_seconds = time_seconds
        periods = (time_seconds - self._seen_seconds) / self.settings.period_seconds
        steps = int(np.clip(np.rint(np.max(periods)), 1, self._depth))
        for _ in range(steps - 1):
            self._newest = (self._newest + 1) % self._depth
            self._rates[self._newest] = np.nan
        self._newest = (self._newest + 1) % self._depth
        self._rates[self._newest] = rate.value
        self._seen_seconds = time_seconds
