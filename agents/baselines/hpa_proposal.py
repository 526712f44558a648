"""Step 1 of the Kubernetes HPA: from pods in groups, or one value of all, to a proposed number of replicas.

Source: kubernetes/kubernetes pkg/controller/podautoscaler/replica_calculator.go
(``GetResourceReplicas``, ``GetRawResourceReplicas``, ``calcPlainMetricReplicas``, ``Tolerances``,
``GetObjectMetricReplicas``, ``GetObjectPerPodMetricReplicas``, ``GetExternalMetricReplicas``,
``GetExternalPerPodMetricReplicas``) and metrics/utilization.go (``GetResourceUtilizationRatio``,
``GetMetricUsageRatio``).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np

from agents.policy import Mask
from simulator.arrays import Floats, Ints
from simulator.pod_groups import PodGroup, PodGroups

MAX_REPLICAS: Final = 2**31 - 1
_MAX_MILLI: Final = 2**63 - 1
_FULL_PERCENT: Final = 100
_DEFAULT_TOLERANCE: Final = 0.1


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far the ratio may be from 1 without a change, as fractions; both ends are included."""

    down: float = _DEFAULT_TOLERANCE
    up: float = _DEFAULT_TOLERANCE

    def covers(self, ratio: Floats) -> Mask:
        """Whether each ratio is within ``[1 - down, 1 + up]``."""
        return (ratio >= 1.0 - self.down) & (ratio <= 1.0 + self.up)


@dataclass(frozen=True, slots=True)
class Sums:
    """What the ratio is made of, each int64 ``(..., S)``: usage, requests and number of pods."""

    usage_milli: Ints
    request_milli: Ints
    pods: Ints


class Target(Protocol):
    """What a mean over pods is steered to."""

    def usable(self, groups: PodGroups) -> Mask:
        """Whether there is a ratio at all."""
        ...

    def reading(self, sums: Sums) -> Ints:
        """The whole number that is compared with the target."""
        ...

    def ratio(self, reading: Ints) -> Floats:
        """Reading over target."""
        ...

    def fill_milli(self, missing: PodGroup, needed: Mask) -> Ints:
        """The usage given to the missing pods on the way down, where needed."""
        ...


@dataclass(frozen=True, slots=True)
class UtilizationTarget:
    """Used over requested, in whole percent: one for all, or int64 that goes with ``(..., S)``."""

    percent: int | Ints

    def usable(self, groups: PodGroups) -> Mask:
        """There are samples, and every pod that is listed has a request (-1 marks one without)."""
        others = groups.missing.request_milli | groups.unready.request_milli | groups.ignored.request_milli
        counted = groups.counted
        return (counted.samples > 0) & (counted.request_milli > 0) & (others >= 0)

    def reading(self, sums: Sums) -> Ints:
        """Percent, cut to a whole number: not the mean of the pods' percentages."""
        return sums.usage_milli * _FULL_PERCENT // np.maximum(sums.request_milli, 1)

    def ratio(self, reading: Ints) -> Floats:
        """Percent over target percent."""
        return reading / self.percent

    def fill_milli(self, missing: PodGroup, needed: Mask) -> Ints:
        """All of the request, or the target percent of it, cut pod by pod, for targets over 100 %.

        Raises:
            ValueError: if that needs single requests that a group of several services lacks.
        """
        over = np.greater(self.percent, _FULL_PERCENT)
        if not over.any():
            return missing.request_milli
        if missing.uniform:
            pods = np.maximum(missing.count, 1)
            filled = missing.request_milli // pods * self.percent // _FULL_PERCENT * missing.count
            return np.where(over, filled, missing.request_milli)
        if missing.requests_milli and missing.count.size == 1:
            singles = sum(request * self.percent // _FULL_PERCENT for request in missing.requests_milli)
            return np.full_like(missing.count, singles)
        if not (needed & over).any():
            return missing.request_milli
        msg = (
            f"missing pods with different requests and a target of {np.max(self.percent)}%: only pods of one service"
            " with their single requests, or a target of at most 100%, are allowed"
        )
        raise ValueError(msg)


@dataclass(frozen=True, slots=True)
class AverageValueTarget:
    """Usage by pod, in thousandths; requests are not looked at."""

    value_milli: int

    def usable(self, groups: PodGroups) -> Mask:
        """There are samples, and pods: samples of pods that nobody lists are not enough."""
        listed = groups.counted.count + groups.unready.count + groups.missing.count + groups.ignored.count
        return (groups.counted.samples > 0) & (listed > 0)

    def reading(self, sums: Sums) -> Ints:
        """Mean usage in thousandths, cut to a whole number."""
        return sums.usage_milli // np.maximum(sums.pods, 1)

    def ratio(self, reading: Ints) -> Floats:
        """Mean usage over target."""
        return reading / self.value_milli

    def fill_milli(self, missing: PodGroup, needed: Mask) -> Ints:  # noqa: ARG002 - the Target protocol
        """Exactly the target for each missing pod."""
        return missing.count * self.value_milli


@dataclass(frozen=True, slots=True)
class Proposal:
    """What one metric proposes; every array is ``(..., S)``.

    Attributes:
        replicas: the count to have; the current one where there is no proposal.
        valid: False where the metric failed (no samples, none left, a request missing).
        ratio: reading over target of the counted pods; NaN where invalid.
        reading: percent of the request, or mean usage in thousandths; see Target.reading.
        counted: the pods that the reading was made of; None where it was made of no single pods.
    """

    replicas: Ints
    valid: Mask
    ratio: Floats
    reading: Ints
    counted: PodGroup | None = None

    @property
    def average_milli(self) -> Ints:
        """Mean usage of the counted pods in thousandths, cut to a whole number; else the reading."""
        if self.counted is None:
            return self.reading
        return self.counted.usage_milli // np.maximum(self.counted.count, 1)


@dataclass(frozen=True, slots=True)
class Counts:
    """A service's pods; every array is int64 ``(..., S)``.

    Attributes:
        spec: asked for: the current count.
        status: there, without those told to go.
        ready: running and ready.
        listed: all that are there.
    """

    spec: Ints
    status: Ints
    ready: Ints
    listed: Ints


@dataclass(frozen=True, slots=True)
class Usage:
    """A metric of a whole service, such as the length of its queue; every array is ``(..., S)``.

    Attributes:
        milli: int64, thousandths; anything where it is not known.
        known: whether it is.
    """

    milli: Ints
    known: Mask


@dataclass(frozen=True, slots=True)
class WholeTarget:
    """What an object's or external metric is steered to.

    Attributes:
        milli: thousandths; one for all, or int64 that goes with ``(..., S)``.
        per_replica: whether the target is for one replica (AverageValue) or for all together (Value).
    """

    milli: int | Ints
    per_replica: bool = True


def sum_milli(values_milli: Iterable[int]) -> int:
    """The sum of an external metric's series, as upstream adds it up: at most 2^63 - 1."""
    return min(sum(values_milli), _MAX_MILLI)


def propose_whole(
    usage: Usage, counts: Counts, target: WholeTarget, tolerance: Tolerance | None = None
) -> Proposal:
    """The replicas that bring an object's or external metric to its target.

    For all together ``ceil(ratio * ready pods)``, from 0 replicas ``ceil(ratio)`` whatever the
    tolerance; per replica ``ceil(usage / target)``, held to the status count. Ceilings are those
    of IEEE doubles, proposals are capped at 2^31 - 1.
    """
    propose_one = _propose_per_replica if target.per_replica else _propose_together
    replicas, ratio, reading, found = propose_one(usage.milli, counts, target.milli, tolerance or Tolerance())
    valid = usage.known & found
    return Proposal(np.where(valid, replicas, counts.spec), valid, np.where(valid, ratio, np.nan), reading)


def _propose_together(
    usage_milli: Ints, counts: Counts, target_milli: int | Ints, tolerance: Tolerance
) -> tuple[Ints, Floats, Ints, Mask]:
    """Replicas, ratio, reading, and whether there is a proposal: not without pods, but from 0."""
    ratio = usage_milli / target_milli
    from_zero = counts.spec == 0
    within = tolerance.covers(ratio) & ~from_zero
    replicas = np.where(within, counts.spec, _ceiling(ratio, np.where(from_zero, 1, counts.ready)))
    return replicas, ratio, usage_milli, from_zero | within | (counts.listed > 0)


def _propose_per_replica(
    usage_milli: Ints, counts: Counts, target_milli: int | Ints, tolerance: Tolerance
) -> tuple[Ints, Floats, Ints, Mask]:
    status, per_target = counts.status, usage_milli / target_milli
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = usage_milli / (np.asarray(target_milli, dtype=np.float64) * status)
        mean = np.ceil(usage_milli / status)
    replicas = np.where(tolerance.covers(ratio), status, _ceiling(per_target, 1))
    reading = _whole_milli(np.where(status == 0, 0.0, mean))
    return replicas, ratio, reading, np.ones_like(status, dtype=bool)


def _whole_milli(values: Floats) -> Ints:
    """Whole doubles as int64, capped at 2^63 - 1, which no double is."""
    over = values >= 2.0**63
    return np.where(over, _MAX_MILLI, np.where(over, 0.0, values).astype(np.int64))


def propose(
    groups: PodGroups, spec_replicas: Ints, target: Target, tolerance: Tolerance | None = None
) -> Proposal:
    """The replicas that bring the ratio to 1, as upstream computes them.

    ``replicas = ceil(ratio * counted pods)``, the ceiling of an IEEE double, capped at 2^31 - 1.
    Where pods are missing, or unready ones meet a ratio over 1, the ratio is computed again with
    careful guesses for them.

    Args:
        groups: int64 ``(..., S)`` inside.
        spec_replicas: int64 ``(..., S)``; the current count.
        target: what the ratio is taken to.
        tolerance: default 0.1 both ways.

    Raises:
        ValueError: see UtilizationTarget.fill_milli.
    """
    tolerance = tolerance or Tolerance()
    counted = groups.counted
    sums = Sums(counted.usage_milli, counted.request_milli, counted.samples)
    valid = target.usable(groups)
    reading = target.reading(sums)
    ratio = target.ratio(reading)
    replicas = np.where(tolerance.covers(ratio), spec_replicas, _ceiling(ratio, counted.count))
    if (groups.missing.count + groups.unready.count).any():
        again = valid & ((groups.missing.count > 0) | ((groups.unready.count > 0) & (ratio > 1)))
        refilled = _refill(groups, spec_replicas, target, tolerance, np.where(again, ratio, 1.0))
        replicas = np.where(again, refilled, replicas)
    if not valid.all():
        replicas, ratio = np.where(valid, replicas, spec_replicas), np.where(valid, ratio, np.nan)
    return Proposal(replicas, valid, ratio, reading, counted)


def _ceiling(ratio: Floats, pods: int | Ints) -> Ints:
    return np.minimum(np.ceil(ratio * pods), MAX_REPLICAS).astype(np.int64)


def _refill(
    groups: PodGroups, spec_replicas: Ints, target: Target, tolerance: Tolerance, ratio: Floats
) -> Ints:
    """The proposal with guesses: missing pods use their request on the way down, nothing on the way up.

    Unready pods use nothing on the way up and are left out on the way down.
    The current count stays where the new ratio is within tolerance, lies on the other side of 1,
    or would move the count the other way. At a ratio of exactly 1 nothing is added.
    """
    counted, missing, unready = groups.counted, groups.missing, groups.unready
    down, up = ratio < 1, ratio > 1
    sums = Sums(
        counted.usage_milli + np.where(down, target.fill_milli(missing, down & (missing.count > 0)), 0),
        counted.request_milli
        + np.where(down | up, missing.request_milli, 0)
        + np.where(up, unready.request_milli, 0),
        counted.samples + np.where(down | up, missing.count, 0) + np.where(up, unready.count, 0),
    )
    again = target.ratio(target.reading(sums))
    replicas = _ceiling(again, sums.pods)
    stays = (
        tolerance.covers(again)
        | (down & (again > 1))
        | (up & (again < 1))
        | ((again < 1) & (replicas > spec_replicas))
        | ((again > 1) & (replicas < spec_replicas))
    )
    return np.where(stays, spec_replicas, replicas)
