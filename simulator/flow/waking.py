"""Scale to zero in the batch engine: who wakes a service, and how long it stays awake; see ``simulator.waking``.

The pods of such clusters are looked at one by one, and a step goes on part by part, so that traffic in a part is seen
before the next.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from simulator.arrays import Floats, Ints
from simulator.compiled import inlined
from simulator.flow.tables import OFFERED
from simulator.service import Service
from simulator.waking import LOOK_SECONDS


class Waking(NamedTuple):
    """What is known of traffic; of no clusters where no service wakes.

    Attributes:
        stays_seconds: float64 ``(S,)``; that a service stays awake after traffic, -inf for one that is not kept awake.
        asked: int64 ``(N, S)``; replicas that a policy asked for.
        counted: float64 ``(N, S)``; whole calls until the last look.
        works_until: float64 ``(N, S)``; when the last of them is expected to be done.
        traffic: float64 ``(N, S)``; when there was traffic last, -inf if never.
    """

    stays_seconds: Floats
    asked: Ints
    counted: Floats
    works_until: Floats
    traffic: Floats


def make_waking(services: tuple[Service, ...], count: int) -> Waking:
    """For so many clusters."""
    wakes = any(service.wakes for service in services)
    shape = count if wakes else 0, len(services)
    return Waking(
        np.array([service.stays_seconds if service.wakes else -np.inf for service in services]),
        np.zeros(shape, np.int64),
        *np.zeros((3, *shape)),
    )


@inlined
def forget_traffic(waking, state, n):
    """There has been none, and what is wanted was asked for."""
    if len(waking.asked):
        for s in range(state.wanted.shape[1]):
            waking.asked[n, s] = state.wanted[n, s]
            waking.counted[n, s] = 0.0
            waking.works_until[n, s] = waking.traffic[n, s] = -np.inf


@inlined
def keep_awake(waking, state, n, now):
    """Want what is asked for, but a pod of what stays awake."""
    for s in range(state.wanted.shape[1]):
        stays = now - waking.traffic[n, s] <= waking.stays_seconds[s]
        state.wanted[n, s] = max(waking.asked[n, s], np.int64(stays))


@inlined
def look(waking, world, state, n, begin, span):
    """Look for traffic if it is time to within a part of a step."""
    number = np.floor(begin / LOOK_SECONDS + 1e-9)
    if number < 1.0 or number == np.floor((begin - span) / LOOK_SECONDS + 1e-9):
        return
    for s in range(state.wanted.shape[1]):
        offered = np.floor(state.totals[n, s, OFFERED] + 1e-6)
        if offered > waking.counted[n, s]:
            waking.counted[n, s] = offered
            waking.works_until[n, s] = begin - 0.5 * LOOK_SECONDS + world.mean_seconds[n, s]
            waking.traffic[n, s] = begin
        elif 2.0 * state.backlog[n, s] > world.mean_seconds[n, s] or begin <= waking.works_until[n, s]:
            waking.traffic[n, s] = begin
    keep_awake(waking, state, n, begin)
