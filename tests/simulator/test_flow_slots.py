"""Callers that keep their slots: known answers, and the batch engine against the request engine."""

from __future__ import annotations

from typing import Any

import pytest
from batches import front_on_both

from simulator.flow.slots import POINTS, busy_table

PODS = 2
CALLEE_SECONDS = 0.14


def share_of_work(slots: float, units: float, place: int) -> float:
    """Of the work of a pod that calls are away from for so long, from the table."""
    return float(busy_table(slots, units)[place]) * (1 - place / (POINTS - 1))


def away_seconds(slots: float, units: float, place: int) -> float:
    """For which the place stands, of calls that take a second at full speed."""
    share = place / (POINTS - 1)
    return share / (1 - share) * slots / units


@pytest.mark.parametrize("place", [1, POINTS // 2, POINTS - 2])
def test_calls_that_never_share_the_cpu_keep_a_slot_for_their_work_and_their_callees(place: int) -> None:
    away = away_seconds(8, 8, place)
    assert share_of_work(8, 8, place) == pytest.approx(1 / (1 + away))


@pytest.mark.parametrize("place", [1, POINTS // 2, POINTS - 2])
def test_two_slots_on_one_core_are_two_machines_with_one_repairman(place: int) -> None:
    """He is idle with probability ``1 / (1 + 2 r + 2 r^2)``, r the time of a repair over that between two."""
    ratio = 1 / away_seconds(2, 1, place)
    assert share_of_work(2, 1, place) == pytest.approx(1 - 1 / (1 + 2 * ratio + 2 * ratio**2))


def test_pods_whose_calls_are_never_away_do_all_their_work() -> None:
    assert share_of_work(4, 2, 0) == 1.0


def app(
    discipline: str, slots: int, vcpu: float, callee_seconds: float, dispatch: str
) -> list[dict[str, Any]]:
    def service(name: str, mean_seconds: float, slots: int, **changes: Any) -> dict[str, Any]:
        operation = {"service_time": {"law": "exponential", "mean_seconds": mean_seconds}}
        return {
            "name": name,
            "slots_per_pod": slots,
            "vcpu_per_pod": 1,
            "operations": [operation | changes.pop("steps", {})],
            "start_up": {"p50_seconds": 10, "p95_seconds": 15},
            "min_replicas": 0,
            "max_replicas": 50,
        } | changes

    calls = {"steps": [[{"to": "back"}]]} if callee_seconds else {}
    front = service(
        "front", 0.02, slots, vcpu_per_pod=vcpu, discipline=discipline, dispatch=dispatch, steps=calls
    )
    return [front, service("back", callee_seconds, 200)] if callee_seconds else [front]


@pytest.mark.parametrize(
    ("slots", "vcpu", "callee_seconds"),
    [(4, 2, 0.0), (16, 2, 0.0), (16, 2, 0.07), (16, 2, CALLEE_SECONDS), (16, 2, 0.3), (8, 1, CALLEE_SECONDS)],
)
def test_pods_that_share_their_cpu_do_as_much_as_on_the_request_engine(
    slots: int, vcpu: float, callee_seconds: float
) -> None:
    """With more calls than they can take."""
    most = PODS * min(vcpu / 0.02, slots / (0.02 + callee_seconds))
    services = app("processor_sharing", slots, vcpu, callee_seconds, "shared")
    found, truth = front_on_both(services, 1.3 * most, 0.5)
    assert truth[0] > 0.95
    assert found[1] == pytest.approx(truth[1], rel=0.01)


@pytest.mark.parametrize("dispatch", ["shared", "round_robin", "random", "two_choices"])
@pytest.mark.parametrize(("discipline", "slots"), [("processor_sharing", 16), ("slots", 8)])
def test_waits_for_slots_that_others_keep(discipline: str, slots: int, dispatch: str) -> None:
    """At nine tenths of what slots allow; the CPU would do twice that."""
    services = app(discipline, slots, 2, 0.3, dispatch)
    found, truth = front_on_both(services, 0.9 * PODS * slots / 0.32, 1.2)
    assert truth[0] > 0.01
    assert found == pytest.approx(truth, rel=0.25)
    assert found[1] == pytest.approx(truth[1], rel=0.01)


@pytest.mark.parametrize(("slots", "storms"), [(64, False), (128, True)])
def test_a_burst_becomes_a_storm_of_retries_where_slots_let_more_wait_than_time_outs_allow(
    slots: int, *, storms: bool
) -> None:
    """Of 320 calls a second 128 callers wait for 0.4 s at most, 256 for 0.8 s; they give up after 0.5 s."""
    front, back = app("processor_sharing", slots, 2, 0.05, "shared")
    call = {"to": "back", "timeout_seconds": 0.5, "retry": {"max_attempts": 3}}
    front["operations"][0]["steps"] = [[call]]
    front["operations"][0]["service_time"]["mean_seconds"] = 0.01
    rates = [190.0] * 3 + [480.0] * 2 + [190.0] * 7
    found, truth = front_on_both([front, back | {"slots_per_pod": 8}], rates, 0.8)
    assert bool(truth[0] > 0.75) == storms
    assert found[0] == pytest.approx(truth[0], rel=0.15)


def test_retries_of_light_calls_leave_heavy_ones_their_share_of_the_slots() -> None:
    """Slots that allow 27 requests a second, half of them light, more of the light calls that are tried three times."""
    front, back = app("slots", 8, 2, 0.3, "shared")
    steps = front["operations"][0]["steps"]
    front["operations"] = [
        {"name": name, "service_time": {"law": "exponential", "mean_seconds": mean}, "steps": steps}
        for name, mean in [("light", 0.01), ("heavy", 0.1)]
    ]
    retried = {"timeout_seconds": 0.2, "retry": {"max_attempts": 3}}
    classes = [
        {"name": "light", "share": 1, "entry": {"to": "front.light"} | retried},
        {"name": "heavy", "share": 1, "entry": {"to": "front.heavy"}},
    ]
    found, truth = front_on_both([front, back], 30.0, 1.0, classes)
    assert truth[0] > 0.95
    assert found == pytest.approx(truth, rel=0.05)
