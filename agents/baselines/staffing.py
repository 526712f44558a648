"""Staffing by queueing theory: as few replicas as bear the measured load.

Source: Erlang C for M/M/c (Gross et al., Fundamentals of Queueing Theory, 4th ed., section 2.3); the square-root
rule, Halfin and Whitt, Heavy-traffic limits for queues with many exponential servers, 1981.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final, Literal

import numpy as np
from pydantic import Field

from agents.baselines.hpa_behavior import Bounds
from agents.baselines.reasons import join_reasons
from agents.policy import Context, Mask, floats_by_cluster
from simulator.arrays import Floats, Ints
from simulator.errors import InputError
from simulator.plant import Desired, Snapshot
from simulator.settings import Settings
from simulator.theory import mmc_wait_exceeds, square_root_staffing

VARIED: Final = frozenset({"headroom"})
"""Settings that the clusters of one Staffing may differ in."""
_PRECISION: Final = 1e-7
_BELOW_ALL_SLOTS: Final = 1 - 1e-9


class ServingSettings(Settings):
    """What pods bear, by which rule; what a pod serves comes from the Context where it is not given."""

    rule: Literal["erlang_c", "square_root"] = Field(
        default="erlang_c",
        description="erlang_c: few enough wait too long; square_root: load + quality sqrt(load) slots.",
    )
    wait_probability: float = Field(
        default=0.001,
        gt=0,
        lt=1,
        description="Of erlang_c: most requests, as a fraction, that wait longer than the SLO less a mean service.",
    )
    quality: float = Field(default=2.0, ge=0, le=100, description="Of square_root: slots beyond the load.")
    capacity: float | None = Field(
        default=None, gt=0, description="Requests/s a pod serves at most; the task's if not given."
    )
    slots: int | None = Field(
        default=None, ge=1, le=10_000, description="Requests a pod serves at once; the task's if not given."
    )
    slo: float | None = Field(default=None, gt=0, description="The SLO, seconds; the task's if not given.")


class StaffingSettings(ServingSettings):
    """Settings of staffing."""

    headroom: float = Field(
        default=0.1,
        ge=0,
        le=10,
        description="Load beyond the measured one, as a fraction: what it may grow by while pods start.",
    )
    window: float = Field(
        default=300.0, ge=0, le=86_400, description="Seconds of which the highest rate is the measured one."
    )
    period: float = Field(default=15.0, ge=1, le=3600, description="Seconds between two decisions.")


class LoadTable:
    """Pods by the load that they bear, made as far as it has been asked for.

    Args:
        slots: of a pod.
        bears: whether so many slots bear a load in Erlang; more slots bear more.
    """

    def __init__(self, slots: int, bears: Callable[[int, float], bool]) -> None:
        self._slots, self._bears = slots, bears
        self._loads = np.zeros(1)

    def pods(self, loads: Floats, most: int) -> Ints:
        """The fewest pods that bear each load, at most ``most``, int64 ``(...)``.

        Exact but for loads within 1e-7 of what a number of pods bears, where it may be one more.
        """
        highest = float(loads.max(initial=0.0))
        while self._loads[-1] < highest and len(self._loads) <= most:
            self._loads = np.append(self._loads, self._highest_load(len(self._loads)))
        return np.minimum(np.searchsorted(self._loads, loads), most).astype(np.int64)

    def _highest_load(self, pods: int) -> float:
        """The highest load that pods bear, by bisection between what one pod less bears and all of their slots."""
        slots = pods * self._slots
        low, high = float(self._loads[-1]), slots * _BELOW_ALL_SLOTS
        while high - low > _PRECISION * high:
            middle = (low + high) / 2
            low, high = (middle, high) if self._bears(slots, middle) else (low, middle)
        return low


@lru_cache(maxsize=256)
def erlang_table(slots: int, service_seconds: float, wait_seconds: float, probability: float) -> LoadTable:
    """Pods of which ``P(wait > wait_seconds)`` is at most a probability."""

    def bears(servers: int, load: float) -> bool:
        rate = load / service_seconds
        return mmc_wait_exceeds(wait_seconds, rate, service_seconds, servers) <= probability

    return LoadTable(slots, bears)


@lru_cache(maxsize=256)
def square_root_table(slots: int, quality: float) -> LoadTable:
    """Pods that have ``load + quality sqrt(load)`` slots."""
    return LoadTable(slots, lambda servers, load: square_root_staffing(load, quality) <= servers)


class Serving:
    """How many pods of each service bear a load.

    By ``erlang_c`` a number of pods bears a load if ``P(wait > SLO - mean service) <= wait_probability``; of S services
    that call each other each may wait an S-th of what the slowest one's service, calls included, leaves of the SLO. By
    ``square_root`` it does with ``load + quality sqrt(load)`` slots.

    Args:
        service_seconds: float64 ``(S,)``; how long a request holds a slot.
        slots: int64 ``(S,)``; of a pod.
        slo_seconds: NaN where no rule needs it.
    """

    def __init__(
        self, settings: ServingSettings, service_seconds: Floats, slots: Ints, slo_seconds: float
    ) -> None:
        self.service_seconds = service_seconds
        self._tables = [
            self._table(settings, int(count), float(seconds), slo_seconds)
            for count, seconds in zip(slots, service_seconds, strict=True)
        ]

    def pods(self, loads: Floats, most: Ints) -> Ints:
        """The fewest pods that bear loads in Erlang ``(..., S)``, at most ``most``; int64 ``(..., S)``."""
        columns = [
            table.pods(loads[..., service], int(most[service])) for service, table in enumerate(self._tables)
        ]
        return np.stack(columns, axis=-1)

    def _table(
        self, settings: ServingSettings, slots: int, service_seconds: float, slo_seconds: float
    ) -> LoadTable:
        if settings.rule == "square_root":
            return square_root_table(slots, settings.quality)
        left = max(0.0, slo_seconds - float(self.service_seconds.max()))
        return erlang_table(
            slots, service_seconds, left / len(self.service_seconds), settings.wait_probability
        )


class Highest:
    """The highest of what was seen in a window, by cluster and service; what is missing counts as nothing.

    Args:
        depth: how many observations the window holds, the newest among them.
    """

    def __init__(self, shape: tuple[int, ...], depth: int) -> None:
        self.shape = shape
        self._seen = np.full((depth, *shape), np.nan)
        self._oldest = 0

    def observe(self, values: Floats) -> Floats:
        """The highest with these, float64 ``(..., S)``; NaN where nothing was seen."""
        self._seen[self._oldest] = values
        self._oldest = (self._oldest + 1) % len(self._seen)
        return np.asarray(np.fmax.reduce(self._seen, axis=0))

    def reset(self, mask: Mask) -> None:
        """Forget what was seen of the clusters under a mask ``(...)``."""
        self._seen[:, mask] = np.nan


class Staffing:
    """Staffing by the measured request rate, one policy for all services and clusters.

    ``load = (1 + headroom) * highest rate of the window * mean service time``, in Erlang; as few pods as bear it,
    each of so many servers as it has slots, all of them with one queue, as ``Serving`` says.

    Where the rate is missing the count is held.

    Args:
        settings: for all clusters, or of each of N, which differ in VARIED alone.
    """

    def __init__(
        self,
        settings: StaffingSettings | Sequence[StaffingSettings],
        bounds: Bounds,
        serving: Serving,
        services: tuple[str, ...] = (),
    ) -> None:
        each = (settings,) if isinstance(settings, StaffingSettings) else settings
        self.settings = each[0]
        self._bounds, self._serving, self._services = bounds, serving, services
        self._headroom = floats_by_cluster([one.headroom for one in each])
        self._rates: Highest | None = None

    @property
    def period_seconds(self) -> float:
        """Seconds between two decisions."""
        return self.settings.period

    def decide(self, snapshot: Snapshot) -> Desired:
        """As few replicas as bear the load."""
        current, rate = snapshot.wanted, snapshot.rate.value
        if self._rates is None or self._rates.shape != current.shape:
            self._rates = Highest(current.shape, round(self.settings.window / self.settings.period) + 1)
        known = ~np.isnan(rate)
        highest = np.where(known, self._rates.observe(rate), 0.0)
        loads = (1.0 + self._headroom) * highest * self._serving.service_seconds
        wish = np.maximum(self._serving.pods(loads, self._bounds.most), self._bounds.fewest)
        replicas = np.where(known, wish, current)
        return Desired(replicas, self._reason(rate, loads, replicas) if current.ndim == 1 else "")

    def reset(self, mask: Mask | None = None) -> None:
        """Forget the rates; with a mask ``(...)``, only those of the clusters where it is True."""
        if mask is None:
            self._rates = None
        elif self._rates is not None:
            self._rates.reset(mask)

    def _reason(self, rate: Floats, loads: Floats, replicas: Ints) -> str:
        texts = [
            "rate unknown, held" if np.isnan(now) else f"{now:.4g} requests/s, {load:.4g} Erlang -> {count}"
            for now, load, count in zip(rate, loads, replicas, strict=True)
        ]
        return join_reasons(self._services, texts)


def make_staffing(settings: StaffingSettings | Sequence[StaffingSettings], context: Context) -> Staffing:
    """A Staffing within the Context's bounds, for all clusters or with settings for each.

    Raises:
        InputError: if neither the settings nor the Context say what a pod serves, or what the SLO is.
    """
    first = settings if isinstance(settings, StaffingSettings) else settings[0]
    bounds = Bounds(context.min_replicas, context.max_replicas)
    return Staffing(settings, bounds, make_serving("staffing", first, context), context.services)


def make_serving(policy: str, settings: ServingSettings, context: Context) -> Serving:
    """What pods bear by a policy's settings.

    Raises:
        InputError: as ``make_staffing``.
    """
    services = len(context.services)
    facts = (
        ("capacity", "requests/s a pod serves", settings.capacity, context.capacity_rps),
        ("slots", "requests a pod serves at once", settings.slots, context.slots_per_pod),
    )
    capacity, slots = (
        known(policy, name, f"how many {what}", given, told, services) for name, what, given, told in facts
    )
    slo = context.slo_seconds if settings.slo is None else settings.slo
    if np.isnan(slo) and settings.rule == "erlang_c":
        msg = f"policy {policy}: slo is not given, and nothing else says it; give slo=SECONDS"
        raise InputError(msg)
    return Serving(settings, slots / capacity, np.rint(slots).astype(np.int64), slo)


def known(policy: str, name: str, what: str, given: float | None, told: Floats, services: int) -> Floats:
    """A fact of each service, float64 ``(S,)``: as given for all of them, or as the Context tells.

    Raises:
        InputError: if neither says it.
    """
    values = np.broadcast_to(np.asarray(told if given is None else given, np.float64), (services,))
    if np.isnan(values).any():
        msg = f"policy {policy}: {name} is not given, and nothing else says {what}; give {name}=NUMBER"
        raise InputError(msg)
    return values
