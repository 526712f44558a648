"""AWS target tracking: capacity in proportion to a metric, by alarms it makes itself.

Source: Application Auto Scaling User Guide, "How target tracking scaling for Application Auto Scaling
works", and API Reference, TargetTrackingScalingPolicyConfiguration. The numbers of points and the 90 % are
what such alarms show in practice; AWS does not promise them, and does not publish how capacity is computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import numpy as np
from pydantic import Field

from agents.baselines.alarms import Alarm, Cooldowns
from agents.baselines.hpa_behavior import Bounds
from agents.baselines.reasons import join_reasons
from agents.policy import Context, Mask, floats_by_cluster
from simulator.arrays import Floats, Ints
from simulator.plant import Desired, Snapshot
from simulator.settings import Settings

VARIED: Final = frozenset({"target"})
"""Settings that the clusters of one TargetTracking may differ in."""
MetricName = Literal["cpu", "requests"]


class TargetTrackingSettings(Settings):
    """Settings of a target tracking policy; fewest and most replicas come from the Context."""

    target: float = Field(default=0.6, gt=0, le=1e9, description="Value of the metric to steer to.")
    metric: MetricName = Field(
        default="cpu",
        description="cpu: CPU used over CPU requested; requests: requests/s a ready pod"
        " (AWS' ALBRequestCountPerTarget, which counts a minute's, over 60).",
    )
    high_datapoints: int = Field(
        default=3, ge=1, le=1440, description="So many points in a row above the target scale out."
    )
    low_datapoints: int = Field(
        default=15, ge=1, le=1440, description="So many points in a row below low_fraction of it scale in."
    )
    low_fraction: float = Field(default=0.9, gt=0, le=1, description="Share of the target for scale-in.")
    scale_out_cooldown: float = Field(
        default=300.0, ge=0, le=86_400, description="ScaleOutCooldown, seconds."
    )
    scale_in_cooldown: float = Field(default=300.0, ge=0, le=86_400, description="ScaleInCooldown, seconds.")
    disable_scale_in: bool = Field(default=False, description="DisableScaleIn: never remove capacity.")
    period: float = Field(
        default=60.0, ge=1, le=3600, description="Seconds between two points; AWS' are a minute apart."
    )


class Tracker:
    """The alarms and cooldowns of clusters of one shape.

    Args:
        settings: of all clusters.
        target: what ``settings.target`` is, or an array that goes with the shape.
        shape: of the capacities, ``(..., S)``.
        bounds: int64 ``(S,)`` each.
    """

    def __init__(
        self, settings: TargetTrackingSettings, target: float | Floats, shape: tuple[int, ...], bounds: Bounds
    ) -> None:
        self.shape = shape
        self._target, self._low = target, settings.low_fraction * target
        self._may_scale_in = not settings.disable_scale_in
        self._bounds = bounds
        self._high_alarm = Alarm(shape, settings.high_datapoints, settings.high_datapoints)
        self._low_alarm = Alarm(shape, settings.low_datapoints, settings.low_datapoints)
        self._cooldowns = Cooldowns(shape, settings.scale_out_cooldown, settings.scale_in_cooldown)

    def step(self, capacity: Ints, metric: Floats, now_seconds: Floats) -> Ints:
        """The capacity after another point, int64 ``(..., S)``.

        While an alarm is on, ``ceil(capacity * metric / target)`` within the bounds is wanted: rounded up,
        so as not to add too little or to remove too much. See Cooldowns for what capacity means then.

        Args:
            metric: float64 ``(..., S)``; NaN where missing, which scales nothing and breaks a row.
            now_seconds: float64 that goes with ``(..., S)``.
        """
        high = self._high_alarm.observe(metric > self._target)
        low = self._low_alarm.observe(metric < self._low)
        known = ~np.isnan(metric)
        base = self._cooldowns.base(capacity, now_seconds)
        wish_out = np.where(high & known, self._wish(base, metric), capacity)
        wish_in = np.where(low & known & self._may_scale_in, self._wish(capacity, metric), capacity)
        return self._cooldowns.scale(capacity, wish_out, wish_in, now_seconds)

    def reset(self, mask: Mask) -> None:
        """Forget the clusters under a mask ``(...)``."""
        for part in (self._high_alarm, self._low_alarm, self._cooldowns):
            part.reset(mask)

    def _wish(self, capacity: Ints, metric: Floats) -> Ints:
        wish = np.ceil(capacity * np.nan_to_num(metric) / self._target)
        return np.clip(wish, self._bounds.fewest, self._bounds.most).astype(np.int64)


def read_metric(snapshot: Snapshot, name: MetricName) -> Floats:
    """A rule's metric, float64 ``(..., S)``; NaN where missing, and requests where no pod is ready."""
    if name == "cpu":
        return snapshot.cpu.value
    ready = np.where(snapshot.ready > 0, snapshot.ready, np.nan)
    return snapshot.rate.value / ready


class TargetTracking:
    """AWS target tracking on one metric, one policy for all services and clusters.

    A point is what the Snapshot shows at a decision, once a minute. Where the metric is missing nothing
    is scaled, and the points before it count no longer, so that missing data never scales.

    Args:
        settings: for all clusters, or of each of N, which differ in VARIED alone.
    """

    def __init__(
        self,
        settings: TargetTrackingSettings | Sequence[TargetTrackingSettings],
        bounds: Bounds,
        services: tuple[str, ...] = (),
    ) -> None:
        each = (settings,) if isinstance(settings, TargetTrackingSettings) else settings
        self.settings = each[0]
        self._target = floats_by_cluster([one.target for one in each])
        self._bounds, self._services = bounds, services
        self._tracker: Tracker | None = None

    @property
    def period_seconds(self) -> float:
        """Seconds between two decisions."""
        return self.settings.period

    def decide(self, snapshot: Snapshot) -> Desired:
        """The capacity after another point."""
        current = snapshot.wanted
        if self._tracker is None or self._tracker.shape != current.shape:
            self._tracker = Tracker(self.settings, self._target, current.shape, self._bounds)
        metric = read_metric(snapshot, self.settings.metric)
        now_seconds = np.asarray(snapshot.time_seconds, dtype=np.float64)[..., np.newaxis]
        replicas = self._tracker.step(current, metric, now_seconds)
        return Desired(replicas, self._reason(current, metric, replicas) if current.ndim == 1 else "")

    def reset(self, mask: Mask | None = None) -> None:
        """Forget points and cooldowns; with a mask ``(...)``, only for the clusters where it is True."""
        if mask is None:
            self._tracker = None
        elif self._tracker is not None:
            self._tracker.reset(mask)

    def _reason(self, current: Ints, metric: Floats, replicas: Ints) -> str:
        name, target = self.settings.metric, self.settings.target
        texts = [
            f"{name} unknown, held"
            if np.isnan(value)
            else f"{name} {value:.4g}, target {target:g}" + (f" -> {new}" if new != old else ", held")
            for old, value, new in zip(current, metric, replicas, strict=True)
        ]
        return join_reasons(self._services, texts)


def make_target_tracking(
    settings: TargetTrackingSettings | Sequence[TargetTrackingSettings], context: Context
) -> TargetTracking:
    """A TargetTracking within the Context's bounds, for all clusters or with settings for each."""
    return TargetTracking(settings, Bounds(context.min_replicas, context.max_replicas), context.services)
