"""The HPA as a Policy: against a plain scalar one, many clusters against each alone, its limits."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from agents.baselines.hpa import Hpa, HpaSettings, make_hpa
from agents.baselines.hpa_behavior import (
    Behavior,
    Bounds,
    DirectionRules,
    Log,
    ScalingPolicy,
    ScalingRules,
    filled_down,
    filled_up,
)
from agents.baselines.hpa_proposal import Tolerance
from agents.baselines.hpa_rescale import Rescaler
from agents.policy import Context
from simulator.arrays import Ints
from simulator.plant import Metric, Snapshot
from simulator.pod_groups import PodGroup, PodGroups

MIN, MAX = 2, 30
BOUNDS = Bounds(np.array([MIN]), np.array([MAX]))
CONTEXT = Context(("web",), np.array([MIN]), np.array([MAX]))


class PlainHpa:
    """Steps 0 and 3 to 6 for one service, with lists and loops: nothing shared with the code under test."""

    def __init__(self, behavior: Behavior | None, window: int) -> None:
        self.up: DirectionRules | None = None
        self.down: DirectionRules | None = None
        if behavior is not None:
            self.up, self.down = filled_up(behavior.scale_up), filled_down(behavior.scale_down, window)
        self.window = window
        self.log: list[tuple[int, float]] | None = None
        self.added: list[tuple[int, float]] = []
        self.removed: list[tuple[int, float]] = []
        self.asked: tuple[int, float] = (0, 0.0)

    def step(self, current: int, now: float, proposal: int | None) -> int:
        if self.log is None:
            self.log = [(current, now)]
        self.store(*self.asked)  # what was asked for last is seen to have happened
        self.asked = (0, now)
        if current == 0:
            return 0
        if current > MAX or current < MIN:
            wanted = MAX if current > MAX else MIN
        elif proposal is None:
            return current
        else:
            wanted = self.limit(current, now, self.stabilize(current, now, proposal))
        self.asked = (wanted - current, now)
        return wanted

    def stabilize(self, current: int, now: float, proposal: int) -> int:
        assert self.log is not None
        result, oldest = proposal, self.window
        if self.up is None or self.down is None:
            result = max([proposal, *(n for n, t in self.log if now - t <= self.window)])
        else:
            low = min([proposal, *(n for n, t in self.log if now - t < self.up.window_seconds)])
            high = max([proposal, *(n for n, t in self.log if now - t < self.down.window_seconds)])
            result = min(max(current, low), high)
            oldest = int(max(self.up.window_seconds, self.down.window_seconds))
        self.put(self.log, proposal, now, oldest)
        return result

    def limit(self, current: int, now: float, desired: int) -> int:
        if self.up is None or self.down is None:
            return max(MIN, min(desired, MAX, max(2 * current, 4)))
        if desired > current:
            limits = []
            for policy in self.up.policies:
                base = self.base(current, now, policy.period_seconds)
                factor = 1 + policy.value / 100
                limits.append(base + policy.value if policy.type == "Pods" else math.ceil(base * factor))
            choice = {"Max": max(limits), "Min": min(limits), "Disabled": current}
            return min(desired, MAX, max(current, choice[self.up.select_policy]))
        if desired < current:
            limits = []
            for policy in self.down.policies:
                base = self.base(current, now, policy.period_seconds)
                factor = 1 - policy.value / 100
                limits.append(base - policy.value if policy.type == "Pods" else int(base * factor))
            choice = {"Max": min(limits), "Min": max(limits), "Disabled": current}
            return max(desired, MIN, min(current, choice[self.down.select_policy]))
        return desired

    def base(self, current: int, now: float, period: int) -> int:
        added = sum(n for n, t in self.added if now - t < period)
        return current - added + sum(n for n, t in self.removed if now - t < period)

    def store(self, change: int, now: float) -> None:
        if self.up is None or self.down is None or change == 0:
            return
        rules, log = (self.up, self.added) if change > 0 else (self.down, self.removed)
        self.put(log, abs(change), now, max(policy.period_seconds for policy in rules.policies))

    @staticmethod
    def put(log: list[tuple[int, float]], value: int, now: float, oldest: int) -> None:
        reusable = [index for index, (_, t) in enumerate(log) if now - t > oldest]
        if reusable:
            log[reusable[-1]] = (value, now)
        else:
            log.append((value, now))


policies = st.builds(
    ScalingPolicy,
    type=st.sampled_from(["Pods", "Percent"]),
    value=st.sampled_from([1, 2, 4, 10, 25, 100, 300]),
    period_seconds=st.sampled_from([15, 30, 60, 120]),
)
directions = st.none() | st.builds(
    ScalingRules,
    stabilization_window_seconds=st.none() | st.sampled_from([0, 15, 60, 100]),
    select_policy=st.sampled_from(["Max", "Max", "Min", "Disabled"]),
    policies=st.none() | st.lists(policies, min_size=1, max_size=3).map(tuple),
)
behaviors = st.none() | st.builds(Behavior, scale_up=directions, scale_down=directions)
steps_seconds = st.sampled_from([15.0, 15.0, 7.0, 31.0, 200.0])


@st.composite
def passes(draw: st.DrawFn, elements: int) -> list[tuple[float, list[int | None], list[bool]]]:
    """Steps of (seconds since the last, a proposal each or None, whether each is reset before)."""
    proposals = st.none() | st.integers(0, 40) | st.integers(8, 12)
    row = st.tuples(
        steps_seconds,
        st.lists(proposals, min_size=elements, max_size=elements),
        st.lists(st.integers(0, 9).map(lambda n: n == 0), min_size=elements, max_size=elements),
    )
    return draw(st.lists(row, min_size=1, max_size=40))


@settings(max_examples=150, deadline=None)
@given(
    behaviors, st.sampled_from([0, 30, 300]), passes(3), st.lists(st.integers(0, 35), min_size=3, max_size=3)
)
def test_equals_a_plain_scalar_hpa(
    behavior: Behavior | None,
    window: int,
    rows: list[tuple[float, list[int | None], list[bool]]],
    start: list[int],
) -> None:
    plain = [PlainHpa(behavior, window) for _ in start]
    rescaler = Rescaler((3, 1), BOUNDS, behavior, window)
    current, now = np.array(start).reshape(3, 1), 0.0
    for seconds, proposals, resets in rows:
        now += seconds
        if any(resets):
            rescaler.reset(np.array(resets))
        plain = [
            PlainHpa(behavior, window) if reset else old for reset, old in zip(resets, plain, strict=True)
        ]
        valid = np.array([proposal is not None for proposal in proposals]).reshape(3, 1)
        proposal = np.array([proposal or 0 for proposal in proposals]).reshape(3, 1)
        expected = [
            one.step(int(count), now, wish)
            for one, count, wish in zip(plain, current.ravel(), proposals, strict=True)
        ]
        current = rescaler.rescale(current, np.full(3, now), proposal, valid).replicas
        assert current.ravel().tolist() == expected
        for index, one in enumerate(plain):
            assert logged(rescaler.proposals, index) == [n for n, _ in one.log or []]
            if rescaler.events is not None:
                assert logged(rescaler.events.added, index) == [n for n, _ in one.added]
                assert logged(rescaler.events.removed, index) == [n for n, _ in one.removed]


def logged(log: Log, index: int) -> list[int]:
    used = ~np.isnan(log.ages_seconds(np.zeros(3))[index, 0])
    return [int(value) for value in log.values[index, 0, used]]


def group(count: Ints, usage_milli: Ints | int = 0) -> PodGroup:
    return PodGroup(count, count, np.asarray(usage_milli) * count, 1000 * count)


def snapshot_of(now: float, wanted: Ints, counts: Ints, usage_milli: Ints) -> Snapshot:
    """Counted, unready and missing pods in ``counts`` (3, ..., S), each counted pod using the same."""
    none = Metric.missing(wanted.shape)
    kinds = (group(counts[0], usage_milli), group(counts[1]), group(counts[2]), group(0 * wanted))
    groups = PodGroups(*kinds, np.zeros(wanted.shape))
    zeros = np.zeros_like(wanted)
    time_seconds = np.full(wanted.shape[:-1], now)
    return Snapshot(time_seconds, wanted, zeros, wanted, zeros, none, none, none, none, pods={"cpu": groups})


@settings(max_examples=60, deadline=None)
@given(behaviors, st.integers(0, 2**32 - 1), st.lists(steps_seconds, min_size=1, max_size=25))
def test_many_clusters_equal_each_alone(behavior: Behavior | None, seed: int, steps: list[float]) -> None:
    rng = np.random.default_rng(seed)
    clusters, services = 4, 2
    both = Bounds(np.array([2, 1]), np.array([30, 20]))
    rules = HpaSettings(target=0.5, behavior=behavior or "none", window=60)
    together, alone = Hpa(rules, both), [Hpa(rules, both) for _ in range(clusters)]
    wanted: Ints = rng.integers(0, 35, (clusters, services))
    now = 0.0
    for seconds in steps:
        now += seconds
        mask = rng.random(clusters) < 0.1
        together.reset(mask)
        for policy in (one for one, forgets in zip(alone, mask, strict=True) if forgets):
            policy.reset()
        counts = rng.integers(0, 12, (3, clusters, services)) * rng.integers(0, 2, (3, clusters, services))
        usage = rng.integers(0, 1200, (clusters, services))
        desired = together.decide(snapshot_of(now, wanted, counts, usage))
        assert desired.reason == ""
        for index, policy in enumerate(alone):
            found = policy.decide(snapshot_of(now, wanted[index], counts[:, index], usage[index]))
            assert found.replicas.tolist() == desired.replicas[index].tolist(), found.reason
        off = wanted == 0
        assert ((desired.replicas >= both.fewest) | off).all()
        assert (desired.replicas <= both.most).all()
        wanted = np.where(rng.random(wanted.shape) < 0.1, rng.integers(0, 35, wanted.shape), desired.replicas)


def hpa(**changes: Any) -> Hpa:
    return make_hpa(HpaSettings(**{"target": 0.6, **changes}), CONTEXT)


def cluster(replicas: int, cpu: float, now: float = 0.0) -> Snapshot:
    """One cluster whose pods all use the same share of their request."""
    wanted = np.array([replicas])
    return snapshot_of(now, wanted, np.stack([wanted, 0 * wanted, 0 * wanted]), np.array([round(1000 * cpu)]))


def decide(policy: Hpa, replicas: int, cpu: float, now: float = 0.0) -> tuple[int, str]:
    desired = policy.decide(cluster(replicas, cpu, now))
    return int(desired.replicas[0]), desired.reason


def test_scales_up_at_once_and_down_after_the_window() -> None:
    policy = hpa()
    assert decide(policy, 10, 0.74) == (13, "cpu 74% of request, target 60% -> 13")
    for now in range(15, 300, 15):
        assert decide(policy, 13, 0.3, now) == (
            13,
            "cpu 30% of request, target 60% -> 7; ScaleDownStabilized",
        )
    assert decide(policy, 13, 0.3, 300) == (7, "cpu 30% of request, target 60% -> 7")


def test_the_first_pass_remembers_the_current_count() -> None:
    policy = hpa()
    assert decide(policy, 10, 0.3)[0] == 10
    policy.reset()
    assert decide(policy, 20, 0.3, 1000)[0] == 20
    policy.reset(np.array(False))
    assert decide(policy, 20, 0.3, 1301)[0] == 10
    policy.reset(np.array(True))
    assert decide(policy, 20, 0.3, 1602)[0] == 20


def test_the_reason_names_several_services() -> None:
    wanted = np.array([4, 5])
    counts = np.stack([wanted, 0 * wanted, 0 * wanted])
    both = Context(("web", "api"), np.array([2, 6]), np.array([9, 9]))
    desired = make_hpa(HpaSettings(), both).decide(snapshot_of(0.0, wanted, counts, np.array([800, 800])))
    assert desired.replicas.tolist() == [4, 6]
    assert desired.reason == ("web: cpu 80% of request, target 80% -> 4 | api: 5 is below the minimum -> 6")


def test_scale_up_limits() -> None:
    reason = "cpu 100% of request, target 20% -> 25; ScaleUpLimit"
    assert decide(hpa(target=0.2), 5, 1.0) == (10, reason)
    assert decide(hpa(target=0.2, scale_up="gentle"), 5, 1.0) == (7, reason)
    assert decide(hpa(target=0.2, behavior="none"), 5, 1.0) == (10, reason)


@pytest.mark.parametrize("pods", [{}, cluster(1, 0.6).pods])
def test_bounds_act_with_and_without_a_metric(pods: dict[str, PodGroups]) -> None:
    expected = {
        40: (30, "40 is above the maximum -> 30"),
        1: (2, "1 is below the minimum -> 2"),
        0: (0, "0 replicas, autoscaling is off"),
    }
    for current, (replicas, reason) in expected.items():
        desired = hpa().decide(dataclasses.replace(cluster(current, 0.6), pods=pods))
        assert (desired.replicas.tolist(), desired.reason) == ([replicas], reason)


def missing_cpu(snapshot: Snapshot, how: str) -> Snapshot:
    groups = snapshot.pods["cpu"]
    none, all_pods = PodGroup.empty((1,)), group(snapshot.wanted)
    nobody = {
        "no groups": {},
        "age unknown": {"cpu": dataclasses.replace(groups, age_seconds=np.array([np.nan]))},
        "no samples": {"cpu": dataclasses.replace(groups, counted=none, missing=all_pods)},
        "all unready": {"cpu": dataclasses.replace(groups, counted=none, unready=all_pods)},
        "no request": {
            "cpu": dataclasses.replace(
                groups, counted=dataclasses.replace(groups.counted, request_milli=np.array([-1]))
            )
        },
    }
    return dataclasses.replace(snapshot, pods=nobody[how])


@pytest.mark.parametrize("how", ["no groups", "age unknown", "no samples", "all unready", "no request"])
@pytest.mark.parametrize("behavior", [None, "none"])
def test_holds_where_the_metric_is_missing(how: str, behavior: Any) -> None:
    policy = hpa(behavior=behavior, window=0)
    desired = policy.decide(missing_cpu(cluster(9, 1.0), how))
    assert (desired.replicas.tolist(), desired.reason) == ([9], "cpu unknown, held")
    assert decide(policy, 9, 0.3, 15)[0] == 5


def test_defaults_are_those_of_kubernetes() -> None:
    rules = HpaSettings()
    assert (rules.target_percent, rules.tolerances, rules.period) == (80, Tolerance(0.1, 0.1), 15)
    assert filled_down(None).window_seconds == rules.window == 300
    assert filled_up(None).window_seconds == 0
    own = Behavior(scale_up=ScalingRules(tolerance=0.0))
    assert HpaSettings(behavior=own).tolerances == Tolerance(0.1, 0.0)


WRONG: list[dict[str, Any]] = [
    *({"target": target} for target in (0.605, 60, 0)),
    *({"window": -1}, {"tolerance": -0.1}, {"replicas": 3}, {"scale_up": "fast"}),
    *({"scale_up": "gentle", "behavior": {}}, {"behavior": {"scale_up": {"policies": []}}}),
]


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        HpaSettings.model_validate(wrong)


def test_a_change_that_was_refused_or_only_told_is_not_remembered() -> None:
    """As upstream, which stores an event once the API server has taken the new count."""
    gentle = HpaSettings(target=0.5, scale_up="gentle")
    hpa = Hpa(gentle, BOUNDS)

    def asked(wanted: int, now: float) -> int:
        count = np.array([wanted])
        snapshot = snapshot_of(now, count, np.stack([count, 0 * count, 0 * count]), np.array([1000]))
        return int(hpa.decide(dataclasses.replace(snapshot, time_seconds=np.array(now))).replicas[0])

    assert [asked(20, now) for now in (0.0, 15.0, 30.0)] == [25, 25, 25], "still 20: refused, or a dry run"
    assert asked(25, 45.0) == 25, "taken at 30 s: the minute's share is used up"
    assert asked(25, 91.0) == 30
