"""Many policies tried at once on the batch engine, all under the same load and the same draws."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from agents.policy import Policy
from agents.registry import make_each
from agents.runner import run
from envs.task import Task
from experiments.run import Run, code_digest, trace_digest
from simulator.arrays import Floats
from simulator.errors import InputError
from simulator.randomization import Randomization
from simulator.trace import Trace

if TYPE_CHECKING:
    from simulator.fluid import FluidClusters

Report = Callable[[float], None]
_REPORTS = 100


@dataclass(frozen=True, slots=True)
class Trial:
    """What is tried.

    Attributes:
        template: the run whose policy is exchanged.
        specs: registry specs, n of them.
        seeds: a cluster of each spec has each of them.
    """

    template: Run
    specs: tuple[str, ...]
    seeds: tuple[int, ...]

    @property
    def key(self) -> str:
        """SHA-256 of all that the result depends on, code included, in hexadecimal."""
        spec = self.template
        history = trace_digest(spec.history) if spec.history else ""
        parts = [
            "trial",
            code_digest(),
            spec.task.model_dump_json(),
            trace_digest(spec.judged),
            history,
            str(self.specs),
            str(self.seeds),
        ]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def why_not(task: Task) -> str:
    """What the batch engine does not model of a task; empty where it models all."""
    from simulator.flow.support import check_supported

    try:
        check_supported(task.scenario)
    except InputError as error:
        return str(error)
    return ""


def is_possible(task: Task, part: Trace) -> bool:
    """Whether the batch engine models a task, and a part of a trace is counts for a control step or more."""
    return not why_not(task) and part.times_seconds is None and part.duration_seconds >= task.period_seconds


def try_together(trial: Trial, report: Report | None = None) -> tuple[Floats, Floats]:
    """Cost in USD and violation ratio of each spec, float64 ``(n,)`` each, as means over its seeds.

    What is left of the part after the last whole control step is left out.

    Args:
        report: called now and then with the share that is done.
    """
    template = trial.template
    specs = trial.specs * len(trial.seeds)
    policy = make_each(specs, template.context)
    with closing(_clusters(trial, policy)) as clusters:
        late, offered, usd = _run(trial, clusters, policy, report)
    shape = len(trial.seeds), len(trial.specs)
    late, offered, usd = (sums.reshape(shape).mean(axis=0) for sums in (late, offered, usd))
    ratio = np.divide(late, offered, out=np.full_like(late, np.nan), where=offered > 0)
    return usd, ratio


def _clusters(trial: Trial, policy: Policy) -> FluidClusters:
    from simulator.fluid import FluidClusters

    task, part = trial.template.task, trial.template.judged
    count = len(trial.specs) * len(trial.seeds)
    clusters = FluidClusters(
        task.scenario,
        [part],
        count,
        period_seconds=policy.period_seconds,
        horizon_seconds=part.duration_seconds,
        slo_seconds=task.objective.slo_seconds,
        randomization=Randomization.none(),
    )
    everyone = np.arange(count)
    clusters.seed(everyone, np.repeat(trial.seeds, len(trial.specs)).tolist())
    clusters.begin(everyone)
    return clusters


def _run(
    trial: Trial, clusters: FluidClusters, policy: Policy, report: Report | None
) -> tuple[Floats, Floats, Floats]:
    """Late and offered requests and cost of each cluster, float64 ``(N,)`` each."""
    from simulator.fluid_plant import FluidPlant

    plant = FluidPlant(clusters)
    steps = int(trial.template.judged.duration_seconds / policy.period_seconds + 1e-9)
    late, offered, usd = np.zeros((3, len(trial.specs) * len(trial.seeds)))
    guard = trial.template.task.interface.new_guard()
    decisions = run(plant, policy, guard, plant.advance, steps * policy.period_seconds)
    for step, (_, interval) in enumerate(decisions, start=1):
        late += interval.requests.late[:, :, 0].sum(axis=1)
        offered += interval.requests.offered.sum(axis=1)
        usd += interval.total_usd
        if report and step * _REPORTS // steps > (step - 1) * _REPORTS // steps:
            report(step / steps)
    return late, offered, usd
