"""The request kernel on small examples worked out by hand, and at its extremes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from simulator.application import Application
from simulator.dataplane import DataPlane
from simulator.kernel.tables import DROPPED, FAILED, OK, TIMED_OUT

SEED = np.uint64(7)


def service(name: str = "web", work: float | None = 1.0, **changes: Any) -> dict[str, Any]:
    """One slot and one core unless told otherwise; each call takes ``work`` seconds."""
    plain = {
        "name": name,
        "slots_per_pod": 1,
        "vcpu_per_pod": 1.0,
        "start_up": {"p50_seconds": 1.0, "p95_seconds": 2.0},
        "min_replicas": 0,
        "max_replicas": 10,
    }
    if work is not None:
        plain["service_time"] = {"law": "deterministic", "mean_seconds": work}
    return plain | changes


def front(work: float, *steps: list[dict[str, Any]], **changes: Any) -> dict[str, Any]:
    """A service that makes calls."""
    operation = {"service_time": {"law": "deterministic", "mean_seconds": work}, "steps": steps}
    return service("front", None, operations=[operation], **changes)


def application(*services: dict[str, Any], priorities: tuple[int, ...] = (0,), **entry: Any) -> Application:
    """Services of which clients call the first, in a class for each priority."""
    classes = [
        {"name": f"c{place}", "priority": priority, "entry": {"to": services[0]["name"]} | entry}
        for place, priority in enumerate(priorities)
    ]
    return Application.model_validate({"services": services, "classes": classes})


class Run:
    """A data plane that keeps its log; without ``pods``, each service has one."""

    def __init__(self, app: Application, pods: tuple[int, ...] | None = None, thresholds: Any = ()) -> None:
        self.blocks: list[Any] = []
        self.plane = DataPlane(app, SEED, thresholds, self.blocks.append)
        row = 0
        for place, count in enumerate((1,) * len(app.services) if pods is None else pods):
            for _ in range(count):
                self.plane.open_pod(row, place)
                row += 1

    def until(self, seconds: float, *arrivals: float, classes: Any = None) -> Run:
        given = None if classes is None else np.array(classes)
        self.plane.advance(seconds, np.array(arrivals, np.float64), given)
        return self

    def ends(self) -> list[tuple[float, float, int]]:
        """Arrival, end and outcome of the requests that are over, in the order of their ends."""
        self.plane.flush_log()
        return [
            (entry["arrived_seconds"], entry["arrived_seconds"] + entry["latency_seconds"], entry["outcome"])
            for block in self.blocks
            for entry in block
        ]

    def count(self, name: str, place: int = 0) -> float:
        return self.plane.totals().services[name][place]

    def requests(self, name: str, place: int = 0) -> float:
        return self.plane.totals().classes[name][place]


def assert_ends(run: Run, *expected: tuple[float, float, int]) -> None:
    found = run.ends()
    assert [end[2] for end in found] == [end[2] for end in expected]
    np.testing.assert_allclose([end[:2] for end in found], [end[:2] for end in expected], atol=1e-8)


# --- callers ----------------------------------------------------------------------------------


def test_an_answer_takes_the_network_both_ways() -> None:
    run = Run(application(service(), network_seconds=0.25)).until(9.0, 1.0)
    assert_ends(run, (1.0, 2.5, OK))
    assert run.count("response_seconds") == 1.0


def test_after_a_timeout_the_service_works_on() -> None:
    run = Run(application(service(), network_seconds=0.1, timeout_seconds=0.4)).until(9.0, 0.0)
    assert_ends(run, (0.0, 0.4, TIMED_OUT))
    assert run.count("timed_out") == 1
    assert run.count("cpu_seconds") == pytest.approx(1.0)
    assert run.requests("response_seconds") == pytest.approx(0.4)


def test_back_off_doubles_up_to_its_cap() -> None:
    retry = {"max_attempts": 4, "back_off_seconds": 0.2, "back_off_cap_seconds": 0.3, "jitter": 0.0}
    run = Run(application(service(queue_limit_per_pod=0), retry=retry)).until(9.0, 0.0, 0.45)
    # dropped at 0.45, at 0.65 and at 0.95; the fourth attempt finds the slot free at 1.25
    assert_ends(run, (0.0, 1.0, OK), (0.45, 2.25, OK))
    assert (run.count("dropped"), run.count("retried"), run.count("offered")) == (3, 3, 5)
    assert [entry["retries"] for block in run.blocks for entry in block] == [0, 3]


def test_jitter_takes_a_part_of_the_wait() -> None:
    retry = {"max_attempts": 2, "back_off_seconds": 1.0, "back_off_cap_seconds": 1.0, "jitter": 0.4}
    run = Run(application(service(dispatch="random"), retry=retry), pods=(0,))
    run.until(500.0, *np.arange(100.0))
    waits = np.array([end - begin for begin, end, _ in run.ends()])
    assert waits.min() > 0.6
    assert waits.max() < 1.0
    assert 0.75 < waits.mean() < 0.85


def test_a_budget_pays_for_retries() -> None:
    budget = {"ratio": 0.5, "per_second": 0.0, "burst": 10.0}
    retry = {"max_attempts": 3, "back_off_seconds": 0.0, "back_off_cap_seconds": 0.0, "budget": budget}
    run = Run(application(service(dispatch="random"), retry=retry), pods=(0,))
    run.until(9.0, 1.0, 2.0, 3.0, 4.0)  # half a token each
    assert run.count("retried") == 2
    assert run.count("dropped") == 6


def test_a_budget_earns_by_time_and_begins_with_a_second_of_it() -> None:
    budget = {"ratio": 0.0, "per_second": 2.0, "burst": 3.0}
    retry = {"max_attempts": 100, "back_off_seconds": 0.0, "back_off_cap_seconds": 0.0, "budget": budget}
    run = Run(application(service(dispatch="random"), retry=retry), pods=(0,))
    assert run.until(0.1, 0.0).count("retried") == 2
    assert run.until(0.7, 0.6).count("retried") == 3  # 1.2 tokens
    assert run.until(99.0, 90.0).count("retried") == 6  # no more than the burst


def test_a_breaker_opens_tries_and_closes() -> None:
    breaker = {"window_calls": 2, "failure_ratio": 1.0, "open_seconds": 10.0, "trial_calls": 1}
    run = Run(application(service(work=0.1, dispatch="random"), breaker=breaker), pods=(0,))
    run.until(11.95, 1.0, 2.0, 3.0, 11.9)  # opens at 2
    assert (run.count("dropped"), run.count("refused")) == (2, 2)
    run.until(20.0, 12.5)  # a trial, dropped: open again
    assert (run.count("dropped"), run.count("refused")) == (3, 2)
    run.plane.open_pod(0, 0)
    run.until(30.0, 22.4, 22.6, 22.65, 23.0)  # refused, a trial, refused while it lasts, closed
    assert (run.count("served"), run.count("refused")) == (2, 4)
    assert (run.requests("failed"), run.requests("dropped"), run.requests("served")) == (4, 3, 2)


def test_parallel_calls_join_at_the_last() -> None:
    app = application(
        front(0.1, [{"to": "one"}, {"to": "two"}], [{"to": "three"}]),
        service("one", 0.3),
        service("two", 0.7),
        service("three", 0.2),
    )
    assert_ends(Run(app).until(9.0, 1.0), (1.0, 2.0, OK))


def test_a_fan_out_queues_for_one_slot() -> None:
    app = application(front(0.1, [{"to": "back", "count": 3}]), service("back", 0.2))
    run = Run(app).until(9.0, 0.0)
    assert_ends(run, (0.0, 0.7, OK))
    assert run.count("waited_seconds", 1) == pytest.approx(0.2 + 0.4)


def test_a_call_of_probability_0_is_never_made() -> None:
    app = application(
        front(0.1, [{"to": "back", "probability": 0.0}], [{"to": "back", "count": 2}]), service("back", 0.2)
    )
    run = Run(app).until(99.0, *np.arange(10.0))
    assert run.count("offered", 1) == 20


def test_a_request_that_calls_nobody_is_served_at_once() -> None:
    parts = [{"name": "here", "entry": {"to": "web"}}, {"name": "nowhere", "entry": {"to": "web"}}]
    parts[1]["entry"] = {"to": "web", "probability": 0.0}
    run = Run(Application.model_validate({"services": [service()], "classes": parts}))
    run.until(9.0, 1.0, 2.0, classes=[1, 0])
    assert_ends(run, (1.0, 1.0, OK), (2.0, 3.0, OK))


@pytest.mark.parametrize("optional", [True, False])
def test_only_calls_that_are_needed_fail_their_caller(optional: bool) -> None:
    app = application(
        front(0.1, [{"to": "back", "optional": optional}, {"to": "slow"}], [{"to": "slow"}]),
        service("back", dispatch="random"),
        service("slow", 0.5),
    )
    run = Run(app, pods=(1, 0, 1)).until(9.0, 0.0)
    # what fails waits for the others of its step, and takes no further one; to its caller it has failed
    assert_ends(run, (0.0, 1.1, OK) if optional else (0.0, 0.6, FAILED))
    assert run.count("failed") == (not optional)
    assert run.count("served", 2) == 1 + optional


# --- services ---------------------------------------------------------------------------------


def test_higher_priorities_leave_the_queue_first() -> None:
    run = Run(application(service(), priorities=(0, 1, 2)))
    run.until(9.0, 0.0, 0.1, 0.2, 0.3, 0.4, classes=[0, 0, 2, 1, 2])
    assert [round(begin, 1) for begin, _, _ in run.ends()] == [0.0, 0.2, 0.4, 0.3, 0.1]


def test_a_standing_queue_sheds_but_spares() -> None:
    shedding = {"after_waiting_seconds": 0.5, "spares_priority": 1}
    run = Run(application(service(shedding=shedding), priorities=(0, 1)))
    run.until(9.0, 0.0, 0.1, 0.5, 0.7, 0.8, classes=[0, 0, 0, 0, 1])
    assert_ends(run, (0.7, 0.7, DROPPED), (0.0, 1.0, OK), (0.8, 2.0, OK), (0.1, 3.0, OK), (0.5, 4.0, OK))


def test_what_arrives_at_one_moment_is_served_in_the_order_in_which_it_was_sent() -> None:
    run = Run(application(service(work=0.01), priorities=(0,) * 30, network_seconds=0.1))
    run.until(9.0, *np.full(30, 1.0), classes=np.arange(30))
    run.plane.flush_log()
    assert [entry["request_class"] for block in run.blocks for entry in block] == list(range(30))


@pytest.mark.parametrize("discards", [True, False])
def test_requests_given_up_while_waiting_may_be_discarded(discards: bool) -> None:
    run = Run(application(service(discards_expired=discards), timeout_seconds=0.5)).until(9.0, 0.0, 0.2)
    assert_ends(run, (0.0, 0.5, TIMED_OUT), (0.2, 0.7, TIMED_OUT))
    assert run.count("started") == run.count("cpu_seconds") == (1 if discards else 2)
    assert run.count("timed_out") == 2
    assert run.count("response_seconds") == pytest.approx(1.0 + (0.8 if discards else 1.8))


@pytest.mark.parametrize(("holds", "second", "busy"), [(True, 2.2, 2.2), (False, 1.2, 0.2)])
def test_a_slot_may_be_kept_while_calling(holds: bool, second: float, busy: float) -> None:
    app = application(
        front(0.1, [{"to": "back"}], holds_slot_while_calling=holds), service("back", slots_per_pod=2)
    )
    run = Run(app).until(9.0, 0.0, 0.0)
    assert_ends(run, (0.0, 1.1, OK), (0.0, second, OK))
    assert run.count("busy_slot_seconds") == pytest.approx(busy)
    assert run.count("cpu_seconds") == pytest.approx(0.2)


def test_a_full_queue_drops() -> None:
    run = Run(application(service(queue_limit_per_pod=1)), pods=(2,)).until(9.0, *np.arange(6) / 10)
    assert run.count("dropped") == 2
    run = Run(application(service(queue_limit_per_pod=1, dispatch="least_requests")), pods=(2,))
    assert run.until(9.0, *np.arange(6) / 10).count("dropped") == 2


@pytest.mark.parametrize(("cores", "first", "second"), [(1.0, 1.5, 2.0), (1.5, 1.0 + 1 / 6, 1.5 + 1 / 6)])
def test_two_threads_share_the_cores(cores: float, first: float, second: float) -> None:
    web = service(slots_per_pod=2, vcpu_per_pod=cores, discipline="processor_sharing")
    run = Run(application(web)).until(9.0, 0.0, 0.5)
    assert_ends(run, (0.0, first, OK), (0.5, second, OK))
    assert run.count("cpu_seconds") == pytest.approx(2.0)


def throttled(slots: int, work: float) -> Application:
    return application(
        service(work=work, slots_per_pod=slots, discipline="processor_sharing", cfs_throttling=True)
    )


def test_three_threads_use_up_one_core_and_stand_still() -> None:
    run = Run(throttled(3, 0.1)).until(9.0, 0.0, 0.0, 0.0)
    # a third of a tenth each in each period: 0 to 0.033, 0.1 to 0.133, 0.2 to 0.233
    assert_ends(run, *[(0.0, 0.2 + 0.1 / 3, OK)] * 3)
    assert run.count("cpu_seconds") == pytest.approx(0.3)


def test_a_thread_that_comes_meanwhile_meets_a_spent_quota() -> None:
    run = Run(throttled(4, 0.06)).until(9.0, 0.0, 0.0, 0.05)
    # two threads spend 0.1 by 0.05; then three run from 0.1 on, the first two for 0.01, the third alone
    assert_ends(run, (0.0, 0.11, OK), (0.0, 0.11, OK), (0.05, 0.16, OK))


@pytest.mark.parametrize("tick", [0.05, 0.1, 0.2, 0.5, 1.0])
def test_a_cut_at_a_boundary_costs_no_period(tick: float) -> None:
    arrivals = np.array([0.033, 0.041, 0.055, 0.0666])
    whole, cut = Run(throttled(4, 0.7)).until(5.0, *arrivals), Run(throttled(4, 0.7))
    for end in np.arange(tick, 5.0 + tick, tick):
        cut.until(end, *arrivals[(arrivals >= end - tick) & (arrivals < end)])
    assert_ends(cut, *whole.ends())
    assert whole.ends()[-1][1] == pytest.approx(2.7427)


# --- pods -------------------------------------------------------------------------------------


def test_a_closed_pod_finishes_its_own_queue() -> None:
    run = Run(application(service(dispatch="round_robin"))).until(0.5, 0.0, 0.1)
    run.plane.close_pod(0)
    run.until(9.0, 0.6)
    assert_ends(run, (0.6, 0.6, DROPPED), (0.0, 1.0, OK), (0.1, 2.0, OK))
    assert run.plane.pod_emptied_seconds[0] == 2.0


def test_a_shared_queue_waits_for_the_next_pod() -> None:
    run = Run(application(service())).until(0.5, 0.0, 0.1)
    run.plane.close_pod(0)
    run.until(5.0)
    assert run.plane.pod_emptied_seconds[0] == 1.0
    run.plane.open_pod(1, 0)
    assert (run.plane.waiting[0], run.plane.in_service[0]) == (0, 1)
    assert_ends(run.until(9.0), (0.0, 1.0, OK), (0.1, 6.0, OK))


def test_what_a_killed_pod_has_fails_and_its_calls_go_on_for_nobody() -> None:
    app = application(
        front(0.25, [{"to": "back"}], dispatch="round_robin", slots_per_pod=2), service("back", 1.0)
    )
    run = Run(app).until(0.5, 0.0, 0.3, 0.4)  # calling, at work, waiting
    run.plane.close_pod(0)
    run.plane.kill_pod(0)
    assert len(run.ends()) == 3
    run.until(9.0)
    assert sorted(run.ends()) == [(0.0, 0.5, FAILED), (0.3, 0.5, FAILED), (0.4, 0.5, FAILED)]
    assert (run.count("failed"), run.count("started")) == (3, 2)
    assert run.count("cpu_seconds") == pytest.approx((0.25 + 0.2) / 2)
    assert (run.count("timed_out", 1), run.count("served", 1)) == (1, 0)
    assert run.count("cpu_seconds", 1) == pytest.approx(1.0)


def test_lateness_counts_in_the_stretch_in_which_the_age_passes_the_threshold() -> None:
    run = Run(application(service()), pods=(0,), thresholds=(1.0, 3.0))
    assert run.until(1.5, 0.5).plane.totals().late.tolist() == [[0, 0]]
    assert run.until(1.6).plane.totals().late.tolist() == [[1, 0]]
    run.plane.open_pod(0, 0)
    assert run.until(9.0).plane.totals().late.tolist() == [[1, 0]]  # served at 2.6


# --- extremes ---------------------------------------------------------------------------------


def test_without_arrivals_nothing_is_counted() -> None:
    run = Run(application(service())).until(1000.0)
    totals = run.plane.totals()
    assert not any(value.any() for value in (*totals.services.values(), *totals.classes.values()))


def test_ten_thousand_slots_take_a_burst_at_once() -> None:
    run = Run(application(service(slots_per_pod=10_000))).until(9.0, *np.full(10_000, 1.0))
    assert run.count("served") == 10_000
    assert run.count("waited_seconds") == 0.0
    assert run.count("response_seconds") == pytest.approx(10_000)


def test_ten_thousand_threads_share_a_core() -> None:
    web = service(work=0.001, slots_per_pod=10_000, discipline="processor_sharing")
    run = Run(application(web)).until(99.0, *np.full(10_000, 1.0))
    assert {round(end, 6) for _, end, _ in run.ends()} == {11.0}
    assert run.count("cpu_seconds") == pytest.approx(10.0)


def test_one_slot_serves_a_burst_in_turn() -> None:
    count = 5000
    run = Run(application(service(work=0.001))).until(9.0, *np.full(count, 1.0))
    assert run.count("served") == count
    assert run.count("waited_seconds") == pytest.approx(0.001 * count * (count - 1) / 2)


def test_a_long_log_comes_in_blocks() -> None:
    arrivals = np.arange(150_000) * 0.001
    run = Run(application(service(work=0.0005))).until(9999.0, *arrivals)
    assert len(run.blocks) > 1
    run.plane.flush_log()
    assert (np.concatenate([block["arrived_seconds"] for block in run.blocks]) == arrivals).all()


def test_a_wide_fan_out_of_a_burst_fits() -> None:
    app = application(front(0.01, [{"to": "back", "count": 1000}]), service("back", 0.5, slots_per_pod=50))
    run = Run(app).until(9999.0, *np.full(100, 1.0))
    assert run.requests("served") == 100
    assert run.count("served", 1) == 100_000
    assert run.count("busy_slot_seconds", 1) == pytest.approx(50_000)


@pytest.mark.parametrize("dispatch", ["round_robin", "random", "least_requests", "two_choices"])
def test_without_a_ready_pod_calls_are_dropped(dispatch: str) -> None:
    run = Run(application(service(dispatch=dispatch)), pods=(0,)).until(9.0, 1.0, 2.0)
    assert run.count("dropped") == run.requests("dropped") == 2


@pytest.mark.parametrize(("limit", "waiting"), [(None, 2), (3, 0)])
def test_without_a_ready_pod_a_shared_queue_has_no_places(limit: int | None, waiting: int) -> None:
    run = Run(application(service(queue_limit_per_pod=limit)), pods=(0,)).until(9.0, 1.0, 2.0)
    assert run.plane.waiting[0] == waiting
    assert run.count("dropped") == 2 - waiting
