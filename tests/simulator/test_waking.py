"""Scale to zero: who wakes a service, how long it stays, and what a short life costs."""

from __future__ import annotations

import numpy as np
import pytest
from hand_made import Story, always, service

from simulator.scenario import Scenario
from simulator.trace import Trace

QUIET, BUSY = (0.0,), (20.0,)


def sleeper(**changes: object) -> Story:
    """A request a second from 20 s to 40 s and from 200 s to 220 s; zero is asked for at the start."""
    counts = QUIET + BUSY + QUIET * 8 + BUSY
    return Story(service(wakes=True, stays_seconds=30.0, **changes), counts=counts).ask(0)


def test_the_first_request_wakes_and_the_last_one_lets_sleep() -> None:
    """Looked at every 2 s: 20.5 comes, 22 is woken, 24 is ready; 39.5 is the last, seen at 40, until 70."""
    story = sleeper().until(199.0)
    assert story.times("pod created") == [22.0]
    assert story.times("pod ready") == [0.0, 24.0]  # one was there for the first minute's load
    assert story.times("pod draining") == [0.0, 72.0]
    assert story.total("served") == 20
    story.until(300.0)
    assert story.times("pod created") == [22.0, 202.0]
    assert story.total("served") == 40


def test_a_policy_that_asks_for_zero_does_not_kill_who_is_at_work() -> None:
    story = sleeper()
    for second in range(1, 199):
        story.until(float(second)).ask(0)
    assert len(story.times("pod created")) == 1
    assert story.total("served") == 20


def test_more_than_one_may_be_asked_for() -> None:
    story = sleeper().until(30.0).ask(3).until(40.0)
    assert story.cluster.snapshot().ready.tolist() == [3]
    story.ask(0).until(50.0)
    assert story.cluster.snapshot().wanted.tolist() == [1]


def test_one_that_sleeps_and_has_a_fallback_is_woken_all_the_same() -> None:
    """A sleeping service passes its health checks, so its first call is not sent away."""
    services = [
        service(name=name, wakes=True, max_replicas=5, start_up={"p50_seconds": 2, "p95_seconds": 2})
        for name in ("near", "far")
    ]
    calls = {"near": {"to": "near", "fallback": {"to": "far"}}, "far": {"to": "far"}}
    scenario = Scenario.model_validate(
        {
            "workload": {"model": "nasa", "mean_rps": 1},
            "application": {
                "services": services,
                "classes": [{"name": name, "entry": entry} for name, entry in calls.items()],
            },
            "prices": {"usd_per_vcpu_hour": 0.04},
            "staffing_quality": 0.0,
        }
    )
    cluster = scenario.build(1, (), Trace(np.array([0.0, 0.0, 60.0]), 60.0))
    cluster.advance(180.0)
    assert (cluster.snapshot().wanted >= 1).all()


def test_a_pod_costs_a_minute_at_least_where_the_price_says_so() -> None:
    """Pods that live for 10 s and for 100 s, at a vCPU and 1 GiB: 60 s and 100 s are paid."""
    scenario = Story(service()).scenario
    prices = {"usd_per_vcpu_hour": 3.6, "usd_per_gib_hour": 7.2, "minimum_billed_seconds": 60}
    scenario = Scenario.model_validate(scenario.model_dump() | {"prices": prices})
    story = Story(service())
    story.cluster = scenario.build(1, (), Trace(np.zeros(100), 20.0))
    story.ask(2).until(10.0).ask(1).until(100.0).ask(0).until(150.0)
    assert story.total("cost_usd") == pytest.approx((60 + 100) * (0.001 + 0.002))
    assert [float(each.cost_usd[0]) for each in story.intervals] == pytest.approx([0.06, 0.27 + 0.15, 0.0])


def test_one_that_is_told_to_go_before_it_runs_costs_the_minimum_too() -> None:
    scenario = Story(service(start_up=always(20.0))).scenario
    prices = {"usd_per_vcpu_hour": 3.6, "minimum_billed_seconds": 60}
    scenario = Scenario.model_validate(scenario.model_dump() | {"prices": prices})
    story = Story(service())
    story.cluster = scenario.build(1, (), Trace(np.zeros(100), 20.0))
    story.ask(0).until(5.0)
    before = story.total("cost_usd")
    story.ask(3).until(15.0).ask(0).until(150.0)
    assert story.total("cost_usd") - before == pytest.approx(3 * 60 * 0.001)


def test_a_thread_has_no_more_than_a_core() -> None:
    """Four times the CPU makes a slot of a quarter of a core four times as fast; a whole core's not at all."""
    usual = 1.0
    for slots, vcpu in ((4, 4.0), (4, 16.0), (1, 4.0)):
        story = Story(
            service(slots_per_pod=slots, vcpu_per_pod=usual, max_replicas=1), counts=(0.0, 0.0, 10.0)
        )
        story.ask(1, vcpu=[vcpu]).until(39.0).until(60.0)
        faster = min(vcpu, max(slots, usual)) / usual
        assert story.last("response_seconds") / story.last("served") == pytest.approx(0.1 / faster)
