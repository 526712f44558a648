"""Why an HPA decided what it did, in a few words for the decision record."""

from __future__ import annotations

from collections.abc import Sequence

from agents.baselines.hpa_behavior import LimitReason
from agents.baselines.hpa_pass import MetricRule, Pass
from agents.baselines.hpa_proposal import Proposal, UtilizationTarget, WholeTarget

_MILLI = 1000


def by_service(texts: Sequence[str], services: tuple[str, ...]) -> str:
    """The reasons of one cluster's services in one line, with their names where there are several."""
    if len(texts) == 1:
        return texts[0]
    names = services or tuple(str(place) for place in range(len(texts)))
    return " | ".join(f"{name}: {text}" for name, text in zip(names, texts, strict=True))


def reasons_of(done: Pass) -> list[str]:
    """The reason of each of one cluster's services."""
    return [reason_of(done, place) for place in range(len(done.current))]


def reason_of(done: Pass, place: int) -> str:
    """The reason of one service's HPA."""
    rescale = done.rescale
    if rescale.outside[place]:
        return _outside(int(done.current[place]), int(rescale.replicas[place]))
    pairs = zip(done.rules.metrics, done.proposals, strict=True)
    text = ", ".join(_metric(rule, proposal, place) for rule, proposal in pairs)
    if not done.valid[place]:
        return f"{text}, held"
    stabilization, limit = done.stabilization(place), LimitReason(rescale.limit.reason[place])
    if stabilization != "ReadyForNewScale":
        text = f"{text}; {stabilization}"
    return text if limit is LimitReason.DesiredWithinRange else f"{text}; {limit.name}"


def _outside(current: int, bound: int) -> str:
    if current == 0:
        return "0 replicas, autoscaling is off"
    return f"{current} is {'above the maximum' if current > bound else 'below the minimum'} -> {bound}"


def _metric(rule: MetricRule, proposal: Proposal, place: int) -> str:
    if not proposal.valid[place]:
        return f"{rule.name} unknown"
    reading, replicas, target = proposal.reading[place], proposal.replicas[place], rule.target
    if isinstance(target, UtilizationTarget):
        return f"{rule.name} {reading}% of request, target {target.percent}% -> {replicas}"
    if isinstance(target, WholeTarget):
        goal, pods = target.milli, " a pod" if target.per_replica else ""
    else:
        goal, pods = target.value_milli, " a pod"
    return f"{rule.name} {reading / _MILLI:g}{pods}, target {goal / _MILLI:g} -> {replicas}"
