"""The HPA against tables of cases, upstream's own and derived ones: tests/cases/README.md."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

from agents.baselines.hpa import Rescaler
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
from agents.baselines.hpa_proposal import (
    AverageValueTarget,
    Proposal,
    Target,
    Tolerance,
    UtilizationTarget,
    propose,
)
from simulator.arrays import Ints
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

Case = dict[str, Any]

CASES_FOLDER: Final = Path(__file__).parents[1] / "cases"
NOT_COVERED_KINDS: Final = frozenset({"object_metric", "object_per_pod", "external", "external_per_pod"})
NOW: Final = np.array(0.0)
LONG_AGO_SECONDS: Final = 1e9


def ints(value: int) -> Ints:
    return np.array([value], dtype=np.int64)


def bounds_of(case: Case) -> Bounds:
    return Bounds(ints(case["min_replicas"]), ints(case["max_replicas"]))


def rules_of(row: Case | None) -> ScalingRules | None:
    if row is None:
        return None
    policies = tuple(
        ScalingPolicy(type=policy["type"], value=policy["value"], period_seconds=policy["period_s"])
        for policy in row["policies"]
    )
    return ScalingRules(
        stabilization_window_seconds=row["stabilization_window_s"],
        select_policy=row["select_policy"],
        policies=policies,
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
    behavior = case["behavior"]
    if behavior is not None:
        behavior = Behavior(
            scale_up=rules_of(behavior["scale_up"]), scale_down=rules_of(behavior["scale_down"])
        )
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
    return sum(requests) if requests and None not in requests else None


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


def target_of(case: Case) -> Target:
    target = case["target"]
    if "utilization_percent" in target:
        return UtilizationTarget(target["utilization_percent"])
    return AverageValueTarget(target["average_value_milli"])


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


def check_replica_calculator(case: Case) -> None:
    tolerance = Tolerance(case["tolerance"]["down"], case["tolerance"]["up"])
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
}


def tables(folder: Path) -> Iterator[tuple[str, list[Case]]]:
    """The folder's tables that are covered, by name."""
    if not folder.is_dir():
        msg = f"SETPOINT_CASES is {str(folder)!r}: only a folder of *.json tables is allowed"
        raise ValueError(msg)
    for path in sorted(folder.glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["table"] in CHECKS:
            yield content["table"], content["cases"]


def cases() -> Iterator[Any]:
    further = os.environ.get("SETPOINT_CASES")
    for folder in [CASES_FOLDER, *([Path(further)] if further else [])]:
        for table, rows in tables(folder):
            for row in rows:
                if row.get("kind") not in NOT_COVERED_KINDS:
                    yield pytest.param(table, row, id=f"case-{table}-{row['id']}")


@pytest.mark.parametrize(("table", "row"), list(cases()))
def test_hpa_case(table: str, row: Case) -> None:
    CHECKS[table](row)


def test_every_table_is_there() -> None:
    assert {table for table, rows in tables(CASES_FOLDER) if rows} == set(CHECKS)
