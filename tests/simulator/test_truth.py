"""The data plane against theory: one service under a Poisson load."""

from __future__ import annotations

import numpy as np
import pytest
from replications import (
    FRACTIONS,
    Stretch,
    assert_agrees,
    assert_conserved,
    assert_percentiles,
    assert_pooled,
    assert_sample_mean,
    classes,
    data_plane,
    drain,
    late_share,
    law,
    loss_share,
    mean_number,
    mean_response,
    mean_wait,
    replicate,
    run,
    seed_sequences,
    station,
)
from scipy.special import pdtr

from simulator.constant_service import md1_wait_percentile_seconds
from simulator.laws.empirical import EmpiricalLaw
from simulator.laws.gamma import GammaLaw
from simulator.laws.hyperexponential import HyperexponentialLaw
from simulator.laws.law import ServiceTimeLaw
from simulator.laws.lognormal import LognormalLaw
from simulator.laws.pareto import ParetoLaw
from simulator.theory import (
    erlang_b,
    mg1_mean_wait_seconds,
    mgc_ps_mean_response_seconds,
    mgc_ps_response_given_service_seconds,
    mmc_mean_response_seconds,
    mmc_mean_wait_seconds,
    mmc_response_percentile_seconds,
    mmck_levels,
    mmck_loss,
    mmck_mean_wait_seconds,
)

SHARED = {"discipline": "processor_sharing", "slots_per_pod": 10_000}

# First come, first served


@pytest.mark.parametrize(
    ("servers", "rho", "requests", "width"),
    [
        (1, 0.5, 3e5, 1.0),
        (1, 0.8, 1.2e6, 1.5),
        pytest.param(1, 0.95, 1.1e7, 2.0, marks=pytest.mark.slow),
        pytest.param(10, 0.5, 4.2e6, 1.0, marks=pytest.mark.slow),
        (4, 0.7, 8e5, 1.0),
        pytest.param(10, 0.8, 2.5e6, 1.0, marks=pytest.mark.slow),
        pytest.param(10, 0.95, 1.2e7, 2.0, marks=pytest.mark.slow),
        pytest.param(100, 0.8, 1.6e7, 2.0, marks=pytest.mark.slow),
        pytest.param(100, 0.95, 2.2e7, 1.0, marks=pytest.mark.slow),
    ],
)
def test_mmc_is_what_erlang_c_says(servers: int, rho: float, requests: float, width: float) -> None:
    """Mean wait and response percentiles.

    ``width`` widens the half-widths of percentiles where the 99th would take minutes to know within 1 %; so does
    the mean wait of the few that wait for one of a hundred servers at a load of 0.8.
    """
    rate = rho * servers
    percentiles = [mmc_response_percentile_seconds(fraction, rate, 1.0, servers) for fraction in FRACTIONS]
    model = station(rate, tuple(percentiles), slots_per_pod=servers)
    runs = replicate(model, requests, "mmc", servers, rho)
    rare = servers == 100 and rho == 0.8
    assert_agrees(runs, mean_wait(), mmc_mean_wait_seconds(rate, 1.0, servers), 0.02 if rare else 0.01)
    assert_agrees(runs, mean_response(), mmc_mean_response_seconds(rate, 1.0, servers))
    assert_percentiles(runs, percentiles, width=width)


def test_a_hundred_servers_at_half_load_let_nobody_wait() -> None:
    percentiles = [mmc_response_percentile_seconds(fraction, 50.0, 1.0, 100) for fraction in FRACTIONS]
    runs = replicate(station(50.0, tuple(percentiles), slots_per_pod=100), 2e5, "mmc", 100, 0.5)
    assert_agrees(runs, mean_response(), mmc_mean_response_seconds(50.0, 1.0, 100))
    assert_percentiles(runs, percentiles)
    assert max(mean_wait()(each.whole) for each in runs) < 1e-6


@pytest.mark.parametrize(
    ("work", "rho", "requests"),
    [
        (law("deterministic"), 0.5, 1e5),
        (law("deterministic"), 0.8, 5e5),
        (GammaLaw(mean_seconds=0.2, scv=0.25), 0.7, 2e5),
        (GammaLaw(mean_seconds=0.2, scv=2.0), 0.7, 5e5),
        (LognormalLaw(mean_seconds=1.0, scv=1.0), 0.5, 5e5),
        (LognormalLaw(mean_seconds=1.0, scv=1.0), 0.7, 6e5),
        (HyperexponentialLaw(mean_seconds=1.0, scv=4.0), 0.5, 7e5),
        (ParetoLaw(shape=2.5, lowest_seconds=0.4, highest_seconds=20.0), 0.6, 5e5),
        (EmpiricalLaw(values_seconds=(0.2, 0.5, 1.0, 4.0), weights=(4, 3, 2, 1)), 0.7, 6e5),
        pytest.param(law("deterministic"), 0.95, 6e6, marks=pytest.mark.slow),
        pytest.param(GammaLaw(mean_seconds=0.2, scv=2.0), 0.8, 1.6e6, marks=pytest.mark.slow),
        pytest.param(LognormalLaw(mean_seconds=1.0, scv=1.0), 0.8, 1.6e6, marks=pytest.mark.slow),
    ],
    ids=lambda value: value.law if hasattr(value, "law") else None,
)
def test_mg1_waits_as_pollaczek_and_khinchine_say(work: ServiceTimeLaw, rho: float, requests: float) -> None:
    rate = rho / work.mean_seconds
    runs = replicate(station(rate, service_time=work), requests, "mg1", work.law, work.scv, rho)
    assert_agrees(runs, mean_wait(), mg1_mean_wait_seconds(rate, work.mean_seconds, work.scv))


def test_md1_waits_have_the_percentiles_of_franx() -> None:
    """With constant service a percentile of the response time is that of the wait, and the service more."""
    percentiles = [1.0 + md1_wait_percentile_seconds(fraction, 0.8, 1.0) for fraction in FRACTIONS]
    model = station(0.8, tuple(percentiles), service_time=law("deterministic"))
    assert_percentiles(replicate(model, 1e6, "md1"), percentiles)


def test_littles_law_holds_in_the_long_run() -> None:
    model = station(3.2, slots_per_pod=4, service_time=LognormalLaw(mean_seconds=1.0, scv=2.0))
    for sequence in seed_sequences("little", count=4):
        each = run(model, 1e6, sequence)
        response = mean_response()(each.whole)
        assert mean_number()(each.whole) == pytest.approx(3.2 * response, rel=0.01)
        area = each.whole.totals.classes["in_flight_request_seconds"][0]
        # only the requests at the two ends differ
        assert area == pytest.approx(each.whole.totals.classes["response_seconds"][0], rel=1e-3)


# Priorities


def cobham_mean_waits(rates_rps: list[float], works: list[ServiceTimeLaw]) -> list[float]:
    """Mean waits of M/G/1 with priorities that do not pre-empt, the last class first.

    Source: Cobham, Priority assignment in waiting line problems, 1954.
    """
    pairs = list(zip(rates_rps, works, strict=True))
    residual = sum(rate * work.mean_seconds**2 * (1 + work.scv) / 2 for rate, work in pairs)
    loads = [rate * work.mean_seconds for rate, work in pairs]
    return [residual / ((1 - sum(loads[at + 1 :])) * (1 - sum(loads[at:]))) for at in range(len(rates_rps))]


@pytest.mark.parametrize(
    "works",
    [
        [law("exponential"), law("exponential")],
        [law("exponential", 2.0), law("deterministic", 0.5)],
        [law("exponential"), GammaLaw(mean_seconds=1.0, scv=0.5), law("deterministic", 0.5)],
    ],
    ids=["alike", "different", "three"],
)
def test_priorities_wait_as_cobham_says(works: list[ServiceTimeLaw]) -> None:
    count = len(works)
    shares = [1.0 / count] * count
    rate = 0.8 * count / sum(work.mean_seconds for work in works)
    kinds = "+".join(f"{work.law}{work.mean_seconds}" for work in works)
    runs = replicate(classes(rate, works, shares), 8e5, "cobham", kinds)
    waits = cobham_mean_waits([rate / count] * count, works)
    assert waits == sorted(waits, reverse=True)
    for group, (wait, work) in enumerate(zip(waits, works, strict=True)):
        assert_agrees(runs, mean_response(group), wait + work.mean_seconds)


# Processor sharing


@pytest.mark.parametrize("cores", [1, 4])
@pytest.mark.parametrize(
    "work",
    [
        law("exponential"),
        law("deterministic"),
        HyperexponentialLaw(mean_seconds=1.0, scv=4.0),
    ],
    ids=lambda work: work.law,
)
def test_processor_sharing_knows_the_mean_service_alone(work: ServiceTimeLaw, cores: int) -> None:
    rate = 0.6 * cores
    model = station(rate, vcpu_per_pod=cores, service_time=work, **SHARED)
    runs = replicate(model, 4e5 if work.scv > 1 else 2e5, "ps", work.law, cores)
    assert_agrees(runs, mean_response(), mgc_ps_mean_response_seconds(rate, 1.0, cores))
    for each in runs:
        assert mean_wait()(each.whole) == 0.0


def test_processor_sharing_slows_all_requests_alike() -> None:
    """Response times given the service time, by classes whose service times are constant."""
    services, shares = [0.25, 2.0], [4 / 7, 3 / 7]
    works = [law("deterministic", seconds) for seconds in services]
    runs = replicate(classes(0.6, works, shares, **SHARED), 2e5, "ps", "given")
    for group, seconds in enumerate(services):
        expected = mgc_ps_response_given_service_seconds(seconds, 0.6, 1.0)
        assert_agrees(runs, mean_response(group), expected)


# Losses


@pytest.mark.parametrize(("servers", "capacity", "load"), [(1, 5, 0.9), (4, 10, 3.6), (2, 4, 5.0)])
def test_mmck_loses_and_waits_as_its_balance_says(servers: int, capacity: int, load: float) -> None:
    limit = capacity - servers
    model = station(load, slots_per_pod=servers, queue_limit_per_pod=limit)
    runs = replicate(model, 5e5, "mmck", servers, capacity)
    assert_agrees(runs, loss_share, mmck_loss(load, 1.0, servers, capacity))
    assert_agrees(runs, mean_wait(), mmck_mean_wait_seconds(load, 1.0, servers, capacity))


def test_mm1k_is_late_as_erlang_tails_say() -> None:
    """Who finds n is done after n + 1 services; who is lost counts as late."""
    capacity, load, seconds = 5, 0.9, (0.5, 2.0, 6.0)
    levels = np.array(mmck_levels(load, 1.0, 1, capacity))
    model = station(load, seconds, queue_limit_per_pod=capacity - 1)
    runs = replicate(model, 3e5, "mm1k late")
    for place, threshold in enumerate(seconds):
        tail = float(levels[:-1] @ pdtr(np.arange(capacity), threshold)) + levels[-1]
        assert_agrees(runs, late_share(place), tail)


@pytest.mark.parametrize(
    "work",
    [law("exponential"), law("deterministic"), LognormalLaw(mean_seconds=1.0, scv=2.0)],
    ids=lambda work: work.law,
)
def test_what_has_no_queue_loses_as_erlang_b_says(work: ServiceTimeLaw) -> None:
    model = station(7.0, slots_per_pod=10, queue_limit_per_pod=0, service_time=work)
    runs = replicate(model, 5e5, "erlang b", work.law)
    assert_agrees(runs, loss_share, erlang_b(10, 7.0))
    assert all(each.whole.totals.services["waited_seconds"][0] == 0.0 for each in runs)


# Extremes


def test_an_almost_idle_service() -> None:
    runs = replicate(station(0.01), 1.4e6, "idle")
    assert_agrees(runs, mean_wait(), mmc_mean_wait_seconds(0.01, 1.0, 1))


def test_three_times_the_capacity() -> None:
    """All servers are busy all the time; what they cannot serve piles up."""
    runs = replicate(station(6.0, slots_per_pod=2), 1e5, "overload", warm_up_requests=1000.0)
    assert_agrees(runs, lambda stretch: served(stretch) / stretch.seconds, 2.0)
    assert_agrees(runs, lambda stretch: (offered(stretch) - served(stretch)) / stretch.seconds, 4.0)
    for each in runs:
        busy = each.whole.totals.services["busy_slot_seconds"][0]
        assert busy == pytest.approx(2 * each.whole.seconds)


def offered(stretch: Stretch) -> float:
    return float(stretch.totals.services["offered"][0])


def served(stretch: Stretch) -> float:
    return float(stretch.totals.services["served"][0])


def test_ten_thousand_slots() -> None:
    """At 9,000 Erlang all 10,000 are busy with probability 1e-23; batches are as short as services here."""
    runs = replicate(station(9000.0, slots_per_pod=10_000), 1e5, "many slots", warm_up_requests=1.2e5)
    assert_pooled(runs, mean_number(), 9000.0)
    assert_pooled(runs, mean_response(), 1.0)
    assert all(each.whole.totals.services["waited_seconds"][0] == 0.0 for each in runs)


def test_no_arrivals() -> None:
    plane = data_plane(station(1.0, (1.0,)), seed_sequences("none")[0])
    for end in (15.0, 30.0, 1e6):
        plane.advance(end, np.empty(0))
    totals = plane.totals()
    assert not any(column.any() for column in (*totals.services.values(), *totals.classes.values()))
    assert not totals.late.any()
    assert_conserved(totals)


@pytest.mark.parametrize("discipline", ["slots", "processor_sharing"])
def test_a_burst_is_worked_off_without_a_pause(discipline: str) -> None:
    """A hundred times the capacity of a minute at once: no slot rests while anything waits."""
    settings = {"discipline": discipline, "slots_per_pod": 4, "vcpu_per_pod": 4.0}
    for sequence in seed_sequences("burst", discipline, count=5):
        plane = data_plane(station(1.0, **settings), sequence)
        now, before = 0.0, plane.totals()
        for burst in range(3):
            arrivals = np.full(24_000, now + 1.0)
            plane.advance(now + 2.0, arrivals)
            now += 2.0
            while plane.waiting[0] > 0:
                before = plane.totals()
                plane.advance(now + 60.0, np.empty(0))
                now += 60.0
                change = plane.totals().since(before)
                if plane.waiting[0] > 0:
                    for name in ("busy_slot_seconds", "cpu_seconds", "in_service_request_seconds"):
                        assert change.services[name][0] == pytest.approx(240.0, rel=1e-9)
            served_so_far = plane.totals().services["served"][0]
            assert 24_000 * (burst + 1) - 4 <= served_so_far <= 24_000 * (burst + 1)
        drain(plane, now)


def test_constant_bursts_leave_when_arithmetic_says() -> None:
    """n at once before c slots: the k-th leaves after ceil(k / c) services."""
    plane = data_plane(
        station(1.0, (7.0,), slots_per_pod=8, service_time=law("deterministic")), seed_sequences("row")[0]
    )
    arrivals = np.full(800, 5.0)
    plane.advance(10.5, arrivals)
    assert plane.totals().services["served"][0] == 5 * 8
    drain(plane, 10.5)
    totals = plane.totals()
    assert totals.classes["response_seconds"][0] == pytest.approx(8 * sum(range(1, 101)))
    assert totals.late[0, 0] == 800 - 7 * 8


def test_the_same_seed_gives_the_same_bytes_however_a_run_is_cut() -> None:
    model = station(0.8, (2.0,), service_time=HyperexponentialLaw(mean_seconds=1.0, scv=4.0))
    sequence = seed_sequences("cut")[0]
    rng = np.random.default_rng(sequence)
    arrivals = np.cumsum(rng.exponential(1.25, 2000))
    found = []
    for cuts in (1, 7, 500):
        plane = data_plane(model, sequence)
        for end in np.linspace(0.0, arrivals[-1] + 1.0, cuts + 1)[1:]:
            known = plane.totals().classes["offered"][0]
            plane.advance(float(end), arrivals[known : np.searchsorted(arrivals, end)])
        found.append(plane.totals())
    for totals in found[1:]:
        assert totals.services["served"][0] == found[0].services["served"][0]
        np.testing.assert_array_equal(totals.late, found[0].late)
        np.testing.assert_array_equal(totals.class_latency_counts, found[0].class_latency_counts)
        assert totals.services["waited_seconds"][0] == found[0].services["waited_seconds"][0]


def test_a_wrong_answer_is_noticed() -> None:
    """The tests' own test: 3 % more service time than theory was told."""
    model = station(0.5, service_time=law("exponential", 1.03))
    runs = [run(model, 3e5, sequence) for sequence in seed_sequences("wrong")]
    with pytest.raises(AssertionError, match="not in"):
        assert_agrees(runs, mean_wait(), mmc_mean_wait_seconds(0.5, 1.0, 1))
    with pytest.raises(AssertionError, match="is not"):
        assert_sample_mean([mean_wait()(each.whole) for each in runs], mmc_mean_wait_seconds(0.5, 1.0, 1))
