"""Queueing formulas that the engines are held to."""

from __future__ import annotations

import math

from simulator.errors import InputError


def erlang_b(servers: int, offered_load: float) -> float:
    """Probability that an arrival to M/G/c/c is lost.

    Args:
        servers: c >= 0.
        offered_load: a = arrival rate x mean service time, in Erlang.

    Source: the recursion B(c) = a B(c-1) / (c + a B(c-1)), e.g. Gross et al., Fundamentals of
    Queueing Theory, 4th ed., eq. 2.54.
    """
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
    _require_stable(servers, offered_load)
    blocking = erlang_b(servers, offered_load)
    utilization = offered_load / servers
    return blocking / (1.0 - utilization * (1.0 - blocking))


def mmc_mean_wait_seconds(arrival_rate_rps: float, mean_service_seconds: float, servers: int) -> float:
    """Mean waiting time of M/M/c, FCFS: C(c, a) / (c mu - lambda)."""
    waits = erlang_c(servers, arrival_rate_rps * mean_service_seconds)
    return waits / (servers / mean_service_seconds - arrival_rate_rps)


def mmc_wait_exceeds(
    seconds: float, arrival_rate_rps: float, mean_service_seconds: float, servers: int
) -> float:
    """Probability that a request of M/M/c, FCFS, waits longer than ``seconds``."""
    waits = erlang_c(servers, arrival_rate_rps * mean_service_seconds)
    return waits * math.exp(-(servers / mean_service_seconds - arrival_rate_rps) * seconds)


def mg1_mean_wait_seconds(arrival_rate_rps: float, mean_service_seconds: float, scv: float) -> float:
    """Mean waiting time of M/G/1, FCFS, by Pollaczek and Khinchine.

    Args:
        scv: squared coefficient of variation of the service time (0 for M/D/1, 1 for M/M/1).
    """
    utilization = arrival_rate_rps * mean_service_seconds
    _require_stable(1, utilization)
    return utilization * mean_service_seconds * (1.0 + scv) / (2.0 * (1.0 - utilization))


def mmpp_dispersion(
    rates_rps: tuple[float, float], mean_sojourn_seconds: tuple[float, float], window_seconds: float
) -> float:
    """Index of dispersion of counts, ``var N(t) / mean N(t)``, of a Markov-modulated Poisson process.

    Args:
        rates_rps: in each of its two states.
        mean_sojourn_seconds: in each of them.
        window_seconds: t.

    Source: ``1 + 2 p q (a - b)^2 / (s m) (1 - (1 - e^{-s t}) / (s t))`` with p and q the states'
    shares of time, s the sum of the rates at which they are left and m the mean rate; H. Heffes and
    D. Lucantoni, A Markov modulated characterization of packetized voice and data traffic, 1986.
    """
    (first, second), (stay, other) = rates_rps, mean_sojourn_seconds
    share, leaving = stay / (stay + other), 1 / stay + 1 / other
    mean = share * first + (1 - share) * second
    growth = 1 + math.expm1(-leaving * window_seconds) / (leaving * window_seconds)
    return 1 + 2 * share * (1 - share) * (first - second) ** 2 / (leaving * mean) * growth


def square_root_staffing(offered_load: float, quality: float) -> int:
    """Servers for an offered load: ``ceil(a + quality sqrt(a))``.

    Source: Halfin and Whitt, Heavy-traffic limits for queues with many exponential servers, 1981.
    """
    return math.ceil(offered_load + quality * math.sqrt(offered_load))


def _require_stable(servers: int, offered_load: float) -> None:
    if not 0 <= offered_load < servers:
        msg = f"offered load {offered_load:g} Erlang: must be at least 0 and below the {servers} servers"
        raise InputError(msg)
