"""A pod's CPU, speed, delay and errors, worked out by hand; both kernels where both have them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from test_kernel_examples import Run, application, assert_ends, front, service

from simulator.application import Application
from simulator.dataplane import DataPlane
from simulator.fcfs import OneQueue
from simulator.kernel.tables import FAILED, OK
from simulator.service import Service

KINDS = [OneQueue, DataPlane]


def one_queue(**changes: Any) -> Application:
    return Application.of(Service.model_validate(service(**changes)))


def advance(plane: OneQueue | DataPlane, until: float, *arrivals: float) -> None:
    plane.advance(until, np.array(arrivals, np.float64))


@pytest.mark.parametrize("kind", KINDS)
def test_a_call_keeps_the_pace_it_began_at_but_not_the_cpu(kind: type[OneQueue | DataPlane]) -> None:
    plane = kind(one_queue(slots_per_pod=2), np.uint64(7), (0.9,))
    plane.open_pod(0, 0, vcpu=2.0)
    advance(plane, 0.25, 0.0)  # half a second at 1 core a slot
    plane.set_pod(0, vcpu=0.5)
    advance(plane, 9.0, 1.0)  # two seconds at a quarter of a core
    totals = plane.totals()
    assert totals.services["response_seconds"] == pytest.approx([0.5 + 2.0])
    assert totals.services["busy_slot_seconds"] == pytest.approx([2.5])
    cpu = 0.25 * 1.0 + 0.25 * 0.25 + 2.0 * 0.25
    assert totals.services["cpu_seconds"] == pytest.approx([cpu])
    assert plane.pod_cpu_seconds[0] == pytest.approx(cpu)
    assert totals.late.tolist() == [[1]]


@pytest.mark.parametrize("kind", KINDS)
def test_a_cold_pod_uses_the_same_cpu_a_second_for_longer(kind: type[OneQueue | DataPlane]) -> None:
    plane = kind(one_queue(), np.uint64(7))
    plane.open_pod(0, 0)
    plane.set_pod(0, speed=0.25)
    advance(plane, 5.0, 0.0)
    plane.set_pod(0, speed=1.0)
    advance(plane, 9.0, 5.0)
    assert plane.totals().services["response_seconds"] == pytest.approx([4.0 + 1.0])
    assert plane.pod_cpu_seconds[0] == pytest.approx(5.0)


@pytest.mark.parametrize("kind", KINDS)
def test_an_open_pod_may_be_killed(kind: type[OneQueue | DataPlane]) -> None:
    plane = kind(one_queue(slots_per_pod=2), np.uint64(7))
    plane.open_pod(0, 0)
    plane.open_pod(1, 0, vcpu=3.0)
    advance(plane, 0.25, 0.0, 0.0, 0.0)
    assert plane.pod_requests[:2].sum() == 3
    begun = plane.pod_requests[1]
    plane.kill_pod(1)
    totals = plane.totals()
    assert totals.services["failed"] == [begun]
    assert totals.services["cpu_seconds"] == pytest.approx([0.25 * (0.5 * (3 - begun) + 1.5 * begun)])
    assert plane.pod_requests.tolist()[:2] == [3 - begun, 0]
    advance(plane, 9.0, 2.0, 2.0, 2.0)  # two slots are left
    assert plane.totals().services["served"] == [3 - begun + 3]
    plane.open_pod(1, 0)
    assert plane.pod_cpu_seconds[1] == 0.0
    advance(plane, 11.0, *np.full(4, 9.0))
    assert plane.pod_cpu_seconds[1] == pytest.approx(1.0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("traits", "said"),
    [
        ({"vcpu": 0.0}, "vcpu is 0.0; must be above 0"),
        ({"speed": -1.0}, "speed is -1.0; must be above 0"),
        ({"speed": float("inf")}, "speed is inf"),
        ({"delay_seconds": -0.1}, "delay_seconds is -0.1; must be at least 0"),
        ({"error_probability": 1.1}, "error_probability is 1.1; must be 0 to 1"),
        ({"error_probability": float("nan")}, "error_probability is nan"),
    ],
)
def test_impossible_traits_are_refused(
    kind: type[OneQueue | DataPlane], traits: dict[str, float], said: str
) -> None:
    plane = kind(one_queue(), np.uint64(7))
    plane.open_pod(0, 0)
    with pytest.raises(ValueError, match=said):
        plane.set_pod(0, **traits)
    with pytest.raises(ValueError, match="vcpu is nan"):
        plane.open_pod(1, 0, vcpu=float("nan"))
    plane.kill_pod(0)
    with pytest.raises(ValueError, match="row 0 has no pod"):
        plane.set_pod(0, speed=1.0)


def test_one_queue_has_no_delays_and_errors() -> None:
    plane = OneQueue(one_queue(), np.uint64(7))
    plane.open_pod(0)
    plane.set_pod(0, delay_seconds=0.0, error_probability=0.0)
    for traits in ({"delay_seconds": 0.1}, {"error_probability": 0.1}):
        with pytest.raises(ValueError, match="need DataPlane"):
            plane.set_pod(0, **traits)


def test_threads_go_on_at_the_new_speed_at_once() -> None:
    run = Run(application(service(slots_per_pod=2, discipline="processor_sharing")))
    run.until(0.5, 0.0, 0.0)  # a quarter of the work each
    run.plane.set_pod(0, vcpu=2.0, speed=0.5)
    run.until(1.5)  # three quarters
    run.plane.set_pod(0, vcpu=0.5, speed=2.0)
    assert_ends(run.until(9.0), *[(0.0, 2.0, OK)] * 2)
    assert run.count("cpu_seconds") == pytest.approx(0.5 + 2.0 + 0.25)


def test_a_quota_that_grows_is_used_in_its_period() -> None:
    web = service(work=0.16, slots_per_pod=2, discipline="processor_sharing", cfs_throttling=True)
    run = Run(application(web)).until(0.06, 0.0, 0.0)  # the quota of 0.1 is spent at 0.05
    run.plane.set_pod(0, vcpu=1.5)  # 0.025 each more, until 0.085; then 0.075 each, until 0.175; then 0.01
    assert_ends(run.until(9.0), *[(0.0, 0.21, OK)] * 2)


def test_an_answer_is_delayed_by_the_pod_that_served_the_call() -> None:
    run = Run(application(service(), network_seconds=0.25))
    run.plane.set_pod(0, delay_seconds=0.5)
    assert_ends(run.until(9.0, 1.0, 1.5), (1.0, 3.0, OK), (1.5, 4.0, OK))
    assert (run.count("busy_slot_seconds"), run.count("response_seconds")) == (2.0, 1.0 + 1.5)


def test_errors_are_drawn_by_the_call() -> None:
    """The same calls fail whatever the pods, and the more the likelier errors are."""
    outcomes = []
    for share, pods, cores in ((0.3, 1, 1.0), (0.3, 7, 2.0), (0.6, 3, 1.0)):
        run = Run(application(service(work=0.001, slots_per_pod=50)), pods=(pods,))
        for row in range(pods):
            run.plane.set_pod(row, vcpu=cores, error_probability=share)
        run.until(2000.0, *np.arange(1000.0))
        outcomes.append(np.array([outcome for _, _, outcome in run.ends()]))
        assert run.count("failed") + run.count("served") == 1000
        assert run.count("cpu_seconds") == pytest.approx(1000 * 0.001 / 50)
    few, same, more = (outcome == FAILED for outcome in outcomes)
    assert (few == same).all()
    assert (more | ~few).all()
    assert 0.25 < few.mean() < 0.35
    assert 0.55 < more.mean() < 0.65


def test_an_error_fails_the_caller_after_its_calls_are_made() -> None:
    app = application(front(0.25, [{"to": "back"}]), service("back", 0.5))
    run = Run(app)
    run.plane.set_pod(0, error_probability=1.0)
    assert_ends(run.until(9.0, 0.0), (0.0, 0.75, FAILED))
    assert (run.count("failed"), run.count("served", 1)) == (1, 1)
