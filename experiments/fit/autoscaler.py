"""What the recorded autoscaler would have done, as far as an HPA on CPU explains it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from envs.task import Task
from experiments.fit.record import Record
from experiments.run import Run, execute
from simulator.arrays import Floats

_FACTORS = (0.7, 0.8, 0.9, 1.0, 1.1, 1.25, 1.4)
_MOST_SECONDS = 43_200.0
_MOST_REQUESTS = 4e6
_SETTLING_SECONDS = 900.0
EXPLAINS = 0.15
"""An HPA whose median error on the fitted part is larger does not explain the recorded replicas."""


@dataclass(frozen=True, slots=True)
class Autoscaler:
    """An HPA on CPU that was fitted to recorded replicas.

    Attributes:
        target: CPU used over the model's vCPU that it steers to.
        error: median relative error of its replicas on the part it was fitted on.
    """

    target: float
    error: float

    @property
    def spec(self) -> str:
        """As a policy."""
        return f"hpa:target={self.target:.2f}"


def fit_autoscaler(task: Task, record: Record, seed: int) -> Autoscaler | None:
    """The HPA target whose replicas are nearest to the record's; None where these never change.

    It is tried closed-loop, on the end of the part to fit on.
    """
    if np.ptp(np.rint(record.serving)) == 0:
        return None
    seconds = min(_MOST_SECONDS, _MOST_REQUESTS / max(float(record.load_rps.mean()), 1e-9))
    part = record.part(max(0, len(record) - max(60, int(seconds / record.step_seconds))), len(record))
    task = _open(task, record)
    vcpu = task.scenario.system.services[0].vcpu_per_pod
    busy = part.cpu_cores / np.maximum(part.serving, 1) / vcpu
    usual = float(np.nanmedian(busy[part.serving > part.serving.min()]))
    targets = {min(max(round(usual * factor, 2), 0.02), 0.98) for factor in _FACTORS}
    tried = {}
    for target in sorted(targets):
        errors = relative(replicas_of(task, part, Autoscaler(target, 0.0), seed), part.serving)
        tried[float(np.nanmean(errors))] = Autoscaler(target, float(np.nanmedian(errors)))
    return tried[min(tried)]


def replicas_of(task: Task, record: Record, autoscaler: Autoscaler, seed: int) -> Floats:
    """Ready replicas of the task under the HPA and the recorded load, by step of the record.

    The HPA may ask for what the record had, whatever bounds the task has.
    """
    trace = record.trace()
    timeline = execute(Run(_open(task, record), trace, None, autoscaler.spec, autoscaler.spec, seed)).timeline
    step = np.minimum((timeline["time_seconds"] / record.step_seconds).astype(int), len(record) - 1)
    counts = np.bincount(step, minlength=len(record))
    sums = np.bincount(step, timeline["ready"], minlength=len(record))
    known = np.flatnonzero(counts)
    found = np.interp(np.arange(len(record)), known, sums[known] / counts[known])
    found[: int(_SETTLING_SECONDS / record.step_seconds)] = np.nan  # it starts staffed otherwise
    return np.asarray(found)


def _open(task: Task, record: Record) -> Task:
    """The task with bounds that hold the record's replicas."""
    service = task.scenario.system.services[0]
    seen = np.rint(record.serving)
    bounds = {
        "min_replicas": min(service.min_replicas, max(1, int(seen.min()))),
        "max_replicas": max(service.max_replicas, int(seen.max())),
    }
    scenario = task.scenario.model_copy(update={"service": service.model_copy(update=bounds)})
    return task.model_copy(update={"scenario": scenario})


def replicas_needed(record: Record, cpu_cores: Floats) -> Floats:
    """Replicas that the model's CPU needs to keep the record's CPU a replica, rounded: by step."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.maximum(np.rint(cpu_cores / (record.cpu_cores / record.serving)), 1.0))


def relative(found: Floats, true: Floats) -> Floats:
    """Absolute errors over the true values; NaN where either is missing or the true value is 0."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(true > 0, np.abs(found - true) / true, np.nan))
