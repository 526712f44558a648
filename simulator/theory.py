"""Queueing formulas for one station that the engines are held to.

A wait ends when service starts, a response time when it ends. Arrivals are Poisson unless a name says otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from simulator.errors import InputError
from simulator.limits import (
    erlangs,
    require_above_zero,
    require_at_least,
    require_fraction,
    require_stable,
)

# M/M/c and its losses


def erlang_b(servers: int, offered_load: float) -> float:
    """Probability that an arrival to M/G/c/c is lost; service times matter by their mean alone.

    Args:
        servers: c >= 0.
        offered_load: a = arrival rate x mean service time, in Erlang.

    Source: the recursion B(c) = a B(c-1) / (c + a B(c-1)), e.g. Gross et al., Fundamentals of
    Queueing Theory, 4th ed., eq. 2.54; insensitivity: Sevast'yanov, An ergodic theorem for Markov processes
    and its application to telephone systems with refusals, 1957.
    """
    require_at_least("servers", servers, 0)
    require_at_least("offered load", offered_load, 0)
    blocking = 1.0
    for server in range(1, servers + 1):
        blocking = offered_load * blocking / (server + offered_load * blocking)
    return blocking


def erlang_c(servers: int, offered_load: float) -> float:
    """Probability that an arrival to M/M/c waits.

    Raises:
        InputError: if the queue is not stable (``offered_load >= servers``).

    Source: C = B / (1 - rho (1 - B)), Gross et al., eq. 2.58.
    """
    require_stable(servers, offered_load)
    blocking = erlang_b(servers, offered_load)
    utilization = offered_load / servers
    return blocking / (1.0 - utilization * (1.0 - blocking))


def mmc_mean_wait_seconds(arrival_rate_rps: float, mean_service_seconds: float, servers: int) -> float:
    """Mean waiting time of M/M/c, FCFS: C(c, a) / (c mu - lambda)."""
    waits = erlang_c(servers, erlangs(arrival_rate_rps, mean_service_seconds))
    return waits / (servers / mean_service_seconds - arrival_rate_rps)


def mmc_mean_response_seconds(arrival_rate_rps: float, mean_service_seconds: float, servers: int) -> float:
    """Mean response time of M/M/c, FCFS: mean wait and mean service."""
    return mmc_mean_wait_seconds(arrival_rate_rps, mean_service_seconds, servers) + mean_service_seconds


def mmc_wait_exceeds(
    seconds: float, arrival_rate_rps: float, mean_service_seconds: float, servers: int
) -> float:
    """Probability that a request of M/M/c, FCFS, waits longer than ``seconds``."""
    require_at_least("seconds", seconds, 0)
    waits = erlang_c(servers, erlangs(arrival_rate_rps, mean_service_seconds))
    return waits * math.exp(-(servers / mean_service_seconds - arrival_rate_rps) * seconds)


def mmc_wait_percentile_seconds(
    fraction: float, arrival_rate_rps: float, mean_service_seconds: float, servers: int
) -> float:
    """The wait of M/M/c, FCFS, that ``fraction`` in [0, 1) of the requests stay within."""
    require_fraction(fraction)
    waits = erlang_c(servers, erlangs(arrival_rate_rps, mean_service_seconds))
    if waits <= 1.0 - fraction:
        return 0.0
    return math.log(waits / (1.0 - fraction)) / (servers / mean_service_seconds - arrival_rate_rps)


def mmc_response_exceeds(
    seconds: float, arrival_rate_rps: float, mean_service_seconds: float, servers: int
) -> float:
    """Probability that a request of M/M/c, FCFS, is in the system longer than ``seconds``.

    The service is exponential with rate mu, and with probability C(c, a) a wait with rate theta = c mu - lambda
    comes before it: e^(-mu t) + C mu (e^(-mu t) - e^(-theta t)) / (theta - mu), here without the difference that
    cancels where theta is near mu. For one server this is e^(-(mu - lambda) t).

    Source: Gross et al., 4th ed., section 2.3 (the tail of W(t)).
    """
    require_at_least("seconds", seconds, 0)
    waits = erlang_c(servers, erlangs(arrival_rate_rps, mean_service_seconds))
    service_rate = 1.0 / mean_service_seconds
    wait_rate = servers * service_rate - arrival_rate_rps
    gap = abs(wait_rate - service_rate) * seconds
    spread = -math.expm1(-gap) / gap if gap > 0 else 1.0
    both = service_rate * seconds * math.exp(-min(wait_rate, service_rate) * seconds) * spread
    return min(1.0, math.exp(-service_rate * seconds) + waits * both)


def mmc_response_percentile_seconds(
    fraction: float, arrival_rate_rps: float, mean_service_seconds: float, servers: int
) -> float:
    """The response time of M/M/c, FCFS, that ``fraction`` in [0, 1) of the requests stay within."""
    mean = mmc_mean_response_seconds(arrival_rate_rps, mean_service_seconds, servers)
    return tail_percentile_seconds(
        lambda seconds: mmc_response_exceeds(seconds, arrival_rate_rps, mean_service_seconds, servers),
        fraction,
        mean,
    )


def allen_cunneen_mean_wait_seconds(
    arrival_rate_rps: float,
    mean_service_seconds: float,
    servers: int,
    arrival_scv: float,
    service_scv: float,
) -> float:
    """Mean waiting time of G/G/c, FCFS: an approximation, exact for M/M/c and M/G/1.

    Args:
        arrival_scv: squared coefficient of variation of the times between arrivals (1 for Poisson).
        service_scv: the same of the service times.

    Source: M/M/c's wait x (ca^2 + cs^2) / 2, Allen, Probability, Statistics and Queueing Theory, 2nd ed., 1990.
    """
    require_at_least("arrival_scv", arrival_scv, 0)
    require_at_least("service_scv", service_scv, 0)
    exponential = mmc_mean_wait_seconds(arrival_rate_rps, mean_service_seconds, servers)
    return exponential * (arrival_scv + service_scv) / 2.0


def square_root_staffing(offered_load: float, quality: float) -> int:
    """Servers for an offered load: ``ceil(a + quality sqrt(a))``.

    Source: Halfin and Whitt, Heavy-traffic limits for queues with many exponential servers, 1981.
    """
    return math.ceil(offered_load + quality * math.sqrt(offered_load))


# M/M/c/K: who finds K requests in the system is lost. Any load is stable


def mmck_levels(
    arrival_rate_rps: float, mean_service_seconds: float, servers: int, capacity: int
) -> list[float]:
    """Probabilities that M/M/c/K holds 0, 1, ... K requests, at any time and as arrivals find it.

    Args:
        capacity: K >= c; requests in the system, those in service among them.

    Source: birth and death balance, lambda p(n-1) = min(n, c) mu p(n), Gross et al., 4th ed., section 2.5; built
    from the likeliest level outwards, so that nothing overflows.
    """
    load = erlangs(arrival_rate_rps, mean_service_seconds)
    require_at_least("servers", servers, 1)
    require_at_least("capacity", capacity, servers)
    peak = capacity if load >= servers else int(load)
    weights = [0.0] * peak + [1.0] + [0.0] * (capacity - peak)
    for level in range(peak, 0, -1):
        weights[level - 1] = weights[level] * min(level, servers) / load
    for level in range(peak + 1, capacity + 1):
        weights[level] = weights[level - 1] * load / min(level, servers)
    total = math.fsum(weights)
    return [weight / total for weight in weights]


def mmck_loss(arrival_rate_rps: float, mean_service_seconds: float, servers: int, capacity: int) -> float:
    """Probability that an arrival to M/M/c/K is lost: p(K), as Poisson arrivals see time averages."""
    return mmck_levels(arrival_rate_rps, mean_service_seconds, servers, capacity)[-1]


def mmck_throughput_rps(
    arrival_rate_rps: float, mean_service_seconds: float, servers: int, capacity: int
) -> float:
    """Rate of requests that M/M/c/K takes in and serves: lambda (1 - p(K))."""
    levels = mmck_levels(arrival_rate_rps, mean_service_seconds, servers, capacity)
    return arrival_rate_rps * math.fsum(levels[:-1])


def mmck_mean_number(
    arrival_rate_rps: float, mean_service_seconds: float, servers: int, capacity: int
) -> float:
    """Mean number of requests in M/M/c/K, waiting and in service."""
    levels = mmck_levels(arrival_rate_rps, mean_service_seconds, servers, capacity)
    return math.fsum(number * probability for number, probability in enumerate(levels))


def mmck_mean_wait_seconds(
    arrival_rate_rps: float, mean_service_seconds: float, servers: int, capacity: int
) -> float:
    """Mean waiting time of M/M/c/K, FCFS, of the requests that are taken in.

    Who finds n >= c in the system waits for n - c + 1 departures, each c mu.
    """
    taken = mmck_levels(arrival_rate_rps, mean_service_seconds, servers, capacity)[:-1]
    ahead = math.fsum((level - servers + 1) * taken[level] for level in range(servers, capacity))
    return ahead / math.fsum(taken) * mean_service_seconds / servers


def mmck_mean_response_seconds(
    arrival_rate_rps: float, mean_service_seconds: float, servers: int, capacity: int
) -> float:
    """Mean response time of M/M/c/K, FCFS, of the requests that are taken in."""
    wait = mmck_mean_wait_seconds(arrival_rate_rps, mean_service_seconds, servers, capacity)
    return wait + mean_service_seconds


def mmck_wait_exceeds(
    seconds: float, arrival_rate_rps: float, mean_service_seconds: float, servers: int, capacity: int
) -> float:
    """Probability that a request which M/M/c/K, FCFS, takes in waits longer than ``seconds``.

    Who finds n >= c still waits while at most n - c of a Poisson number of departures, mean c mu t, are done.

    Source: Gross et al., 4th ed., section 2.5.
    """
    from scipy.special import pdtr

    require_at_least("seconds", seconds, 0)
    taken = mmck_levels(arrival_rate_rps, mean_service_seconds, servers, capacity)[:-1]
    done = pdtr(np.arange(capacity - servers), servers * seconds / mean_service_seconds)
    return float(done @ np.array(taken[servers:])) / math.fsum(taken)


# M/G/1, first come, first served


def mg1_mean_wait_seconds(arrival_rate_rps: float, mean_service_seconds: float, scv: float) -> float:
    """Mean waiting time of M/G/1, FCFS, by Pollaczek and Khinchine.

    Args:
        scv: squared coefficient of variation of the service time (0 for M/D/1, 1 for M/M/1).
    """
    require_at_least("scv", scv, 0)
    utilization = erlangs(arrival_rate_rps, mean_service_seconds)
    require_stable(1, utilization)
    return utilization * mean_service_seconds * (1.0 + scv) / (2.0 * (1.0 - utilization))


def mg1_wait_variance_seconds2(
    arrival_rate_rps: float, mean_service_seconds: float, scv: float, third_moment_seconds3: float
) -> float:
    """Variance of the waiting time of M/G/1, FCFS, in square seconds.

    Args:
        scv: squared coefficient of variation of the service time S.
        third_moment_seconds3: E[S^3], not less than E[S^2]^2 / E[S], which any S obeys.

    Source: E[W]^2 + lambda E[S^3] / (3 (1 - rho)), Takacs, A single-server queue with Poisson input, 1962.
    """
    mean_wait = mg1_mean_wait_seconds(arrival_rate_rps, mean_service_seconds, scv)
    least = mean_service_seconds**3 * (1.0 + scv) ** 2
    if not third_moment_seconds3 >= least * (1.0 - 1e-9):
        msg = f"third_moment_seconds3 is {third_moment_seconds3:g}; must be at least {least:g} for this mean and scv"
        raise InputError(msg)
    utilization = arrival_rate_rps * mean_service_seconds
    return mean_wait**2 + arrival_rate_rps * third_moment_seconds3 / (3.0 * (1.0 - utilization))


def kingman_wait_bound_seconds(
    arrival_rate_rps: float, mean_service_seconds: float, arrival_scv: float, service_scv: float
) -> float:
    """Upper bound on the mean waiting time of GI/G/1, FCFS, reached as the load goes to 1.

    Source: lambda (var A + var S) / (2 (1 - rho)), Kingman, Some inequalities for the queue GI/G/1, 1962.
    """
    require_at_least("arrival_scv", arrival_scv, 0)
    require_at_least("service_scv", service_scv, 0)
    utilization = erlangs(arrival_rate_rps, mean_service_seconds)
    require_stable(1, utilization)
    require_above_zero("arrival_rate_rps", arrival_rate_rps)
    variances = arrival_scv / arrival_rate_rps**2 + service_scv * mean_service_seconds**2
    return arrival_rate_rps * variances / (2.0 * (1.0 - utilization))


# Processor sharing


def mgc_ps_mean_response_seconds(
    arrival_rate_rps: float, mean_service_seconds: float, servers: int = 1
) -> float:
    """Mean response time of M/G/c-PS: n requests share c servers evenly, each at most one server's speed.

    Service times matter by their mean alone, so it is M/M/c's; E[S] / (1 - rho) for one server.

    Source: Kleinrock, Queueing Systems II, chapter 4; Kelly, Reversibility and Stochastic Networks, section 3.3.
    """
    return mmc_mean_response_seconds(arrival_rate_rps, mean_service_seconds, servers)


def mgc_ps_response_given_service_seconds(
    service_seconds: float, arrival_rate_rps: float, mean_service_seconds: float, servers: int = 1
) -> float:
    """Mean response time of M/G/c-PS of requests whose service takes ``service_seconds`` alone.

    In proportion to it: x / (1 - rho) for one server.

    Source: Cohen, The multiple phase service network with generalized processor sharing, 1979.
    """
    require_at_least("service_seconds", service_seconds, 0)
    mean = mgc_ps_mean_response_seconds(arrival_rate_rps, mean_service_seconds, servers)
    return service_seconds / mean_service_seconds * mean


def mm1_ps_response_variance_seconds2(arrival_rate_rps: float, mean_service_seconds: float) -> float:
    """Variance of the response time of M/M/1-PS, in square seconds: E[T]^2 (2 + rho) / (2 - rho).

    Source: Coffman, Muntz and Trotter, Waiting time distributions for processor-sharing systems, 1970.
    """
    mean = mgc_ps_mean_response_seconds(arrival_rate_rps, mean_service_seconds)
    utilization = arrival_rate_rps * mean_service_seconds
    return mean**2 * (2.0 + utilization) / (2.0 - utilization)


# Percentiles


def tail_percentile_seconds(
    exceeds: Callable[[float], float], fraction: float, scale_seconds: float
) -> float:
    """The time at which a tail P(T > t) falls to 1 - ``fraction``; 0 where it starts there.

    Args:
        exceeds: the tail, not increasing, of a time in seconds.
        fraction: in [0, 1).
        scale_seconds: a time of the order of the answer; 1e-12 of it is tolerated.
    """
    from scipy.optimize import brentq

    require_fraction(fraction)
    if exceeds(0.0) <= 1.0 - fraction:
        return 0.0
    upper = scale_seconds
    while exceeds(upper) > 1.0 - fraction:
        upper *= 2.0
    return float(brentq(lambda t: exceeds(t) - (1.0 - fraction), 0.0, upper, xtol=1e-12 * scale_seconds))
