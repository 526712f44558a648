"""M/M/c/K against its series in fractions, closed forms, a textbook, Markov chains and limits."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markov import passage_exceeds

from simulator.theory import (
    erlang_b,
    mmc_mean_response_seconds,
    mmc_wait_exceeds,
    mmck_levels,
    mmck_loss,
    mmck_mean_number,
    mmck_mean_response_seconds,
    mmck_mean_wait_seconds,
    mmck_throughput_rps,
    mmck_wait_exceeds,
)


def exact_levels(load: Fraction, servers: int, capacity: int) -> list[Fraction]:
    """The series of Gross et al., 4th ed., section 2.5, in fractions."""
    terms = [load**n / math.factorial(n) for n in range(servers + 1)]
    terms += [terms[servers] * (load / servers) ** n for n in range(1, capacity - servers + 1)]
    return [term / sum(terms) for term in terms]


@settings(deadline=None)
@given(st.integers(1, 20), st.integers(0, 40), st.fractions(Fraction(1, 1000), 100, max_denominator=1000))
def test_mmck_levels_are_their_series(servers: int, places: int, load: Fraction) -> None:
    expected = exact_levels(load, servers, servers + places)
    levels = mmck_levels(float(load) / 0.25, 0.25, servers, servers + places)
    assert levels == pytest.approx([float(level) for level in expected], rel=1e-9, abs=1e-300)


@settings(deadline=None)
@given(st.integers(1, 20), st.integers(0, 40), st.fractions(Fraction(1, 100), 100, max_denominator=1000))
def test_mmck_measures_are_exact_sums_and_obey_little(servers: int, places: int, load: Fraction) -> None:
    levels = exact_levels(load, servers, servers + places)
    queue = (float(load) / 0.25, 0.25, servers, servers + places)
    number = sum(n * level for n, level in enumerate(levels))
    waiting = sum((n - servers) * level for n, level in enumerate(levels) if n > servers)
    taken_rps = load * 4 * (1 - levels[-1])
    assert mmck_loss(*queue) == pytest.approx(float(levels[-1]), rel=1e-9)
    assert mmck_throughput_rps(*queue) == pytest.approx(float(taken_rps), rel=1e-9)
    assert mmck_mean_number(*queue) == pytest.approx(float(number), rel=1e-9)
    assert mmck_mean_response_seconds(*queue) == pytest.approx(float(number / taken_rps), rel=1e-9)
    assert mmck_mean_wait_seconds(*queue) == pytest.approx(float(waiting / taken_rps), rel=1e-9)


@given(st.floats(0.01, 3.0).filter(lambda load: abs(load - 1) > 1e-3), st.integers(1, 60))
def test_mm1k_closed_form(load: float, capacity: int) -> None:
    loss = (1 - load) * load**capacity / (1 - load ** (capacity + 1))
    assert mmck_loss(load, 1.0, 1, capacity) == pytest.approx(loss, rel=1e-9)
    assert mmck_levels(1.0, 1.0, 1, capacity) == pytest.approx([1 / (capacity + 1)] * (capacity + 1))


def test_a_vehicle_inspection_station() -> None:
    """Gross et al., 4th ed., section 2.5: a car a minute, 6 minutes each, three stalls, at most seven cars."""
    queue = (1.0, 6.0, 3, 7)
    assert mmck_levels(*queue)[0] == pytest.approx(0.00088, abs=5e-6)
    assert mmck_mean_number(*queue) == pytest.approx(6.06, abs=5e-3)
    assert mmck_mean_wait_seconds(*queue) * mmck_throughput_rps(*queue) == pytest.approx(3.09, abs=5e-3)


@given(st.integers(1, 60), st.floats(0.0, 100.0))
def test_without_places_to_wait_it_is_erlang_b(servers: int, load: float) -> None:
    assert mmck_loss(load, 1.0, servers, servers) == pytest.approx(erlang_b(servers, load), rel=1e-9)
    assert mmck_mean_wait_seconds(load, 1.0, servers, servers) == 0


@pytest.mark.parametrize(("servers", "rate"), [(1, 0.8), (3, 2.7), (10, 8.0)])
def test_with_many_places_it_is_mmc(servers: int, rate: float) -> None:
    queue = (rate, 1.0, servers, 600)
    response = mmc_mean_response_seconds(rate, 1.0, servers)
    assert mmck_loss(*queue) < 1e-20
    assert mmck_mean_response_seconds(*queue) == pytest.approx(response, rel=1e-9)
    assert mmck_mean_number(*queue) == pytest.approx(rate * response, rel=1e-9)
    for seconds in (0.0, 0.5, 4.0):
        expected = mmc_wait_exceeds(seconds, rate, 1.0, servers)
        assert mmck_wait_exceeds(seconds, *queue) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("servers", "capacity", "rate"), [(1, 5, 0.8), (3, 7, 6.0), (4, 40, 3.9)])
def test_the_wait_of_mmck_is_a_walk_through_its_places(servers: int, capacity: int, rate: float) -> None:
    levels = mmck_levels(rate, 1.0, servers, capacity)
    start = [level / sum(levels[:-1]) for level in levels[servers:-1]]
    for seconds in (0.0, 0.2, 1.0, 3.0):
        expected = passage_exceeds(seconds, start, [float(servers)] * len(start))
        assert mmck_wait_exceeds(seconds, rate, 1.0, servers, capacity) == pytest.approx(expected, rel=1e-9)


def test_a_huge_load_neither_overflows_nor_is_refused() -> None:
    queue = (1e6, 1.0, 2, 5000)
    assert mmck_throughput_rps(*queue) == pytest.approx(2.0)
    assert mmck_loss(*queue) == pytest.approx(1 - 2e-6, rel=1e-12)
    assert mmck_levels(0.0, 1.0, 2, 3) == [1, 0, 0, 0]
