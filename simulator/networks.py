"""Queueing formulas for several stations: Jackson networks, tandems, forks and joins.

Axis S is the station. Arrivals from outside are Poisson, service times exponential and independent at each
station, service is first come, first served.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from simulator.arrays import Floats
from simulator.errors import InputError
from simulator.limits import erlangs, require_at_least, require_stable
from simulator.theory import mmc_mean_response_seconds, tail_percentile_seconds

# Jackson networks


def station_rates_rps(
    external_rps: Sequence[float] | Floats, routing: Sequence[Sequence[float]] | Floats
) -> Floats:
    """Requests/s that each station of an open network receives, float64 ``(S,)``.

    Args:
        external_rps: ``(S,)``; arrivals from outside, requests/s.
        routing: ``(S, S)``; the probability that a request which leaves the station of the row goes to the station
            of the column. What a row lacks to 1 leaves the network.

    Raises:
        InputError: if shapes do not fit, a rate or probability is none, or some request could never leave.

    Source: the traffic equations, rate = external + rate @ routing, Jackson, Networks of waiting lines, 1957.
    """
    external, moves = np.asarray(external_rps, np.float64), np.asarray(routing, np.float64)
    _require_network(external, moves)
    return np.asarray(np.linalg.solve(np.eye(external.size) - moves.T, external), np.float64)


def jackson_mean_numbers(
    external_rps: Sequence[float] | Floats,
    routing: Sequence[Sequence[float]] | Floats,
    mean_service_seconds: Sequence[float] | Floats,
    servers: Sequence[int],
) -> Floats:
    """Mean number of requests at each station of an open Jackson network, float64 ``(S,)``.

    Args:
        external_rps: ``(S,)``; arrivals from outside, requests/s.
        routing: ``(S, S)``; as in :func:`station_rates_rps`.
        mean_service_seconds: ``(S,)``; mean service times.
        servers: ``(S,)``; servers of each station.

    Source: product form: each station is as M/M/c by itself at the rate it receives, also where requests come back
    and its arrivals are not Poisson, Jackson, Networks of waiting lines, 1957.
    """
    rates = station_rates_rps(external_rps, routing)
    stations = list(zip(rates.tolist(), mean_service_seconds, servers, strict=False))
    if not len(stations) == len(mean_service_seconds) == len(servers):
        msg = (
            f"{rates.size} stations have {len(mean_service_seconds)} mean service times and {len(servers)} numbers "
            "of servers; must be one of each per station"
        )
        raise InputError(msg)
    return np.array([rate * mmc_mean_response_seconds(rate, mean, count) for rate, mean, count in stations])


def jackson_mean_response_seconds(
    external_rps: Sequence[float] | Floats,
    routing: Sequence[Sequence[float]] | Floats,
    mean_service_seconds: Sequence[float] | Floats,
    servers: Sequence[int],
) -> float:
    """Mean time from entering an open Jackson network to leaving it, by Little: mean number / arrivals.

    Args:
        external_rps: ``(S,)``; arrivals from outside, requests/s; not all 0.
        routing: ``(S, S)``; as in :func:`station_rates_rps`.
        mean_service_seconds: ``(S,)``; mean service times.
        servers: ``(S,)``; servers of each station.
    """
    numbers = jackson_mean_numbers(external_rps, routing, mean_service_seconds, servers)
    arrivals = float(np.sum(external_rps))
    if arrivals == 0:
        raise InputError("external_rps is 0 at every station; a response time needs arrivals")
    return float(numbers.sum()) / arrivals


def tandem_mean_response_seconds(
    arrival_rate_rps: float, mean_service_seconds: Sequence[float] | Floats, servers: Sequence[int]
) -> float:
    """Mean time through M/M/c stations in a row: the sum of what each is by itself.

    Source: Burke, The output of a queuing system, 1956: what leaves M/M/c is Poisson.
    """
    external = np.zeros(len(mean_service_seconds))
    external[:1] = arrival_rate_rps
    routing = np.eye(external.size, k=1)
    return jackson_mean_response_seconds(external, routing, mean_service_seconds, servers)


def tandem_response_exceeds(
    seconds: float, arrival_rate_rps: float, mean_service_seconds: Sequence[float] | Floats
) -> float:
    """Probability that M/M/1 stations in a row take a request longer than ``seconds`` together.

    Its times at the stations are independent, exponential with rates mu - lambda. With more than one server at a
    station in the middle they would not be independent, so that there is no such formula.

    Source: Reich, Waiting times when queues are in tandem, 1957; the tail of the sum as a phase-type law.
    """
    from scipy.linalg import expm

    require_at_least("seconds", seconds, 0)
    if not len(mean_service_seconds):
        raise InputError("mean_service_seconds is empty; a tandem has at least one station")
    for mean in mean_service_seconds:
        require_stable(1, erlangs(arrival_rate_rps, mean))
    rates = np.array([1.0 / mean - arrival_rate_rps for mean in mean_service_seconds])
    left = expm(seconds * (np.diag(rates[:-1], 1) - np.diag(rates)))[0].sum()
    return min(1.0, max(0.0, float(left)))


def tandem_response_percentile_seconds(
    fraction: float, arrival_rate_rps: float, mean_service_seconds: Sequence[float] | Floats
) -> float:
    """The time through M/M/1 stations in a row that ``fraction`` in [0, 1) of the requests stay within."""
    mean = tandem_mean_response_seconds(
        arrival_rate_rps, mean_service_seconds, [1] * len(mean_service_seconds)
    )
    return tail_percentile_seconds(
        lambda seconds: tandem_response_exceeds(seconds, arrival_rate_rps, mean_service_seconds),
        fraction,
        mean,
    )


# Fork and join: each request sends one part to each of n M/M/1 stations and is done when all parts are


def fork_join_two_mean_response_seconds(arrival_rate_rps: float, mean_service_seconds: float) -> float:
    """Mean response time of two-way fork-join, exact: (12 - rho) / 8 of M/M/1's.

    Args:
        arrival_rate_rps: requests/s, each with a part for both stations.
        mean_service_seconds: of a part.

    Source: Flatto and Hahn, Two parallel queues created by arrivals with two demands I, 1984; Nelson and Tantawi,
    Approximate analysis of fork/join synchronization in parallel queues, 1988.
    """
    single = mmc_mean_response_seconds(arrival_rate_rps, mean_service_seconds, 1)
    return (12.0 - arrival_rate_rps * mean_service_seconds) / 8.0 * single


def fork_join_bounds_seconds(
    arrival_rate_rps: float, mean_service_seconds: float, branches: int
) -> tuple[float, float]:
    """Lower and upper bound on the mean response time of n-way fork-join.

    It takes at least as long as any one branch, and as the longest of n services; and at most as long as the longest
    of n M/M/1 responses that are independent, since those of one request are associated: H(n) / (mu - lambda). With
    one branch, or without load, the bounds are the answer.

    Source: Nelson and Tantawi, Approximate analysis of fork/join synchronization in parallel queues, 1988 (upper).
    """
    require_at_least("branches", branches, 1)
    single = mmc_mean_response_seconds(arrival_rate_rps, mean_service_seconds, 1)
    return max(single, harmonic(branches) * mean_service_seconds), harmonic(branches) * single


def nelson_tantawi_mean_response_seconds(
    arrival_rate_rps: float, mean_service_seconds: float, branches: int
) -> float:
    """Mean response time of n-way fork-join: an approximation within about 5 %, exact for two branches.

    Args:
        arrival_rate_rps: requests/s, each with a part for every station.
        mean_service_seconds: of a part.
        branches: n, from 2 to 32: what its 4 / 11 was fitted on.

    Source: (H(n) / H(2) + (1 - H(n) / H(2)) 4 rho / 11) of the two-way answer, Nelson and Tantawi, Approximate
    analysis of fork/join synchronization in parallel queues, 1988.
    """
    if not 2 <= branches <= 32:
        msg = f"branches is {branches}; must be from 2 to 32"
        raise InputError(msg)
    two = fork_join_two_mean_response_seconds(arrival_rate_rps, mean_service_seconds)
    growth = harmonic(branches) / harmonic(2)
    return two * (growth + (1.0 - growth) * 4.0 * arrival_rate_rps * mean_service_seconds / 11.0)


def harmonic(count: int) -> float:
    """H(n) = 1 + 1/2 + ... + 1/n: the mean of the longest of n exponential times of mean 1."""
    return math.fsum(1.0 / number for number in range(1, count + 1))


def _require_network(external_rps: Floats, routing: Floats) -> None:
    if external_rps.ndim != 1 or routing.shape != (external_rps.size, external_rps.size):
        msg = f"external_rps {external_rps.shape} and routing {routing.shape}; must be (S,) and (S, S)"
        raise InputError(msg)
    for station, rate in enumerate(external_rps.tolist()):
        require_at_least(f"external_rps[{station}]", rate, 0)
    for station, row in enumerate(routing):
        if not (np.all(row >= 0) and row.sum() <= 1 + 1e-12):
            msg = f"routing[{station}] is {row.tolist()}; must be probabilities that sum to at most 1"
            raise InputError(msg)
    if routing.size and not np.abs(np.linalg.eigvals(routing)).max() < 1 - 1e-12:
        raise InputError("routing lets a request circle for ever; from each station some way must lead out")
