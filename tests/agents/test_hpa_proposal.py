"""The HPA's proposal against a plain one, pod by pod; upstream's tables are in test_hpa_cases.py."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.baselines.hpa_proposal import (
    AverageValueTarget,
    Counts,
    Tolerance,
    Usage,
    UtilizationTarget,
    WholeTarget,
    propose,
    propose_whole,
)
from simulator.pod_groups import Pod, PodGroup, PodGroups, PodRules, PodSample, PodTable, group_pods

samples = st.builds(
    PodSample,
    usage_milli=st.integers(0, 3000),
    age_seconds=st.sampled_from([0.0, 15.0]),
    window_seconds=st.just(15.0),
)
requests_milli = st.sampled_from([100, 333, 1000, 1007])
pods = st.builds(
    Pod,
    phase=st.sampled_from(["Running", "Running", "Running", "Pending", "Failed"]),
    deleted=st.sampled_from([False, False, False, True]),
    ready=st.sampled_from([True, True, True, False, None]),
    start_age_seconds=st.sampled_from([1000.0, 10.0, None]),
    ready_age_seconds=st.sampled_from([500.0, 5.0]),
    request_milli=requests_milli,
    sample=st.none() | samples,
)


def plain_proposal(
    groups: dict[str, list[Pod]], current: int, percent: int, tolerance: Tolerance
) -> int | None:
    """Upstream's GetResourceReplicas, pod by pod."""
    table = {
        id(pod): (pod.sample.usage_milli, pod.request_milli or 0)
        for pod in groups["counted"]
        if pod.sample is not None
    }
    if not table:
        return None

    def ratio() -> float:
        used, asked = sum(u for u, _ in table.values()), sum(r for _, r in table.values())
        return int(used * 100 // asked) / percent

    first = ratio()
    up_with_unready = bool(groups["unready"]) and first > 1
    if not up_with_unready and not groups["missing"]:
        stays = 1 - tolerance.down <= first <= 1 + tolerance.up
        return current if stays else math.ceil(first * len(groups["counted"]))
    for pod in groups["missing"]:
        request = pod.request_milli or 0
        if first < 1:
            table[id(pod)] = (request * max(100, percent) // 100, request)
        elif first > 1:
            table[id(pod)] = (0, request)
    if up_with_unready:
        table.update({id(pod): (0, pod.request_milli or 0) for pod in groups["unready"]})
    second = ratio()
    replicas = math.ceil(second * len(table))
    turned = (first < 1 < second) or (second < 1 < first)
    backwards = (second < 1 and replicas > current) or (second > 1 and replicas < current)
    stays = turned or backwards or 1 - tolerance.down <= second <= 1 + tolerance.up
    return current if stays else replicas


def kind_of(pod: Pod) -> str:
    if pod.deleted or pod.phase == "Failed":
        return "ignored"
    if pod.phase == "Pending":
        return "unready"
    if pod.sample is None:
        return "missing"
    if pod.ready is None or pod.start_age_seconds is None:
        return "unready"
    if pod.start_age_seconds < 300:
        fresh = pod.sample.age_seconds + pod.sample.window_seconds <= pod.ready_age_seconds
        return "counted" if pod.ready and fresh else "unready"
    was_ready = pod.ready_age_seconds <= pod.start_age_seconds - 30
    return "counted" if pod.ready or was_ready else "unready"


@settings(max_examples=300, deadline=None)
@given(
    st.lists(pods, max_size=8),
    st.integers(0, 12),
    st.sampled_from([10, 50, 80, 100, 117, 150]),
    st.sampled_from([Tolerance(), Tolerance(0.0, 0.0), Tolerance(0.5, 0.05)]),
)
def test_proposal_equals_a_plain_one(
    rows: list[Pod], current: int, percent: int, tolerance: Tolerance
) -> None:
    rows = [dataclasses.replace(pod) for pod in rows]
    kinds = ("counted", "unready", "missing", "ignored")
    plain = {kind: [pod for pod in rows if kind_of(pod) == kind] for kind in kinds}
    groups = group_pods(PodTable.of(rows), PodRules())
    expected = plain_proposal(plain, current, percent, tolerance)
    found = propose(groups, np.array([current]), UtilizationTarget(percent), tolerance)
    assert bool(found.valid[0]) == (expected is not None)
    assert int(found.replicas[0]) == (current if expected is None else expected)


def test_mixed_requests_of_several_services_are_refused() -> None:
    two, none = np.array([[2], [2]]), PodGroup.empty((2, 1))
    counted = PodGroup(two, two, 100 * two, 1000 * two)
    missing = PodGroup(two, 0 * two, 0 * two, 1500 * two, uniform=False)
    groups = PodGroups(counted, none, missing, none, np.zeros((2, 1)))
    with pytest.raises(ValueError, match="missing pods with different requests and a target of 150%"):
        propose(groups, two, UtilizationTarget(150))
    assert propose(groups, two, UtilizationTarget(100)).valid.all()
    assert propose(groups, two, AverageValueTarget(150)).valid.all()


def ready_pod(request_milli: int | None, sample: PodSample | None) -> Pod:
    return Pod("Running", False, True, 1000.0, 500.0, request_milli, sample)


def test_mixed_requests_of_one_service_are_cut_pod_by_pod() -> None:
    rows = [ready_pod(request, None) for request in (333, 333, 1007)]
    missing = group_pods(PodTable.of(rows), PodRules()).missing
    assert UtilizationTarget(150).fill_milli(missing, np.array([True])).tolist() == [499 + 499 + 1510]


@pytest.mark.parametrize("sample", [PodSample(500, 0.0, 15.0), None])
@pytest.mark.parametrize("deleted", [False, True])
def test_one_pod_without_a_request_spoils_a_utilization(sample: PodSample | None, deleted: bool) -> None:
    """Upstream sums the requests of all pods that it lists, those it ignores included."""
    good = ready_pod(1000, PodSample(500, 0.0, 15.0))
    bad = dataclasses.replace(ready_pod(None, sample), deleted=deleted)
    groups = group_pods(PodTable.of([good, good, bad]), PodRules())
    three = np.array([3])
    assert propose(groups, three, UtilizationTarget(10)).valid.tolist() == [False]
    assert propose(groups, three, UtilizationTarget(10)).replicas.tolist() == [3]
    assert propose(groups, three, AverageValueTarget(100)).valid.tolist() == [True]


def test_samples_without_any_pod_propose_nothing() -> None:
    """As upstream: no pods returned by selector while calculating replica count."""
    one, none = np.array([1]), PodGroup.empty((1,))
    stranger = PodGroup(
        count=np.array([0]), samples=one, usage_milli=np.array([635]), request_milli=np.array([0])
    )
    groups = PodGroups(stranger, none, none, none, np.zeros(1))
    for target in (AverageValueTarget(200), UtilizationTarget(50)):
        found = propose(groups, np.array([4]), target)
        assert (found.valid.tolist(), found.replicas.tolist()) == ([False], [4])
    beside = dataclasses.replace(groups, missing=dataclasses.replace(none, count=one))
    assert propose(beside, np.array([4]), AverageValueTarget(200)).valid.tolist() == [True]


def test_sums_of_pods_are_exact_past_the_whole_doubles() -> None:
    """Memory in thousandths gets there."""
    rows = [ready_pod(2**53 + 1, PodSample(2**53 + 1, 0.0, 15.0)), ready_pod(1, PodSample(1, 0.0, 15.0))]
    counted = group_pods(PodTable.of(rows), PodRules()).counted
    assert (counted.usage_milli.tolist(), counted.request_milli.tolist()) == ([2**53 + 2], [2**53 + 2])


def plain_whole(
    usage: int, spec: int, status: int, ready: int, target: int, tolerance: Tolerance
) -> tuple[int | None, int | None]:
    """Upstream's replicas for a Value target, None without pods, and for an AverageValue target."""

    def within(ratio: float) -> bool:
        return 1 - tolerance.down <= ratio <= 1 + tolerance.up

    def capped(replicas: float) -> int:
        return min(math.ceil(replicas), 2**31 - 1)

    ratio = float(usage) / float(target)
    together: int | None = capped(ratio)
    if spec:
        together = spec if within(ratio) else capped(ratio * ready) if ready + status else None
    per_replica = capped(ratio)
    if status and within(float(usage) / (float(target) * float(status))):
        per_replica = status
    return together, per_replica


milli = st.integers(0, 200_000) | st.integers(0, 2**63 - 1)


@settings(max_examples=300, deadline=None)
@given(
    milli,
    st.integers(0, 30),
    st.integers(0, 30),
    st.integers(0, 30),
    st.integers(1, 50_000) | st.integers(1, 2**63 - 1),
    st.sampled_from([Tolerance(), Tolerance(0.0, 0.0), Tolerance(0.5, 0.05)]),
)
def test_proposal_of_one_value_equals_a_plain_one(
    usage: int, spec: int, status: int, ready: int, target: int, tolerance: Tolerance
) -> None:
    counts = Counts(*(np.array([one]) for one in (spec, status, ready, status + ready)))
    shown = Usage(np.array([usage]), np.array([True]))
    expected = plain_whole(usage, spec, status, ready, target, tolerance)
    for per_replica, replicas in zip((False, True), expected, strict=True):
        found = propose_whole(shown, counts, WholeTarget(target, per_replica), tolerance)
        assert bool(found.valid[0]) == (replicas is not None)
        assert int(found.replicas[0]) == (spec if replicas is None else replicas)
