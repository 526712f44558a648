"""Queueing formulas for stations where every request takes the same time D: M/D/1 and M/D/c, FCFS."""

from __future__ import annotations

import math

import numpy as np

from simulator.arrays import Floats
from simulator.limits import erlangs, require_at_least, require_stable
from simulator.theory import tail_percentile_seconds


def md1_wait_exceeds(seconds: float, arrival_rate_rps: float, service_seconds: float) -> float:
    """Probability that a request of M/D/1, FCFS, waits longer than ``seconds``.

    With (k - 1) D <= t < k D and N the number in the system: the sum over j < k of Poisson(j; lambda (k D - t))
    P(N > k - j), and the Poisson probability of k or more. All terms are positive, where Erlang's own sum
    alternates and loses its digits as t grows. Exact to 1e-12, absolute, for loads up to 0.99; the work grows
    with the square of t / D.

    Source: Franx, A simple solution for the M/D/c waiting time distribution, 2001, with one server.
    """
    require_at_least("seconds", seconds, 0)
    load = erlangs(arrival_rate_rps, service_seconds)
    require_stable(1, load)
    if load == 0.0 or seconds / service_seconds * math.log(load) < math.log(1e-17):
        return 0.0  # the tail is below rho^(t / D)
    count = int(seconds / service_seconds) + 1
    beyond = 1.0 - np.cumsum(_md1_levels(load, count))
    arrivals = _poisson(max(0.0, count * load - arrival_rate_rps * seconds), count - 1)
    exceeds = float(arrivals @ beyond[count - np.arange(count)]) + 1.0 - float(arrivals.sum())
    return min(1.0, max(0.0, exceeds))


def md1_wait_percentile_seconds(fraction: float, arrival_rate_rps: float, service_seconds: float) -> float:
    """The wait of M/D/1, FCFS, that ``fraction`` in [0, 1) of the requests stay within.

    Trustworthy while 1 - ``fraction`` is well above the tail's error of 1e-12.
    """
    return tail_percentile_seconds(
        lambda seconds: md1_wait_exceeds(seconds, arrival_rate_rps, service_seconds),
        fraction,
        service_seconds,
    )


def mdc_mean_wait_seconds(arrival_rate_rps: float, service_seconds: float, servers: int) -> float:
    """Mean waiting time of M/D/c, FCFS, exact.

    The sum over i >= 1 of D P(N(i) >= i c) - (c / lambda) P(N(i) > i c), N(i) Poisson with mean i a. It takes about
    37 / (c (rho - 1 - ln rho)) terms: 3e4 for one server at a load of 0.95, a hundred times as many (seconds) at 0.995.

    Source: Crommelin, Delay probability formulae when the holding times are constant, 1932; equal to Spitzer's
    identity for every c-th arrival.
    """
    from scipy.special import pdtrc

    load = erlangs(arrival_rate_rps, service_seconds)
    require_stable(servers, load)
    total, block, begin = 0.0, 1.0, 1
    while load > 0 and block > 1e-16 * total:
        terms = np.arange(begin, begin + 4096)
        waits = pdtrc(terms * servers - 1, terms * load), pdtrc(terms * servers, terms * load)
        block = float(np.sum(waits[0] - servers / load * waits[1]))
        total, begin = total + block, begin + 4096
    return total * service_seconds


def _md1_levels(load: float, highest: int) -> Floats:
    """Probabilities of 0, 1, ... ``highest`` requests in M/D/1, float64.

    Up- and down-crossings of each level are equally many, so that all terms are positive.
    """
    arrivals = _poisson(load, highest + 32)
    at_least = np.cumsum(arrivals[::-1])[::-1]
    levels = np.zeros(highest + 1)
    levels[0] = 1.0 - load
    for level in range(1, highest + 1):
        ups = levels[0] * at_least[level] + levels[1:level] @ at_least[level:1:-1]
        levels[level] = ups / arrivals[0]
    return levels


def _poisson(mean: float, highest: int) -> Floats:
    """Probabilities of 0, 1, ... ``highest`` of a Poisson number, float64."""
    counts = np.arange(highest + 1)
    if mean == 0.0:
        return np.where(counts == 0, 1.0, 0.0)
    from scipy.special import gammaln

    return np.asarray(np.exp(counts * math.log(mean) - mean - gammaln(counts + 1)), np.float64)
