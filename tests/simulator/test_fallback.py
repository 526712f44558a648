"""Calls that go elsewhere while their service is diverted, worked out by hand; what graphs with fallbacks may be."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError
from test_kernel_examples import Run, application, assert_ends, front, service

from simulator.kernel.tables import DROPPED, OK, TIMED_OUT

ELSEWHERE = {"to": "far", "network_seconds": 0.5}


def two_regions(far: dict[str, Any] | None = None, **entry: Any) -> Run:
    """Clients call ``near``, or ``far`` while that is diverted; a pod each, of which ``near``'s is row 0."""
    there = service("far", 0.25) if far is None else far
    return Run(application(service("near", 1.0), there, fallback=ELSEWHERE, network_seconds=0.125, **entry))


def test_calls_issued_while_diverted_go_there_and_later_ones_back() -> None:
    run = two_regions().until(1.0, 0.0)
    run.plane.divert(0, True)
    run.until(3.0, 1.5)
    run.plane.divert(0, False)
    run.until(9.0, 3.0)
    assert_ends(run, (0.0, 1.25, OK), (1.5, 2.75, OK), (3.0, 4.25, OK))
    assert [run.count("offered", place) for place in (0, 1)] == [2, 1]


def test_retries_go_where_calls_go_when_they_are_issued() -> None:
    retry = {"max_attempts": 3, "back_off_seconds": 1.0, "back_off_cap_seconds": 1.0, "jitter": 0.0}
    run = two_regions(timeout_seconds=0.5, retry=retry).until(1.0, 0.0)  # given up at 0.5, again at 1.5
    run.plane.divert(0, True)
    run.until(1.75)  # on its way
    run.plane.divert(0, False)
    run.until(9.0)  # given up at 2, again at 3 to where it began
    assert_ends(run, (0.0, 3.5, TIMED_OUT))
    assert [run.count("offered", place) for place in (0, 1)] == [2, 1]
    assert [run.count("retried", place) for place in (0, 1)] == [1, 1]


def test_without_a_fallback_nothing_is_diverted() -> None:
    run = Run(application(service()))
    run.plane.divert(0, True)
    assert_ends(run.until(9.0, 0.0), (0.0, 1.0, OK))


def test_a_diverted_fallback_sends_nothing_further() -> None:
    run = two_regions()
    run.plane.divert(0, True)
    run.plane.divert(1, True)
    assert_ends(run.until(9.0, 0.0), (0.0, 1.25, OK))


def test_a_fallback_makes_its_own_calls() -> None:
    app = application(
        front(0.0625, [{"to": "back", "fallback": ELSEWHERE}]),
        service("back"),
        service("far", None, operations=[front(0.25, [{"to": "data"}])["operations"][0]]),
        service("data", 0.5),
    )
    run = Run(app)
    run.plane.divert(1, True)
    assert_ends(run.until(9.0, 0.0), (0.0, 0.0625 + 0.5 + 0.25 + 0.5 + 0.5, OK))
    assert app.visits == {(0, 0): 1.0, (1, 0): 1.0, (2, 0): 0.0, (3, 0): 0.0}
    assert app.capacity_rps()[2] == pytest.approx(1 / 0.75)


def test_the_breaker_is_the_call_s_wherever_it_goes() -> None:
    breaker = {"window_calls": 1, "failure_ratio": 1.0, "open_seconds": 10.0, "trial_calls": 1}
    run = two_regions(service("far", 0.25, queue_limit_per_pod=0), breaker=breaker)
    run.plane.divert(0, True)
    run.until(9.0, 0.0, 0.125, 3.0)  # the second is dropped and opens it
    run.plane.divert(0, False)
    run.until(10.0, 9.0)
    assert [run.count("refused", place) for place in (0, 1)] == [1, 1]
    assert run.ends()[0][2] in (OK, DROPPED)


@pytest.mark.parametrize(
    ("services", "said"),
    [
        (
            [
                service("near"),
                service("far", None, operations=[front(0.1, [{"to": "near"}])["operations"][0]]),
            ],
            "",
        ),
        ([service("near")], "class 'c0' calls 'far'; there are the services near"),
        (
            [
                service(
                    "near",
                    None,
                    operations=[front(0.1, [{"to": "back", "fallback": {"to": "near"}}])["operations"][0]],
                ),
                service("far"),
                service("back"),
            ],
            "the calls go in a circle: near.serve -> near.serve",
        ),
        ([service("near"), service("far"), service("lost")], "service 'lost' is called by no class"),
    ],
)
def test_a_fallback_is_a_call_like_any_other_in_the_graph(services: list[dict[str, Any]], said: str) -> None:
    if not said:
        assert not application(*services, fallback=ELSEWHERE).is_one_queue
        return
    with pytest.raises(ValidationError, match=said):
        application(*services, fallback=ELSEWHERE)


def test_what_is_reached_by_fallback_alone_is_called_by_nobody_else() -> None:
    app = application(service("near"), service("far", 0.25), fallback=ELSEWHERE)
    assert app.load_seconds() == (1.0, 0.0)
    assert app.capacity_rps() == pytest.approx((1.0, 4.0))
