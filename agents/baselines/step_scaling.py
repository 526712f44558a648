"""AWS step scaling: alarms on a metric, and by how far it breaches them, steps of capacity.

Source: Application Auto Scaling User Guide, "How step scaling for Application Auto Scaling works"; API
Reference, StepScalingPolicyConfiguration and StepAdjustment; Amazon EC2 Auto Scaling User Guide, "Step and
simple scaling policies", whose warm-up counts added capacity as this cooldown does.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final, Literal

import numpy as np
from pydantic import Field, model_validator

from agents.baselines.alarms import Alarm, Cooldowns
from agents.baselines.hpa_behavior import Bounds
from agents.baselines.reasons import join_reasons
from agents.baselines.target_tracking import MetricName, read_metric
from agents.policy import Context, Mask, floats_by_cluster
from simulator.arrays import Floats, Ints
from simulator.plant import Desired, Snapshot
from simulator.settings import Settings

VARIED: Final = frozenset({"high", "low"})
"""Settings that the clusters of one StepScaling may differ in."""


class Step(Settings):
    """One step: what is done while the metric lies so far from the threshold."""

    lower: float | None = Field(
        default=None, description="MetricIntervalLowerBound, from the threshold; none: no lower end."
    )
    upper: float | None = Field(
        default=None, description="MetricIntervalUpperBound, from the threshold; none: no upper end."
    )
    adjustment: int = Field(
        ge=-100_000, le=100_000, description="ScalingAdjustment: replicas, percent, or the new count."
    )


class StepPolicy(Settings):
    """One scaling policy and its alarm."""

    steps: tuple[Step, ...] = Field(min_length=1, max_length=20, description="Without gaps, in any order.")
    adjustment_type: Literal["ChangeInCapacity", "PercentChangeInCapacity", "ExactCapacity"] = Field(
        default="PercentChangeInCapacity", description="What an adjustment means."
    )
    min_adjustment_magnitude: int = Field(
        default=0, ge=0, le=100_000, description="Fewest replicas that a percentage changes."
    )
    evaluation_periods: int = Field(
        default=2, ge=1, le=1440, description="Points that the alarm looks at, EvaluationPeriods."
    )
    datapoints_to_alarm: int | None = Field(
        default=None, ge=1, le=1440, description="How many of them have to breach; all if not given."
    )
    cooldown: float = Field(default=300.0, ge=0, le=86_400, description="Cooldown, seconds.")

    @model_validator(mode="after")
    def _whole(self) -> StepPolicy:
        if self.to_alarm > self.evaluation_periods:
            msg = (
                f"datapoints_to_alarm is {self.datapoints_to_alarm}: "
                f"at most evaluation_periods ({self.evaluation_periods}) is allowed"
            )
            raise ValueError(msg)
        ordered = sorted(self.steps, key=_lower)
        for step in ordered:
            if _lower(step) >= _upper(step):
                msg = f"a step goes from {step.lower} to {step.upper}: its lower end must be below its upper one"
                raise ValueError(msg)
            if step.lower is None and step.upper is None:
                msg = "a step has neither a lower nor an upper end: at least one is needed"
                raise ValueError(msg)
        for one, other in pairwise(ordered):
            if one.upper != other.lower:
                msg = f"a step ends at {one.upper} and the next begins at {other.lower}: no gap or overlap is allowed"
                raise ValueError(msg)
        if _lower(ordered[0]) not in {-np.inf, 0.0} or _upper(ordered[-1]) not in {np.inf, 0.0}:
            msg = "steps must reach from the threshold, or from no lower end, to it or to no upper end"
            raise ValueError(msg)
        return self

    @property
    def to_alarm(self) -> int:
        """Points that have to breach."""
        return self.datapoints_to_alarm or self.evaluation_periods

    def wish(self, capacity: Ints, metric: Floats, threshold: float | Floats, *, above: bool) -> Ints:
        """The capacity of the step that the metric lies in, int64 ``(..., S)``; as it is in none.

        Above the threshold a step holds its lower end, below it its upper one.
        """
        wish = capacity
        for step in self.steps:
            low, high = threshold + _lower(step), threshold + _upper(step)
            from_below = (metric >= low) & (metric < high)
            inside = from_below if above else (metric > low) & (metric <= high)
            wish = np.where(inside, self.adjusted(capacity, step.adjustment), wish)
        return wish

    def adjusted(self, capacity: Ints, adjustment: int) -> Ints:
        """The capacity after an adjustment, int64 ``(..., S)``.

        Of a percentage, changes of over 1 are cut toward 0, smaller ones are 1; at least
        ``min_adjustment_magnitude``.
        """
        if self.adjustment_type == "ExactCapacity":
            return np.full_like(capacity, adjustment)
        if self.adjustment_type == "ChangeInCapacity" or adjustment == 0:
            return np.maximum(capacity + adjustment, 0)
        change = capacity * abs(adjustment) / 100
        whole = np.where((change > 0) & (change < 1), 1, np.floor(change)).astype(np.int64)
        whole = np.maximum(whole, self.min_adjustment_magnitude)
        adjusted: Ints = np.maximum(capacity + whole if adjustment > 0 else capacity - whole, 0)
        return adjusted


def _lower(step: Step) -> float:
    return -np.inf if step.lower is None else step.lower


def _upper(step: Step) -> float:
    return np.inf if step.upper is None else step.upper


class StepScalingSettings(Settings):
    """Settings of two step scaling policies, one out and one in; bounds come from the Context.

    The default steps are those of the example in Amazon EC2 Auto Scaling's user guide, from an alarm each.
    """

    metric: MetricName = Field(
        default="cpu",
        description="cpu: CPU used over CPU requested; requests: requests/s a ready pod.",
    )
    high: float = Field(
        default=0.6, ge=0, le=1e9, description="The scale-out alarm's threshold, breached at it."
    )
    low: float = Field(
        default=0.4, ge=0, le=1e9, description="The scale-in alarm's threshold, breached at it."
    )
    scale_out: StepPolicy | Literal["none"] = Field(
        default=StepPolicy(
            steps=(Step(lower=0, upper=0.1, adjustment=10), Step(lower=0.1, adjustment=30)),
            min_adjustment_magnitude=1,
        ),
        description="What the scale-out alarm does; none: nothing.",
    )
    scale_in: StepPolicy | Literal["none"] = Field(
        default=StepPolicy(
            steps=(Step(lower=-0.1, upper=0, adjustment=-10), Step(upper=-0.1, adjustment=-30)),
            evaluation_periods=5,
        ),
        description="What the scale-in alarm does; none: nothing.",
    )
    period: float = Field(
        default=60.0, ge=1, le=3600, description="Seconds between two points; AWS' are a minute apart."
    )

    @model_validator(mode="after")
    def _directions(self) -> StepScalingSettings:
        if self.low >= self.high and "none" not in {self.scale_out, self.scale_in}:
            msg = f"low is {self.low:g}: only a threshold below high ({self.high:g}) is allowed"
            raise ValueError(msg)
        for name, policy, sign in (("scale_out", self.scale_out, 1), ("scale_in", self.scale_in, -1)):
            if policy == "none":
                continue
            least = 0 if policy.adjustment_type == "ExactCapacity" else None
            for step in policy.steps:
                amount = step.adjustment if least == 0 else sign * step.adjustment
                if amount < 0:
                    allowed = "0 or more" if least == 0 or sign > 0 else "0 or less"
                    msg = f"{name}: an adjustment is {step.adjustment}: only {allowed} is allowed there"
                    raise ValueError(msg)
        return self


class Stepper:
    """The alarms and cooldowns of clusters of one shape.

    Args:
        settings: of all clusters.
        high: what ``settings.high`` is, or an array that goes with the shape; ``low`` likewise.
        shape: of the capacities, ``(..., S)``.
        bounds: int64 ``(S,)`` each.
    """

    def __init__(
        self,
        settings: StepScalingSettings,
        high: float | Floats,
        low: float | Floats,
        shape: tuple[int, ...],
        bounds: Bounds,
    ) -> None:
        self.shape = shape
        self._bounds = bounds
        self._high, self._low = high, low
        self._out = None if settings.scale_out == "none" else settings.scale_out
        self._in = None if settings.scale_in == "none" else settings.scale_in
        self._high_alarm, self._low_alarm = _alarm(self._out, shape), _alarm(self._in, shape)
        self._cooldowns = Cooldowns(
            shape, self._out.cooldown if self._out else 0.0, self._in.cooldown if self._in else 0.0
        )

    def step(self, capacity: Ints, metric: Floats, now_seconds: Floats) -> Ints:
        """The capacity after another point, int64 ``(..., S)``.

        Args:
            metric: float64 ``(..., S)``; NaN where missing, which scales nothing.
            now_seconds: float64 that goes with ``(..., S)``.
        """
        high = self._high_alarm.observe(metric >= self._high)
        low = self._low_alarm.observe(metric <= self._low)
        wish_out = wish_in = capacity
        if self._out is not None:
            base = self._cooldowns.base(capacity, now_seconds)
            wish = self._bounded(self._out.wish(base, metric, self._high, above=True))
            wish_out = np.where(high, wish, capacity)
        if self._in is not None:
            wish = self._bounded(self._in.wish(capacity, metric, self._low, above=False))
            wish_in = np.where(low, wish, capacity)
        return self._cooldowns.scale(capacity, wish_out, wish_in, now_seconds)

    def reset(self, mask: Mask) -> None:
        """Forget the clusters under a mask ``(...)``."""
        for part in (self._high_alarm, self._low_alarm, self._cooldowns):
            part.reset(mask)

    def _bounded(self, wish: Ints) -> Ints:
        return np.clip(wish, self._bounds.fewest, self._bounds.most)


def _alarm(policy: StepPolicy | None, shape: tuple[int, ...]) -> Alarm:
    return Alarm(shape, policy.evaluation_periods, policy.to_alarm) if policy else Alarm(shape, 1, 1)


class StepScaling:
    """AWS step scaling on one metric, one policy for all services and clusters.

    A point is what the Snapshot shows at a decision, once a minute; every minute an alarm is on, its
    policy acts on the newest point. Where the metric is missing nothing is scaled, and the point counts as
    one that breaches nothing.

    Args:
        settings: for all clusters, or of each of N, which differ in VARIED alone.
    """

    def __init__(
        self,
        settings: StepScalingSettings | Sequence[StepScalingSettings],
        bounds: Bounds,
        services: tuple[str, ...] = (),
    ) -> None:
        each = (settings,) if isinstance(settings, StepScalingSettings) else settings
        self.settings = each[0]
        self._high = floats_by_cluster([one.high for one in each])
        self._low = floats_by_cluster([one.low for one in each])
        self._bounds, self._services = bounds, services
        self._stepper: Stepper | None = None

    @property
    def period_seconds(self) -> float:
        """Seconds between two decisions."""
        return self.settings.period

    def decide(self, snapshot: Snapshot) -> Desired:
        """The capacity after another point."""
        current = snapshot.wanted
        if self._stepper is None or self._stepper.shape != current.shape:
            self._stepper = Stepper(self.settings, self._high, self._low, current.shape, self._bounds)
        metric = read_metric(snapshot, self.settings.metric)
        now_seconds = np.asarray(snapshot.time_seconds, dtype=np.float64)[..., np.newaxis]
        replicas = self._stepper.step(current, metric, now_seconds)
        return Desired(replicas, self._reason(current, metric, replicas) if current.ndim == 1 else "")

    def reset(self, mask: Mask | None = None) -> None:
        """Forget points and cooldowns; with a mask ``(...)``, only for the clusters where it is True."""
        if mask is None:
            self._stepper = None
        elif self._stepper is not None:
            self._stepper.reset(mask)

    def _reason(self, current: Ints, metric: Floats, replicas: Ints) -> str:
        name, low, high = self.settings.metric, self.settings.low, self.settings.high
        texts = [
            f"{name} unknown, held"
            if np.isnan(value)
            else f"{name} {value:.4g}, alarms at {low:g} and {high:g}"
            + (f" -> {new}" if new != old else ", held")
            for old, value, new in zip(current, metric, replicas, strict=True)
        ]
        return join_reasons(self._services, texts)


def make_step_scaling(
    settings: StepScalingSettings | Sequence[StepScalingSettings], context: Context
) -> StepScaling:
    """A StepScaling within the Context's bounds, for all clusters or with settings for each."""
    return StepScaling(settings, Bounds(context.min_replicas, context.max_replicas), context.services)
