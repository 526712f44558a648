"""KEDA's scaled jobs: how many jobs to create for queues of work.

Pure functions; nothing here runs in a control loop, since a Plant has services and no jobs.
Source: kedacore/keda pkg/scaling/executor/scale_jobs.go (``getScalingDecision``, ``ScalingStrategy``)
and pkg/scaling/scaledjob/metrics.go (``IsScaledJobActive``, ``GetTargetAverageValue``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Strategy = Literal["default", "custom", "accurate", "eager"]
Combination = Literal["max", "min", "avg", "sum"]


@dataclass(frozen=True, slots=True)
class JobRules:
    """A ScaledJob's scaling strategy and bounds.

    Attributes:
        queue_length_deduction: of ``custom``: taken off the queue.
        running_job_percentage: of ``custom``: the share of running jobs that is taken off, as a fraction; without
            it the strategy is ``default``.
    """

    strategy: Strategy = "default"
    min_replicas: int = 0
    max_replicas: int = 100
    queue_length_deduction: int = 0
    running_job_percentage: float | None = None


@dataclass(frozen=True, slots=True)
class JobDecision:
    """How many jobs to create: as many as ``scale_to``, but at most ``effective_max``."""

    effective_max: int
    scale_to: int

    @property
    def created(self) -> int:
        """Jobs created at once."""
        return max(min(self.scale_to, self.effective_max), 0)


def decide_jobs(rules: JobRules, running: int, pending: int, max_scale: int, scale_to: int) -> JobDecision:
    """What to create.

    Args:
        rules: the strategy.
        running: jobs not finished, those pending among them.
        pending: jobs of which no pod runs yet.
        max_scale: jobs that the queues ask for; JobState.max_value.
        scale_to: the queues' length; JobState.queue_length.
    """
    if running < rules.min_replicas:
        lacking = rules.min_replicas - running
        return JobDecision(lacking, lacking)
    running, most = running - rules.min_replicas, rules.max_replicas
    if rules.strategy == "custom" and rules.running_job_percentage is not None:
        taken = rules.queue_length_deduction + int(running * rules.running_job_percentage)
        return JobDecision(min(max_scale - taken, most), scale_to)
    if rules.strategy == "accurate":
        over = max_scale + running - pending > most
        return JobDecision(most - running if over else max_scale - pending, scale_to)
    if rules.strategy == "eager":
        return JobDecision(min(most - running - pending, max_scale), most)
    return JobDecision(max_scale - running, scale_to)


@dataclass(frozen=True, slots=True)
class Queue:
    """What one scaler sees: the length of its queue, the work of one job, and whether it is active."""

    length: float
    target_average: float
    active: bool

    def jobs(self, most: int) -> float:
        """Jobs that it asks for, not rounded."""
        return min(self.length / self.target_average, most) if self.target_average else 0.0


@dataclass(frozen=True, slots=True)
class JobState:
    """What all scalers of a ScaledJob ask for together; both numbers are rounded up."""

    active: bool
    queue_length: int
    max_value: int


def combine_queues(queues: Sequence[Queue], rules: JobRules, combination: Combination = "max") -> JobState:
    """The state of the active queues: the longest, the shortest, their means or their sums.

    An active queue without any work does not count where the longest rules; where the shortest
    does, the next one takes its place.
    """
    most = rules.max_replicas - rules.min_replicas
    found = [(queue.length, queue.jobs(most)) for queue in queues if queue.active]
    length, jobs = _COMBINED[combination](found)
    active = length > 0 if combination == "max" else bool(found)
    return JobState(active or rules.min_replicas > 0, math.ceil(length), math.ceil(min(jobs, most)))


def _longest(found: Sequence[tuple[float, float]]) -> tuple[float, float]:
    best = (0.0, 0.0)
    for each in found:
        best = each if each[0] > best[0] else best
    return best


def _shortest(found: Sequence[tuple[float, float]]) -> tuple[float, float]:
    best = (0.0, 0.0)
    for each in found:
        best = each if best[0] == 0 or each[0] < best[0] else best
    return best


def _sum(found: Sequence[tuple[float, float]]) -> tuple[float, float]:
    return sum(length for length, _ in found), sum(jobs for _, jobs in found)


def _mean(found: Sequence[tuple[float, float]]) -> tuple[float, float]:
    length, jobs = _sum(found)
    return length / max(len(found), 1), jobs / max(len(found), 1)


_COMBINED = {"max": _longest, "min": _shortest, "avg": _mean, "sum": _sum}


def average_target(targets: Sequence[float]) -> float:
    """The plain mean of the scalers' targets; 0 without any."""
    return sum(targets) / len(targets) if targets else 0.0
