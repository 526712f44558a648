"""The one loop of decisions: when it decides, what it applies, what it hands on."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from fakes import FakePlant

from agents.policy import Mask
from agents.runner import decide, run, tick
from envs.guard import Guard, GuardSettings
from simulator.plant import ChangeRefused, Desired, Snapshot


@dataclasses.dataclass
class Scripted:
    """A policy that wishes for one number after the other and notes when it was asked."""

    wishes: list[int]
    period_seconds: float = 15.0
    asked: list[float] = dataclasses.field(default_factory=list)

    def decide(self, snapshot: Snapshot) -> Desired:
        self.asked.append(float(snapshot.time_seconds))
        return Desired(np.array([self.wishes[min(len(self.asked), len(self.wishes)) - 1]]), "scripted")

    def reset(self, mask: Mask | None = None) -> None:
        raise NotImplementedError


class CountingGuard(Guard):
    calls = 0

    def allow(self, snapshot: Snapshot, wish: Desired) -> Desired:
        self.calls += 1
        return super().allow(snapshot, wish)


def guard() -> CountingGuard:
    return CountingGuard(GuardSettings(min_replicas=(2,), max_replicas=(9,)))


@pytest.mark.parametrize(
    ("period", "duration", "times", "steps"),
    [
        (15.0, 60.0, [0, 15, 30, 45], [15, 15, 15, 15]),
        (15.0, 50.0, [0, 15, 30, 45], [15, 15, 15, 5]),
        (60.0, 50.0, [0], [50]),
        (15.0, 0.0, [], []),
        (0.1, 0.5, [0, 0.1, 0.2, 0.3, 0.4], [0.1] * 5),
        (0.7, 2.1, [0, 0.7, 1.4], [0.7] * 3),
    ],
)
def test_it_decides_once_a_period_and_cuts_the_last_step(
    period: float, duration: float, times: list[float], steps: list[float]
) -> None:
    plant, policy, taken = FakePlant(), Scripted([4], period), []

    def advance(seconds: float) -> float:
        plant.advance(seconds)
        taken.append(seconds)
        return seconds

    results = [result for _, result in run(plant, policy, guard(), advance, duration)]
    assert policy.asked == pytest.approx(times)
    assert results == taken == pytest.approx(steps)
    assert sum(taken) == pytest.approx(duration)


def test_without_a_duration_it_goes_on() -> None:
    plant, policy = FakePlant(), Scripted([4], 30.0)
    decisions = list(itertools.islice(run(plant, policy, guard(), plant.advance), 100))
    assert len(decisions) == 100
    assert policy.asked[-1] == 99 * 30


def test_the_guard_acts_once_a_decision_and_only_changes_are_applied() -> None:
    plant, policy, limits = FakePlant(replicas=4), Scripted([4, 30, 30, 9, 1, 5]), guard()
    found = [decision for decision, _ in run(plant, policy, limits, plant.advance, 90.0)]
    assert limits.calls == 6
    assert [int(one.snapshot.wanted[0]) for one in found] == [4, 4, 9, 9, 9, 2]
    assert [int(one.wish.replicas[0]) for one in found] == [4, 30, 30, 9, 1, 5]
    assert [int(one.allowed.replicas[0]) for one in found] == [4, 9, 9, 9, 2, 5]
    assert [one.changes for one in found] == [False, True, False, False, True, True]
    assert plant.applied == [9, 2, 5]
    assert {one.allowed.reason for one in found} == {"scripted"}


def test_to_decide_is_not_to_act() -> None:
    plant, limits = FakePlant(replicas=4), guard()
    decision = decide(plant.snapshot(), Scripted([7]), limits)
    assert decision.changes
    assert decision.allowed.replicas.tolist() == [7]
    assert plant.applied == []
    assert tick(plant, Scripted([7]), limits).changes
    assert plant.applied == [7]


@pytest.mark.parametrize("method", ["snapshot", "apply"])
def test_a_failing_plant_is_not_hidden(method: str) -> None:
    plant = FakePlant()
    plant.errors[method] = [ConnectionError("gone")]
    with pytest.raises(ConnectionError, match="gone"):
        next(run(plant, Scripted([8]), guard(), plant.advance, 15.0))


def test_a_refused_change_is_told_and_the_next_tick_asks_again() -> None:
    plant = FakePlant(replicas=4)
    plant.errors["apply"] = [ChangeRefused("not now")]
    first, second = (tick(plant, Scripted([7]), guard()) for _ in range(2))
    assert (first.refusal, second.refusal) == ("not now", "")
    assert first.changes
    assert plant.applied == [7]


def test_a_change_of_one_cluster_among_many_is_a_change() -> None:
    snapshot = dataclasses.replace(
        FakePlant().snapshot(), wanted=np.array([[4], [4], [4]]), time_seconds=np.zeros(3)
    )

    class One(Scripted):
        def decide(self, snapshot: Snapshot) -> Desired:
            return Desired(snapshot.wanted + np.array([[0], [0], [1]]))

    assert decide(snapshot, One([]), guard()).changes
    snapshot = dataclasses.replace(snapshot, wanted=np.array([[9], [9], [9]]))
    assert not decide(snapshot, One([]), guard()).changes
