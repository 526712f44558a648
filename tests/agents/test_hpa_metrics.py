"""Several metrics in one HPA: how they are read, what a failing one does, and many clusters against each alone."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from snapshots import alone, random_snapshot

from agents.baselines.hpa import Hpa, HpaSettings
from agents.baselines.hpa_behavior import Bounds
from agents.baselines.hpa_metrics import milli_of
from simulator.arrays import Ints
from simulator.plant import Metric, Snapshot
from simulator.pod_groups import PodGroup, PodGroups

CPU = {"type": "resource", "name": "cpu", "utilization": 0.5}
MEMORY = {"type": "resource", "name": "memory", "average_value": 512}
SIDECAR = {"type": "container_resource", "name": "cpu", "container": "proxy", "utilization": 0.5}
RATE_A_POD = {"type": "pods", "name": "rate", "average_value": 30}
QUEUE = {"type": "object", "name": "queue", "value": 8}
JOBS = {"type": "external", "name": "jobs", "average_value": 10}


def group(count: Ints, usage_milli: int = 0) -> PodGroup:
    return PodGroup(count, count, usage_milli * count, 1000 * count)


def groups(ready: Ints, starting: Ints, usage_milli: int) -> PodGroups:
    none = 0 * ready
    kinds = group(ready, usage_milli), group(none), group(starting), group(none)
    return PodGroups(*kinds, np.zeros(ready.shape))


def shown(wanted: int, starting: int = 0, **values: float) -> Snapshot:
    """One service; values of cpu, proxy and memory are usage a pod in thousandths, the others as they are."""
    spec, starts = np.array([wanted]), np.array([starting])
    ready = spec - starts
    names = {"cpu": "cpu", "proxy": "cpu/proxy", "memory": "memory"}
    pods = {key: groups(ready, starts, int(values[name])) for name, key in names.items() if name in values}
    metrics = {
        name: Metric(np.array([value]), np.array([15.0]))
        for name, value in values.items()
        if name not in names
    }
    none = Metric.missing((1,))
    own = [metrics.pop(name, none) for name in ("rate", "latency_p95", "queue")]
    return Snapshot(np.array(0.0), spec, starts, ready, 0 * spec, none, *own, metrics=metrics, pods=pods)


def decide(snapshot: Snapshot, *metrics: dict[str, Any], fewest: int = 1, **more: Any) -> tuple[int, str]:
    """A pass whose window does not matter, since the present count alone is in its log."""
    rules = HpaSettings.model_validate({"metrics": metrics, "window": 0, "behavior": "none"} | more)
    policy = Hpa(rules, Bounds(np.array([fewest]), np.array([50])))
    earlier = dataclasses.replace(snapshot, time_seconds=np.array(-15.0))
    policy.decide(earlier)
    desired = policy.decide(snapshot)
    return int(desired.replicas[0]), desired.reason


@pytest.mark.parametrize(
    ("metric", "values", "replicas", "reason"),
    [
        (CPU, {"cpu": 750}, 6, "cpu 75% of request, target 50% -> 6"),
        (MEMORY, {"memory": 1_024_000}, 8, "memory 1024 a pod, target 512 -> 8"),
        (SIDECAR, {"proxy": 250}, 2, "cpu/proxy 25% of request, target 50% -> 2"),
        (RATE_A_POD, {"rate": 180}, 6, "rate 45 a pod, target 30 -> 6"),
        (QUEUE, {"queue": 12}, 6, "queue 12, target 8 -> 6"),
        (JOBS, {"jobs": 51}, 6, "jobs 12.75 a pod, target 10 -> 6"),
        (JOBS, {"jobs": 43}, 4, "jobs 10.75 a pod, target 10 -> 4"),
    ],
)
def test_each_kind_of_metric(
    metric: dict[str, Any], values: dict[str, float], replicas: int, reason: str
) -> None:
    assert decide(shown(4, **values), metric) == (replicas, reason)


def test_the_metric_that_wants_most_rules() -> None:
    snapshot = shown(4, cpu=750, jobs=80, queue=0)
    reason = "cpu 75% of request, target 50% -> 6, jobs 20 a pod, target 10 -> 8, queue 0, target 8 -> 0"
    assert decide(snapshot, CPU, JOBS, QUEUE) == (8, reason)


def test_a_failing_metric_stops_a_scale_down_and_no_scale_up() -> None:
    assert decide(shown(4, cpu=750), CPU, JOBS) == (6, "cpu 75% of request, target 50% -> 6, jobs unknown")
    held = "jobs unknown, cpu 25% of request, target 50% -> 2, held"
    assert decide(shown(4, cpu=250), JOBS, CPU) == (4, held)
    assert decide(shown(4, cpu=500, jobs=np.nan), JOBS, CPU)[0] == 4
    assert decide(shown(4), JOBS, CPU) == (4, "jobs unknown, cpu unknown, held")


def test_from_zero_and_to_zero_with_a_metric_of_the_whole_service() -> None:
    assert decide(shown(0, jobs=31), JOBS, fewest=0)[0] == 4
    assert decide(shown(0, queue=9), QUEUE, fewest=0)[0] == 2
    assert decide(shown(3, queue=0), QUEUE, fewest=0)[0] == 0
    assert decide(shown(0, rate=100), RATE_A_POD, fewest=0) == (0, "rate unknown, held")
    assert decide(shown(0, jobs=31), JOBS)[1] == "0 replicas, autoscaling is off"


def test_pods_that_start_have_no_sample_of_a_shared_metric() -> None:
    """They count as at the target on the way down, and as at 0 on the way up."""
    assert decide(shown(4, starting=2, rate=30), RATE_A_POD)[0] == 3
    assert decide(shown(4, starting=2, rate=180), RATE_A_POD)[0] == 6
    assert decide(shown(4, starting=2, rate=130), RATE_A_POD)[0] == 4


def test_a_value_needs_pods_unless_there_are_to_be_none() -> None:
    nobody = dataclasses.replace(shown(4, queue=80), ready=np.array([0]))
    assert decide(nobody, QUEUE) == (4, "queue unknown, held")


def test_thousandths_are_cut_and_what_was_written_is_met() -> None:
    values = np.array([1.005, 0.0019999, -1.5, 8.2, np.nan, np.inf, 1e30, 2.0**30 + 0.001])
    expected = [1005, 1, -1500, 8200, 0, 0, 2**63 - 1024, 2**30 * 1000 + 1]
    assert milli_of(values).tolist() == expected
    written = np.arange(1, 200_000)
    assert (milli_of(written / 1000) == written).all()


@pytest.mark.parametrize(
    "wrong",
    [
        {"type": "pods", "name": "rate", "utilization": 0.5},
        {"type": "resource", "name": "cpu"},
        {"type": "resource", "name": "cpu", "utilization": 0.5, "average_value": 2},
        {"type": "resource", "name": "cpu", "utilization": 0.555},
        {"type": "resource", "name": "cpu", "container": "proxy", "utilization": 0.5},
        {"type": "container_resource", "name": "cpu", "utilization": 0.5},
        {"type": "external", "name": "jobs", "value": 0},
        {"type": "other", "name": "jobs", "value": 1},
    ],
)
def test_wrong_metrics_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        HpaSettings.model_validate({"metrics": [wrong]})


def test_no_metrics_are_refused() -> None:
    with pytest.raises(ValidationError, match="metrics is empty: at least one is needed"):
        HpaSettings.model_validate({"metrics": []})


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.sampled_from([CPU, MEMORY, SIDECAR, RATE_A_POD, QUEUE, JOBS]), min_size=1, max_size=4),
    st.integers(0, 2**32 - 1),
    st.sampled_from([0, 2]),
)
def test_many_clusters_equal_each_alone(metrics: list[dict[str, Any]], seed: int, fewest: int) -> None:
    rng = np.random.default_rng(seed)
    clusters, services = 3, 2
    bounds = Bounds(np.array([fewest, fewest]), np.array([30, 20]))
    rules = HpaSettings.model_validate({"metrics": metrics, "window": 30})
    together, each = Hpa(rules, bounds), [Hpa(rules, bounds) for _ in range(clusters)]
    wanted: Ints = rng.integers(0, 25, (clusters, services))
    for tick in range(12):
        mask = rng.random(clusters) < 0.1
        together.reset(mask)
        for one in np.flatnonzero(mask):
            each[one].reset()
        snapshot = random_snapshot(rng, wanted, 15.0 * tick)
        desired = together.decide(snapshot).replicas
        assert desired.dtype == np.int64
        for place, policy in enumerate(each):
            found = policy.decide(alone(snapshot, place))
            assert found.replicas.tolist() == desired[place].tolist(), found.reason
        wanted = desired
