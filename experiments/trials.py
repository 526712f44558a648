"""Many policies tried at once on the batch engine, all under the same load and the same draws."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from agents.policy import Policy
from agents.registry import decided_together, make_each
from agents.runner import run
from envs.task import Task
from experiments.parts import DAY_SECONDS
from experiments.run import Run, code_digest, trace_digest
from experiments.sweep import Sweep
from simulator.arrays import Floats
from simulator.errors import InputError
from simulator.randomization import Randomization
from simulator.trace import Trace

if TYPE_CHECKING:
    from simulator.fluid import FluidClusters

Report = Callable[[float], None]
_REPORTS = 100
_FEWEST_SPECS = 16
"""A process of its own is worth it for so many."""


@dataclass(frozen=True, slots=True)
class Totals:
    """What each of n specs comes to, as means over its seeds.

    Attributes:
        cost_usd: float64 ``(n,)``.
        slo_violation_ratio: float64 ``(n,)``.
        late_by_day: float64 ``(D, n)``; requests that violate the SLO in each day of the part, the last not whole.
    """

    cost_usd: Floats
    slo_violation_ratio: Floats
    late_by_day: Floats


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


def try_together(trial: Trial, report: Report | None = None, sweep: Sweep | None = None) -> Totals:
    """Try all specs.

    What is left of the part after the last whole control step is left out. What a spec comes to is the same in any
    company.

    Args:
        report: called now and then with the share that is done.
        sweep: its processes take their shares; all is done in this one without.
    """
    order = [place for places in decided_together(trial.specs) for place in places]
    count = min(sweep.processes, max(len(order) // _FEWEST_SPECS, 1)) if sweep else 1
    shares = [
        replace(trial, specs=tuple(trial.specs[place] for place in places))
        for places in np.array_split(order, count)
    ]
    others = [sweep.begin(partial(_try, share)) for share in shares[1:]] if sweep else []
    found = [_try(shares[0], report), *(other.result() for other in others)]
    usd, ratio, late = (np.concatenate(parts, axis=-1) for parts in zip(*found, strict=True))
    back = np.argsort(order)
    return Totals(usd[back], ratio[back], late[:, back])


def _try(trial: Trial, report: Report | None = None) -> tuple[Floats, Floats, Floats]:
    """What Totals says of a trial."""
    specs = trial.specs * len(trial.seeds)
    policy = make_each(specs, trial.template.context)
    with closing(_clusters(trial, policy)) as clusters:
        sums = _run(trial, clusters, policy, report)
    shape = len(trial.seeds), len(trial.specs)
    late, offered, usd = (each.reshape(-1, *shape).mean(axis=1) for each in sums)
    asked = offered.sum(axis=0)
    ratio = np.divide(late.sum(axis=0), asked, out=np.full_like(asked, np.nan), where=asked > 0)
    return usd.sum(axis=0), ratio, late


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
    """Late and offered requests and cost of each cluster, float64 ``(D, N)`` each, by days of the part."""
    from simulator.fluid_plant import FluidPlant

    plant, period = FluidPlant(clusters), policy.period_seconds
    steps = int(trial.template.judged.duration_seconds / period + 1e-9)
    days = math.ceil(steps * period / DAY_SECONDS)
    late, offered, usd = np.zeros((3, days, len(trial.specs) * len(trial.seeds)))
    guard = trial.template.task.interface.new_guard()
    decisions = run(plant, policy, guard, plant.advance, steps * period)
    for step, (_, interval) in enumerate(decisions, start=1):
        day = int((step - 1) * period / DAY_SECONDS)
        late[day] += interval.requests.late[:, :, 0].sum(axis=1)
        offered[day] += interval.requests.offered.sum(axis=1)
        usd[day] += interval.total_usd
        if report and step * _REPORTS // steps > (step - 1) * _REPORTS // steps:
            report(step / steps)
    return late, offered, usd
