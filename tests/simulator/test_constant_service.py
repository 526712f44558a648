"""M/D/1 and M/D/c against Erlang's sum in 120 digits, moments, closed forms and the embedded chain."""

from __future__ import annotations

import math
from decimal import Decimal, localcontext
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.constant_service import (
    _md1_levels,
    md1_wait_exceeds,
    md1_wait_percentile_seconds,
    mdc_mean_wait_seconds,
)
from simulator.errors import InputError
from simulator.theory import (
    allen_cunneen_mean_wait_seconds,
    erlang_c,
    mg1_mean_wait_seconds,
    mg1_wait_variance_seconds2,
    mmc_mean_wait_seconds,
)


def erlangs_sum(seconds: str, load: str) -> float:
    """P(W > t) of M/D/1, D = 1, as Erlang wrote it: it alternates, so that it takes many digits."""
    with localcontext() as context:
        context.prec = 120
        t, rho = Decimal(seconds), Decimal(load)
        within = Decimal(0)
        for k in range(int(t) + 1):
            power = (rho * (k - t)) ** k if k else Decimal(1)
            within += power / math.factorial(k) * (rho * (t - k)).exp()
        return float(1 - (1 - rho) * within)


@pytest.mark.parametrize("load", ["0.05", "0.3", "0.5", "0.8", "0.9", "0.95", "0.99"])
@pytest.mark.parametrize("seconds", ["0", "0.3", "0.999", "1", "2", "2.5", "17.25", "60", "90.1"])
def test_the_wait_of_md1_is_erlangs_sum(seconds: str, load: str) -> None:
    expected = erlangs_sum(seconds, load)
    assert md1_wait_exceeds(float(seconds), float(load), 1.0) == pytest.approx(expected, rel=0, abs=1e-13)
    scaled = md1_wait_exceeds(float(seconds) * 0.02, float(load) / 0.02, 0.02)
    assert scaled == pytest.approx(expected, rel=0, abs=1e-12)


@given(st.floats(0.0, 0.98), st.floats(0.0, 1.0, exclude_max=True))
def test_the_wait_of_md1_below_one_service_time(load: float, seconds: float) -> None:
    """Below D Erlang's sum has one term: an exponential that rises from 1 - rho."""
    expected = 1 - (1 - load) * math.exp(load * seconds)
    assert md1_wait_exceeds(seconds, load, 1.0) == pytest.approx(expected, abs=1e-13)


@pytest.mark.parametrize("load", [0.1, 0.5, 0.8, 0.95])
def test_mean_and_variance_are_integrals_of_the_tail(load: float) -> None:
    mean = mg1_mean_wait_seconds(load, 1.0, 0.0)
    nodes, weights = np.polynomial.legendre.leggauss(8)
    horizon = int(-16 * math.log(10) / math.log(load)) + 1
    first = second = 0.0
    for begin in range(min(horizon, 300)):  # the tail is smooth between multiples of the service time
        times = begin + (nodes + 1) / 2
        tails = np.array([md1_wait_exceeds(float(time), load, 1.0) for time in times])
        first += float(weights @ tails) / 2
        second += float(weights @ (2 * times * tails)) / 2
    assert first == pytest.approx(mean, rel=1e-8)
    variance = mg1_wait_variance_seconds2(load, 1.0, 0.0, 1.0)
    assert second - first**2 == pytest.approx(variance, rel=1e-8)


@given(st.floats(0.01, 0.99))
def test_the_first_levels_of_md1_have_closed_forms(load: float) -> None:
    growth = math.exp(load)
    expected = [1 - load, (1 - load) * (growth - 1), (1 - load) * growth * (growth - 1 - load)]
    assert list(_md1_levels(load, 2)) == pytest.approx(expected, rel=1e-9)


@settings(deadline=None, max_examples=50)
@given(st.floats(0.02, 0.97), st.floats(0.01, 0.9999))
def test_percentiles_of_md1_invert_its_tail(load: float, fraction: float) -> None:
    found = md1_wait_percentile_seconds(fraction, load / 0.25, 0.25)
    if found == 0:
        assert load <= 1 - fraction + 1e-12
    else:
        assert md1_wait_exceeds(found, load / 0.25, 0.25) == pytest.approx(1 - fraction, rel=1e-6)


def test_a_median_wait_known_in_closed_form() -> None:
    """While it is below D: ln((1 - 0.5) / (1 - rho)) / lambda."""
    assert md1_wait_percentile_seconds(0.5, 0.6, 1.0) == pytest.approx(math.log(0.5 / 0.4) / 0.6, rel=1e-9)


@given(st.floats(0.01, 0.98))
def test_the_tail_of_md1_falls_and_starts_at_the_load(load: float) -> None:
    tails = [md1_wait_exceeds(seconds / 4, load, 1.0) for seconds in range(80)]
    assert tails[0] == pytest.approx(load, abs=1e-13)
    assert all(later <= earlier + 1e-14 for earlier, later in pairwise(tails))
    assert md1_wait_exceeds(1e9, load, 1.0) == 0
    assert md1_wait_exceeds(0.0, 0.0, 1.0) == 0


def embedded_wait(load: float, servers: int, size: int = 400) -> float:
    """Mean wait of M/D/c, D = 1, by Little: the number at t + 1 is who was not in service at t, and who came."""
    counts = np.arange(size)
    arrivals = np.exp(counts * math.log(load) - load - [math.lgamma(count + 1) for count in counts])
    moves = np.zeros((size, size))
    for number in counts:
        left = max(0, number - servers)
        moves[number, left:] = arrivals[: size - left]
    moves[:, -1] += 1 - moves.sum(axis=1)
    matrix = np.vstack([(moves.T - np.eye(size))[1:], np.ones(size)])
    levels = np.linalg.solve(matrix, np.eye(1, size, size - 1).ravel())
    return float(np.maximum(counts - servers, 0) @ levels) / load


@pytest.mark.parametrize("servers", [1, 2, 3, 10, 40])
@pytest.mark.parametrize("utilization", [0.3, 0.7, 0.9])
def test_the_wait_of_mdc_is_that_of_its_embedded_chain(servers: int, utilization: float) -> None:
    found = mdc_mean_wait_seconds(servers * utilization / 0.5, 0.5, servers)
    expected = embedded_wait(servers * utilization, servers)
    assert found == pytest.approx(expected / 2, rel=1e-8, abs=1e-12)  # the chain's digits


def test_a_wait_too_rare_for_the_chain() -> None:
    """Forty servers, 12 Erlang: the first term of Crommelin's sum in 60 digits, the others are below 1e-21."""
    with localcontext() as context:
        context.prec = 60
        mean = Decimal(12)
        exact = (-mean).exp() * mean**40 / math.factorial(40)  # P(N = 40), then P(N = 41) ...
        at_least = sum(
            (exact * mean**n * math.factorial(40) / math.factorial(40 + n) for n in range(200)), Decimal(0)
        )
        expected = at_least - Decimal(40) / mean * (at_least - exact)
    assert mdc_mean_wait_seconds(12.0, 1.0, 40) == pytest.approx(float(expected), rel=1e-9)


@given(st.floats(0.001, 0.97))
def test_one_server_is_pollaczek_khinchine(load: float) -> None:
    expected = mg1_mean_wait_seconds(load / 0.1, 0.1, 0.0)
    assert mdc_mean_wait_seconds(load / 0.1, 0.1, 1) == pytest.approx(expected, rel=1e-9)
    assert mdc_mean_wait_seconds(0.0, 0.1, 1) == 0


@pytest.mark.parametrize("servers", [2, 5, 20])
def test_many_servers_halve_the_wait_only_when_busy(servers: int) -> None:
    """Allen and Cunneen say half of M/M/c's: right in heavy traffic, too little elsewhere."""
    ratios = []
    for utilization in (0.5, 0.8, 0.95, 0.99):
        rate = servers * utilization
        about = allen_cunneen_mean_wait_seconds(rate, 1.0, servers, 1.0, 0.0)
        exact = mdc_mean_wait_seconds(rate, 1.0, servers)
        assert about < exact < mmc_mean_wait_seconds(rate, 1.0, servers)
        ratios.append(exact / about)
    assert ratios == sorted(ratios, reverse=True)
    assert ratios[-1] == pytest.approx(1.0, abs=0.02)
    assert erlang_c(servers, servers * 0.5) < 0.5  # the first load is a light one


@pytest.mark.parametrize(
    ("load", "message"),
    [(1.0, "offered load 1 Erlang"), (-0.5, "arrival_rate_rps is -0.5"), (math.nan, "nan")],
)
def test_impossible_input_is_refused(load: float, message: str) -> None:
    for formula in (
        lambda: md1_wait_exceeds(1.0, load, 1.0),
        lambda: md1_wait_percentile_seconds(0.5, load, 1.0),
        lambda: mdc_mean_wait_seconds(load, 1.0, 1),
    ):
        with pytest.raises(InputError, match=message):
            formula()
    with pytest.raises(InputError, match="seconds is -1"):
        md1_wait_exceeds(-1.0, 0.5, 1.0)
    with pytest.raises(InputError, match="fraction is 1"):
        md1_wait_percentile_seconds(1.0, 0.5, 1.0)
    with pytest.raises(InputError, match="mean_service_seconds is 0"):
        mdc_mean_wait_seconds(0.5, 0.0, 1)
