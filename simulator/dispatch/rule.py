"""The dispatch rules together: their codes, one compiled choice."""

from __future__ import annotations

from simulator.compiled import inlined
from simulator.dispatch import least_requests, random, round_robin, shared, two_choices
from simulator.kernel.tables import NONE
from simulator.service import DispatchRule

CODES: dict[DispatchRule, int] = {
    "shared": shared.CODE,
    "round_robin": round_robin.CODE,
    "random": random.CODE,
    "least_requests": least_requests.CODE,
    "two_choices": two_choices.CODE,
}


@inlined
def choose_pod(tables, service, row):
    """The pod that takes a call; NONE where there is none, or under a shared queue no idle slot."""
    station = tables.services[service]
    if station.dispatch == shared.CODE:
        return shared.pick(tables, service, row)
    if station.ready == 0:
        return NONE
    if station.dispatch == round_robin.CODE:
        return round_robin.pick(tables, service)
    if station.dispatch == random.CODE:
        return random.pick(tables, service, tables.calls[row].key)
    if station.dispatch == least_requests.CODE:
        return least_requests.pick(tables, service)
    return two_choices.pick(tables, service, tables.calls[row].key)
