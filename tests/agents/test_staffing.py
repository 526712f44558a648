"""Staffing: Erlang C and the square-root rule against a plain search, and as a policy."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from fakes import FakePlant
from hypothesis import given
from hypothesis import strategies as st

from agents.baselines.staffing import (
    Highest,
    Staffing,
    StaffingSettings,
    erlang_table,
    make_staffing,
    square_root_table,
)
from agents.policy import Context
from agents.runner import run
from envs.task import load_task
from experiments.measures import Tally
from experiments.run import make_context
from simulator.errors import InputError
from simulator.plant import Metric, Snapshot
from simulator.theory import mmc_wait_exceeds
from simulator.trace import Trace

CONTEXT = Context(
    ("web",),
    np.array([2]),
    np.array([100]),
    np.array([80.0]),
    slots_per_pod=np.array([4.0]),
    slo_seconds=0.3,
)
PLAIN = StaffingSettings(headroom=0, window=0)


def fewest(rate: float, slots: int, service: float, wait: float, probability: float) -> int:
    """One pod after the other."""
    pods = 0
    while True:
        if pods * slots > rate * service:
            if mmc_wait_exceeds(wait, rate, service, pods * slots) <= probability:
                return pods
        elif rate == 0:
            return 0
        pods += 1


@given(
    st.one_of(st.just(0.0), st.floats(1e-6, 800)),
    st.integers(1, 8),
    st.floats(0.01, 0.2),
    st.floats(0, 0.3),
    st.sampled_from([0.0001, 0.01, 0.5]),
)
def test_erlang_c_gives_the_fewest_pods(
    rate: float, slots: int, service: float, wait: float, probability: float
) -> None:
    found = int(erlang_table(slots, service, wait, probability).pods(np.array([rate * service]), 1000)[0])
    exact, a_hair_more = (
        fewest(each, slots, service, wait, probability) for each in (rate, rate * (1 + 1e-6))
    )
    assert found in {exact, a_hair_more}


def test_the_square_root_rule() -> None:
    table = square_root_table(4, 2.0)
    loads = np.array([0.0, 0.5, 1.0, 8.9, 24.9, 99.9, 100.1])
    slots = loads + 2 * np.sqrt(loads)
    assert table.pods(loads, 1000).tolist() == [math.ceil(math.ceil(each) / 4) for each in slots]


def test_no_more_than_the_most() -> None:
    assert erlang_table(4, 0.05, 0.25, 0.001).pods(np.array([[1e6], [3.0]]), 7).tolist() == [[7], [2]]


def test_the_highest_of_a_window() -> None:
    highest = Highest((2,), 3)
    values = ([1.0, np.nan], [5.0, np.nan], [2.0, 1.0], [3.0, np.nan], [1.0, np.nan], [1.0, np.nan])
    found = [highest.observe(np.array(row)) for row in values]
    assert [row[0] for row in found] == [1, 5, 5, 5, 3, 3]
    assert [row[1] for row in found[2:5]] == [1, 1, 1]
    assert np.isnan(found[0][1])
    assert np.isnan(found[5][1])


def shown(rate: float, replicas: int = 4) -> Snapshot:
    return FakePlant(replicas, rate=rate).snapshot()


def test_a_plant_is_staffed_and_a_missing_rate_holds() -> None:
    policy = make_staffing(PLAIN, CONTEXT)
    desired = policy.decide(shown(400.0))
    assert desired.replicas.tolist() == [fewest(400, 4, 0.05, 0.25, 0.001)] == [6]
    assert desired.reason == "400 requests/s, 20 Erlang -> 6"
    assert policy.decide(shown(0.0)).replicas.tolist() == [2]
    assert policy.decide(shown(1e9)).replicas.tolist() == [100]
    held = policy.decide(shown(np.nan, 9))
    assert held.replicas.tolist() == [9]
    assert held.reason == "rate unknown, held"


def test_headroom_and_window() -> None:
    policy = make_staffing(StaffingSettings(headroom=0.5, window=30), CONTEXT)
    most = fewest(600, 4, 0.05, 0.25, 0.001)
    found = [int(policy.decide(shown(rate)).replicas[0]) for rate in (400.0, 40.0, 40.0, 40.0)]
    assert found == [most, most, most, 2]
    policy.decide(shown(400.0))
    policy.reset()
    assert policy.decide(shown(40.0)).replicas.tolist() == [2]


def test_services_share_what_is_left_of_the_slo() -> None:
    """0.1 s of the slowest service leave 0.2 s of 0.3; each of two may wait half of that."""
    context = dataclasses.replace(
        CONTEXT,
        services=("web", "db"),
        min_replicas=np.array([1, 1]),
        max_replicas=np.array([100, 100]),
        capacity_rps=np.array([40.0, 20.0]),
        slots_per_pod=np.array([4.0, 1.0]),
    )
    snapshot = dataclasses.replace(
        shown(0.0),
        wanted=np.array([4, 4]),
        rate=Metric(np.array([300.0, 300.0]), np.array([15.0, 15.0])),
    )
    desired = make_staffing(PLAIN, context).decide(snapshot)
    assert desired.replicas.tolist() == [fewest(300, 4, 0.1, 0.1, 0.001), fewest(300, 1, 0.05, 0.1, 0.001)]
    assert desired.reason.startswith("web: 300 requests/s, 30 Erlang -> ")


@pytest.mark.parametrize(
    ("context", "settings", "said"),
    [
        ({"capacity_rps": np.array([np.nan])}, {}, "capacity is not given.*give capacity=NUMBER"),
        ({"slots_per_pod": np.array([np.nan])}, {}, "slots is not given.*give slots=NUMBER"),
        ({"slo_seconds": np.nan}, {}, "slo is not given.*give slo=SECONDS"),
    ],
)
def test_what_nobody_says_is_asked_for(context: dict[str, Any], settings: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        make_staffing(StaffingSettings(**settings), dataclasses.replace(CONTEXT, **context))


def test_settings_stand_in_for_facts() -> None:
    bare = Context(("web",), np.array([2]), np.array([100]))
    settings = StaffingSettings(headroom=0, window=0, capacity=80, slots=4, slo=0.3)
    same: Staffing = make_staffing(settings, bare)
    rates = (100.0, 333.0, 1000.0)
    wishes = [same.decide(shown(rate)).replicas.tolist() for rate in rates]
    assert wishes == [make_staffing(PLAIN, CONTEXT).decide(shown(rate)).replicas.tolist() for rate in rates]
    square = StaffingSettings(rule="square_root", capacity=80, slots=4)
    make_staffing(square, bare)


def test_steady_traffic_waits_as_seldom_as_asked() -> None:
    """At a steady 500 requests/s the web task's pods are just enough: one less breaks the promise."""
    task = load_task("web")
    plant = task.build(2, Trace(np.full(60, 30_000.0), 60.0))
    policy, tally = make_staffing(PLAIN, make_context(task, None, 2)), Tally()
    for decision, interval in run(plant, policy, task.interface.new_guard(), plant.advance, 3600.0):
        if float(interval.start_seconds) > 300:
            tally.add(interval, changed=decision.changes)
    alone = 0.0051
    assert tally.measures()["slo_violation_ratio"] < alone + 0.002
    assert tally.measures()["cpu_utilization"] > 0.75
