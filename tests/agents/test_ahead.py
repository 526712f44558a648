"""What looks ahead: predictive HPA and model predictive control, and the outlook that both have."""

from __future__ import annotations

import dataclasses
from itertools import product
from typing import Any

import numpy as np
import pytest
from fakes import FakePlant
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.baselines.mpc import Mpc, MpcSettings, make_mpc
from agents.baselines.outlook import Expected, Outlook, OutlookSettings
from agents.baselines.predictive import PredictiveHpaSettings, make_predictive_hpa
from agents.forecast.forecaster import LEVELS
from agents.policy import Context, Policy
from agents.registry import make
from agents.runner import run
from envs.task import Task, load_task
from experiments.measures import Tally
from experiments.run import make_context
from simulator.errors import InputError
from simulator.plant import Snapshot
from simulator.trace import Trace

TASK = load_task("web")
CONTEXT = Context(
    ("web",),
    np.array([2]),
    np.array([100]),
    np.array([80.0]),
    slots_per_pod=np.array([4.0]),
    slo_seconds=0.3,
    start_up_seconds=np.array([45.0]),
)
DAY = 1440


def sine(days: float, period_minutes: float = 60.0, start_minute: int = 0) -> Trace:
    minutes = start_minute + np.arange(round(days * DAY))
    rates = 600 + 450 * np.sin(2 * np.pi * minutes / period_minutes)
    return Trace(np.round(60 * rates), 60.0, start_seconds=60.0 * start_minute)


def slow_task(seconds: float) -> Task:
    scenario = TASK.scenario
    start_up = scenario.service.start_up.model_copy(update={"p50_seconds": seconds, "p95_seconds": seconds})
    service = scenario.service.model_copy(update={"start_up": start_up})
    return TASK.model_copy(update={"scenario": scenario.model_copy(update={"service": service})})


def judged(task: Task, spec: str, history: Trace, part: Trace) -> tuple[float, float]:
    """Cost, and violations over requests."""
    plant, tally = task.build(5, part), Tally()
    policy = make(spec, make_context(task, history, 5))
    guard = task.interface.new_guard()
    for decision, interval in run(plant, policy, guard, plant.advance, part.duration_seconds):
        tally.add(interval, changed=decision.changes)
    measures = tally.measures()
    return measures["cost_usd"], measures["slo_violation_ratio"]


def test_on_a_known_sine_the_forecast_saves_most_violations_for_no_more_money() -> None:
    """Pods take three minutes to start and the load goes from least to most within half an hour."""
    task, history, part = slow_task(180.0), sine(4), sine(0.25, start_minute=4 * DAY)
    usd, late = judged(task, "hpa", history, part)
    ahead_usd, ahead_late = judged(task, "predictive_hpa:window=60", history, part)
    mpc_usd, mpc_late = judged(task, "mpc", history, part)
    assert ahead_usd <= usd
    assert ahead_late < 0.1 * late
    assert mpc_usd <= usd
    assert mpc_late < 0.1 * late


def squares(days: int) -> Trace:
    """A load that triples at every full hour for half of it."""
    minutes = np.arange(days * DAY)
    return Trace(60 * np.where(minutes % 60 < 30, 900.0, 300.0), 60.0)


def test_mpc_asks_for_a_step_before_it_comes() -> None:
    history = squares(7)
    context = dataclasses.replace(CONTEXT, history=history)
    policy = make_mpc(MpcSettings(forecaster="seasonal-naive", headroom=0, level=0.5), context)
    plant = FakePlant(replicas=12)
    asked = {}
    for second in range(0, 3 * 3600, 15):
        plant.now, plant.rate = float(second), 900.0 if second % 3600 < 1800 else 300.0
        desired = policy.decide(plant.snapshot())
        plant.apply(desired)
        asked[second] = int(desired.replicas[0])
    up = [second for second in asked if second > 1800 and asked[second] > asked[second - 15]]
    assert 3600 - 45 - 15 - 15 - 60 <= up[0] <= 3600 - 45 - 15
    assert asked[9000 - 15] > asked[9000 + 75]


@pytest.mark.parametrize("spec", ["predictive_hpa", "mpc"])
def test_what_is_yet_to_come_changes_no_decision(spec: str) -> None:
    rng = np.random.default_rng(3)
    first, one, other = rng.uniform(100, 900, 60), rng.uniform(100, 900, 30), rng.uniform(2000, 4000, 30)

    def decisions(rates: Any) -> list[tuple[int, str]]:
        part = Trace(np.round(60 * rates), 60.0)
        plant, found = TASK.build(4, part), []
        policy = make(spec, make_context(TASK, sine(2), 4))
        guard = TASK.interface.new_guard()
        for decision, _ in run(plant, policy, guard, plant.advance, 3600.0):
            found.append((int(decision.wish.replicas[0]), decision.wish.reason))
        return found

    assert decisions(np.concatenate((first, one))) == decisions(np.concatenate((first, other)))


def cheapest_first_move(needs: tuple[int, ...], dead: int, most: int) -> int:
    """Of all plans that serve every step, the first order of the cheapest one."""
    steps = len(needs) - dead
    best: tuple[int, int] | None = None
    for plan in product(range(most + 1), repeat=steps):
        orders = (*plan, *(most,) * dead)
        serves = all(min(orders[max(step - dead, 0) : step + 1]) >= needs[step] for step in range(len(needs)))
        if serves and (best is None or sum(plan) < best[0]):
            best = sum(plan), plan[0]
    assert best is not None
    return best[1]


class Known(Mpc):
    """Mpc that is told what is needed in each bin."""

    def move(self, current: int, needs: tuple[int, ...], dead: int) -> int:
        places = np.arange(len(needs))
        expected = Expected(
            np.zeros((1, len(needs), len(LEVELS))), 60.0 * places.astype(float), np.array([False])
        )
        left = np.maximum(places - dead, 0)[np.newaxis]
        return int(self._first_move(np.array([current]), np.array([needs]), left, expected)[0])


def known(**given_settings: Any) -> Known:
    bare = dataclasses.replace(CONTEXT, min_replicas=np.array([0]))
    made = make_mpc(MpcSettings(**given_settings), bare)
    return Known(made.settings, bare, made._serving, np.array([45.0]))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=4, max_size=5), st.integers(0, 2), st.integers(0, 5))
def test_the_first_move_is_the_cheapest_plans(needs: list[int], dead: int, current: int) -> None:
    assert known().move(current, tuple(needs), dead) == cheapest_first_move(tuple(needs), dead, 3)


def test_ramps_and_the_window_of_scale_downs() -> None:
    assert known().move(5, (2, 2, 2, 9), 1) == 2
    assert known(horizon=600).move(5, (2, 2, 2, 4), 1) == 4
    assert known(horizon=600).move(3, (2, 2, 2, 4), 1) == 3
    assert known(horizon=120).move(5, (2, 2, 2, 4), 1) == 2
    assert known(up=2).move(2, (2, 2, 2, 9), 1) == 4
    assert known(up=3).move(2, (2, 2, 2, 9), 1) == 3
    assert known(up=2, down=1).move(6, (2, 2, 2, 2), 1) == 5
    assert known(up=1).move(2, (9, 9, 9, 9), 1) == 3


def test_a_queue_a_surprise_and_a_missing_rate() -> None:
    policy = make_mpc(MpcSettings(forecaster="last-value", headroom=0), CONTEXT)
    plant = FakePlant(rate=400.0)
    quiet = policy.decide(plant.snapshot())
    assert quiet.replicas.tolist() == [6]
    assert quiet.reason == "400 requests/s now, 400 to 400 to bear (last-value) -> 6"
    queue = dataclasses.replace(plant.snapshot().queue, value=np.array([6000.0]))
    assert policy.decide(dataclasses.replace(plant.snapshot(), queue=queue)).replicas.tolist() == [7]
    for second in (15, 30, 45, 60):
        plant.now = float(second)
        policy.decide(plant.snapshot())
    plant.rate = 800.0
    assert policy.decide(plant.snapshot()).replicas[0] >= 11
    plant.rate = np.nan
    held = policy.decide(plant.snapshot())
    assert (held.replicas.tolist(), held.reason) == ([4], "rate unknown, held")


def test_without_a_forecast_the_hpa_decides_and_the_reason_says_so() -> None:
    policy = make_predictive_hpa(PredictiveHpaSettings(), CONTEXT)
    reactive = make("hpa", CONTEXT)
    plant = FakePlant(cpu=0.9, rate=400.0)
    for second in range(0, 900, 15):
        plant.now = float(second)
        desired = policy.decide(plant.snapshot())
        assert desired.replicas.tolist() == reactive.decide(plant.snapshot()).replicas.tolist()
        assert "no forecast, reactive: " in desired.reason
    plant.rate = np.nan
    assert policy.decide(plant.snapshot()).reason.endswith("; rate unknown, reactive")


@given(
    st.lists(st.floats(0.05, 1.5), min_size=12, max_size=12),
    st.lists(st.floats(1, 2000), min_size=12, max_size=12),
)
@settings(max_examples=25, deadline=None)
def test_it_never_proposes_less_than_the_hpa(cpus: list[float], rates: list[float]) -> None:
    """Without a window what is proposed is what is asked for, rate policies aside."""
    context = dataclasses.replace(CONTEXT, history=HISTORY)
    policy = make_predictive_hpa(PredictiveHpaSettings(window=0, forecaster="last-value"), context)
    for tick, (cpu, rate) in enumerate(zip(cpus, rates, strict=True)):
        plant = FakePlant(10, cpu, rate)
        plant.now = 15.0 * (tick + 1)
        reactive = make("hpa:window=0", CONTEXT).decide(plant.snapshot())
        assert policy.decide(plant.snapshot()).replicas[0] >= reactive.replicas[0]


HISTORY = sine(0.5)


def shown(rates: Any, second: float) -> Snapshot:
    """A Snapshot of N clusters of S services; only the rates and the time matter."""
    one = FakePlant().snapshot()
    values = np.asarray(rates, np.float64)
    rate = dataclasses.replace(one.rate, value=values, age_seconds=np.full(values.shape, 15.0))
    return dataclasses.replace(one, rate=rate, time_seconds=np.full(values.shape[:-1], second))


def test_services_share_a_history_by_their_calls() -> None:
    two = dataclasses.replace(
        CONTEXT, services=("web", "db"), history=HISTORY, calls_per_request=np.array([1.0, 3.0])
    )
    outlook = Outlook(OutlookSettings(forecaster="autoregression"), 3, two)
    for place in range(1, 9):
        alone = outlook.observe(shown([500.0, 1500.0], 15.0 * place)).quantiles
    assert alone.shape == (2, 3, len(LEVELS))
    assert alone[1] == pytest.approx(3 * alone[0])
    many = Outlook(OutlookSettings(forecaster="autoregression"), 3, two)
    for place in range(1, 9):
        both = many.observe(shown([[500.0, 1500.0], [50.0, 0.0]], 15.0 * place)).quantiles
    assert both[0].tobytes() == alone.tobytes()


def test_a_quantile_between_levels_and_for_each_cluster() -> None:
    quantiles = np.broadcast_to(np.arange(len(LEVELS), dtype=float), (2, 1, 3, len(LEVELS)))
    expected = Expected(quantiles, np.zeros((2, 3)), np.zeros((2, 1), np.bool_))
    assert expected.at(0.95) == pytest.approx(np.full((2, 1, 3), LEVELS.index(0.95)))
    assert expected.at(0.97) == pytest.approx(np.full((2, 1, 3), LEVELS.index(0.95) + 0.5))
    each = expected.at(np.array([[0.01], [0.99]]))
    assert each[:, 0, 0].tolist() == [0, len(LEVELS) - 1]


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("predictive_hpa", "start_up is not given.*give start_up=NUMBER"),
        ("mpc", "start_up is not given.*give start_up=NUMBER"),
        ("mpc:start_up=45,forecaster=mstl", "only last-value, .*ensemble are allowed"),
    ],
)
def test_what_nobody_says_is_asked_for(spec: str, said: str) -> None:
    bare = dataclasses.replace(CONTEXT, start_up_seconds=np.array([np.nan]))
    with pytest.raises(InputError, match=said):
        make(spec, bare)


def test_the_task_tells_what_they_need_to_know() -> None:
    context = make_context(TASK, None, 0)
    assert context.start_up_seconds.tolist() == [45.0]
    assert context.calls_per_request.tolist() == [1.0]
    policy: Policy = make("predictive_hpa:horizon=60", CONTEXT)
    assert policy.period_seconds == 15
