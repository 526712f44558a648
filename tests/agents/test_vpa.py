"""VPA as a policy: what it samples, recommends and when it asks for other requests."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from fakes import FakePlant
from pydantic import ValidationError

from agents.baselines.vpa import GIB, Recommender, Vpa, VpaSettings, make_vpa
from agents.policy import Context
from agents.runner import run
from envs.task import load_task
from experiments.run import make_context
from simulator.arrays import Floats
from simulator.plant import Desired, Metric, Snapshot
from simulator.trace import Trace

CONTEXT = Context(("web",), np.array([2]), np.array([50]))
SETTINGS = VpaSettings(confidence_interval=600, settle=120)


def seen(minute: float, cpu: Floats, memory: Floats, vcpu: Floats, gib: Floats, age: float = 0.0) -> Snapshot:
    """Four pods a service at a minute."""
    shown = FakePlant(4).snapshot()
    shape = cpu.shape
    pods, ages = np.full(shape, 4), np.full(shape, age)
    return dataclasses.replace(
        shown,
        time_seconds=np.full(shape[:-1], 60.0 * minute),
        wanted=pods,
        ready=pods,
        cpu=Metric(cpu, ages),
        metrics={"memory": Metric(memory, ages)},
        vcpu=vcpu,
        memory_gib=gib,
    )


class World:
    """One service whose pods use so many cores and GiB, whatever they request."""

    def __init__(self, vcpu: float = 1.0, gib: float = 1.0) -> None:
        self.vcpu, self.gib, self.minute = vcpu, gib, 0

    def tick(self, policy: Vpa, cores: float, used_gib: float = 0.5) -> Desired:
        arrays = (
            np.array([value]) for value in (cores / self.vcpu, used_gib / self.gib, self.vcpu, self.gib)
        )
        desired = policy.decide(seen(self.minute, *arrays))
        self.minute += 1
        if desired.vcpu is not None and desired.memory_gib is not None:
            self.vcpu, self.gib = float(desired.vcpu[0]), float(desired.memory_gib[0])
        return desired


def test_requests_come_to_the_90th_percentile_and_a_margin() -> None:
    """0.25 cores lie in a bucket that ends a twentieth above at most; so does half a GiB."""
    policy, world = make_vpa(SETTINGS, CONTEXT), World(vcpu=2.0, gib=4.0)
    changed = [world.tick(policy, 0.25).vcpu is not None for _ in range(60)]
    assert changed.count(True) == 1
    assert changed.index(True) == 2, (
        "two minutes of ten: 0.6 GiB (1 + 1 / 0.2) is below 4, after one it is not"
    )
    assert 0.25 * 1.15 <= world.vcpu <= 0.25 * 1.15 * 1.06
    assert 0.5 * 1.15 <= world.gib <= 0.5 * 1.15 * 1.06 + 1 / 1024
    assert (world.gib * 1024).is_integer()


def test_a_request_within_the_range_is_left_alone() -> None:
    policy, world = make_vpa(SETTINGS, CONTEXT), World(vcpu=0.31, gib=0.62)
    decisions = [world.tick(policy, 0.25) for _ in range(120)]
    assert all(decision.vcpu is None and decision.memory_gib is None for decision in decisions)
    assert all(decision.replicas.tolist() == [4] for decision in decisions)
    assert decisions[-1].reason.startswith("cpu 310m, recommended 29")
    assert decisions[-1].reason.endswith(", held")


def test_usage_that_grows_is_followed() -> None:
    policy, world = make_vpa(VpaSettings(confidence_interval=600, half_life=1200), CONTEXT), World(0.31, 0.62)
    for _ in range(60):
        world.tick(policy, 0.25)
    assert world.vcpu == 0.31
    for _ in range(240):
        world.tick(policy, 0.8)
    assert world.vcpu >= 0.8 * 1.15


def test_only_the_highest_memory_of_an_interval_counts() -> None:
    recommender = Recommender(VpaSettings(memory_interval=600.0), (1,))
    for minute, gib in enumerate((1.0, 3.0, 2.0, 1.0)):
        recommender.see_memory(np.array([gib * GIB]), np.array([60.0 * minute]))
    assert recommender.memory.total_weight.tolist() == [pytest.approx(2 ** (600 / 86_400) + 0.0, rel=0.01)]
    recommender.see_cpu(np.array([0.1]), np.array([1.0]), np.array([1]), np.array([240.0]))
    highest = 3 * GIB * 1.15
    assert highest <= recommender.recommend_memory().target[0] <= highest * 1.06
    for minute in range(10, 14):
        recommender.see_memory(np.array([1.0 * GIB]), np.array([60.0 * minute]))
    assert recommender.memory.total_weight[0] == pytest.approx(2.0, rel=0.02), "one sample an interval"


def test_a_measurement_counts_once() -> None:
    recommender = Recommender(VpaSettings(), (1,))
    for _ in range(3):
        recommender.see_cpu(np.array([0.1]), np.array([1.0]), np.array([2]), np.array([60.0]))
    assert recommender.cpu.total_weight[0] == pytest.approx(2.0, rel=0.01)


def test_samples_wait_until_a_change_has_settled() -> None:
    policy, world = make_vpa(SETTINGS, CONTEXT), World(vcpu=2.0)
    while world.tick(policy, 0.25).vcpu is None:
        pass
    recommender = policy._recommender
    assert recommender is not None
    before = recommender.cpu.total_weight.copy()
    world.tick(policy, 0.25)
    assert recommender.cpu.total_weight == before
    world.tick(policy, 0.25)
    assert recommender.cpu.total_weight > before


@pytest.mark.parametrize("missing", ["cpu", "memory", "vcpu"])
def test_what_is_missing_is_not_sampled_and_nothing_else_is_touched(missing: str) -> None:
    policy, nothing = make_vpa(SETTINGS, CONTEXT), np.array([np.nan])
    one = np.array([1.0])
    for minute in range(60):
        shown = seen(minute, np.array([0.1]), np.array([0.2]), one, one)
        if missing == "cpu":
            shown = dataclasses.replace(shown, cpu=Metric(nothing, np.array([np.inf])))
        elif missing == "memory":
            shown = dataclasses.replace(shown, metrics={"memory": Metric(nothing, nothing)})
        else:
            shown = dataclasses.replace(shown, vcpu=None)
        desired = policy.decide(shown)
        if missing == "memory" and desired.memory_gib is not None:
            assert desired.memory_gib.tolist() == [1.0]
            assert desired.vcpu is not None
            assert desired.vcpu[0] < 0.2
            return
    assert missing != "memory"
    assert desired.vcpu is None or desired.vcpu.tolist() == [1.0]
    assert desired.reason in {"requests unknown, held", "no sample yet, held"}


def test_many_clusters_are_as_many_alone() -> None:
    rng = np.random.default_rng(3)
    together, alone = make_vpa([SETTINGS] * 3, CONTEXT), [make_vpa(SETTINGS, CONTEXT) for _ in range(3)]
    vcpu, gib = np.array([[2.0], [0.05], [0.3]]), np.array([[4.0], [0.1], [0.6]])
    asked = 0
    for minute in range(90):
        cores, used = rng.uniform(0.1, 0.4, (3, 1)), rng.uniform(0.2, 0.6, (3, 1))
        cores[rng.uniform(size=(3, 1)) < 0.1] = np.nan
        if minute == 50:
            together.reset(np.array([False, True, False]))
            alone[1].reset()
        shown = [seen(minute, cores[at] / vcpu[at], used[at] / gib[at], vcpu[at], gib[at]) for at in range(3)]
        each = [policy.decide(one) for policy, one in zip(alone, shown, strict=True)]
        desired = together.decide(seen(minute, cores / vcpu, used / gib, vcpu, gib))
        assert desired.replicas.tolist() == [[4], [4], [4]]
        for at, one in enumerate(each):
            for name, now in (("vcpu", vcpu), ("memory_gib", gib)):
                mine, theirs = getattr(one, name), getattr(desired, name)
                wish = now[at] if mine is None else mine
                assert (now[at] if theirs is None else theirs[at]).tolist() == wish.tolist()
                asked += mine is not None
        if desired.vcpu is not None and desired.memory_gib is not None:
            vcpu, gib = desired.vcpu, desired.memory_gib
    assert asked >= 4


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"lower_percentile": 0.92}, "lower_percentile is 0.92: at most target_percentile \\(0.9\\)"),
        ({"min_vcpu": 2, "max_vcpu": 1}, "min_vcpu is 2: at most max_vcpu \\(1\\)"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        VpaSettings.model_validate(settings)


def test_pods_of_a_simulated_cluster_are_replaced_by_smaller_ones() -> None:
    """At 40 requests/s of 50 ms two pods use half a core each; the request of 1 comes down."""
    task = load_task("web")
    plant = task.build(1, Trace(np.full(60, 2400.0), 60.0))
    policy = make_vpa(VpaSettings(confidence_interval=600), make_context(task, None, 1))
    decisions = [one for one, _ in run(plant, policy, task.interface.new_guard(), plant.advance, 3600.0)]
    asked = [one.allowed.vcpu for one in decisions if one.allowed.vcpu is not None]
    assert len(asked) >= 1
    shown = plant.snapshot()
    assert shown.vcpu is not None
    assert shown.vcpu[0] == asked[-1][0] < 0.8
    assert shown.ready[0] == shown.wanted[0] == decisions[0].snapshot.wanted[0]
