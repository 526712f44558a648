"""The task that a fitted service makes, and the file that says where it comes from."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from pathlib import Path

import yaml

from envs.objective import Objective
from envs.task import Task
from experiments.fit.regress import Cpu, StartUp
from experiments.fit.waiting import Candidate
from simulator.files import whole_file
from simulator.laws.deterministic import DeterministicLaw
from simulator.laws.gamma import GammaLaw
from simulator.laws.law import ServiceTimeLaw
from simulator.laws.lognormal import LognormalLaw
from simulator.prices import Prices
from simulator.scenario import MetricPipeline, Scenario, Workload
from simulator.service import Service, StartUpLaw
from simulator.settings import parse_settings

_DIGITS = 4
NO_SPREAD = 0.03
"""A squared coefficient of variation up to which times count as constant."""
_WIDTH = 108


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a record does not say and the command line does.

    Attributes:
        name: of the task.
        slo_seconds: what a violation is.
        mean_rps: of the task's workload model.
        cpu_request: of a pod, vCPU; None where it is not known.
        usd_per_vcpu_hour: price of what pods request.
        min_replicas: fewest.
        max_replicas: most.
        scrape_seconds: of the metrics that a policy will see, also their window.
        lag_seconds: until it sees them.
    """

    name: str
    slo_seconds: float
    mean_rps: float
    cpu_request: float | None
    usd_per_vcpu_hour: float
    min_replicas: int
    max_replicas: int
    scrape_seconds: float = 15.0
    lag_seconds: float = 15.0


def make_task(candidate: Candidate, cpu: Cpu, start_up: StartUp, wanted: Wanted) -> Task:
    """The task whose service is the candidate.

    All slots at work use a pod's whole vCPU, so this is what the fitted CPU of a request makes of it; its price is
    such that a pod costs what it requests.
    """
    vcpu = cpu.whole_seconds_per_request * candidate.slots_per_pod / candidate.mean_seconds
    vcpu = min(max(_round(vcpu), 1e-4), 1024.0)
    price = wanted.usd_per_vcpu_hour * (wanted.cpu_request or vcpu) / vcpu
    service = Service(
        name="web",
        slots_per_pod=candidate.slots_per_pod,
        vcpu_per_pod=vcpu,
        service_time=_law(candidate),
        dispatch=candidate.dispatch,
        start_up=StartUpLaw(
            p50_seconds=_round(start_up.p50_seconds), p95_seconds=_round(start_up.p95_seconds)
        ),
        min_replicas=wanted.min_replicas,
        max_replicas=wanted.max_replicas,
    )
    scrape = wanted.scrape_seconds
    return Task(
        name=wanted.name,
        scenario=Scenario(
            workload=Workload(model="nasa", mean_rps=_round(wanted.mean_rps)),
            service=service,
            metrics=MetricPipeline(
                scrape_seconds=scrape, window_seconds=scrape, lag_seconds=wanted.lag_seconds
            ),
            prices=Prices(usd_per_vcpu_hour=_round(price)),
        ),
        objective=Objective(slo_seconds=wanted.slo_seconds, violation_budget=0.01, usd_per_violation=3e-5),
        period_seconds=15.0,
        horizon_seconds=3600.0,
    )


def write_task(task: Task, path: Path, comments: list[str]) -> None:
    """Write a task as YAML that ``load_task`` reads, with what it comes from above it."""
    content = task.model_dump(mode="json", exclude_defaults=True)
    law = task.scenario.system.services[0].all_operations[0].service_time
    content["scenario"]["service"]["service_time"] = law.model_dump(mode="json")  # its kind is a default, too
    lines = [
        line
        for comment in comments
        for line in textwrap.wrap(comment, _WIDTH, initial_indent="# ", subsequent_indent="#   ")
    ]
    text = "\n".join([*lines, yaml.safe_dump(content, sort_keys=False, width=110)])
    if parse_settings(Task, text, str(path)) != task:
        msg = f"{path}: the task does not read as it was written"
        raise ValueError(msg)
    with whole_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


def _law(candidate: Candidate) -> ServiceTimeLaw:
    mean, scv = _round(candidate.mean_seconds), _round(candidate.shape.scv)
    if scv <= NO_SPREAD:
        return DeterministicLaw(mean_seconds=mean)
    if candidate.shape.family == "gamma":
        return GammaLaw(mean_seconds=mean, scv=scv)
    return LognormalLaw(mean_seconds=mean, scv=scv)


def _round(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
