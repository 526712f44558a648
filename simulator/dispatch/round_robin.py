"""Round robin: each pod in turn, with a queue of its own."""

from __future__ import annotations

from simulator.compiled import inlined

CODE = 1


@inlined
def pick(tables, service):
    """The next pod in turn."""
    station = tables.services[service]
    station.turn = (station.turn + 1) % station.ready
    return tables.ready[service, station.turn]
