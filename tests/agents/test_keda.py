"""KEDA as a Policy: to zero and back, fallbacks, pauses, and many clusters against each alone."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from snapshots import alone, random_snapshot

from agents.baselines.hpa_behavior import Bounds
from agents.baselines.keda import Keda, KedaSettings
from agents.baselines.keda_jobs import JobRules, Queue, combine_queues, decide_jobs
from agents.registry import make_each
from envs.task import load_task
from experiments.run import make_context
from simulator.arrays import Ints
from simulator.plant import Metric, Snapshot


def keda(fewest: int = 0, most: int = 50, **rules: Any) -> Keda:
    given_rules = {"target": 10, "window": 0, "polling": 15} | rules
    if "triggers" in rules:
        del given_rules["target"]
    return Keda(KedaSettings.model_validate(given_rules), Bounds(np.array([fewest]), np.array([most])))


def shown(wanted: int, now: float, **values: float) -> Snapshot:
    spec, none = np.array([wanted]), Metric.missing((1,))
    metrics = {name: Metric(np.array([value]), np.array([15.0])) for name, value in values.items()}
    own = [metrics.pop(name, none) for name in ("rate", "latency_p95", "queue")]
    return Snapshot(np.array(now), spec, 0 * spec, spec, 0 * spec, none, *own, metrics=metrics)


def drive(policy: Keda, wanted: int, rates: list[float]) -> list[int]:
    """The counts set, one each 15 s, by one rate after the other; pods start at once."""
    found = []
    for tick, rate in enumerate(rates):
        wanted = int(policy.decide(shown(wanted, 15.0 * tick, rate=rate)).replicas[0])
        found.append(wanted)
    return found


def test_to_zero_after_the_cooldown_and_back_at_the_first_request() -> None:
    policy = keda(cooldown=60)
    rates = [35.0, 25.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 2.0, 35.0]
    assert drive(policy, 1, rates) == [4, 3, 1, 1, 1, 1, 0, 0, 1, 4]


def test_the_first_pass_remembers_the_current_count_and_never_active_goes_at_once() -> None:
    assert drive(keda(window=300), 8, [10.0]) == [8]
    assert drive(keda(), 8, [0.0, 0.0]) == [1, 0]
    assert drive(keda(initial_cooldown=40), 8, [0.0, 0.0, 0.0, 0.0]) == [1, 1, 1, 0]


def test_activity_is_looked_at_only_so_often() -> None:
    assert drive(keda(polling=30), 0, [0.0, 50.0, 50.0, 50.0]) == [0, 0, 1, 5]


def test_activation_is_strictly_over_its_threshold() -> None:
    policy = keda(activation=20, cooldown=60)
    assert drive(policy, 0, [20.0, 20.5, 20.0]) == [0, 1, 2]
    assert drive(keda(activation=20, cooldown=0), 3, [30.0, 20.0]) == [3, 0]


def test_the_reason_tells_who_moved_the_count() -> None:
    policy = keda(cooldown=20)
    told = [(0, 5.0), (1, 30.0), (3, 0.0), (1, 0.0), (0, 0.0)]
    reasons = [policy.decide(shown(n, 15.0 * tick, rate=rate)).reason for tick, (n, rate) in enumerate(told)]
    assert reasons == [
        "active, 0 -> 1",
        "rate 30 a pod, target 10 -> 3",
        "rate 0 a pod, target 10 -> 0; TooFewReplicas",
        "inactive, 1 -> 0",
        "inactive, 0 replicas",
    ]


def test_idle_replicas_below_a_minimum() -> None:
    policy = keda(min_replicas=3, idle=0, cooldown=20)
    assert drive(policy, 0, [0.0, 1.0, 1.0, 0.0, 0.0, 0.0]) == [0, 3, 3, 3, 0, 0]
    assert drive(keda(min_replicas=3), 1, [0.0]) == [3]


def test_any_trigger_activates_and_the_one_that_wants_most_rules() -> None:
    triggers = [
        {"metric": "rate", "target": 10},
        {"metric": "jobs", "target": 2, "activation": 4, "type": "value"},
    ]
    policy = keda(triggers=triggers)
    assert policy.decide(shown(0, 0.0, rate=0.0, jobs=5.0)).replicas.tolist() == [1]
    assert policy.decide(shown(4, 15.0, rate=60.0, jobs=3.0)).replicas.tolist() == [6]
    assert policy.decide(shown(4, 30.0, rate=60.0, jobs=4.0)).replicas.tolist() == [8]
    assert policy.decide(shown(4, 45.0, rate=60.0)).replicas.tolist() == [6], "jobs is missing"
    assert policy.decide(shown(4, 60.0, rate=10.0)).replicas.tolist() == [4], "and stops a scale-down"


@pytest.mark.parametrize("current", [0, 5])
def test_without_a_fallback_it_holds(current: int) -> None:
    assert drive(keda(cooldown=0), current, [np.nan] * 5) == [current] * 5


@pytest.mark.parametrize(
    ("behavior", "current", "expected"),
    [
        ("static", 5, 9),
        ("currentReplicas", 5, 5),
        ("currentReplicasIfHigher", 12, 12),
        ("currentReplicasIfHigher", 5, 9),
        ("currentReplicasIfLower", 12, 9),
        ("currentReplicasIfLower", 5, 5),
    ],
)
def test_a_fallback_after_failures_in_a_row(behavior: str, current: int, expected: int) -> None:
    fallback = {"failures": 2, "replicas": 9, "behavior": behavior}
    policy = keda(fallback=fallback, tolerance=0)
    assert drive(policy, current, [np.nan] * 4) == [current, current, expected, expected]
    whole = keda(triggers=[{"metric": "rate", "target": 10, "type": "value"}], fallback=fallback, tolerance=0)
    assert drive(whole, current, [np.nan] * 4) == [current, current, expected, expected]


def test_a_success_ends_the_failures_and_zero_is_left_alone() -> None:
    policy = keda(fallback={"failures": 1, "replicas": 9})
    assert drive(policy, 5, [np.nan, 50.0, np.nan, np.nan]) == [5, 5, 5, 9]
    assert drive(keda(fallback={"failures": 1, "replicas": 9}), 0, [np.nan] * 4) == [0] * 4


def test_pauses() -> None:
    assert drive(keda(paused=True), 4, [200.0, 0.0, 0.0]) == [4, 4, 4]
    assert drive(keda(paused_replicas=2), 4, [200.0, 0.0]) == [2, 2]
    assert drive(keda(paused_scale_in=True, cooldown=0), 4, [60.0, 0.0, 0.0]) == [6, 6, 6]
    assert drive(keda(paused_scale_out=True), 0, [60.0, 60.0]) == [0, 0]
    assert drive(keda(paused_scale_out=True, behavior="none"), 4, [60.0, 60.0]) == [4, 4]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({}, "target is needed, such as target=40 requests/s a replica, or triggers"),
        ({"target": 3, "triggers": [{"metric": "rate", "target": 1}]}, "target is given with triggers"),
        ({"target": 3, "idle": 0}, "idle is 0: it needs min_replicas of 1 or more"),
        ({"target": 3, "idle": 1, "min_replicas": 2}, "less than or equal to 0"),
        ({"target": 0}, "greater than or equal to 0.001"),
        ({"target": 3, "fallback": {"replicas": -1}}, "greater than or equal to 0"),
    ],
)
def test_wrong_settings_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        KedaSettings.model_validate(wrong)


TRIGGERS = [
    {"metric": "rate", "target": 30},
    {"metric": "jobs", "target": 20, "activation": 15, "type": "value"},
]


@settings(max_examples=80, deadline=None)
@given(
    st.fixed_dictionaries(
        {"triggers": st.sampled_from([TRIGGERS[:1], TRIGGERS])},
        optional={
            "cooldown": st.sampled_from([0, 30]),
            "polling": st.sampled_from([15, 30]),
            "min_replicas": st.sampled_from([3]),
            "fallback": st.sampled_from([{"failures": 1, "replicas": 7}, {"failures": 0, "replicas": 0}]),
            "behavior": st.just("none"),
            "paused_scale_in": st.just(True),
        },
    ),
    st.integers(0, 2**32 - 1),
)
def test_many_clusters_equal_each_alone(rules: dict[str, Any], seed: int) -> None:
    rng = np.random.default_rng(seed)
    clusters, services = 3, 2
    bounds = Bounds(np.array([0, 1]), np.array([30, 20]))
    checked = KedaSettings.model_validate({"window": 30} | rules)
    together, each = Keda(checked, bounds), [Keda(checked, bounds) for _ in range(clusters)]
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
            assert found.reason
        wanted = desired


def test_targets_and_cooldowns_of_many_are_one_policy() -> None:
    context = make_context(load_task("web"), None, 0)
    specs = [f"keda:target={target},cooldown={cooldown}" for target in (20, 30.5) for cooldown in (0, 300)]
    assert isinstance(make_each(specs, context), Keda)


def test_the_snapshot_may_change_its_number_of_clusters() -> None:
    policy = keda()
    policy.decide(shown(3, 0.0, rate=10.0))
    both = random_snapshot(np.random.default_rng(0), np.array([[1], [2]]), 15.0)
    assert policy.decide(both).replicas.shape == (2, 1)


def test_jobs() -> None:
    rules = JobRules(max_replicas=10)
    queues = [Queue(9, 2, True), Queue(0, 2, True), Queue(30, 1, False)]
    assert dataclasses.astuple(combine_queues(queues, rules)) == (True, 9, 5)
    assert dataclasses.astuple(combine_queues(queues, rules, "avg")) == (True, 5, 3)
    assert dataclasses.astuple(combine_queues(queues, rules, "sum")) == (True, 9, 5)
    assert dataclasses.astuple(combine_queues(queues[1:], rules)) == (False, 0, 0)
    assert dataclasses.astuple(combine_queues([Queue(500, 1, True)], rules)) == (True, 500, 10)
    assert decide_jobs(rules, running=3, pending=1, max_scale=5, scale_to=9).created == 2
    assert decide_jobs(rules, running=7, pending=1, max_scale=5, scale_to=9).created == 0
