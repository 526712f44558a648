"""Queueing formulas against published tables, exact sums and identities."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.errors import InputError
from simulator.theory import (
    erlang_b,
    erlang_c,
    mg1_mean_wait_seconds,
    mmc_mean_wait_seconds,
    mmc_wait_exceeds,
    square_root_staffing,
)


def exact_erlang_b(servers: int, load: Fraction) -> Fraction:
    """Erlang's first formula as he wrote it: the last term of the series over all of them."""
    terms = [load**n / math.factorial(n) for n in range(servers + 1)]
    return terms[-1] / sum(terms)


def exact_erlang_c(servers: int, load: Fraction) -> Fraction:
    terms = [load**n / math.factorial(n) for n in range(servers)]
    last = load**servers / math.factorial(servers) * servers / (servers - load)
    return last / (sum(terms) + last)


# Offered load in Erlang that servers carry at 1 % blocking, as printed in Erlang B tables (three digits).
ONE_PERCENT = [
    (1, "0.0101"),
    (2, "0.153"),
    (3, "0.455"),
    (4, "0.869"),
    (5, "1.36"),
    (6, "1.91"),
    (7, "2.50"),
    (8, "3.13"),
    (9, "3.78"),
    (10, "4.46"),
    (15, "8.11"),
    (20, "12.0"),
    (30, "20.3"),
    (50, "37.9"),
    (100, "84.1"),
]


@pytest.mark.parametrize(("servers", "printed"), ONE_PERCENT)
def test_erlang_b_table_at_one_percent(servers: int, printed: str) -> None:
    half_digit = 0.5 * 10.0 ** -len(printed.partition(".")[2])
    assert (
        erlang_b(servers, float(printed) - half_digit) < 0.01 < erlang_b(servers, float(printed) + half_digit)
    )


@pytest.mark.parametrize(
    ("servers", "load", "waits"),
    [
        (1, 0.5, 0.5),  # M/M/1: rho
        (2, 1.0, 1 / 3),  # M/M/2: 2 rho^2 / (1 + rho)
        (3, 2.0, 4 / 9),
        (2, 1.8, 2 * 0.81 / 1.9),
        (10, 8.0, 0.4092),
    ],
)
def test_erlang_c_known_values(servers: int, load: float, waits: float) -> None:
    assert erlang_c(servers, load) == pytest.approx(waits, abs=5e-5)


@settings(deadline=None)
@given(st.integers(0, 60), st.fractions(Fraction(1, 1000), 80, max_denominator=1000))
def test_erlang_b_is_its_series(servers: int, load: Fraction) -> None:
    assert erlang_b(servers, float(load)) == pytest.approx(float(exact_erlang_b(servers, load)), rel=1e-9)


@settings(deadline=None)
@given(st.integers(1, 60), st.fractions(Fraction(1, 1000), Fraction(99, 100), max_denominator=1000))
def test_erlang_c_is_its_series(servers: int, utilization: Fraction) -> None:
    load = utilization * servers
    assert erlang_c(servers, float(load)) == pytest.approx(float(exact_erlang_c(servers, load)), rel=1e-9)


@given(st.integers(1, 200), st.floats(0.01, 0.99))
def test_erlang_c_falls_with_servers_and_is_above_b(servers: int, utilization: float) -> None:
    load = servers * utilization
    assert erlang_b(servers, load) <= erlang_c(servers, load) <= 1.0
    assert erlang_c(servers + 1, load) <= erlang_c(servers, load)


@given(st.floats(0.01, 0.99), st.floats(1e-3, 100))
def test_one_server_is_both_formulas(utilization: float, mean_seconds: float) -> None:
    rate = utilization / mean_seconds
    expected = utilization * mean_seconds / (1 - utilization)
    assert mmc_mean_wait_seconds(rate, mean_seconds, 1) == pytest.approx(expected, rel=1e-9)
    assert mg1_mean_wait_seconds(rate, mean_seconds, 1.0) == pytest.approx(expected, rel=1e-9)
    assert mg1_mean_wait_seconds(rate, mean_seconds, 0.0) == pytest.approx(expected / 2, rel=1e-9)
    assert mg1_mean_wait_seconds(rate, mean_seconds, 3.0) == pytest.approx(2 * expected, rel=1e-9)


@settings(deadline=None)
@given(st.integers(1, 50), st.floats(0.05, 0.95))
def test_the_wait_is_the_integral_of_its_tail(servers: int, utilization: float) -> None:
    rate = utilization * servers
    mean = mmc_mean_wait_seconds(rate, 1.0, servers)
    assert mmc_wait_exceeds(0.0, rate, 1.0, servers) == pytest.approx(erlang_c(servers, rate))
    horizon = 40 / (servers - rate)
    steps = 4000
    points = [mmc_wait_exceeds(horizon * (i + 0.5) / steps, rate, 1.0, servers) for i in range(steps)]
    assert sum(points) * horizon / steps == pytest.approx(mean, rel=1e-4)


@pytest.mark.parametrize(
    ("load", "quality", "servers"),
    [(0.0, 2.0, 0), (1.0, 0.0, 1), (100.0, 2.0, 120), (10.0, 2.0, 17), (2.25, 1.0, 4)],
)
def test_square_root_staffing(load: float, quality: float, servers: int) -> None:
    assert square_root_staffing(load, quality) == servers


@pytest.mark.parametrize(
    ("servers", "load"), [(1, 1.0), (10, 10.0), (10, 12.5), (0, 0.0), (1, -0.1), (1, math.nan)]
)
def test_an_unstable_queue_is_refused(servers: int, load: float) -> None:
    with pytest.raises(InputError, match="offered load .* must be at least 0 and below"):
        erlang_c(servers, load)


def test_an_unstable_single_server_is_refused() -> None:
    with pytest.raises(InputError, match="offered load 1 Erlang"):
        mg1_mean_wait_seconds(2.0, 0.5, 1.0)
