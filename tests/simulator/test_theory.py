"""Queueing formulas against published tables, exact sums and identities."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markov import passage_exceeds, stationary
from scipy.optimize import brentq

from simulator.errors import InputError
from simulator.theory import (
    allen_cunneen_mean_wait_seconds,
    erlang_b,
    erlang_c,
    kingman_wait_bound_seconds,
    mg1_mean_wait_seconds,
    mg1_wait_variance_seconds2,
    mgc_ps_mean_response_seconds,
    mgc_ps_response_given_service_seconds,
    mm1_ps_response_variance_seconds2,
    mmc_mean_response_seconds,
    mmc_mean_wait_seconds,
    mmc_response_exceeds,
    mmc_response_percentile_seconds,
    mmc_wait_exceeds,
    mmc_wait_percentile_seconds,
    mmck_levels,
    mmck_loss,
    mmck_mean_wait_seconds,
    square_root_staffing,
    tail_percentile_seconds,
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


@pytest.mark.parametrize(
    ("servers", "rate"),
    [(1, 0.7), (2, 0.6), (2, 1.0), (3, 1.9), (3, 2.0), (3, 2.0 + 1e-9), (3, 2.4), (10, 8.0)],
)
def test_the_response_tail_of_mmc_is_a_walk_through_the_places_in_the_queue(
    servers: int, rate: float
) -> None:
    places = 300
    levels = mmck_levels(rate, 1.0, servers, servers + places)  # the queue beyond has no weight
    start = [sum(levels[:servers]), *levels[servers : servers + places]]
    rates = [1.0] + [float(servers)] * places
    for seconds in (0.0, 0.1, 1.0, 3.0, 10.0):
        expected = passage_exceeds(seconds, start, rates)
        assert mmc_response_exceeds(seconds, rate, 1.0, servers) == pytest.approx(
            expected, rel=1e-6, abs=1e-12
        )


@given(st.floats(0.0, 0.99), st.floats(1e-3, 100), st.floats(0.0, 30))
def test_the_response_of_mm1_is_exponential(utilization: float, mean_seconds: float, multiple: float) -> None:
    rate = utilization / mean_seconds
    mean = mean_seconds / (1 - utilization)
    assert mmc_mean_response_seconds(rate, mean_seconds, 1) == pytest.approx(mean, rel=1e-9)
    assert mmc_response_exceeds(multiple * mean, rate, mean_seconds, 1) == pytest.approx(
        math.exp(-multiple), rel=1e-9
    )


@pytest.mark.parametrize("fraction", [0.5, 0.9, 0.99, 0.999])
def test_the_response_percentiles_of_mm1_are_logarithms(fraction: float) -> None:
    expected = -math.log(1 - fraction) / (20.0 - 17.0)
    assert mmc_response_percentile_seconds(fraction, 17.0, 0.05, 1) == pytest.approx(expected, rel=1e-9)


@settings(deadline=None)
@given(st.integers(1, 50), st.floats(0.05, 0.95))
def test_the_response_is_the_integral_of_its_tail(servers: int, utilization: float) -> None:
    rate = utilization * servers
    horizon = 40 + 40 / (servers - rate)
    steps = 8000
    points = [mmc_response_exceeds(horizon * (i + 0.5) / steps, rate, 1.0, servers) for i in range(steps)]
    mean = mmc_mean_response_seconds(rate, 1.0, servers)
    assert sum(points) * horizon / steps == pytest.approx(mean, rel=1e-4)


@settings(deadline=None)
@given(st.integers(1, 40), st.floats(0.05, 0.98), st.floats(0.001, 0.9999))
def test_percentiles_of_mmc_invert_their_tails(servers: int, utilization: float, fraction: float) -> None:
    queue = (servers * utilization / 0.2, 0.2, servers)
    response = mmc_response_percentile_seconds(fraction, *queue)
    assert mmc_response_exceeds(response, *queue) == pytest.approx(1 - fraction, rel=1e-7)
    wait = mmc_wait_percentile_seconds(fraction, *queue)
    if wait == 0:
        assert erlang_c(servers, servers * utilization) <= 1 - fraction
    else:
        assert mmc_wait_exceeds(wait, *queue) == pytest.approx(1 - fraction, rel=1e-9)
    assert wait <= response


def test_an_eye_clinic() -> None:
    """Gross et al., 4th ed., section 2.3: 6 patients an hour, 20 minutes each, three doctors."""
    queue = (6 / 60, 20.0, 3)
    assert mmc_mean_wait_seconds(*queue) == pytest.approx(8 / 9 / 6 * 60)  # Lq is 8 / 9
    assert mmc_mean_response_seconds(*queue) == pytest.approx(26 / 9 / 6 * 60)  # L is 26 / 9


def test_allen_cunneen_is_exact_where_it_should_be() -> None:
    exact = mmc_mean_wait_seconds(8.0, 1.0, 10)
    assert allen_cunneen_mean_wait_seconds(8.0, 1.0, 10, 1.0, 1.0) == pytest.approx(exact)
    for scv in (0.0, 0.5, 4.0):
        exact = mg1_mean_wait_seconds(0.8, 1.0, scv)
        assert allen_cunneen_mean_wait_seconds(0.8, 1.0, 1, 1.0, scv) == pytest.approx(exact)


@given(st.floats(0.01, 0.999), st.floats(0.0, 10.0))
def test_kingmans_bound_is_above_mg1_and_near_it_when_busy(utilization: float, scv: float) -> None:
    bound = kingman_wait_bound_seconds(utilization, 1.0, 1.0, scv)
    exact = mg1_mean_wait_seconds(utilization, 1.0, scv)
    assert bound - exact == pytest.approx((1 + utilization) / (2 * utilization), rel=1e-6)


def test_kingmans_bound_is_above_a_queue_with_even_arrivals() -> None:
    for rate in (0.3, 0.6, 0.9):  # D/M/1: who arrives waits with probability sigma = e^(-(1 - sigma) / rho)
        sigma = brentq(lambda s, rate=rate: s - math.exp((s - 1) / rate), 0.0, 1 - 1e-6)
        assert sigma / (1 - sigma) <= kingman_wait_bound_seconds(rate, 1.0, 0.0, 1.0)


# M/G/1


def wait_moments(load: Fraction, moments: list[Fraction]) -> tuple[Fraction, Fraction]:
    """First and second moment of M/G/1's wait, from the series of Pollaczek and Khinchine's transform.

    With moments E[S^1..3] the transform is (1 - rho) / (1 - rho R(s)), R that of the residual service, whose k-th
    moment is E[S^(k+1)] / ((k + 1) E[S]): moments of a geometric number of residual services.
    """
    first, second = moments[1] / (2 * moments[0]), moments[2] / (3 * moments[0])
    mean = load / (1 - load)
    pairs = 2 * load**2 / (1 - load) ** 2  # E[n (n - 1)]
    return mean * first, mean * second + pairs * first**2


HALF, TWO = Fraction(1, 2), Fraction(2)


@pytest.mark.parametrize("load", [Fraction(1, 10), HALF, Fraction(19, 20)])
@pytest.mark.parametrize(
    "moments",
    [
        [Fraction(1), Fraction(2), Fraction(6)],  # exponential
        [Fraction(1), Fraction(1), Fraction(1)],  # constant
        [Fraction(1), Fraction(3, 2), Fraction(3)],  # Erlang-2
        [Fraction(1), HALF * 2 * (HALF**2 + (3 * HALF) ** 2), HALF * 6 * (HALF**3 + (3 * HALF) ** 3)],  # H2
    ],
)
def test_the_wait_of_mg1_from_its_transform(load: Fraction, moments: list[Fraction]) -> None:
    mean, second = wait_moments(load, moments)
    scv = float(moments[1] - 1)
    assert mg1_mean_wait_seconds(float(load), 1.0, scv) == pytest.approx(float(mean), rel=1e-12)
    variance = mg1_wait_variance_seconds2(float(load), 1.0, scv, float(moments[2]))
    assert variance == pytest.approx(float(second - mean**2), rel=1e-12)
    scaled = mg1_wait_variance_seconds2(float(load) / 0.2, 0.2, scv, 0.008 * float(moments[2]))
    assert scaled == pytest.approx(0.04 * variance, rel=1e-12)


@given(st.floats(0.0, 0.99))
def test_the_variance_of_mm1s_wait_from_its_tail(utilization: float) -> None:
    """P(W > t) = rho e^(-(1 - rho) t), so that E[W^2] = 2 rho / (1 - rho)^2."""
    expected = (2 * utilization - utilization**2) / (1 - utilization) ** 2
    assert mg1_wait_variance_seconds2(utilization, 1.0, 1.0, 6.0) == pytest.approx(expected, rel=1e-9)


# Processor sharing


def shared_numbers(rates: tuple[float, float], means: tuple[float, float], servers: int) -> np.ndarray:
    """Mean numbers of two classes, exponential each, that share servers evenly: the Markov chain, truncated."""
    size = 70
    first, second = np.meshgrid(np.arange(size), np.arange(size), indexing="ij")
    total = np.maximum(first + second, 1)
    speed = np.minimum(total, servers) / total
    leave = (first * speed / means[0], second * speed / means[1])
    weights = stationary(
        [
            ((1, 0), np.full((size, size), rates[0])),
            ((0, 1), np.full((size, size), rates[1])),
            ((-1, 0), leave[0]),
            ((0, -1), leave[1]),
        ]
    )
    return np.array([(first * weights).sum(), (second * weights).sum()])


@pytest.mark.parametrize("servers", [1, 3])
def test_sharing_is_insensitive_and_in_proportion(servers: int) -> None:
    means = (0.5, 2.0)
    rates = (0.6 * servers, 0.15 * servers)
    mean = (rates[0] * means[0] + rates[1] * means[1]) / sum(rates)
    numbers = shared_numbers(rates, means, servers)
    overall = mgc_ps_mean_response_seconds(sum(rates), mean, servers)
    assert numbers.sum() / sum(rates) == pytest.approx(overall, rel=1e-4)
    for service, rate, number in zip(means, rates, numbers, strict=True):
        given_service = mgc_ps_response_given_service_seconds(service, sum(rates), mean, servers)
        assert number / rate == pytest.approx(given_service, rel=1e-4)


@given(st.floats(0.0, 0.99), st.floats(0.0, 10.0))
def test_sharing_one_server(utilization: float, service_seconds: float) -> None:
    queue = (utilization / 0.3, 0.3)
    assert mgc_ps_mean_response_seconds(*queue) == pytest.approx(0.3 / (1 - utilization), rel=1e-9)
    assert mgc_ps_mean_response_seconds(*queue) == pytest.approx(mmc_mean_response_seconds(*queue, 1))
    slow = mgc_ps_response_given_service_seconds(service_seconds, *queue)
    assert slow == pytest.approx(service_seconds / (1 - utilization), rel=1e-9)


@pytest.mark.parametrize("utilization", [0.0, 0.3, 0.8])
def test_the_variance_of_mm1_ps_from_a_tagged_request(utilization: float) -> None:
    """Moments of the rest of a request's time among n others, from where it goes next, solved at once."""
    size = 400
    others = np.arange(size)
    arrive = np.where(others < size - 1, utilization, 0.0)
    one_leaves = others / (others + 1.0)
    matrix = np.diag(arrive + 1.0) - np.diag(arrive[:-1], 1) - np.diag(one_leaves[1:], -1)
    first = np.linalg.solve(matrix, np.ones(size))
    second = np.linalg.solve(matrix, 2 * first)
    found = (1 - utilization) * utilization**others
    mean = found @ first
    assert mean == pytest.approx(1 / (1 - utilization), rel=1e-9)
    variance = mm1_ps_response_variance_seconds2(utilization, 1.0)
    assert found @ second - mean**2 == pytest.approx(variance, rel=1e-9)
    assert mm1_ps_response_variance_seconds2(4 * utilization, 0.25) == pytest.approx(variance / 16)


# Percentiles and refusals


@given(st.floats(0.0, 0.999999), st.floats(1e-6, 1e6), st.floats(1e-3, 1e3))
def test_a_percentile_of_an_exponential(fraction: float, mean: float, wrong_by: float) -> None:
    found = tail_percentile_seconds(lambda t: math.exp(-t / mean), fraction, mean * wrong_by)
    assert found == pytest.approx(-mean * math.log1p(-fraction), rel=1e-6, abs=1e-8 * mean)


def test_percentiles_rise() -> None:
    fractions = (0.0, 0.1, 0.5, 0.9, 0.99, 0.999)
    found = [mmc_response_percentile_seconds(fraction, 8.0, 1.0, 10) for fraction in fractions]
    assert found[0] == 0
    assert all(lower < higher for lower, higher in pairwise(found))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            lambda: mmc_mean_wait_seconds(-1.0, 1.0, 1),
            "arrival_rate_rps is -1; must be finite and at least 0",
        ),
        (lambda: mmc_mean_wait_seconds(-1.0, -0.5, 1), "arrival_rate_rps is -1"),
        (lambda: mmc_mean_wait_seconds(1.0, 0.0, 1), "mean_service_seconds is 0; must be finite and above 0"),
        (lambda: mmc_mean_wait_seconds(math.nan, 1.0, 1), "arrival_rate_rps is nan"),
        (lambda: mmc_mean_wait_seconds(math.inf, 1.0, 1), "arrival_rate_rps is inf"),
        (lambda: mmc_wait_exceeds(-1.0, 0.5, 1.0, 1), "seconds is -1"),
        (lambda: mmc_response_exceeds(-1.0, 0.5, 1.0, 1), "seconds is -1"),
        (lambda: mmc_response_exceeds(1.0, 2.0, 1.0, 2), "offered load 2 Erlang"),
        (lambda: mmc_response_percentile_seconds(1.0, 0.5, 1.0, 1), "fraction is 1; must be at least 0"),
        (lambda: mmc_wait_percentile_seconds(-0.1, 0.5, 1.0, 1), "fraction is -0.1"),
        (lambda: erlang_b(-1, 1.0), "servers is -1"),
        (lambda: erlang_b(1, -1.0), "offered load is -1"),
        (lambda: mmck_loss(1.0, 1.0, 3, 2), "capacity is 2; must be finite and at least 3"),
        (lambda: mmck_loss(1.0, 1.0, 0, 2), "servers is 0"),
        (lambda: mmck_mean_wait_seconds(1.0, -1.0, 1, 2), "mean_service_seconds is -1"),
        (lambda: mg1_mean_wait_seconds(0.5, 1.0, -1.0), "scv is -1"),
        (
            lambda: mg1_wait_variance_seconds2(0.5, 1.0, 1.0, 3.9),
            "third_moment_seconds3 is 3.9; .* at least 4",
        ),
        (lambda: mg1_wait_variance_seconds2(1.0, 1.0, 1.0, 6.0), "offered load 1 Erlang"),
        (lambda: allen_cunneen_mean_wait_seconds(1.0, 1.0, 2, -1.0, 1.0), "arrival_scv is -1"),
        (lambda: allen_cunneen_mean_wait_seconds(1.0, 1.0, 2, 1.0, math.nan), "service_scv is nan"),
        (lambda: kingman_wait_bound_seconds(0.0, 1.0, 1.0, 1.0), "arrival_rate_rps is 0"),
        (lambda: mgc_ps_mean_response_seconds(1.0, 1.0), "offered load 1 Erlang"),
        (lambda: mgc_ps_response_given_service_seconds(-1.0, 0.5, 1.0), "service_seconds is -1"),
        (lambda: mm1_ps_response_variance_seconds2(2.0, 0.5), "offered load 1 Erlang"),
    ],
)
def test_impossible_input_is_refused(wrong: Callable[[], float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        wrong()
