"""One pass of the Kubernetes HPA's loop over several metrics, and the conditions that it would report.

Source: kubernetes/kubernetes pkg/controller/podautoscaler/horizontal.go
(``computeReplicasForMetrics``, ``reconcileAutoscaler``, ``normalizeDesiredReplicas``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np

from agents.baselines.hpa_behavior import (
    CONTROLLER_WINDOW_SECONDS,
    Behavior,
    Bounds,
    GrowthLimit,
    LimitReason,
    Seconds,
)
from agents.baselines.hpa_proposal import (
    AverageValueTarget,
    Counts,
    Proposal,
    Tolerance,
    Usage,
    UtilizationTarget,
    WholeTarget,
    propose,
    propose_whole,
)
from agents.baselines.hpa_rescale import Rescale, Rescaler
from agents.policy import Mask
from simulator.arrays import Floats, Ints
from simulator.pod_groups import PodGroups

Reading = PodGroups | Usage | None
"""What a metric's source says: pods in groups, one value of all, or nothing at all."""
_FAILURES: Final = {
    "resource": "FailedGetResourceMetric",
    "container_resource": "FailedGetContainerResourceMetric",
    "pods": "FailedGetPodsMetric",
    "object": "FailedGetObjectMetric",
    "external": "FailedGetExternalMetric",
}


@dataclass(frozen=True, slots=True)
class MetricRule:
    """One metric of an HPA: its type in Kubernetes' words, its name, and what it is steered to."""

    type: str
    name: str
    target: UtilizationTarget | AverageValueTarget | WholeTarget

    @property
    def failure(self) -> str:
        """Upstream's reason where it cannot be had."""
        return _FAILURES.get(self.type, "InvalidMetricSourceType")

    def propose(self, reading: Reading, counts: Counts, tolerance: Tolerance) -> Proposal:
        """What it proposes; nothing where its source says nothing or something of another kind."""
        if isinstance(reading, PodGroups) and not isinstance(self.target, WholeTarget):
            return _known(propose(reading, counts.spec, self.target, tolerance), counts, reading.age_seconds)
        if isinstance(reading, Usage) and isinstance(self.target, WholeTarget):
            return propose_whole(reading, counts, self.target, tolerance)
        shape = counts.spec.shape
        return Proposal(
            counts.spec, np.zeros(shape, dtype=bool), np.full(shape, np.nan), np.zeros_like(counts.spec)
        )


def _known(proposal: Proposal, counts: Counts, age_seconds: Floats) -> Proposal:
    """The same without the pods whose samples have no age."""
    unknown = np.isnan(age_seconds)
    if not unknown.any():
        return proposal
    valid = proposal.valid & ~unknown
    replicas = np.where(valid, proposal.replicas, counts.spec)
    return Proposal(replicas, valid, proposal.ratio, proposal.reading, proposal.counted)


@dataclass(frozen=True, slots=True)
class Rules:
    """An HPA without its history.

    Attributes:
        metrics: at least one.
        bounds: fewest and most replicas.
        behavior: None for an HPA without any.
        tolerance: by direction.
        window_seconds: ``--horizontal-pod-autoscaler-downscale-stabilization``; one for all, or an array that
            goes with ``(..., S)``.
        growth: limit without behavior.
    """

    metrics: tuple[MetricRule, ...]
    bounds: Bounds
    behavior: Behavior | None = None
    tolerance: Tolerance = field(default_factory=Tolerance)
    window_seconds: Seconds = CONTROLLER_WINDOW_SECONDS
    growth: GrowthLimit = field(default_factory=GrowthLimit)


class Condition(NamedTuple):
    """One of an HPA's conditions."""

    holds: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Pass:
    """What one pass found and decided; every array is ``(..., S)``.

    Attributes:
        rules: by which.
        current: int64; the count before.
        proposals: of each metric, in order.
        proposed: int64; the largest of them; the current count where ``valid`` is False.
        valid: False where all metrics failed, or some did and the others want fewer replicas.
        rescale: what came of it; outside the bounds the metrics do not matter.
    """

    rules: Rules
    current: Ints
    proposals: tuple[Proposal, ...]
    proposed: Ints
    valid: Mask
    rescale: Rescale

    def conditions(self, place: int | tuple[int, ...]) -> dict[str, Condition]:
        """The conditions of one HPA, at a place of ``(..., S)``: those that upstream would set."""
        found = {"AbleToScale": Condition(True, "SucceededGetScale")}  # noqa: FBT003 - status True
        current, rescale = self.current[place], self.rescale
        if rescale.outside[place]:
            if current == 0:
                found["ScalingActive"] = Condition(False, "ScalingDisabled")  # noqa: FBT003
        elif not self.valid[place]:
            failed = next(
                rule
                for rule, one in zip(self.rules.metrics, self.proposals, strict=True)
                if not one.valid[place]
            )
            found["ScalingActive"] = Condition(False, failed.failure)  # noqa: FBT003
        else:
            limit = LimitReason(rescale.limit.reason[place])
            limited = bool(rescale.limit.replicas[place] != rescale.stabilized[place])
            found = {
                "AbleToScale": Condition(True, self.stabilization(place)),  # noqa: FBT003
                "ScalingActive": Condition(True, "ValidMetricFound"),  # noqa: FBT003
                "ScalingLimited": Condition(limited, limit.name),
            }
        if rescale.replicas[place] != current:
            found["AbleToScale"] = Condition(True, "SucceededRescale")  # noqa: FBT003
        return found

    def stabilization(self, place: int | tuple[int, ...]) -> str:
        """What stabilisation did: ReadyForNewScale where nothing; without behavior, it only holds scale-downs."""
        proposed = self.proposed[place]
        if self.rescale.stabilized[place] == proposed:
            return "ReadyForNewScale"
        up = self.rules.behavior is not None and proposed >= self.current[place]
        return "ScaleUpStabilized" if up else "ScaleDownStabilized"


class Autoscaler:
    """An HPA for services of any number of clusters, and what it remembers of them."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self._rescaler: Rescaler | None = None

    def rescaler(self, shape: tuple[int, ...]) -> Rescaler:
        """What remembers proposals and changes of counts ``(..., S)``; another shape forgets all."""
        if self._rescaler is None or self._rescaler.shape != shape:
            rules = self.rules
            self._rescaler = Rescaler(shape, rules.bounds, rules.behavior, rules.window_seconds, rules.growth)
        return self._rescaler

    def reset(self, mask: Mask | None = None) -> None:
        """Forget proposals and changes; with a mask ``(...)``, only for the clusters where it is True."""
        if mask is None:
            self._rescaler = None
        elif self._rescaler is not None:
            self._rescaler.reset(mask)

    def decide(self, counts: Counts, readings: Sequence[Reading], now_seconds: Floats) -> Pass:
        """One pass.

        Args:
            counts: int64 ``(..., S)`` inside.
            readings: of each metric, in the rules' order.
            now_seconds: float64 ``(...)``.
        """
        rules = self.rules
        proposals = tuple(
            rule.propose(reading, counts, rules.tolerance)
            for rule, reading in zip(rules.metrics, readings, strict=True)
        )
        proposed, valid = combine(proposals, counts.spec)
        rescale = self.rescaler(counts.spec.shape).rescale(counts.spec, now_seconds, proposed, valid)
        return Pass(rules, counts.spec, proposals, proposed, valid, rescale)


def combine(proposals: Sequence[Proposal], current: Ints) -> tuple[Ints, Mask]:
    """Step 2: the largest proposal, and whether it counts, each ``(..., S)``.

    Failed metrics are left out; where all failed, or some failed and the largest of the others is
    below the current count, there is none.
    """
    first = proposals[0]
    if len(proposals) == 1:
        return np.maximum(first.replicas, 0), first.valid
    best, any_valid, any_failed = np.where(first.valid, first.replicas, 0), first.valid, ~first.valid
    for one in proposals[1:]:
        takes = one.valid & ((best == 0) | (one.replicas > best))
        best = np.where(takes, one.replicas, best)
        any_valid, any_failed = any_valid | one.valid, any_failed | ~one.valid
    valid = any_valid & ~(any_failed & (best < current))
    return np.where(valid, np.maximum(best, 0), current), valid
