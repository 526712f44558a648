"""The request kernel against queueing theory and against a plain simulation of every request."""

from __future__ import annotations

import heapq
import math
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from simulator.application import Application
from simulator.arrays import Floats, Ints
from simulator.arrivals import PoissonArrivals
from simulator.dataplane import CALL_COUNTS, CALL_SECONDS, REQUEST_COUNTS, DataPlane, Totals
from simulator.fcfs import OneQueue
from simulator.kernel.tables import NONE
from simulator.latency import percentile_seconds
from simulator.laws.deterministic import DeterministicLaw
from simulator.laws.exponential import ExponentialLaw
from simulator.laws.gamma import GammaLaw
from simulator.laws.law import ServiceTimeLaw
from simulator.laws.lognormal import LognormalLaw
from simulator.randomness import seed_key
from simulator.service import Service
from simulator.slots import FAILED, OFFERED, SERVED, STARTED, Station
from simulator.theory import mg1_mean_wait_seconds, mmc_mean_wait_seconds, mmc_wait_exceeds
from simulator.trace import Trace

BASE_SEED = int(os.environ.get("SETPOINT_SEED", "20240"))
SEEDS = 20
BATCHES = 40
LEVEL = 0.001


@dataclass(frozen=True)
class Counters:
    """A copy of a station's counters; two of them differ by what happened between."""

    counts: Ints
    late: Ints
    latency_counts: Ints
    seconds: Floats

    @staticmethod
    def of(station: Station) -> Counters:
        return Counters(
            station.counts.copy(), station.late.copy(), station.latency_counts.copy(), station.seconds.copy()
        )

    def since(self, before: Counters) -> Counters:
        return Counters(
            self.counts - before.counts,
            self.late - before.late,
            self.latency_counts - before.latency_counts,
            self.seconds - before.seconds,
        )


def one_queue(law: ServiceTimeLaw, slots: int) -> Application:
    service = {
        "name": "web",
        "slots_per_pod": slots,
        "vcpu_per_pod": 1.0,
        "service_time": law,
        "start_up": {"p50_seconds": 25, "p95_seconds": 45},
        "min_replicas": 0,
        "max_replicas": 100,
    }
    return Application.of(Service.model_validate(service))


@dataclass(frozen=True)
class Measured:
    """One run after its warm-up: the mean wait, its standard error from batch means, all counts."""

    mean_wait_seconds: float
    standard_error_seconds: float
    totals: Counters


def run_station(
    servers: int,
    rho: float,
    seed: int,
    requests: float,
    law: ServiceTimeLaw,
    thresholds: tuple[float, ...] = (),
) -> Measured:
    """About ``requests`` requests in batches, after a warm-up of a twentieth more."""
    arrivals_seed, requests_seed = np.random.SeedSequence(seed).spawn(2)
    rate = rho * servers / law.mean_seconds
    batch_seconds = requests / rate / BATCHES
    warm_up = requests / rate / 20
    duration = (warm_up + BATCHES * batch_seconds) * 1.001
    arrivals = PoissonArrivals(
        Trace(np.array([rate * duration]), duration), np.random.default_rng(arrivals_seed)
    )
    queue = OneQueue(one_queue(law, servers), seed_key(requests_seed), thresholds)
    queue.open_pod(0)
    station = queue._station

    def advance(until: float) -> None:
        queue.advance(until, arrivals.until(until))

    advance(warm_up)
    begin = before = Counters.of(station)
    means = []
    for batch in range(BATCHES):
        advance(warm_up + (batch + 1) * batch_seconds)
        now = Counters.of(station)
        change = now.since(before)
        means.append(change.seconds[0] / change.counts[STARTED])
        before = now
    error = float(np.std(means, ddof=1) / math.sqrt(BATCHES))
    whole = before.since(begin)
    return Measured(float(whole.seconds[0] / whole.counts[STARTED]), error, whole)


def seeds_of(*labels: float) -> list[int]:
    """Twenty seeds of their own for each setting."""
    entropy = [BASE_SEED, *(round(1000 * label) for label in labels)]
    return [int(seed) for seed in np.random.SeedSequence(entropy).generate_state(SEEDS)]


def assert_agrees(runs: list[Measured], expected: float) -> None:
    """z-scores are standard normal at level 0.001, and the half-width is at most 1 %.

    A run's score by its own batch means follows Student's t; its probability gives a normal score.
    The means of the runs are independent and alike, so that the pooled ones need no batches.
    """
    scores = np.array([(run.mean_wait_seconds - expected) / run.standard_error_seconds for run in runs])
    z = stats.norm.ppf(stats.t.cdf(scores, BATCHES - 1))
    low, high = stats.chi2.ppf([LEVEL / 2, 1 - LEVEL / 2], len(runs))
    assert low <= float(np.sum(z**2)) <= high, (
        f"sum of z^2 is {np.sum(z**2):.1f}, not in {low:.1f}..{high:.1f}"
    )
    assert abs(float(np.sum(z))) / math.sqrt(len(runs)) <= stats.norm.ppf(1 - LEVEL / 2), f"z-scores {z}"
    assert_sample_mean([run.mean_wait_seconds for run in runs], expected)


def assert_sample_mean(values: list[float], expected: float, half_width: float = 0.01) -> None:
    error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    freedom = len(values) - 1
    assert error * stats.t.ppf(0.975, freedom) <= half_width * expected
    score = (float(np.mean(values)) - expected) / error
    assert abs(score) <= stats.t.ppf(1 - LEVEL / 2, freedom), (
        f"{np.mean(values)} is not {expected}: t = {score:.2f}"
    )


@pytest.mark.parametrize(
    ("servers", "rho", "requests"),
    [
        (1, 0.5, 3e5),
        (1, 0.8, 8e5),
        (1, 0.95, 9e6),
        (10, 0.5, 2.5e6),
        (10, 0.8, 1.5e6),
        pytest.param(10, 0.95, 1.2e7, marks=pytest.mark.slow),
        pytest.param(100, 0.8, 7e7, marks=pytest.mark.slow),
        pytest.param(100, 0.9, 2e7, marks=pytest.mark.slow),
        pytest.param(100, 0.95, 2.5e7, marks=pytest.mark.slow),
    ],
)
def test_mmc_waits_as_erlang_c_says(servers: int, rho: float, requests: float) -> None:
    law = ExponentialLaw(mean_seconds=0.05)
    runs = [run_station(servers, rho, seed, requests, law) for seed in seeds_of(servers, rho)]
    assert_agrees(runs, mmc_mean_wait_seconds(rho * servers / 0.05, 0.05, servers))


@pytest.mark.parametrize(
    ("law", "rho", "requests"),
    [
        (DeterministicLaw(mean_seconds=0.05), 0.5, 2e5),
        (DeterministicLaw(mean_seconds=0.05), 0.8, 5e5),
        (DeterministicLaw(mean_seconds=0.05), 0.95, 4e6),
        (GammaLaw(mean_seconds=0.2, scv=0.25), 0.8, 6e5),
        (GammaLaw(mean_seconds=0.2, scv=2.0), 0.8, 2e6),
        (LognormalLaw(mean_seconds=0.05, scv=1.0), 0.5, 1e6),
        (LognormalLaw(mean_seconds=0.05, scv=1.0), 0.8, 2e6),
    ],
)
def test_mg1_waits_as_pollaczek_and_khinchine_say(law: ServiceTimeLaw, rho: float, requests: float) -> None:
    runs = [run_station(1, rho, seed, requests, law) for seed in seeds_of(1, rho, law.scv, law.mean_seconds)]
    assert_agrees(runs, mg1_mean_wait_seconds(rho / law.mean_seconds, law.mean_seconds, law.scv))


def late_ratios(runs: list[Measured], threshold: int) -> list[float]:
    return [float(run.totals.late[threshold] / run.totals.counts[OFFERED]) for run in runs]


def test_mm1_response_times_are_exponential() -> None:
    rate, mean = 16.0, 0.05
    decay = 1 / mean - rate
    fractions = (0.5, 0.9, 0.95, 0.99)
    thresholds = tuple(-math.log(1 - fraction) / decay for fraction in fractions)
    law = ExponentialLaw(mean_seconds=mean)
    runs = [run_station(1, rate * mean, seed, 3e6, law, thresholds) for seed in seeds_of(1, 2, 3)]
    for index, (fraction, threshold) in enumerate(zip(fractions, thresholds, strict=True)):
        assert_sample_mean(late_ratios(runs, index), 1 - fraction, half_width=0.05)
        counted = sum(run.totals.latency_counts for run in runs)
        assert percentile_seconds(np.asarray(counted), fraction) == pytest.approx(threshold, rel=0.015)


def test_mmc_response_times_have_the_tail_of_wait_and_service() -> None:
    """P(W + S > t), W over by ``mmc_wait_exceeds`` and S exponential and independent."""
    servers, mean, rho = 8, 0.05, 0.9
    rate = rho * servers / mean
    mu, delta = 1 / mean, servers / mean - rate
    thresholds = (0.02, 0.1, 0.3)
    waits = mmc_wait_exceeds(0.0, rate, mean, servers)
    law = ExponentialLaw(mean_seconds=mean)
    runs = [run_station(servers, rho, seed, 2e6, law, thresholds) for seed in seeds_of(servers, rho, 7)]
    for index, t in enumerate(thresholds):
        both = (mu * math.exp(-delta * t) - delta * math.exp(-mu * t)) / (mu - delta)
        expected = (1 - waits) * math.exp(-mu * t) + waits * both
        assert_sample_mean(late_ratios(runs, index), expected, half_width=0.05)


def test_deterministic_service_shows_the_tail_of_the_wait() -> None:
    """With D = 0.05 s a request is late at 0.05 s where it waits at all: probability rho."""
    law = DeterministicLaw(mean_seconds=0.05)
    runs = [run_station(1, 0.7, seed, 5e5, law, (0.05 + 1e-9,)) for seed in seeds_of(1, 0.7, 9)]
    assert_sample_mean(late_ratios(runs, 0), 0.7)


def test_littles_law_holds_in_the_long_run() -> None:
    law = LognormalLaw(mean_seconds=0.05, scv=2.0)
    run = run_station(4, 0.8, BASE_SEED, 2e6, law)
    waited, area, busy, response = run.totals.seconds
    assert response == pytest.approx(area + busy, rel=1e-3)
    assert area == pytest.approx(waited, rel=1e-3)  # only requests at the two ends differ
    assert busy / run.totals.counts[SERVED] == pytest.approx(0.05, rel=0.01)


# --- every request, one by one -----------------------------------------------------------------


def simulate(arrivals: list[float], demands: list[float], servers: int) -> list[tuple[float, float, float]]:
    """Arrival, start and finish of each request: one FCFS queue, a heap of free times."""
    free = [0.0] * servers
    requests = []
    for arrived, demand in zip(arrivals, demands, strict=True):
        start = max(arrived, heapq.heappop(free)) if servers else math.inf
        heapq.heappush(free, start + demand)
        requests.append((arrived, start, start + demand))
    return requests


LOADS = st.lists(st.tuples(st.floats(0, 20), st.floats(0.001, 8)), max_size=60)
CUTS = st.lists(st.floats(0.1, 39.9), max_size=8, unique=True)


@settings(deadline=None, max_examples=200)
@given(load=LOADS, cuts=CUTS, servers=st.integers(1, 6), pods=st.integers(1, 3))
def test_every_stretch_counts_what_a_plain_simulation_counts(
    load: list[tuple[float, float]], cuts: list[float], servers: int, pods: int
) -> None:
    thresholds = (0.0, 0.3, 1.0, 5.0)
    arrivals = sorted(arrived for arrived, _ in load)
    demands = [demand for _, demand in load]
    expected = simulate(arrivals, demands, servers * pods)
    station = Station(thresholds)
    for pod in range(pods):
        station.open_slots(pod, servers)
    begin, taken = 0.0, 0
    for end in [*sorted(cuts), 40.0]:
        count = sum(begin <= arrived < end for arrived in arrivals)
        before = Counters.of(station)
        station.advance(
            end, np.array(arrivals[taken : taken + count]), np.array(demands[taken : taken + count])
        )
        taken += count
        change = Counters.of(station).since(before)
        assert change.counts[OFFERED] == count
        assert change.counts[STARTED] == sum(begin <= start < end for _, start, _ in expected)
        assert change.counts[SERVED] == sum(begin <= finish < end for _, _, finish in expected)
        assert change.counts[FAILED] == 0
        assert change.latency_counts.sum() == change.counts[SERVED]
        for index, threshold in enumerate(thresholds):
            late = sum(begin <= a + threshold < end and finish > a + threshold for a, _, finish in expected)
            assert change.late[index] == late
        waited = sum(start - arrived for arrived, start, _ in expected if begin <= start < end)
        area = sum(max(0.0, min(start, end) - max(arrived, begin)) for arrived, start, _ in expected)
        busy = sum(max(0.0, min(finish, end) - max(start, begin)) for _, start, finish in expected)
        response = sum(finish - arrived for arrived, _, finish in expected if begin <= finish < end)
        np.testing.assert_allclose(change.seconds, [waited, area, busy, response], rtol=1e-9, atol=1e-9)
        assert station.waiting == sum(arrived < end <= start for arrived, start, _ in expected)
        assert station.in_service == sum(start < end <= finish for _, start, finish in expected)
        assert station.pod_busy_seconds.sum() == pytest.approx(Counters.of(station).seconds[2])
        begin = end


def test_without_slots_all_wait_and_get_late() -> None:
    station = Station((1.0, 20.0))
    station.advance(10.0, np.array([1.0, 9.5]), np.array([0.1, 0.1]))
    assert (station.waiting, station.in_service) == (2, 0)
    assert Counters.of(station).late.tolist() == [1, 0]
    station.open_slots(0, 1)
    station.advance(11.0, np.empty(0), np.empty(0))
    totals = Counters.of(station)
    assert totals.counts.tolist() == [2, 2, 2, 0]
    assert totals.late.tolist() == [1, 0]  # the second finishes at 10.2 s, 0.7 s old
    np.testing.assert_allclose(totals.seconds, [9.0 + 0.6, 9.0 + 0.6, 0.2, 9.1 + 0.7])


def test_the_queue_grows_and_keeps_its_order() -> None:
    station = Station(())
    arrivals = np.arange(5000) / 1000
    for second in range(5):
        part = arrivals[second * 1000 : (second + 1) * 1000]
        station.advance(second + 1.0, part, np.full(1000, 0.001))
    assert station.waiting == 5000
    station.open_slots(0, 1)
    station.advance(7.5, np.empty(0), np.empty(0))
    first = Counters.of(station)
    assert first.counts[STARTED] == pytest.approx(2500, abs=1)
    started = int(first.counts[STARTED])
    assert first.seconds[0] == pytest.approx((5.0 + 0.001 * np.arange(started) - arrivals[:started]).sum())


def test_closed_slots_finish_and_take_no_more() -> None:
    station = Station((10.0,))
    station.open_slots(0, 1)
    station.open_slots(1, 1)
    station.advance(1.0, np.array([0.0, 0.5]), np.array([4.0, 9.0]))
    last = station.close_slots(0)
    assert last in (4.0, 9.5)
    station.advance(20.0, np.array([2.0, 3.0]), np.array([1.0, 1.0]))
    assert Counters.of(station).counts.tolist() == [4, 4, 4, 0]
    other = 9.5 if last == 4.0 else 4.0
    assert station.close_slots(1) == 20.0
    assert Counters.of(station).seconds[0] == pytest.approx((other - 2.0) + (other + 1.0 - 3.0))


def test_what_a_released_pod_was_doing_fails_and_is_late_once() -> None:
    station = Station((0.5, 2.0, 100.0))
    station.open_slots(3, 2)
    station.advance(2.0, np.array([0.0, 1.0]), np.array([50.0, 0.25]))
    assert Counters.of(station).late.tolist() == [1, 0, 0]
    station.close_slots(3)
    station.release_pod(3)
    totals = Counters.of(station)
    assert totals.counts.tolist() == [2, 2, 1, 1]
    assert totals.late.tolist() == [1, 1, 1]
    assert station.in_service == 0
    assert station.pod_busy_seconds[3] == 0.0
    station.advance(200.0, np.empty(0), np.empty(0))
    assert Counters.of(station).late.tolist() == [1, 1, 1]


def test_failing_at_the_very_threshold_is_late_once() -> None:
    arrived, threshold = 0.1, 0.2
    station = Station((threshold,))
    station.open_slots(0, 1)
    station.advance(arrived + threshold, np.array([arrived]), np.array([1.0]))
    assert Counters.of(station).late.tolist() == [0]  # the step is half-open
    station.close_slots(0)
    station.release_pod(0)
    assert Counters.of(station).late.tolist() == [1]


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32),
    rate=st.sampled_from([0.0, 0.2, 3.0, 20.0]),
    slots=st.integers(1, 5),
    steps=st.lists(st.tuples(st.floats(0.01, 20), st.integers(-2, 2)), min_size=1, max_size=12),
)
def test_both_kernels_run_the_same_requests(
    seed: int, rate: float, slots: int, steps: list[tuple[float, int]]
) -> None:
    """Pods open one after another and close youngest first, and so do their slots in both."""
    rng = np.random.default_rng(seed)
    application = one_queue(LognormalLaw(mean_seconds=0.5, scv=2.0), slots)
    planes = (
        OneQueue(application, np.uint64(seed), (0.4, 2.0)),
        DataPlane(application, np.uint64(seed), (0.4, 2.0)),
    )
    now, pods, opened = 0.0, [], 0
    for seconds, change in steps:
        for _ in range(change):
            pods.append(opened)
            opened += 1
            for plane in planes:
                plane.open_pod(pods[-1], 0)
            now += 1e-3
            for plane in planes:
                plane.advance(now, np.empty(0))
        for _ in range(min(-change, len(pods))):
            row = pods.pop()
            for plane in planes:
                plane.close_pod(row)
        arrivals = np.sort(now + seconds * rng.random(rng.poisson(rate * seconds)))
        now += seconds
        for plane in planes:
            plane.advance(now, arrivals)
        one, other = (plane.totals() for plane in planes)
        for name in (*CALL_COUNTS, "waiting", "in_service"):
            assert _of(planes[0], one, name) == _of(planes[1], other, name), name
        for name in CALL_SECONDS:
            assert one.services[name][0] == pytest.approx(other.services[name][0], rel=1e-9, abs=1e-9), name
        assert one.late.tolist() == other.late.tolist()
        assert one.class_latency_counts.tolist() == other.class_latency_counts.tolist()
        assert {name: one.classes[name][0] for name in REQUEST_COUNTS} == {
            name: other.classes[name][0] for name in REQUEST_COUNTS
        }
        emptied = [plane.pod_emptied_seconds[:opened] for plane in planes]
        np.testing.assert_array_equal(*emptied)
        cpu = [plane.pod_cpu_seconds[:opened] for plane in planes]
        np.testing.assert_allclose(*cpu, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("few", [0, 4096])
@pytest.mark.parametrize("seed", range(6))
def test_pods_may_come_go_and_change_at_any_moment(
    few: int, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether closed slots leave the heap at once or when they come up: rows are used again meanwhile."""
    monkeypatch.setattr("simulator.slots._FEW_SLOTS", few)
    rng = np.random.default_rng(seed)
    application = one_queue(LognormalLaw(mean_seconds=0.5, scv=2.0), 1)
    planes = (
        OneQueue(application, np.uint64(seed), (0.4, 2.0)),
        DataPlane(application, np.uint64(seed), (0.4, 2.0)),
    )

    def both(what: str, *values: Any, **traits: float) -> None:
        for plane in planes:
            getattr(plane, what)(*values, **traits)

    def any_of(rows: list[int]) -> int:
        return rows.pop(int(rng.integers(len(rows))))

    now, free, held, closed = 0.0, list(range(40)), [], []
    for _ in range(400):
        seconds = float(rng.exponential(0.05))
        arrivals = np.sort(now + seconds * rng.random(rng.poisson(30 * seconds)))
        now += seconds
        both("advance", now, arrivals)
        assert_same(*planes)
        draw = rng.random()
        if draw < 0.45 and free:
            held.append(any_of(free))
            both("open_pod", held[-1], 0, vcpu=float(rng.choice([0.5, 1.0, 2.0])))
        elif draw < 0.6 and held:
            closed.append(any_of(held))
            both("close_pod", closed[-1])
        elif draw < 0.7 and held + closed:
            free.append(any_of(held or closed))
            both("kill_pod", free[-1])
        elif draw < 0.85 and closed:
            free.append(any_of(closed))
            both("kill_pod", free[-1])
        elif held + closed:
            row = (held + closed)[int(rng.integers(len(held + closed)))]
            both("set_pod", row, vcpu=float(rng.uniform(0.2, 3.0)), speed=float(rng.choice([0.3, 1.0])))
    assert planes[0].totals().services["failed"] > 0


def assert_same(one: OneQueue, other: DataPlane) -> None:
    left, right = one.totals(), other.totals()
    for name in (*CALL_COUNTS, "waiting", "in_service"):
        assert _of(one, left, name) == _of(other, right, name), name
    for name in CALL_SECONDS:
        assert left.services[name][0] == pytest.approx(right.services[name][0], rel=1e-9, abs=1e-9), name
    assert left.late.tolist() == right.late.tolist()
    assert left.class_latency_counts.tolist() == right.class_latency_counts.tolist()
    rows = min(len(one.pod_requests), len(other.pod_requests))
    in_use = other._tables.pods["service"][:rows] != NONE
    for name in ("pod_requests", "pod_cpu_seconds", "pod_emptied_seconds"):
        found, expected = getattr(one, name)[:rows][in_use], getattr(other, name)[:rows][in_use]
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9, err_msg=name)


def test_a_large_heap_is_rid_of_closed_slots() -> None:
    station = Station(())
    for pod in range(3000):
        station.open_slots(pod, 4)
    for pod in range(2990):
        station.close_slots(pod)
        station.release_pod(pod)
    assert station._heap_size < 6000
    station.advance(1.0, np.full(41, 0.5), np.full(41, 1.0))
    assert (station.in_service, station.waiting) == (40, 1)
    for turn in range(3000):
        station.open_slots(turn % 7, 4)
        station.close_slots(turn % 7)
        station.release_pod(turn % 7)
    assert station._heap_size < 6000
    assert len(station._slot_pod) < 20_000


def _of(plane: OneQueue | DataPlane, totals: Totals, name: str) -> int:
    return int(totals.services[name][0]) if name in CALL_COUNTS else int(getattr(plane, name)[0])


@given(st.lists(st.integers(1, 40), max_size=6))
def test_the_heap_has_a_place_after_its_end(openings: list[int]) -> None:
    station = Station(())
    for pod, count in enumerate(openings):
        station.open_slots(pod, count)
        assert len(station._heap_time) == len(station._heap_slot) > station._heap_size
    station.advance(1.0, np.array([0.5]), np.array([0.1]))
    assert len(station._heap_time) > station._heap_size
    assert station.waiting == (not openings)
