"""The Kubernetes HorizontalPodAutoscaler v2 on CPU utilisation, as a Policy.

One decision is one pass of upstream's loop: bounds, a proposal from the pods, stabilisation, rate
policies, bounds again, bookkeeping. Source: kubernetes/kubernetes
pkg/controller/podautoscaler/horizontal.go (``reconcileAutoscaler``,
``normalizeDesiredReplicasWithBehaviors``, ``recordInitialRecommendation``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from pydantic import Field, field_validator, model_validator

from agents.baselines.hpa_behavior import (
    CONTROLLER_WINDOW_SECONDS,
    Behavior,
    Bounds,
    GrowthLimit,
    Limited,
    LimitReason,
    Log,
    ScaleEvents,
    ScalingPolicy,
    ScalingRules,
    Seconds,
    filled_down,
    filled_up,
    limit_without_behavior,
    stabilize,
    stabilize_without_behavior,
)
from agents.baselines.hpa_proposal import Proposal, Tolerance, UtilizationTarget, propose
from agents.policy import Context, Mask, by_cluster
from simulator.arrays import Floats, Ints
from simulator.plant import Desired, Snapshot
from simulator.pod_groups import PodGroups
from simulator.settings import Settings

VARIED: Final = frozenset({"target", "window"})
"""Settings that the clusters of one Hpa may differ in."""
_PERCENT: Final = 100
_ROUNDING_PERCENT: Final = 1e-6
_GENTLE: Final = ScalingRules(
    policies=(
        ScalingPolicy(type="Pods", value=2, period_seconds=60),
        ScalingPolicy(type="Percent", value=25, period_seconds=60),
    )
)


class HpaSettings(Settings):
    """Settings of the Kubernetes HPA; fewest and most replicas come from the Context.

    The default target is ``DefaultCPUUtilization`` of kubernetes/kubernetes
    pkg/apis/autoscaling/annotations.go; the other defaults are those of kube-controller-manager's
    flags ``--horizontal-pod-autoscaler-*``.
    """

    target: float = Field(
        default=0.8,
        ge=0.01,
        le=10,
        description="CPU used over CPU requested to steer to; a whole percent, such as 0.6.",
    )
    tolerance: float = Field(
        default=0.1, ge=0, description="No change while used over target is so close to 1."
    )
    window: int = Field(
        default=CONTROLLER_WINDOW_SECONDS,
        ge=0,
        le=3600,
        description="Scale-down stabilisation window, seconds, where the behavior has none of its own.",
    )
    scale_up: Literal["default", "gentle"] = Field(
        default="default",
        description="Fastest scale-up: default, the larger of 4 pods and 100 percent in 15 s;"
        " gentle, the larger of 2 pods and 25 percent in 60 s.",
    )
    period: float = Field(default=15.0, ge=1, le=3600, description="Seconds between two decisions.")
    behavior: Behavior | Literal["none"] | None = Field(
        default=None,
        description="Full scaling rules in place of scale_up; none: the older rule of an HPA without any"
        " behavior (at most double, or 4).",
    )

    @field_validator("target")
    @classmethod
    def _whole_percent(cls, target: float) -> float:
        if abs(target * _PERCENT - round(target * _PERCENT)) > _ROUNDING_PERCENT:
            msg = "only a whole percent, such as 0.6, is allowed"
            raise ValueError(msg)
        return target

    @model_validator(mode="after")
    def _one_scale_up(self) -> HpaSettings:
        if self.behavior is not None and self.scale_up != "default":
            msg = f"scale_up is {self.scale_up!r}: only one of scale_up and behavior is allowed"
            raise ValueError(msg)
        return self

    @property
    def target_percent(self) -> int:
        """The target as upstream holds it."""
        return round(self.target * _PERCENT)

    @property
    def rules(self) -> Behavior | None:
        """The behavior that these settings mean; None for an HPA without any."""
        if self.behavior is None:
            return Behavior(scale_up=_GENTLE if self.scale_up == "gentle" else None)
        return None if self.behavior == "none" else self.behavior

    @property
    def tolerances(self) -> Tolerance:
        """The tolerance by direction."""
        rules = self.rules or Behavior()
        return Tolerance(self._tolerance(rules.scale_down), self._tolerance(rules.scale_up))

    def _tolerance(self, rules: ScalingRules | None) -> float:
        return self.tolerance if rules is None or rules.tolerance is None else rules.tolerance


@dataclass(frozen=True, slots=True)
class Rescale:
    """One pass after the proposal; every array is ``(..., S)``.

    Attributes:
        replicas: the count to set.
        stabilized: the count before the limits.
        limit: what the limits changed, LimitReason.
        outside: where the current count was out of bounds or 0, and nothing else was looked at.
    """

    replicas: Ints
    stabilized: Ints
    limit: Limited
    outside: Mask


class Rescaler:
    """Steps 0 and 3 to 6 of the HPA for clusters of one shape, and what they remember.

    Args:
        shape: of the counts, ``(..., S)``.
        bounds: int64 ``(S,)`` each.
        behavior: None for an HPA without any.
        window_seconds: ``--horizontal-pod-autoscaler-downscale-stabilization``; one for all, or an array that
            goes with the shape.
        growth: limit without behavior.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        bounds: Bounds,
        behavior: Behavior | None,
        window_seconds: Seconds = CONTROLLER_WINDOW_SECONDS,
        growth: GrowthLimit | None = None,
    ) -> None:
        self.shape, self.bounds = shape, bounds
        self.proposals = Log(shape)
        self._window_seconds, self._growth = window_seconds, growth or GrowthLimit()
        self._fresh: Mask | None = np.ones(shape, dtype=bool)
        self._asked: tuple[Ints, Ints, Floats] | None = None
        self.events: ScaleEvents | None = None
        if behavior is not None:
            up, down = filled_up(behavior.scale_up), filled_down(behavior.scale_down, window_seconds)
            self.events = ScaleEvents(shape, up, down)

    def reset(self, mask: Mask) -> None:
        """Forget the clusters under a mask ``(...)``."""
        if self._fresh is None:
            self._fresh = np.zeros(self.shape, dtype=bool)
        self._fresh[mask] = True
        if self._asked is not None:
            before, asked, _ = self._asked
            asked[mask] = before[mask]
        self.proposals.reset(mask)
        if self.events is not None:
            self.events.reset(mask)

    def rescale(self, current: Ints, now_seconds: Floats, proposal: Ints, valid: Mask) -> Rescale:
        """One pass; where the proposal is not valid, and the count within bounds, nothing happens.

        A change is remembered by the next pass, where it is seen to have happened: upstream, too,
        remembers none that the API server refused.
        """
        self._remember(current)
        if self._fresh is not None:
            self.proposals.write(current, now_seconds, np.inf, self._fresh)
            self._fresh = None
        bounded = np.minimum(np.maximum(current, self.bounds.fewest), self.bounds.most)
        outside = bounded != current
        if outside.any():
            bounded = np.where(current == 0, 0, bounded)
            valid = valid & ~outside
        free = None if valid.all() else valid
        stabilized = self.stabilize(current, now_seconds, proposal, free)
        limit = self.limit(current, stabilized, now_seconds)
        replicas = limit.replicas if free is None else np.where(free, limit.replicas, bounded)
        self._asked = current.copy(), replicas.copy(), now_seconds.copy()
        return Rescale(replicas, stabilized, limit, outside)

    def _remember(self, current: Ints) -> None:
        if self._asked is None or self.events is None:
            return
        before, asked, seconds = self._asked
        self.events.store(before, np.where(current == asked, asked, before), seconds)

    def stabilize(
        self, current: Ints, now_seconds: Floats, proposal: Ints, where: Mask | None = None
    ) -> Ints:
        """Step 3: the stabilised count, int64 ``(..., S)``; the proposal is logged where asked."""
        log = self.proposals
        if self.events is None:
            oldest: Seconds = self._window_seconds
            stabilized = stabilize_without_behavior(log, now_seconds, proposal, oldest)
        else:
            windows = (self.events.up.window_seconds, self.events.down.window_seconds)
            oldest = np.maximum(*windows)
            stabilized = stabilize(log, now_seconds, current, proposal, windows)
        log.write(proposal, now_seconds, oldest, where)
        return stabilized

    def limit(self, current: Ints, stabilized: Ints, now_seconds: Floats) -> Limited:
        """Steps 4 and 5: what rate policies and bounds leave of the stabilised count."""
        if self.events is None:
            return limit_without_behavior(current, stabilized, self.bounds, self._growth)
        return self.events.limit(current, stabilized, self.bounds, now_seconds)


class Hpa:
    """The Kubernetes HPA on ``snapshot.pods["cpu"]``, one for all services and clusters.

    Where the metric is missing (no groups, an age that is NaN, no sample left, a pod without a
    request) the count is held and nothing is remembered; as upstream, only the bounds still act.
    The age of the samples is not looked at: pods whose samples are too old to trust are grouped as
    unready or missing by the Plant.

    Changes are remembered where they are seen to have happened; one that a guard cuts or another
    hand changes is not, as if somebody else had made it.

    Args:
        settings: for all clusters, or of each of N, which differ in VARIED alone.
    """

    def __init__(
        self, settings: HpaSettings | Sequence[HpaSettings], bounds: Bounds, services: tuple[str, ...] = ()
    ) -> None:
        each = (settings,) if isinstance(settings, HpaSettings) else settings
        self.settings = each[0]
        self._target = UtilizationTarget(by_cluster([one.target_percent for one in each]))
        self._window_seconds = by_cluster([one.window for one in each])
        self._tolerance = self.settings.tolerances
        self._rules = self.settings.rules
        self._bounds, self._services = bounds, services
        self._rescaler: Rescaler | None = None

    @property
    def period_seconds(self) -> float:
        """Seconds between two decisions."""
        return self.settings.period

    def decide(self, snapshot: Snapshot) -> Desired:
        """One pass of the HPA's loop."""
        return self.settle(snapshot, self.propose(snapshot.pods.get("cpu"), snapshot.wanted))

    def settle(self, snapshot: Snapshot, proposal: Proposal | None) -> Desired:
        """What stabilisation, rate policies and bounds make of a proposal; None where there is none."""
        current = snapshot.wanted
        rescaler = self._rescaler
        if rescaler is None or rescaler.shape != current.shape:
            rescaler = Rescaler(current.shape, self._bounds, self._rules, self._window_seconds)
            self._rescaler = rescaler
        now_seconds = np.asarray(snapshot.time_seconds, dtype=np.float64)
        proposed = current if proposal is None else proposal.replicas
        valid = np.zeros(current.shape, dtype=bool) if proposal is None else proposal.valid
        rescale = rescaler.rescale(current, now_seconds, proposed, valid)
        reason = self._reason(current, proposal, rescale) if current.ndim == 1 else ""
        return Desired(rescale.replicas, reason)

    def reset(self, mask: Mask | None = None) -> None:
        """Forget proposals and changes; with a mask ``(...)``, only for the clusters where it is True."""
        if mask is None:
            self._rescaler = None
        elif self._rescaler is not None:
            self._rescaler.reset(mask)

    def propose(self, groups: PodGroups | None, current: Ints) -> Proposal | None:
        """What the pods' CPU proposes in place of the current count, int64 ``(..., S)``; None without any groups."""
        if groups is None:
            return None
        unknown = np.isnan(groups.age_seconds)
        proposal = propose(groups, current, self._target, self._tolerance)
        if unknown.any():
            valid = proposal.valid & ~unknown
            replicas = np.where(valid, proposal.replicas, current)
            return Proposal(replicas, valid, proposal.ratio, proposal.reading, proposal.counted)
        return proposal

    def _reason(self, current: Ints, proposal: Proposal | None, rescale: Rescale) -> str:
        texts = [self._reason_of(index, current, proposal, rescale) for index in range(len(current))]
        if len(texts) == 1:
            return texts[0]
        names = self._services or tuple(str(index) for index in range(len(texts)))
        return " | ".join(f"{name}: {text}" for name, text in zip(names, texts, strict=True))

    def _reason_of(self, index: int, current: Ints, proposal: Proposal | None, rescale: Rescale) -> str:
        if rescale.outside[index]:
            return _outside_reason(int(current[index]), int(rescale.replicas[index]))
        if proposal is None or not proposal.valid[index]:
            return "cpu unknown, held"
        proposed, stabilized = int(proposal.replicas[index]), int(rescale.stabilized[index])
        text = f"cpu {proposal.reading[index]}% of request, target {self._target.percent}% -> {proposed}"
        if stabilized != proposed:
            text += "; ScaleUpStabilized" if proposed >= current[index] else "; ScaleDownStabilized"
        limit = LimitReason(rescale.limit.reason[index])
        return text if limit is LimitReason.DesiredWithinRange else f"{text}; {limit.name}"


def _outside_reason(current: int, bound: int) -> str:
    if current == 0:
        return "0 replicas, autoscaling is off"
    return f"{current} is {'above the maximum' if current > bound else 'below the minimum'} -> {bound}"


def make_hpa(settings: HpaSettings | Sequence[HpaSettings], context: Context) -> Hpa:
    """An Hpa within the Context's bounds, for all clusters or with settings for each."""
    return Hpa(settings, Bounds(context.min_replicas, context.max_replicas), context.services)
