"""The PID controller: its formula, its bounds, what it does when things go missing or change hands."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from fakes import FakePlant

from agents.baselines.pid import Pid, PidSettings, make_pid
from agents.policy import Context
from simulator.plant import Metric

CONTEXT = Context(("web",), np.array([2]), np.array([100]))


def driven(policy: Pid, plant: FakePlant, signals: list[float]) -> list[int]:
    found = []
    for plant.cpu in signals:
        desired = policy.decide(plant.snapshot())
        plant.apply(desired)
        found.append(plant.replicas)
    return found


def by_hand(settings: PidSettings, start: float, signals: list[float]) -> list[int]:
    """The velocity form, one number at a time."""
    output, found = start, []
    errors = [signal / settings.target - 1 for signal in signals]
    errors = [errors[0], errors[0], *errors]
    for two, one, now in zip(errors, errors[1:], errors[2:], strict=False):
        summed = 0.0 if abs(now) <= settings.tolerance else now
        change = settings.kp * (now - one) + settings.ki * settings.period * summed
        change += settings.kd / settings.period * (now - 2 * one + two)
        output *= 1 + (settings.down * change if change < 0 else change)
        found.append(round(output))
    return found


@pytest.mark.parametrize(
    "settings",
    [
        PidSettings(),
        PidSettings(kp=0.4, ki=0.01, kd=6, target=0.5, down=0.5, tolerance=0.0),
        PidSettings(kp=0.2, down=1, tolerance=0.2, period=30),
    ],
)
def test_the_velocity_form(settings: PidSettings) -> None:
    signals = [0.9, 0.8, 0.85, 0.6, 0.4, 0.3, 0.5, 0.7, 0.62, 0.58, 0.8]
    assert driven(make_pid(settings, CONTEXT), FakePlant(40), signals) == by_hand(settings, 40, signals)


def test_an_integral_settles_where_the_signal_is_at_its_target() -> None:
    policy, plant = make_pid(PidSettings(ki=1 / 60, tolerance=0.0, down=1), CONTEXT), FakePlant(5)
    for _ in range(120):
        plant.cpu = 12.3 / plant.replicas
        plant.apply(policy.decide(plant.snapshot()))
    assert plant.replicas in {20, 21}, "12.3 pods' worth of work at 0.6"


def test_nothing_winds_up_at_the_bounds() -> None:
    """After an hour at the maximum the first decision below the target already counts."""
    policy = make_pid(PidSettings(ki=1 / 60, down=1), CONTEXT)
    found = driven(policy, FakePlant(90), [*[1.2] * 240, 0.3])
    assert found[100] == 100
    assert found[-1] == round(100 * (1 - 0.25 * 0.5))


def test_one_decision_at_most_doubles_or_halves() -> None:
    settings = PidSettings(ki=10, down=1)
    assert driven(make_pid(settings, CONTEXT), FakePlant(10), [1.2, 0.01]) == [20, 10]


def test_it_starts_from_what_is_wanted_also_after_another_hand() -> None:
    policy, plant = make_pid(PidSettings(tolerance=0.0), CONTEXT), FakePlant(30)
    assert driven(policy, plant, [0.6, 0.6]) == [30, 30]
    plant.replicas = 50
    assert driven(policy, plant, [0.6, 0.6]) == [50, 50]


def test_small_changes_add_up_unrounded() -> None:
    policy = make_pid(PidSettings(ki=0.001, tolerance=0.0), CONTEXT)
    assert driven(policy, FakePlant(10), [0.9] * 8) == [10, 10, 10, 10, 10, 10, 11, 11]


def test_a_missing_signal_holds_and_the_errors_before_it_are_forgotten() -> None:
    settings = PidSettings(kp=1.0, ki=0.0, down=1)
    policy = make_pid(settings, CONTEXT)
    assert driven(policy, FakePlant(20), [0.6, np.nan, 0.9, 0.96]) == [20, 20, 20, 22]
    plant = FakePlant(20, cpu=np.nan)
    assert policy.decide(plant.snapshot()).reason == "cpu unknown, held"


def test_pods_that_start_count() -> None:
    """Ten of twenty pods are ready and busy; all twenty will be at the target."""
    shown = dataclasses.replace(
        FakePlant(20, cpu=1.0).snapshot(), ready=np.array([12]), starting=np.array([8])
    )
    assert make_pid(PidSettings(), CONTEXT).decide(shown).replicas.tolist() == [20]
    assert make_pid(PidSettings(starting=False), CONTEXT).decide(shown).replicas.tolist() == [22]


def test_latency_can_be_steered() -> None:
    settings = PidSettings(signal="latency", target=0.2, ki=1 / 60)
    policy, shown = make_pid(settings, CONTEXT), FakePlant(20).snapshot()
    slow = dataclasses.replace(shown, latency_p95=Metric(np.array([5.0]), np.array([15.0])))
    desired = policy.decide(slow)
    assert desired.replicas.tolist() == [25], "an error of more than 1 counts as 1"
    assert desired.reason == "latency 5, target 0.2 -> 25"
    idle = dataclasses.replace(shown, latency_p95=Metric(np.array([np.nan]), np.array([15.0])))
    assert policy.decide(idle).replicas.tolist() == [20]


def test_gains_of_each_cluster() -> None:
    each = [PidSettings(ki=ki, target=target) for ki, target in ((1 / 60, 0.6), (1 / 30, 0.6), (1 / 60, 0.9))]
    shown = FakePlant(20, cpu=0.9).snapshot()
    stacked = dataclasses.replace(
        shown,
        time_seconds=np.zeros(3),
        wanted=np.full((3, 1), 20),
        ready=np.full((3, 1), 20),
        cpu=Metric(np.full((3, 1), 0.9), np.zeros((3, 1))),
    )
    assert make_pid(each, CONTEXT).decide(stacked).replicas.tolist() == [[22], [25], [20]]
