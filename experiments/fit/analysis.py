"""From a record to a fitted task and its errors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from envs.task import Task
from experiments.fit.autoscaler import EXPLAINS, Autoscaler, fit_autoscaler, replicas_needed, replicas_of
from experiments.fit.model import Wanted, make_task
from experiments.fit.record import FEWEST_STEPS, Record
from experiments.fit.refine import refine
from experiments.fit.regress import Cpu, StartUp, fit_cpu, fit_start_up
from experiments.fit.replay import Replay, replay
from experiments.fit.search import Found, look, search
from experiments.fit.verdict import Error, compare, judged_p95, unexplained
from experiments.fit.waiting import Candidate
from experiments.wording import plain_number
from simulator.arrays import Floats
from simulator.errors import InputError

P95 = "latency_p95_seconds"
_SATURATED = 5.0
_MOST_REQUESTS = 60e6
_MOST_STEPS = 60_000
_MOST_CORES, _MOST_REQUESTED = 256.0, 64.0
"""A pod that uses more cores, or more times its request, is taken for one whose CPU is in other units."""


@dataclass(frozen=True, slots=True)
class Analysis:
    """What a record says of a service, and how far the model is from it.

    Attributes:
        record: what was played: the whole, or what is around the split of a very long one.
        split: number of steps that were fitted on.
        candidate: the service.
        found: what else would fit.
        played: the replay of ``record``.
        autoscaler: fitted to the replicas; None where they never change or no HPA explains them.
        replicas: float64 ``(T - split,)``; the model's on the held-out part.
        fitted: errors on the part that was fitted on.
        held_out: errors on the rest.
        reasons: why advice from the model is not to be trusted; none where it is.
    """

    record: Record
    split: int
    task: Task
    cpu: Cpu
    start_up: StartUp
    candidate: Candidate
    found: Found
    played: Replay
    autoscaler: Autoscaler | None
    replicas: Floats
    fitted: tuple[Error, ...]
    held_out: tuple[Error, ...]
    reasons: tuple[str, ...]


def analyse(
    record: Record, share: float, wanted: Callable[[Record], Wanted], seed: int, say: Callable[[str], None]
) -> Analysis:
    """Fit on the first part of a record and replay it all.

    Args:
        share: of the steps that are fitted on.
        wanted: what the record does not say, given the part to fit on.
        say: told what is being done.

    Raises:
        InputError: if a part is too short or has too little to compare.
    """
    split = int(share * len(record))
    if min(split, len(record) - split) < FEWEST_STEPS // 4:
        msg = (
            f"{record.name}: {split} steps to fit on and {len(record) - split} held out; "
            f"each needs {FEWEST_STEPS // 4}"
        )
        raise InputError(msg)
    first = record.part(0, split)
    settled = wanted(first)
    say("fitting CPU, start-up and latencies")
    cpu, start_up = fit_cpu(first, steady(first)), fit_start_up(record.pod_start_seconds)
    found = search(look(first))

    def make(candidate: Candidate) -> Task:
        return make_task(candidate, cpu, start_up, settled)

    say("trying slots on the request engine")
    found = refine(found, first, make, seed)
    candidate = with_assumed_slots(found, cpu, settled.cpu_request)
    task = make(candidate)
    near, near_split = around(record, split)
    say("replaying the record")
    played = replay(task, near, seed)
    say("fitting an autoscaler to the replicas")
    rest = near.part(near_split, len(near))
    autoscaler, replicas = _replicas(task, near.part(0, near_split), rest, played, seed)
    fitted = _errors(near.part(0, near_split), _slice(played, 0, near_split))
    held_out = (
        *_errors(rest, _slice(played, near_split, len(near))),
        compare("replicas", replicas, rest.replicas),
    )
    return Analysis(
        near,
        near_split,
        task,
        cpu,
        start_up,
        candidate,
        found,
        played,
        autoscaler,
        replicas,
        fitted,
        held_out,
        reasons=(*_units(first, settled.cpu_request), *_reasons(near, played, fitted, held_out)),
    )


def steady(record: Record) -> np.ndarray:
    """Where p95 is not far above its usual value, nor in the step before or after: bool ``(T,)``."""
    usual = float(np.nanmedian(record.latency_p95_seconds))
    late = np.nan_to_num(record.latency_p95_seconds) > _SATURATED * usual
    late = late | np.append(late[1:], [False]) | np.append([False], late[:-1])
    return ~late if (~late).sum() >= FEWEST_STEPS // 4 else np.ones(len(record), dtype=bool)


def with_assumed_slots(found: Found, cpu: Cpu, cpu_request: float | None) -> Candidate:
    """The slots that the record shows; where it shows no most, what the CPU request stands for, or the fewest."""
    candidate = found.best
    if found.most_slots is not None:
        return candidate
    slots = found.fewest_slots
    if cpu_request:
        requested = cpu_request * candidate.mean_seconds / cpu.whole_seconds_per_request
        slots = max(slots, round(requested))
    return replace(candidate, slots_per_pod=min(slots, 10_000))


def around(record: Record, split: int) -> tuple[Record, int]:
    """The record, or as much on both sides of the split as is replayed in a minute, and the split in it."""
    share = min(1.0, _MOST_REQUESTS / max(float(record.answered.sum()), 1.0), _MOST_STEPS / len(record))
    if share == 1.0:
        return record, split
    begin, end = split - int(share * split), split + max(2, int(share * (len(record) - split)))
    return record.part(begin, end), split - begin


def _slice(played: Replay, begin: int, end: int) -> Replay:
    return Replay(
        played.cpu_cores[begin:end], {name: one[begin:end] for name, one in played.latencies.items()}
    )


def _replicas(
    task: Task, first: Record, rest: Record, played: Replay, seed: int
) -> tuple[Autoscaler | None, Floats]:
    """An HPA that explains the fitted part, replayed on the rest; else what the model's CPU needs."""
    autoscaler = fit_autoscaler(task, first, seed)
    if autoscaler is not None and autoscaler.error <= EXPLAINS:
        return autoscaler, replicas_of(task, rest, autoscaler, seed)
    return None, replicas_needed(rest, played.cpu_cores[len(first) :])


def _errors(record: Record, played: Replay) -> tuple[Error, Error]:
    return (
        compare("CPU", played.cpu_cores, record.cpu_cores),
        compare("p95", played.latencies[P95], judged_p95(record)),
    )


def _units(record: Record, cpu_request: float | None) -> tuple[str, ...]:
    """Why CPU may be in other units than cores; none where it looks like cores."""
    with np.errstate(invalid="ignore", divide="ignore"):
        each = float(np.nanmedian(np.where(record.serving > 0, record.cpu_cores / record.serving, np.nan)))
    most = _MOST_CORES if cpu_request is None else min(_MOST_CORES, _MOST_REQUESTED * cpu_request)
    if each <= most:
        return ()
    beside = (
        "" if cpu_request is None else f", {each / cpu_request:,.0f} times its CPU request of {cpu_request:g}"
    )
    said = f"a pod uses {plain_number(each, 3)} cores in the median{beside}"
    return (f"{said}: cpu_cores must be in cores, not in thousandths of them or in percent",)


def _reasons(
    record: Record, played: Replay, fitted: tuple[Error, ...], held_out: tuple[Error, ...]
) -> tuple[str, ...]:
    reasons = [f"on the held-out part {error.reason}" for error in held_out if error.is_large]
    reasons += [f"on the part it was fitted on {error.reason}" for error in fitted if error.is_large]
    reasons += [
        f"{error.quantity} cannot be compared on the held-out part" for error in held_out if not error.steps
    ]
    stretches = (
        unexplained("p95", played.latencies[P95], record, judged_p95(record)),
        unexplained("CPU", played.cpu_cores, record, record.cpu_cores),
    )
    return (*reasons, *(stretch for stretch in stretches if stretch))
