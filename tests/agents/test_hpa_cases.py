"""The HPA against tables of cases, upstream's own and derived ones: tests/cases/README.md."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Final

import numpy as np
import pytest
from case_tables import Case, all_are_there, parameters

from agents.baselines.hpa import Hpa, HpaSettings
from agents.baselines.hpa_behavior import (
    Behavior,
    Bounds,
    GrowthLimit,
    LimitReason,
    Log,
    ScaleEvents,
    ScalingPolicy,
    ScalingRules,
    filled_down,
    filled_up,
)
from agents.baselines.hpa_pass import Autoscaler, MetricRule, Reading, Rules
from agents.baselines.hpa_proposal import (
    AverageValueTarget,
    Counts,
    Proposal,
    Tolerance,
    Usage,
    UtilizationTarget,
    WholeTarget,
    propose,
    propose_whole,
    sum_milli,
)
from agents.baselines.hpa_rescale import Rescaler
from simulator.arrays import Ints
from simulator.plant import Metric, Snapshot
from simulator.pod_groups import (
    POD_KINDS,
    Pod,
    PodGroup,
    PodGroups,
    PodRules,
    PodSample,
    PodTable,
    group_pods,
    pod_kinds,
)

NOW: Final = np.array(0.0)
LONG_AGO_SECONDS: Final = 1e9
KINDS: Final = frozenset({"resource", "container_resource", "pods", "object", "external"})


def ints(value: int) -> Ints:
    return np.array([value], dtype=np.int64)


def bounds_of(case: Case) -> Bounds:
    return Bounds(ints(case["min_replicas"]), ints(case["max_replicas"]))


def rules_of(row: Case | None) -> ScalingRules | None:
    if row is None:
        return None
    policies = tuple(
        ScalingPolicy(type=policy["type"], value=policy["value"], period_seconds=policy["period_s"])
        for policy in row.get("policies") or ()
    )
    return ScalingRules(
        stabilization_window_seconds=row.get("stabilization_window_s"),
        select_policy=row.get("select_policy"),
        policies=policies or None,
        tolerance=row.get("tolerance"),
    )


def fill(log: Log, entries: list[Case], field: str) -> None:
    for entry in entries:
        log.write(ints(entry[field]), np.array(-float(entry["age_s"])), np.inf)


def events_of(case: Case, up: Case | None, down: Case | None) -> ScaleEvents:
    events = ScaleEvents((1,), filled_up(rules_of(up)), filled_down(rules_of(down)))
    fill(events.added, case["scale_up_events"], "change")
    fill(events.removed, case["scale_down_events"], "change")
    return events


def check_limits(case: Case) -> None:
    current, expected = ints(case["current_replicas"]), case["expected"]
    if case["kind"] == "scale_up_limit":
        limit = events_of(case, case["rules"], None).scale_up_limit(current, NOW)
        assert int(limit[0]) == expected["limit"]
        return
    if case["kind"] == "scale_down_limit":
        limit = events_of(case, None, case["rules"]).scale_down_limit(current, NOW)
        assert int(limit[0]) == expected["limit"]
        return
    if case["kind"] == "limits_with_behavior":
        rescaler = Rescaler((1,), bounds_of(case), Behavior())
        rescaler.events = events_of(case, case["scale_up"], case["scale_down"])
    else:
        assert case["kind"] == "limits_without_behavior"
        growth = GrowthLimit(case["scale_up_limit_factor"], case["scale_up_limit_minimum"])
        rescaler = Rescaler((1,), bounds_of(case), None, growth=growth)
    limited = rescaler.limit(current, ints(case["desired_replicas"]), NOW)
    assert int(limited.replicas[0]) == expected["replicas"]
    assert LimitReason(limited.reason[0]).name == expected["reason"]


def check_stabilization(case: Case) -> None:
    everything = Bounds(ints(0), ints(2**31 - 1))
    if case["kind"] == "stabilize_with_behavior":
        up, down = case["scale_up_window_s"], case["scale_down_window_s"]
        behavior = Behavior(
            scale_up=ScalingRules(stabilization_window_seconds=up),
            scale_down=ScalingRules(stabilization_window_seconds=down),
        )
        rescaler = Rescaler((1,), everything, behavior)
    else:
        assert case["kind"] == "stabilize_without_behavior"
        rescaler = Rescaler((1,), everything, None, window_seconds=case["window_s"])
    fill(rescaler.proposals, case["recommendations"], "replicas")
    desired = ints(case["desired_replicas"])
    stabilized = rescaler.stabilize(ints(case.get("current_replicas", 0)), NOW, desired)
    found = {
        "replicas": int(stabilized[0]),
        "log_length": rescaler.proposals.length,
        "log_replicas": rescaler.proposals.values[0].tolist(),
    }
    assert {key: found[key] for key in case["expected"]} == case["expected"]


def check_scale_events(case: Case) -> None:
    assert case["kind"] == "store_scale_event"
    rules = rules_of(case["rules"])
    for sign in (1, -1):
        behavior = None if rules is None else Behavior(scale_up=rules, scale_down=rules)
        events = ScaleEvents((1,), filled_up(rules), filled_down(rules))
        log = events.added if sign > 0 else events.removed
        fill(log, case["events"], "change")
        assert int(log.total(NOW, case["period_s"])[0]) == case["expected"]["change_in_period"]
        rescaler = Rescaler((1,), Bounds(ints(0), ints(1000)), behavior)
        longest = np.inf
        if rescaler.events is not None:
            rescaler.events = events
            events.store(ints(100), ints(100 + sign * case["change"]), NOW)
            longest = events.up.longest_period_seconds
        ages = log.ages_seconds(NOW)[0]
        after = [
            {"change": int(change), "outdated": bool(age > longest)}
            for change, age in zip(log.values[0], ages, strict=True)
        ]
        assert after == case["expected"]["events_after"]


def check_sequence(case: Case) -> None:
    behavior = behavior_of(case)
    growth = GrowthLimit(case["scale_up_limit_factor"], case["scale_up_limit_minimum"])
    window_seconds = case["downscale_stabilization_s"]
    rescaler = Rescaler((1,), bounds_of(case), behavior, window_seconds, growth)
    current, found = ints(case["initial_replicas"]), []
    for step in case["steps"]:
        now = np.array(float(step["t_s"]))
        current = rescaler.rescale(current, now, ints(step["proposal"]), np.array([True])).replicas
        found.append(int(current[0]))
    assert found == case["expected"]["replicas"]


def pod_rules_of(case: Case) -> PodRules:
    return PodRules(
        initialization_seconds=case["cpu_initialization_period_s"],
        readiness_delay_seconds=case["initial_readiness_delay_s"],
        trust_all=case.get("resource") != "cpu",
    )


def usage_of(sample: Case, container: str | None) -> int | None:
    """The sample's usage; None where it lacks the container."""
    if "value_milli" in sample:
        return int(sample["value_milli"])
    by_container: dict[str, int] = sample["containers_milli"]
    return by_container.get(container) if container else sum(by_container.values())


def sample_of(case: Case, name: str) -> PodSample | None:
    for sample in case.get("samples", []):
        if sample["pod"] == name:
            usage = usage_of(sample, case.get("container"))
            if usage is not None:
                return PodSample(usage, float(sample.get("age_s", 0)), float(sample.get("window_s", 0)))
    return None


def request_of(row: Case, container: str | None) -> int | None:
    requests = [
        item["request_milli"]
        for item in row.get("containers", [])
        if not container or item["name"] == container
    ]
    return None if None in requests else sum(requests)


def pod_of(case: Case, row: Case) -> Pod:
    transition = row["ready_transition_age_s"]
    return Pod(
        phase=row["phase"],
        deleted=row["deleted"],
        ready=None if row["ready"] is None else row["ready"] == "True",
        start_age_seconds=None if row["start_age_s"] is None else float(row["start_age_s"]),
        ready_age_seconds=LONG_AGO_SECONDS if transition is None else float(transition),
        request_milli=request_of(row, case.get("container")),
        sample=sample_of(case, row["name"]),
    )


def check_group_pods(case: Case) -> None:
    table = PodTable.of(pod_of(case, row) for row in case["pods"])
    kinds = [POD_KINDS[kind] for kind in pod_kinds(table, pod_rules_of(case))]
    names = [row["name"] for row in case["pods"]]
    groups = group_pods(table, pod_rules_of(case))
    expected = case["expected"]
    assert int(groups.counted.count[0]) == kinds.count("counted") == expected["ready_count"]
    for group in ("unready", "missing", "ignored"):
        found = [name for name, kind in zip(names, kinds, strict=True) if kind == group]
        assert sorted(found) == sorted(expected[group])
        assert int(getattr(groups, group).count[0]) == len(found)


def target_of(case: Case) -> UtilizationTarget | AverageValueTarget:
    target = case["target"]
    if "utilization_percent" in target:
        return UtilizationTarget(target["utilization_percent"])
    return AverageValueTarget(target["average_value_milli"])


def whole_target_of(case: Case) -> WholeTarget:
    target = case["target"]
    if "value_milli" in target:
        return WholeTarget(target["value_milli"], per_replica=False)
    return WholeTarget(target["average_value_milli"])


def groups_of(case: Case) -> PodGroups:
    """The case's pods, and as upstream the samples of pods that nobody lists.

    Those have no request: they stay out of a utilisation's sums, though not out of the number of values.
    """
    groups = group_pods(PodTable.of(pod_of(case, row) for row in case["pods"]), pod_rules_of(case))
    known = {row["name"] for row in case["pods"]}
    usages = [usage_of(row, case.get("container")) for row in case["samples"] if row["pod"] not in known]
    strangers = [usage for usage in usages if usage is not None]
    counted = groups.counted
    return dataclasses.replace(
        groups,
        counted=dataclasses.replace(
            counted,
            samples=counted.samples + len(strangers),
            usage_milli=counted.usage_milli
            + (sum(strangers) if "average_value_milli" in case["target"] else 0),
        ),
    )


def check_proposal(found: Proposal, case: Case) -> None:
    expected = case["expected"]
    if "error" in expected:
        assert not found.valid[0]
        return
    assert found.valid[0]
    values: dict[str, float] = {"replicas": int(found.replicas[0]), "ratio": float(found.ratio[0])}
    if "utilization_percent" in case["target"]:
        values["utilization_percent"] = int(found.reading[0])
        values["average_value_milli"] = int(found.average_milli[0])
    else:
        values["usage_milli"] = int(found.reading[0])
    tolerance = case.get("rel_tol", 1e-12)
    for key, value in expected.items():
        exact = isinstance(value, int)
        assert values[key] == (value if exact else pytest.approx(value, rel=tolerance, abs=0)), key


def tolerance_of(case: Case) -> Tolerance:
    return Tolerance(case["tolerance"]["down"], case["tolerance"]["up"])


def counts_of(case: Case, spec: int, status: int) -> Counts:
    pods = case["pods"]
    ready = sum(pod["phase"] == "Running" and pod["ready"] == "True" for pod in pods)
    return Counts(ints(spec), ints(status), ints(ready), ints(len(pods)))


def usage_milli_of(values_milli: list[int]) -> Usage:
    """The sum of a metric's series; not known without any."""
    return Usage(ints(sum_milli(values_milli)), np.array([bool(values_milli)]))


def check_replica_calculator(case: Case) -> None:
    tolerance = tolerance_of(case)
    if case["kind"].startswith(("object", "external")):
        values = (
            [case["object_value_milli"]] if "object_value_milli" in case else case["external_values_milli"]
        )
        counts = counts_of(case, case["current_replicas"], case["current_replicas"])
        found = propose_whole(usage_milli_of(values), counts, whole_target_of(case), tolerance)
        check_proposal(found, case)
        return
    found = propose(groups_of(case), ints(case["current_replicas"]), target_of(case), tolerance)
    check_proposal(found, case)


def check_ratio(case: Case) -> None:
    usages, requests = case["values_milli"], case.get("requests_milli")
    names = list(usages) if requests is None else [name for name in usages if name in requests]
    none = PodGroup.empty((1,))
    counted = PodGroup(
        count=ints(len(names)),
        samples=ints(len(names)),
        usage_milli=ints(sum(usages[name] for name in names)),
        request_milli=ints(sum((requests or {}).get(name, 0) for name in names)),
    )
    groups = PodGroups(counted, none, none, none, np.zeros(1))
    check_proposal(propose(groups, ints(len(names)), target_of(case)), case)


def rule_of(metric: Case) -> MetricRule:
    """The metric; one of an unknown type has no target, and no source that says anything."""
    if metric["type"] not in KINDS:
        return MetricRule(metric["type"], "unknown", WholeTarget(1))
    of_pods = metric["type"] not in {"object", "external"}
    name = "/".join(metric[key] for key in ("resource", "container") if metric.get(key)) or "value"
    return MetricRule(metric["type"], name, target_of(metric) if of_pods else whole_target_of(metric))


def reading_of(case: Case, metric: Case) -> Reading:
    if "error" in metric or metric["type"] not in KINDS:
        return None
    if metric["type"] == "object":
        return usage_milli_of([metric["value_milli"]])
    if metric["type"] == "external":
        return usage_milli_of(metric["values_milli"])
    return groups_of({"resource": "", "samples": []} | case | metric)


def behavior_of(case: Case) -> Behavior | None:
    row = case["behavior"]
    if row is None:
        return None
    return Behavior(scale_up=rules_of(row["scale_up"]), scale_down=rules_of(row["scale_down"]))


def hpa_rules_of(case: Case) -> Rules:
    return Rules(
        metrics=tuple(rule_of(metric) for metric in case["metrics"]),
        bounds=bounds_of(case),
        behavior=behavior_of(case),
        tolerance=tolerance_of(case),
        window_seconds=case["downscale_stabilization_s"],
        growth=GrowthLimit(case["scale_up_limit_factor"], case["scale_up_limit_minimum"]),
    )


def autoscaler_of(case: Case) -> Autoscaler:
    """An HPA with the case's proposals in its log; without any log, it is its first pass."""
    autoscaler = Autoscaler(hpa_rules_of(case))
    if case["recommendations"] is not None:
        rescaler = autoscaler.rescaler((1,))
        rescaler._fresh = None
        fill(rescaler.proposals, case["recommendations"], "replicas")
    return autoscaler


def check_reconcile(case: Case) -> None:
    counts = counts_of(case, case["spec_replicas"], case["status_replicas"])
    readings = [reading_of(case, metric) for metric in case["metrics"]]
    done = autoscaler_of(case).decide(counts, readings, NOW)
    replicas, expected = int(done.rescale.replicas[0]), case["expected"]
    conditions = {name: [str(one.holds), one.reason] for name, one in done.conditions(0).items()}
    pairs = zip(done.rules.metrics, done.proposals, strict=True)
    percents = [int(one.reading[0]) for rule, one in pairs if isinstance(rule.target, UtilizationTarget)]
    found = {
        "desired_replicas": replicas,
        "rescale": replicas != case["spec_replicas"],
        "conditions": conditions,
        "cpu_utilization_percent": percents[0] if percents else None,
    }
    assert {key: found[key] for key in expected} == expected
    assert decided_by_policy(case, counts, readings) == replicas


def decided_by_policy(case: Case, counts: Counts, readings: list[Reading]) -> int:
    """The same pass by an Hpa that reads its metrics from a Snapshot."""
    policy = Hpa(HpaSettings(), bounds_of(case))
    policy._autoscaler = autoscaler_of(case)
    names = [f"{place}" for place in range(len(readings))]
    rules = policy._autoscaler.rules
    named = tuple(
        dataclasses.replace(rule, name=name) for rule, name in zip(rules.metrics, names, strict=True)
    )
    policy._autoscaler.rules = dataclasses.replace(rules, metrics=named)
    policy._metrics = named
    shown = dict(zip(names, readings, strict=True))
    none = Metric.missing((1,))
    snapshot = Snapshot(
        time_seconds=NOW,
        wanted=counts.spec,
        starting=counts.status - counts.ready,
        ready=counts.ready,
        draining=counts.listed - counts.status,
        cpu=none,
        rate=none,
        latency_p95=none,
        queue=none,
        metrics={
            name: Metric(np.where(one.known, one.milli / 1000, np.nan), np.zeros(1))
            for name, one in shown.items()
            if isinstance(one, Usage)
        },
        pods={name: one for name, one in shown.items() if isinstance(one, PodGroups)},
    )
    return int(policy.decide(snapshot).replicas[0])


CHECKS: Final[dict[str, Callable[[Case], None]]] = {
    "hpa_limits": check_limits,
    "hpa_limits_derived": check_limits,
    "hpa_stabilization": check_stabilization,
    "hpa_stabilization_derived": check_stabilization,
    "hpa_scale_events": check_scale_events,
    "hpa_sequences_derived": check_sequence,
    "hpa_group_pods": check_group_pods,
    "hpa_ratios": check_ratio,
    "hpa_replica_calculator": check_replica_calculator,
    "hpa_replica_calculator_derived": check_replica_calculator,
    "hpa_reconcile": check_reconcile,
    "hpa_reconcile_derived": check_reconcile,
}


@pytest.mark.parametrize(("table", "row"), parameters(CHECKS))
def test_hpa_case(table: str, row: Case) -> None:
    CHECKS[table](row)


def test_every_table_is_there() -> None:
    assert all_are_there(CHECKS)
