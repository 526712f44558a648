"""The Kubernetes HPA with a forecast in its rule: it scales up ahead of the start-up delay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from pydantic import Field

from agents.baselines.hpa import Hpa, HpaSettings
from agents.baselines.hpa_behavior import Bounds
from agents.baselines.hpa_pass import Reading
from agents.baselines.outlook import Expected, Outlook, OutlookSettings
from agents.baselines.reasons import join_reasons
from agents.baselines.staffing import known
from agents.policy import Context, Mask, floats_by_cluster
from simulator.arrays import Floats, Ints
from simulator.plant import Desired, Snapshot
from simulator.pod_groups import PodGroups

VARIED: Final = frozenset({"target", "window", "quantile"})
"""Settings that the clusters of one PredictiveHpa may differ in."""
_LATE_SECONDS: Final = 120.0
"""Rates older than this are not waited for any longer."""


class PredictiveHpaSettings(HpaSettings, OutlookSettings):
    """Settings of the HPA, and of the forecast in its rule."""

    quantile: float = Field(
        default=0.95, ge=0.01, le=0.99, description="Of the forecast rate, that the pods are to bear."
    )
    start_up: float | None = Field(
        default=None, gt=0, le=3600, description="Seconds until a pod is ready; the task's if not given."
    )
    horizon: float | None = Field(
        default=None,
        gt=0,
        le=3600,
        description="Seconds ahead that are forecast; start_up, period and the rate's age if not given.",
    )


class PredictiveHpa:
    """The HPA on CPU, and on the CPU that the forecast leads to, whichever proposes more.

    With ``r`` the rate as measured now and ``q`` the highest quantile of the forecast rate between now and ``horizon``
    seconds ahead, the CPU used by the pods is taken times ``max(q / r, 1)``, and the HPA's rule proposes from it:

        ``replicas = ceil(pods * cpu * max(q / r, 1) / target)``

    Tolerance, unready and missing pods, stabilisation, behavior and bounds are the HPA's own, in its own code, so a
    proposal is never below the reactive one. ``horizon`` is the start-up delay, a period and the age of the rate: what
    is asked for now serves from then on, and what is removed now is gone until then.

    Where there is no forecast (a missing rate, or none before, or no more history than the last value), the HPA alone
    decides, and the reason says so; where CPU is missing the count is held, as by the HPA.

    Source: that of ``hpa``; the larger of two counts is taken as AWS' predictive scaling does beside a dynamic policy.

    Args:
        settings: for all clusters, or of each of N, which differ in VARIED alone.
        horizon_seconds: float64 ``(S,)``; the rate's age comes on top where the settings leave it open.
    """

    def __init__(
        self,
        settings: PredictiveHpaSettings | Sequence[PredictiveHpaSettings],
        context: Context,
        horizon_seconds: Floats,
    ) -> None:
        each = (settings,) if isinstance(settings, PredictiveHpaSettings) else settings
        self.settings = each[0]
        self._hpa = Hpa(each, Bounds(context.min_replicas, context.max_replicas), context.services, looks=2)
        self._quantile = floats_by_cluster([one.quantile for one in each])
        self._horizon_seconds = horizon_seconds
        self._late_seconds = _LATE_SECONDS if self.settings.horizon is None else 0.0
        furthest = float(horizon_seconds.max()) + self._late_seconds
        self._outlook = Outlook(self.settings, int(np.ceil(furthest / self.settings.bin)) + 1, context)
        self._services = context.services

    @property
    def period_seconds(self) -> float:
        """Seconds between two decisions."""
        return self.settings.period

    def decide(self, snapshot: Snapshot) -> Desired:
        """One pass of the HPA's loop on the larger of two proposals."""
        expected = self._outlook.observe(snapshot)
        growth = self._growth(snapshot, expected)
        readings = self._hpa.read(snapshot)
        desired = self._hpa.settle(snapshot, [*readings, *(_grown(each, growth) for each in readings)])
        if snapshot.wanted.ndim > 1:
            return desired
        return Desired(desired.replicas, f"{desired.reason}; {self._reason(snapshot, expected, growth)}")

    def reset(self, mask: Mask | None = None) -> None:
        """Forget rates, proposals and changes; with a mask ``(...)``, only of the clusters where it is True."""
        self._hpa.reset(mask)
        self._outlook.reset(mask)

    def _growth(self, snapshot: Snapshot, expected: Expected) -> Floats:
        """What the rate is expected to grow to, over what it is; float64 ``(..., S)``, at least 1."""
        rate, age = snapshot.rate.value, snapshot.rate.age_seconds
        late = np.where(np.isfinite(age), np.clip(age, 0.0, self._late_seconds), 0.0)
        until = self._horizon_seconds + late
        within = expected.begins_seconds[..., np.newaxis, :] < until[..., np.newaxis]
        highest = np.where(within, expected.at(self._quantile), 0.0).max(axis=-1)
        usable = (rate > 0) & ~np.isnan(highest) & ~expected.blind
        ratio = np.divide(highest, rate, out=np.ones_like(highest), where=usable)
        return np.asarray(np.maximum(ratio, 1.0))

    def _reason(self, snapshot: Snapshot, expected: Expected, growth: Floats) -> str:
        texts = []
        for place, note in enumerate(expected.notes):
            if np.isnan(snapshot.rate.value[place]):
                texts.append("rate unknown, reactive")
            elif expected.blind[place] or np.isnan(expected.quantiles[place]).any():
                texts.append(f"no forecast, reactive: {note}")
            else:
                texts.append(f"expected x{growth[place]:.3g} ({note})")
        return join_reasons(self._services, texts)


def _grown(reading: Reading, growth: Floats) -> Reading:
    """The same pods with their usage grown; what is no pods' stays."""
    if not isinstance(reading, PodGroups):
        return reading
    usage: Ints = np.rint(reading.counted.usage_milli * growth).astype(np.int64)
    return replace(reading, counted=replace(reading.counted, usage_milli=usage))


def make_predictive_hpa(
    settings: PredictiveHpaSettings | Sequence[PredictiveHpaSettings], context: Context
) -> PredictiveHpa:
    """A PredictiveHpa within the Context's bounds, for all clusters or with settings for each.

    Raises:
        InputError: if neither the settings nor the Context say how long a pod takes to start.
    """
    first = settings if isinstance(settings, PredictiveHpaSettings) else settings[0]
    services = len(context.services)
    if first.horizon is not None:
        return PredictiveHpa(settings, context, np.full(services, first.horizon))
    what = "how many seconds a pod takes to start"
    start_up = known("predictive_hpa", "start_up", what, first.start_up, context.start_up_seconds, services)
    return PredictiveHpa(settings, context, start_up + first.period)
