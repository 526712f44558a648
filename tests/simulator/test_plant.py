"""Pod groups against a plain re-implementation of the HPA's own loop, pod by pod."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.plant import Desired, Metric, Snapshot
from simulator.pod_groups import (
    POD_KINDS,
    Pod,
    PodGroup,
    PodRules,
    PodSample,
    PodTable,
    group_pods,
    pod_kinds,
)

SECONDS = st.sampled_from([0.0, 5.0, 15.0, 29.0, 30.0, 31.0, 60.0, 270.0, 299.0, 300.0, 301.0, 900.0])
SAMPLES = st.builds(PodSample, st.integers(0, 5000), SECONDS, st.sampled_from([0.0, 15.0, 30.0, 60.0]))
PODS = st.builds(
    Pod,
    phase=st.sampled_from(["Pending", "Running", "Running", "Running", "Failed", "Succeeded"]),
    deleted=st.sampled_from([False, False, False, True]),
    ready=st.sampled_from([True, True, False, None]),
    start_age_seconds=st.none() | SECONDS,
    ready_age_seconds=SECONDS,
    request_milli=st.sampled_from([None, 100, 250, 250, 250]),
    sample=st.none() | SAMPLES,
)
RULES = st.builds(
    PodRules, st.sampled_from([0.0, 60.0, 300.0]), st.sampled_from([0.0, 30.0]), trust_all=st.booleans()
)


def kind_of(pod: Pod, rules: PodRules) -> str:
    """groupPods of replica_calculator.go, with now = 0 and times as negative ages."""
    if pod.deleted or pod.phase == "Failed":
        return "ignored"
    if pod.phase == "Pending":
        return "unready"
    if pod.sample is None:
        return "missing"
    if rules.trust_all:
        return "counted"
    if pod.ready is None or pod.start_age_seconds is None:
        return "unready"
    start, transition, stamp = -pod.start_age_seconds, -pod.ready_age_seconds, -pod.sample.age_seconds
    if start + rules.initialization_seconds > 0:
        unready = not pod.ready or stamp < transition + pod.sample.window_seconds
    else:
        unready = not pod.ready and start + rules.readiness_delay_seconds > transition
    return "unready" if unready else "counted"


def assert_group(group: PodGroup, pods: list[Pod]) -> None:
    requests = [-1 if pod.request_milli is None else pod.request_milli for pod in pods]
    usages = [pod.sample.usage_milli for pod in pods if pod.sample is not None]
    for array in (group.count, group.samples, group.usage_milli, group.request_milli):
        assert array.dtype == np.int64
        assert array.shape == (1,)
    assert int(group.count[0]) == len(pods)
    assert int(group.samples[0]) == len(usages)
    assert int(group.usage_milli[0]) == sum(usages)
    assert int(group.request_milli[0]) == (-1 if -1 in requests else sum(requests))
    assert group.uniform == (len(set(requests)) <= 1)
    assert group.requests_milli == (() if group.uniform else tuple(requests))


@settings(deadline=None, max_examples=400)
@given(st.lists(PODS, max_size=12), RULES)
def test_groups_are_those_of_the_plain_loop(pods: list[Pod], rules: PodRules) -> None:
    table = PodTable.of(pods)
    expected = [kind_of(pod, rules) for pod in pods]
    assert [POD_KINDS[kind] for kind in pod_kinds(table, rules)] == expected
    groups = group_pods(table, rules)
    for kind in POD_KINDS:
        assert_group(
            getattr(groups, kind), [pod for pod, found in zip(pods, expected, strict=True) if found == kind]
        )
    ages = [
        pod.sample.age_seconds
        for pod, found in zip(pods, expected, strict=True)
        if found == "counted" and pod.sample is not None
    ]
    assert groups.age_seconds.tolist() == [max(ages, default=math.inf)]


def test_no_pods_are_four_empty_groups() -> None:
    groups = group_pods(PodTable.of([]), PodRules())
    for kind in POD_KINDS:
        assert_group(getattr(groups, kind), [])
    assert groups.age_seconds.tolist() == [math.inf]


def test_a_missing_metric_is_nan() -> None:
    metric = Metric.missing((2, 3), 7.0)
    assert np.isnan(metric.value).all()
    assert metric.value.shape == (2, 3)
    assert (metric.age_seconds == 7.0).all()
    assert np.isinf(Metric.missing((1,)).age_seconds).all()


def test_hold_is_what_is_wanted() -> None:
    none, some = np.zeros((1,), dtype=np.int64), np.array([7])
    missing = Metric.missing((1,))
    snapshot = Snapshot(np.array(0.0), some, none, none, none, missing, missing, missing, missing)
    held = Desired.hold(snapshot, "no metric")
    assert held.replicas.tolist() == [7]
    assert held.reason == "no metric"
