"""Checks of the plain numbers that queueing formulas take."""

from __future__ import annotations

import math

from simulator.errors import InputError


def erlangs(arrival_rate_rps: float, mean_service_seconds: float) -> float:
    """Offered load: arrival rate x mean service time, in Erlang; refuses rates below 0 and times not above it."""
    require_at_least("arrival_rate_rps", arrival_rate_rps, 0)
    require_above_zero("mean_service_seconds", mean_service_seconds)
    return arrival_rate_rps * mean_service_seconds


def require_stable(servers: int, offered_load: float) -> None:
    """Refuse a load that the servers cannot carry for ever."""
    if not 0 <= offered_load < servers:
        msg = f"offered load {offered_load:g} Erlang: must be at least 0 and below the {servers} servers"
        raise InputError(msg)


def require_at_least(name: str, value: float, least: float) -> None:
    """Refuse a number below ``least``, an infinite one and NaN."""
    if not least <= value < math.inf:
        msg = f"{name} is {value:g}; must be finite and at least {least:g}"
        raise InputError(msg)


def require_above_zero(name: str, value: float) -> None:
    """Refuse a number that is not above 0, an infinite one and NaN."""
    if not 0 < value < math.inf:
        msg = f"{name} is {value:g}; must be finite and above 0"
        raise InputError(msg)


def require_fraction(fraction: float) -> None:
    """Refuse what is not in [0, 1)."""
    if not 0 <= fraction < 1:
        msg = f"fraction is {fraction:g}; must be at least 0 and below 1"
        raise InputError(msg)
