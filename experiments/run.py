"""One run: a policy, a task, a trace, a seed, on the request engine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from agents.bundle import load_bundle
from agents.policy import Context
from agents.registry import check_settings, is_bundle, make, parse_spec
from agents.runner import Decision, run
from envs.task import Task
from experiments.measures import Tally
from experiments.planned import Planned, Schedule
from simulator.arrays import Floats
from simulator.events import Journal
from simulator.faults import FaultLabel
from simulator.kernel.tables import Log
from simulator.latency import percentile_seconds
from simulator.plant import Interval
from simulator.trace import Trace

ENGINE = "request"
TIMELINE = (
    "time_seconds",
    "rate_rps",
    "served_rps",
    "dropped_rps",
    "timed_out_rps",
    "failed_rps",
    "wanted",
    "starting",
    "ready",
    "latency_p95_seconds",
    "violations",
    "spent_usd",
)
WANTED_OF, READY_OF, FAULT_OF = "wanted of ", "ready of ", "fault "
NODES_OF, STARTING_NODES_OF = "nodes of ", "starting nodes of "
"""How further columns of a timeline begin: one service's wanted and ready pods, where there are several;
whether a fault went on in the step, 0 or 1; and one node group's ready and starting nodes."""
_ROOT = Path(__file__).parent.parent


@dataclass(frozen=True, slots=True)
class Run:
    """What is run.

    Attributes:
        policy: a registry spec or a Bundle's path; recipes are resolved before.
        label: what the policy is called in tables.
        schedule: what is played instead of a policy; None for none.
        judged: the trace it is judged on; its start is time 0 of the cluster.
        history: the trace before it, None if there is none.
    """

    task: Task
    judged: Trace
    history: Trace | None
    policy: str
    label: str
    seed: int
    schedule: Schedule | None = None

    @property
    def context(self) -> Context:
        """What its policy may know."""
        return make_context(self.task, self.history, self.seed, self.judged.start_seconds)

    @property
    def key(self) -> str:
        """SHA-256 of all that the result depends on, code included, in hexadecimal."""
        parts = [
            code_digest(),
            self.task.model_dump_json(),
            trace_digest(self.judged),
            trace_digest(self.history) if self.history else "",
            load_bundle(self.policy).fingerprint if is_bundle(self.policy) else self.policy,
            self.label,
            str(self.seed),
            str(self.schedule or ""),
        ]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came out of a Run.

    Attributes:
        row: the result table's row: columns as in ``table.COLUMNS``.
        timeline: float64 ``(T,)`` by name, one entry a decision.
        faults: what broke; empty where it has been read from a store.
    """

    row: dict[str, Any]
    timeline: dict[str, Floats]
    faults: tuple[FaultLabel, ...] = ()


def make_context(task: Task, history: Trace | None, seed: int, start_seconds: float = 0.0) -> Context:
    """What a policy may know of a task, and of where on the trace's clock it begins."""
    system, cluster = task.scenario.system, task.scenario.cluster
    return Context(
        services=tuple(service.name for service in system.services),
        min_replicas=np.array([service.min_replicas for service in system.services]),
        max_replicas=np.array([service.max_replicas for service in system.services]),
        capacity_rps=np.array(system.capacity_rps()),
        slots_per_pod=np.array([service.slots_per_pod for service in system.services], np.float64),
        slo_seconds=task.objective.slo_seconds,
        start_up_seconds=np.array([service.start_up.p95_seconds for service in system.services]),
        calls_per_request=np.array(system.calls_per_request()),
        interface=task.interface,
        groups=tuple(group.name for group in cluster.groups) if cluster else (),
        history=history,
        seed=seed,
        start_seconds=start_seconds,
    )


def execute(
    spec: Run,
    report: Callable[[float], None] | None = None,
    log: Log | None = None,
    see: Callable[[Decision, Interval], None] | None = None,
    journal: Journal | None = None,
) -> Outcome:
    """Run it.

    Args:
        report: called now and then with the share that is done.
        see: is shown every decision and its Interval.
        journal: is given every event of the control plane.
        log: is given every request, as ``simulator.kernel.tables.LOGGED``.
    """
    context = spec.context
    policy = Planned(spec.schedule) if spec.schedule else make(spec.policy, context)
    cluster = spec.task.build(spec.seed, spec.judged, log, journal)
    guard = spec.task.interface.new_guard()
    duration = spec.judged.duration_seconds
    tally = Tally()
    course = Course(spec.task)
    for decision, interval in run(cluster, policy, guard, cluster.advance, duration):
        tally.add(interval, changed=decision.changes and not decision.refusal)
        course.add(decision, interval)
        if see:
            see(decision, interval)
        if report:
            report((float(interval.start_seconds) + float(interval.duration_seconds)) / duration)
    if log:
        cluster.end_log()
    return Outcome(_describe(spec) | tally.measures(), course.timeline(cluster.faults), cluster.faults)


class Course:
    """Collects a run's timeline."""

    def __init__(self, task: Task) -> None:
        scenario = task.scenario
        names = [service.name for service in scenario.system.services]
        self._several = len(names) > 1
        groups = scenario.cluster.groups if scenario.cluster else ()
        self._columns = (
            *TIMELINE,
            *(f"{WANTED_OF}{name}" for name in names if self._several),
            *(f"{READY_OF}{name}" for name in names if self._several),
            *(f"{NODES_OF}{group.name}" for group in groups),
            *(f"{STARTING_NODES_OF}{group.name}" for group in groups),
        )
        self._rows: list[tuple[float, ...]] = []
        self._spent_usd = 0.0

    def add(self, decision: Decision, interval: Interval) -> None:
        """Add a step: what clients see, and the replicas of all services."""
        requests, seconds, seen = interval.requests, float(interval.duration_seconds), decision.snapshot
        self._spent_usd += float(interval.total_usd)
        self._rows.append(
            (
                float(interval.start_seconds),
                int(requests.offered.sum()) / seconds,
                int(requests.served.sum()) / seconds,
                int(requests.dropped.sum()) / seconds,
                int(requests.timed_out.sum()) / seconds,
                int(requests.failed.sum()) / seconds,
                int(decision.allowed.replicas.sum()),
                int(seen.starting.sum()),
                int(seen.ready.sum()),
                percentile_seconds(requests.latency_counts.sum(axis=0), 0.95),
                int(requests.late[:, 0].sum()),
                self._spent_usd,
                *(decision.allowed.replicas if self._several else ()),
                *(seen.ready if self._several else ()),
                *(seen.nodes.ready if seen.nodes else ()),
                *(seen.nodes.starting if seen.nodes else ()),
            )
        )

    def timeline(self, faults: tuple[FaultLabel, ...]) -> dict[str, Floats]:
        """The columns, those of faults among them; float64 ``(T,)`` by name."""
        columns = dict(zip(self._columns, np.array(self._rows).T, strict=True))
        starts = columns["time_seconds"]
        for fault in faults:
            name = f"{FAULT_OF}{fault.kind} {fault.service}".rstrip()
            first = max(int(np.searchsorted(starts, fault.start_seconds, side="right")) - 1, 0)
            last = max(int(np.searchsorted(starts, fault.end_seconds)), first + 1)
            columns.setdefault(name, np.zeros(len(starts)))[first:last] = 1.0
        return columns


def _describe(spec: Run) -> dict[str, Any]:
    return {
        "task": spec.task.name,
        "trace": spec.judged.name,
        "trace_sha256": spec.judged.sha256,
        "start_s": spec.judged.start_seconds,
        "duration_s": spec.judged.duration_seconds,
        "mean_rps": spec.judged.mean_rps,
        "policy": spec.label,
        "policy_settings": str(spec.schedule) if spec.schedule else describe_settings(spec.policy),
        "seed": spec.seed,
        "engine": ENGINE,
    }


def describe_settings(policy: str) -> str:
    """A policy's settings as canonical JSON; a Bundle's fingerprint."""
    if is_bundle(policy):
        return json.dumps({"fingerprint": load_bundle(policy).fingerprint})
    return json.dumps(check_settings(parse_spec(policy)).model_dump(mode="json"), sort_keys=True)


def trace_digest(trace: Trace) -> str:
    """SHA-256 of a trace's numbers and names, request by request where they are known, in hexadecimal."""
    content = f"{trace.name} {trace.sha256} {trace.start_seconds} {trace.bin_seconds} {trace.classes}"
    digest = hashlib.sha256(content.encode())
    for numbers in (trace.requests, trace.times_seconds, trace.class_index):
        if numbers is not None:
            digest.update(np.ascontiguousarray(numbers).data)
    return digest.hexdigest()


@cache
def code_digest() -> str:
    """SHA-256 of the source files that results depend on, in hexadecimal."""
    digest = hashlib.sha256()
    for folder in ("simulator", "envs", "agents"):
        for path in sorted((_ROOT / folder).rglob("*.py")):
            digest.update(path.read_bytes())
    for name in ("run.py", "measures.py", "trials.py", "planned.py", "schedules.py", "oracle_model.py"):
        digest.update(Path(__file__).with_name(name).read_bytes())
    return digest.hexdigest()


def with_policy(spec: Run, policy: str, label: str) -> Run:
    """The same run of another policy."""
    return replace(spec, policy=policy, label=label)
