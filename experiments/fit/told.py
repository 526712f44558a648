"""What is said of a fit: each parameter with how it is known, on the screen and in the task's file."""

from __future__ import annotations

import numpy as np

from experiments.fit.analysis import Analysis
from experiments.fit.autoscaler import EXPLAINS
from experiments.fit.model import NO_SPREAD
from experiments.fit.record import Record
from experiments.fit.regress import FEWEST_STARTS
from experiments.wording import plain_number

Fact = tuple[str, str, str]


def facts(analysis: Analysis) -> list[Fact]:
    """Name, value and how it is known, of every parameter."""
    return [
        *_cpu(analysis),
        *_law(analysis),
        _slots(analysis),
        _vcpu(analysis),
        _start_up(analysis),
        _replicas(analysis),
    ]


def outside(analysis: Analysis) -> list[str]:
    """A line where the task's bounds leave out replicas that the record has."""
    service, seen = analysis.task.scenario.system.services[0], np.rint(analysis.record.serving)
    fewest, most = int(seen.min()), int(seen.max())
    bounds = service.min_replicas, service.max_replicas
    if bounds[0] <= max(fewest, 1) and most <= bounds[1]:
        return []
    said = f"the task's bounds, {bounds[0]} to {bounds[1]} replicas, leave out some of the record's own"
    return [f"{said}, {fewest} to {most}; the record is replayed with its own"]


def comments(record: Record, analysis: Analysis) -> list[str]:
    """What stands above the task: its source, how each parameter is known, and the verdict."""
    source = f"{record.name}, sha256 {record.sha256}" if record.sha256 else record.name
    begin, end = record.start_seconds, record.start_seconds + len(record) * record.step_seconds
    limits = "; ".join(
        f"{error.quantity} {error.median:.1%} and {error.p90:.1%}"
        for error in analysis.held_out
        if error.steps
    )
    doubts = [f"Advice from this model is not to be trusted: {reason}." for reason in analysis.reasons]
    return [
        f"Fitted by setpoint task fit to {source}, {begin:.10g} s to {end:.10g} s of its clock.",
        *(f"{name}: {value} ({how})." for name, value, how in facts(analysis)),
        f"Relative errors on the held-out part, median and 90th percentile: {limits}.",
        *(f"{line[0].upper()}{line[1:]}." for line in outside(analysis)),
        *doubts,
        "The workload's model is one that ships and not of this service: give the record's load with --trace.",
    ]


def _cpu(analysis: Analysis) -> list[Fact]:
    cpu = analysis.cpu
    each = (f"{1000 * cpu.seconds_per_request:.4g} ms", "regression of CPU on rate and replicas")
    if not cpu.idle_cores:
        return [
            ("CPU a request", *each),
            ("CPU of an idle pod", "0 cores", "the record shows none that could be told from requests'"),
        ]
    whole = f"{1000 * cpu.whole_seconds_per_request:.4g} ms"
    return [
        ("CPU a request", *each),
        (
            "CPU of an idle pod",
            f"{cpu.idle_cores:.3g} cores",
            f"{cpu.idle_share:.0%} of all CPU; a task knows no idle CPU, so it has {whole} a request instead",
        ),
    ]


def _law(analysis: Analysis) -> list[Fact]:
    shape, seen = analysis.candidate.shape, analysis.found.shape_is_seen
    if seen:
        how = "from the percentiles at all loads"
        mean = how
    else:
        how = "assumed, unless the record rules it out: it has p95 alone"
        mean = "rests on the assumed spread: the record has p95 alone"
    return [
        ("mean service time", f"{1000 * analysis.candidate.mean_seconds:.4g} ms", mean),
        ("its law", "constant" if shape.scv <= NO_SPREAD else f"{shape.family}, scv {shape.scv:.3g}", how),
        (
            "how a request finds a pod",
            analysis.candidate.dispatch,
            "one queue for all pods explains the record at least as well"
            if analysis.candidate.dispatch == "shared"
            else "explains the record plainly better than one queue for all pods",
        ),
    ]


def _slots(analysis: Analysis) -> Fact:
    found, slots = analysis.found, analysis.candidate.slots_per_pod
    if found.most_slots is None:
        least = f"at least {found.fewest_slots}" if found.fewest_slots > 1 else "any number"
        how = (
            f"not known: requests hardly ever wait in the record, which {least} explains; {slots} is assumed"
        )
        return "slots per pod", str(slots), how
    how = f"from how latency rises with load; {found.fewest_slots} to {found.most_slots} explain the record"
    return "slots per pod", str(slots), how


def _vcpu(analysis: Analysis) -> Fact:
    service = analysis.task.scenario.system.services[0]
    price = analysis.task.scenario.usd_per_vcpu_hour
    how = (
        f"CPU that all slots at work use: CPU a request x slots / service time; at {plain_number(price, 4)} USD "
        "a vCPU-hour, so that a pod costs what it requests"
    )
    return "vCPU a pod", plain_number(service.vcpu_per_pod, 4), how


def _start_up(analysis: Analysis) -> Fact:
    start = analysis.start_up
    value = f"p50 {start.p50_seconds:.3g} s, p95 {start.p95_seconds:.3g} s"
    if start.pods:
        return "start-up", value, f"lognormal, of {start.pods} pods"
    return (
        "start-up",
        value,
        f"not known, setpoint's default: the record has fewer than {FEWEST_STARTS} starts",
    )


def _replicas(analysis: Analysis) -> Fact:
    if analysis.autoscaler is None:
        how = (
            "the recorded replicas never change, or no HPA on CPU explains them to "
            f"{EXPLAINS:.0%}: compared are those that the model's CPU needs at the recorded CPU a replica"
        )
        return "autoscaler", "none", how
    how = (
        f"the HPA nearest to the recorded replicas, {analysis.autoscaler.error:.0%} off in the median where it was "
        "fitted; its own replicas on the held-out part are compared"
    )
    return "autoscaler", f"HPA at {analysis.autoscaler.target:.0%} of the vCPU", how
