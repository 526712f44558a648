"""The Vertical Pod Autoscaler as a Policy: what a pod requests, from histograms of what pods use.

Source: kubernetes/autoscaler vertical-pod-autoscaler: pkg/recommender/logic/recommender.go,
pkg/recommender/model/{aggregate_container_state,container}.go, pkg/updater/priority (a pod is replaced where
its request lies outside the recommended range).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from pydantic import Field, model_validator

from agents.baselines.reasons import join_reasons
from agents.baselines.vpa_estimator import at_least, confidence, whole_amount, with_confidence, with_margin
from agents.baselines.vpa_histogram import ExponentialBuckets, Histogram
from agents.policy import Context, Mask
from simulator.arrays import Floats, Ints
from simulator.plant import Desired, Metric, Snapshot
from simulator.settings import Settings

VARIED: Final[frozenset[str]] = frozenset()
"""Settings that the clusters of one Vpa may differ in."""
GIB: Final = 2**30
MIB: Final = 2**20
MILLI: Final = 1000
CPU_BUCKETS: Final = ExponentialBuckets(1000.0, 0.01, 1.05, 0.0001)
"""Of cores."""
MEMORY_BUCKETS: Final = ExponentialBuckets(1e12, 1e7, 1.05, 0.0001)
"""Of bytes."""
_LEAST_WEIGHT: Final = 0.1
_LOWER_CONFIDENCE: Final = (0.001, -2.0)
_UPPER_CONFIDENCE: Final = (1.0, 1.0)
"""Multiplier and exponent of the bounds."""


class VpaSettings(Settings):
    """Settings of VPA's recommender and updater; the defaults are upstream's flags'."""

    target_percentile: float = Field(
        default=0.9, gt=0, le=1, description="Percentile of usage that pods are to request."
    )
    lower_percentile: float = Field(
        default=0.5, gt=0, le=1, description="Percentile of the lower bound; what requests less is replaced."
    )
    upper_percentile: float = Field(
        default=0.95, gt=0, le=1, description="Percentile of the upper bound; what requests more is replaced."
    )
    margin: float = Field(
        default=0.15, ge=0, le=10, description="Safety margin on all three, as a fraction of them."
    )
    half_life: float = Field(
        default=86_400.0, gt=0, description="Seconds after which a sample weighs half as much."
    )
    confidence_interval: float = Field(
        default=86_400.0, gt=0, description="Seconds of history that make a confidence of 1."
    )
    memory_interval: float = Field(
        default=86_400.0, gt=0, description="Seconds in which memory's peak is one sample."
    )
    min_vcpu: float = Field(default=0.025, gt=0, description="Least CPU that is recommended.")
    min_memory_gib: float = Field(default=250 / 1024, gt=0, description="Least memory that is recommended.")
    max_vcpu: float = Field(default=1000.0, gt=0, description="Most CPU that is recommended.")
    max_memory_gib: float = Field(default=1000.0, gt=0, description="Most memory that is recommended.")
    settle: float = Field(
        default=300.0,
        ge=0,
        description="Seconds after a change in which no sample is taken, while pods of both kinds are about.",
    )
    period: float = Field(default=60.0, ge=1, le=3600, description="Seconds between two decisions.")

    @model_validator(mode="after")
    def _in_order(self) -> VpaSettings:
        for low, high in (
            ("lower_percentile", "target_percentile"),
            ("target_percentile", "upper_percentile"),
            ("min_vcpu", "max_vcpu"),
            ("min_memory_gib", "max_memory_gib"),
        ):
            if getattr(self, low) > getattr(self, high):
                msg = f"{low} is {getattr(self, low):g}: at most {high} ({getattr(self, high):g}) is allowed"
                raise ValueError(msg)
        return self


@dataclass(frozen=True, slots=True)
class Recommendation:
    """What is recommended for one resource, int64 ``(..., S)``; millicores or bytes."""

    lower: Ints
    target: Ints
    upper: Ints

    def misses(self, request: Ints) -> Mask:
        """Where a request lies outside the range, bool ``(..., S)``."""
        outside: Mask = (request < self.lower) | (request > self.upper)
        return outside


class Recommender:
    """VPA's recommender for clusters of one shape.

    Args:
        shape: of the services, ``(..., S)``.
    """

    def __init__(self, settings: VpaSettings, shape: tuple[int, ...]) -> None:
        self.settings, self.shape = settings, shape
        self.cpu = Histogram(CPU_BUCKETS, settings.half_life, shape)
        self.memory = Histogram(MEMORY_BUCKETS, settings.half_life, shape)
        self._samples = np.zeros(shape)
        self._first_seconds, self._last_seconds = np.full(shape, np.inf), np.full(shape, -np.inf)
        self._memory_seconds, self._window_end = np.full(shape, -np.inf), np.full(shape, np.nan)
        self._peak = np.zeros(shape)

    def see_cpu(self, cores: Floats, request: Floats, pods: Ints, seconds: Floats) -> None:
        """Take a sample of each of the pods, all of which are taken to use the same.

        Args:
            cores: float64 ``(..., S)``; a pod's mean usage, NaN where it is missing.
            request: what a pod requests; so much the sample weighs.
            pods: int64 ``(..., S)``; how many there are.
            seconds: when it was measured; only what is newer than the last sample is taken.
        """
        taken = ~np.isnan(cores) & (pods > 0) & (seconds > self._last_seconds)
        self.cpu.add(cores, np.maximum(request, _LEAST_WEIGHT) * pods, seconds, taken)
        self._samples += np.where(taken, pods, 0)
        self._first_seconds = np.where(taken, np.minimum(self._first_seconds, seconds), self._first_seconds)
        self._last_seconds = np.where(taken, seconds, self._last_seconds)

    def see_memory(self, used_bytes: Floats, seconds: Floats) -> None:
        """Take a sample of memory, of which the highest of each interval counts, once.

        Args:
            used_bytes: float64 ``(..., S)``; a pod's mean usage, NaN where it is missing.
            seconds: when it was measured.
        """
        known = ~np.isnan(used_bytes) & np.isfinite(seconds) & (seconds >= self._memory_seconds)
        seconds = np.where(known, seconds, 0.0)
        self._memory_seconds = np.where(known, seconds, self._memory_seconds)
        end = np.where(np.isnan(self._window_end), seconds, self._window_end)
        over = known & (seconds >= end)
        interval = self.settings.memory_interval
        whole = np.floor(np.where(over, seconds - end, 0.0) / interval) + 1
        higher = known & ~over & (used_bytes > self._peak)
        ones = np.ones(self.shape)
        self.memory.subtract(self._peak, ones, end, higher & (self._peak > 0))
        self._window_end = np.where(over, end + whole * interval, self._window_end)
        self.memory.add(used_bytes, ones, self._window_end, over | higher)
        self._peak = np.where(over | higher, used_bytes, self._peak)

    def recommend_cpu(self) -> Recommendation:
        """In millicores."""
        settings = self.settings
        limits = round(settings.min_vcpu * MILLI), round(settings.max_vcpu * MILLI)
        return self._recommend(self.cpu, MILLI, limits)

    def recommend_memory(self) -> Recommendation:
        """In bytes."""
        settings = self.settings
        limits = round(settings.min_memory_gib * GIB), round(settings.max_memory_gib * GIB)
        return self._recommend(self.memory, 1, limits)

    def reset(self, mask: Mask) -> None:
        """Forget the clusters under a mask ``(...)``."""
        for histogram in (self.cpu, self.memory):
            histogram.reset(mask)
        self._samples[mask] = self._peak[mask] = 0.0
        self._first_seconds[mask] = np.inf
        self._last_seconds[mask] = self._memory_seconds[mask] = -np.inf
        self._window_end[mask] = np.nan

    def _recommend(self, usage: Histogram, units: int, limits: tuple[int, int]) -> Recommendation:
        settings = self.settings
        lifespan = np.where(self._samples > 0, self._last_seconds - self._first_seconds, 0.0)
        confident = confidence(self._samples, lifespan, settings.confidence_interval)

        def amount(percentile: float) -> Ints:
            return with_margin(whole_amount(usage.percentile(percentile) * units), settings.margin)

        def bounded(amounts: Ints) -> Ints:
            return np.minimum(at_least(amounts, limits[0]), limits[1])

        return Recommendation(
            bounded(with_confidence(amount(settings.lower_percentile), *_LOWER_CONFIDENCE, confident)),
            bounded(amount(settings.target_percentile)),
            bounded(with_confidence(amount(settings.upper_percentile), *_UPPER_CONFIDENCE, confident)),
        )


class Vpa:
    """VPA as a recommender and an updater, one policy for all services and clusters; it leaves replicas as they are.

    A sample is the mean usage of a service's ready pods, ``cpu`` (and the metric ``memory``, where there is
    one) times the request, once for each of them; how pods differ is not seen. Where a request lies outside the
    recommended range, all of the service's pods get the recommended requests, and nothing else changes them.

    Where a metric, or what pods request, is missing, no sample is taken and nothing is asked for that has not
    been seen: what is known already still counts. After a change no samples are taken for ``settle`` seconds,
    as ``cpu`` is then over requests of both kinds. On Plants that do not show what pods request it holds.

    Args:
        settings: for all clusters, or of each of N, which do not differ.
    """

    def __init__(self, settings: VpaSettings | Sequence[VpaSettings], services: tuple[str, ...] = ()) -> None:
        self.settings = settings if isinstance(settings, VpaSettings) else settings[0]
        self._services = services
        self._recommender: Recommender | None = None
        self._settled_seconds = np.array(-np.inf)

    @property
    def period_seconds(self) -> float:
        """Seconds between two decisions."""
        return self.settings.period

    def decide(self, snapshot: Snapshot) -> Desired:
        """Other requests where those of now are outside the recommended range."""
        if snapshot.vcpu is None:
            return Desired.hold(snapshot, "requests unknown, held" if snapshot.wanted.ndim == 1 else "")
        shape, now = snapshot.wanted.shape, _now(snapshot)
        recommender = self._recommender
        if recommender is None or recommender.shape != shape:
            recommender = self._recommender = Recommender(self.settings, shape)
            self._settled_seconds = np.full(shape, -np.inf)
        self._sample(recommender, snapshot, snapshot.vcpu)
        cpu = recommender.recommend_cpu()
        milli, ready = _milli(snapshot.vcpu), ~recommender.cpu.empty
        changes = ready & cpu.misses(milli)
        memory = recommender.recommend_memory()
        knows_memory = ~recommender.memory.empty
        if snapshot.memory_gib is not None:
            changes = changes | (knows_memory & memory.misses(_bytes(snapshot.memory_gib)))
        self._settled_seconds = np.where(changes, now + self.settings.settle, self._settled_seconds)
        reason = self._reason(milli, cpu, ready, changes) if len(shape) == 1 else ""
        if not changes.any():
            return Desired.hold(snapshot, reason)
        vcpu = np.where(changes & ready, cpu.target / MILLI, snapshot.vcpu)
        memory_gib = snapshot.memory_gib
        if memory_gib is not None:
            whole = np.ceil(memory.target / MIB) * MIB / GIB
            memory_gib = np.where(changes & knows_memory, whole, memory_gib)
        return Desired(snapshot.wanted, reason, vcpu=vcpu, memory_gib=memory_gib)

    def reset(self, mask: Mask | None = None) -> None:
        """Forget all samples; with a mask ``(...)``, only those of the clusters where it is True."""
        if mask is None:
            self._recommender = None
        elif self._recommender is not None:
            self._recommender.reset(mask)
            self._settled_seconds[mask] = -np.inf

    def _sample(self, recommender: Recommender, snapshot: Snapshot, request: Floats) -> None:
        settled = _now(snapshot) >= self._settled_seconds
        cores = snapshot.cpu.value * request
        recommender.see_cpu(
            np.where(settled, cores, np.nan), request, snapshot.ready, _measured(snapshot, snapshot.cpu)
        )
        memory = snapshot.metrics.get("memory")
        if memory is not None and snapshot.memory_gib is not None:
            used = np.where(settled, memory.value * snapshot.memory_gib * GIB, np.nan)
            recommender.see_memory(used, _measured(snapshot, memory))

    def _reason(self, milli: Ints, cpu: Recommendation, ready: Mask, changes: Mask) -> str:
        texts = [
            f"cpu {milli[at]}m, recommended {cpu.target[at]}m within {cpu.lower[at]}m to {cpu.upper[at]}m"
            + (", replaced" if changes[at] else ", held")
            if ready[at]
            else "no sample yet, held"
            for at in range(len(milli))
        ]
        return join_reasons(self._services, texts)


def _now(snapshot: Snapshot) -> Floats:
    return np.asarray(snapshot.time_seconds, dtype=np.float64)[..., np.newaxis]


def _measured(snapshot: Snapshot, metric: Metric) -> Floats:
    """When a metric was measured, float64 ``(..., S)``; -inf if it never was."""
    age = np.where(np.isnan(metric.age_seconds), np.inf, metric.age_seconds)
    return np.asarray(_now(snapshot) - age)


def _milli(vcpu: Floats) -> Ints:
    return np.rint(vcpu * MILLI).astype(np.int64)


def _bytes(memory_gib: Floats) -> Ints:
    return np.rint(memory_gib * GIB).astype(np.int64)


def make_vpa(settings: VpaSettings | Sequence[VpaSettings], context: Context) -> Vpa:
    """A Vpa, for all clusters or with settings for each, which are the same."""
    return Vpa(settings, context.services)
