"""Networks against Markov chains solved numerically, closed forms, identities and limits."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markov import stationary

from simulator.errors import InputError
from simulator.networks import (
    fork_join_bounds_seconds,
    fork_join_two_mean_response_seconds,
    harmonic,
    jackson_mean_numbers,
    jackson_mean_response_seconds,
    nelson_tantawi_mean_response_seconds,
    station_rates_rps,
    tandem_mean_response_seconds,
    tandem_response_exceeds,
    tandem_response_percentile_seconds,
)
from simulator.theory import mmc_mean_response_seconds, mmc_response_exceeds


def test_station_rates_by_hand() -> None:
    """Requests come back to the first station from the second with probability 1/4, so that it gets 4/3 as many."""
    rates = station_rates_rps([3.0, 0.0], [[0.0, 1.0], [0.25, 0.0]])
    assert list(rates) == pytest.approx([4.0, 4.0])
    assert list(station_rates_rps([2.0], [[0.5]])) == pytest.approx([4.0])


@settings(deadline=None)
@given(st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_what_enters_leaves(stations: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    routing = rng.dirichlet(np.ones(stations + 1), stations)[:, :stations]
    external = rng.random(stations)
    rates = station_rates_rps(external, routing)
    assert rates @ (1 - routing.sum(axis=1)) == pytest.approx(external.sum())
    assert rates == pytest.approx(external + rates @ routing)
    visits = sum(external @ np.linalg.matrix_power(routing, step) for step in range(400))
    assert np.all(visits <= rates * (1 + 1e-9))  # the series of visits from below


@pytest.mark.parametrize("servers", [(1, 1), (2, 3)])
def test_a_network_with_feedback_is_its_markov_chain(servers: tuple[int, int]) -> None:
    external = np.array([0.5, 0.2]) * min(servers)
    routing = np.array([[0.1, 0.6], [0.3, 0.0]])
    means = np.array([0.7, 0.8])
    shape = (60, 60)
    first, second = np.indices(shape)
    speed = (np.minimum(first, servers[0]) / means[0], np.minimum(second, servers[1]) / means[1])
    out = 1 - routing.sum(axis=1)
    weights = stationary(
        [
            ((1, 0), np.full(shape, external[0])),
            ((0, 1), np.full(shape, external[1])),
            ((-1, 1), speed[0] * routing[0, 1]),
            ((1, -1), speed[1] * routing[1, 0]),
            ((-1, 0), speed[0] * out[0]),
            ((0, -1), speed[1] * out[1]),
        ]
    )
    numbers = jackson_mean_numbers(external, routing, means, servers)
    assert numbers == pytest.approx([(first * weights).sum(), (second * weights).sum()], rel=1e-6)
    response = jackson_mean_response_seconds(external, routing, means, servers)
    assert response == pytest.approx(numbers.sum() / external.sum())


@given(
    st.floats(0.0, 0.9), st.lists(st.tuples(st.floats(0.01, 1.0), st.integers(1, 9)), min_size=1, max_size=6)
)
def test_a_tandem_is_the_sum_of_its_stations(rate: float, stations: list[tuple[float, int]]) -> None:
    means, servers = zip(*stations, strict=True)
    rate += 1e-3
    expected = sum(mmc_mean_response_seconds(rate, mean, count) for mean, count in stations)
    assert tandem_mean_response_seconds(rate, means, servers) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("seconds", [0.0, 0.3, 1.0, 5.0, 20.0])
def test_tails_of_tandems_in_closed_form(seconds: float) -> None:
    one = tandem_response_exceeds(seconds, 0.4, [1.0])
    assert one == pytest.approx(mmc_response_exceeds(seconds, 0.4, 1.0, 1), rel=1e-9)
    equal = tandem_response_exceeds(seconds, 0.4, [1.0, 1.0, 1.0])  # Erlang-3
    x = 0.6 * seconds
    assert equal == pytest.approx(math.exp(-x) * (1 + x + x * x / 2), rel=1e-9)
    fast, slow = 1 / 0.5 - 0.4, 1 / 1.25 - 0.4
    two = tandem_response_exceeds(seconds, 0.4, [0.5, 1.25])
    expected = (fast * math.exp(-slow * seconds) - slow * math.exp(-fast * seconds)) / (fast - slow)
    assert two == pytest.approx(expected, rel=1e-9)


def test_a_tandems_tail_from_a_tagged_request() -> None:
    """Who arrives finds (m, n) in product form; then the queues ahead of it drain: a chain without arrivals."""
    rate, means, size = 0.5, (1.0, 0.8), 45
    found = np.outer((rate * means[0]) ** np.arange(size), (rate * means[1]) ** np.arange(size))
    found *= (1 - rate * means[0]) * (1 - rate * means[1])
    # place i of the tagged one in the first queue, j ahead of or with it in the second: uniformization
    first = np.zeros((size, 2 * size))
    first[:, :size] = found  # i others ahead in the first queue, j in the second
    second = np.zeros(2 * size)  # in the second queue with j others ahead
    uniform = 1 / means[0] + 1 / means[1]
    move, serve = 1 / means[0] / uniform, 1 / means[1] / uniform
    seconds = 4.0
    left = []
    for _ in range(120):
        left.append(first.sum() + second.sum())
        next_first = np.zeros_like(first)
        next_first[:-1, 1:] += move * first[1:, :-1]
        next_first[:, :-1] += serve * first[:, 1:]
        next_first[:, 0] += serve * first[:, 0]
        next_second = move * second
        next_second[:-1] += serve * second[1:]
        next_second += move * first[0]
        first, second = next_first, next_second
    weights = [
        math.exp(-uniform * seconds + k * math.log(uniform * seconds) - math.lgamma(k + 1))
        for k in range(120)
    ]
    assert np.dot(weights, left) == pytest.approx(tandem_response_exceeds(seconds, rate, means), rel=1e-8)


@settings(deadline=None, max_examples=40)
@given(st.floats(0.05, 0.9), st.lists(st.floats(0.1, 1.0), min_size=1, max_size=5), st.floats(0.01, 0.9999))
def test_percentiles_of_a_tandem_invert_its_tail(rate: float, means: list[float], fraction: float) -> None:
    found = tandem_response_percentile_seconds(fraction, rate, means)
    assert tandem_response_exceeds(found, rate, means) == pytest.approx(1 - fraction, rel=1e-6)


def fork_join_chain(rate: float, branches: int, size: int) -> float:
    """Mean response time: parts queue in the requests' order, so that as many are open as the longest queue has."""
    shape = (size,) * branches
    queues = np.indices(shape)
    moves = [((1,) * branches, np.full(shape, rate))]
    for branch in range(branches):
        step = tuple(-1 if other == branch else 0 for other in range(branches))
        moves.append((step, np.where(queues[branch] > 0, 1.0, 0.0)))
    return float((queues.max(axis=0) * stationary(moves)).sum()) / rate


@pytest.mark.parametrize(("rate", "size"), [(0.1, 20), (0.5, 50), (0.75, 110)])
def test_two_way_fork_join_is_its_markov_chain(rate: float, size: int) -> None:
    expected = fork_join_chain(rate, 2, size)
    assert fork_join_two_mean_response_seconds(rate, 1.0) == pytest.approx(expected, rel=1e-6)
    assert fork_join_two_mean_response_seconds(4 * rate, 0.25) == pytest.approx(expected / 4, rel=1e-6)


@pytest.mark.parametrize(("rate", "size"), [(0.1, 10), (0.3, 14), (0.5, 20)])
def test_three_way_fork_join_is_near_its_approximation_and_within_its_bounds(rate: float, size: int) -> None:
    exact = fork_join_chain(rate, 3, size)
    lower, upper = fork_join_bounds_seconds(rate, 1.0, 3)
    assert lower < exact < upper
    assert nelson_tantawi_mean_response_seconds(rate, 1.0, 3) == pytest.approx(exact, rel=0.011)


def test_nelson_and_tantawi_by_hand() -> None:
    """H(3) / H(2) = 11 / 9, so that at rho = 1/2 it is (11 / 9 - 2 / 9 x 2 / 11) x 23 / 8."""
    assert nelson_tantawi_mean_response_seconds(0.5, 1.0, 3) == pytest.approx(299 / 88, rel=1e-12)


@given(st.floats(0.0, 0.99), st.integers(2, 32))
def test_bounds_hold_and_meet_without_load(utilization: float, branches: int) -> None:
    lower, upper = fork_join_bounds_seconds(utilization, 1.0, branches)
    about = nelson_tantawi_mean_response_seconds(utilization, 1.0, branches)
    assert lower * (1 - 1e-12) <= about <= upper * (1 + 1e-12)
    longest = harmonic(branches)
    assert fork_join_bounds_seconds(0.0, 1.0, branches) == pytest.approx((longest, longest))
    assert nelson_tantawi_mean_response_seconds(0.0, 1.0, branches) == pytest.approx(longest)


@given(st.floats(1e-6, 0.99))
def test_one_branch_is_mm1_and_two_are_exact(utilization: float) -> None:
    single = mmc_mean_response_seconds(utilization, 1.0, 1)
    assert fork_join_bounds_seconds(utilization, 1.0, 1) == pytest.approx((single, single))
    two = fork_join_two_mean_response_seconds(utilization, 1.0)
    assert nelson_tantawi_mean_response_seconds(utilization, 1.0, 2) == pytest.approx(two)
    assert single < two < 1.5 * single
    more = [nelson_tantawi_mean_response_seconds(utilization, 1.0, branches) for branches in range(2, 33)]
    assert all(fewer < many for fewer, many in pairwise(more))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: station_rates_rps([1.0], [[1.0]]), "routing lets a request circle for ever"),
        (lambda: station_rates_rps([0.0, 1.0, 0.0], [[0, 1, 0], [1, 0, 0], [0, 0, 0]]), "circle for ever"),
        (lambda: station_rates_rps([1.0], [[1.2]]), r"routing\[0\] is \[1.2\]; must be probabilities"),
        (lambda: station_rates_rps([1.0], [[-0.1]]), r"routing\[0\] is \[-0.1\]"),
        (lambda: station_rates_rps([1.0], [[math.nan]]), r"routing\[0\] is \[nan\]"),
        (lambda: station_rates_rps([1.0, -2.0], np.zeros((2, 2))), r"external_rps\[1\] is -2; must be"),
        (lambda: station_rates_rps([1.0], np.zeros((2, 2))), r"external_rps \(1,\) and routing \(2, 2\)"),
        (
            lambda: jackson_mean_numbers([1.0], [[0.0]], [0.5, 0.5], [1]),
            "1 stations have 2 mean service times",
        ),
        (lambda: jackson_mean_numbers([1.0], [[0.5]], [0.5], [1]), "offered load 1 Erlang"),
        (lambda: jackson_mean_response_seconds([0.0], [[0.0]], [0.5], [1]), "external_rps is 0 at every"),
        (lambda: tandem_response_exceeds(1.0, 0.5, []), "mean_service_seconds is empty"),
        (lambda: tandem_response_exceeds(1.0, 0.5, [1.0, 2.0]), "offered load 1 Erlang"),
        (lambda: tandem_response_exceeds(-1.0, 0.5, [1.0]), "seconds is -1"),
        (lambda: tandem_response_percentile_seconds(1.0, 0.5, [1.0]), "fraction is 1"),
        (lambda: tandem_mean_response_seconds(0.5, [1.0, 2.0], [1, 1]), "offered load 1 Erlang"),
        (lambda: fork_join_two_mean_response_seconds(1.0, 1.0), "offered load 1 Erlang"),
        (lambda: fork_join_bounds_seconds(0.5, 1.0, 0), "branches is 0"),
        (lambda: nelson_tantawi_mean_response_seconds(0.5, 1.0, 33), "branches is 33; must be from 2 to 32"),
        (lambda: nelson_tantawi_mean_response_seconds(0.5, 1.0, 1), "branches is 1"),
    ],
)
def test_impossible_input_is_refused(wrong: Callable[[], object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        wrong()
