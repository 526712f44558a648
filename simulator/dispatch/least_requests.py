"""Least requests: the pod that has fewest, with a queue of its own; among equals, each in turn.

All pods are looked at for each request, which two choices of many pods come close to for less.
Source: the join-the-shortest-queue rule, W. Winston, Optimality of the shortest line discipline, 1977.
"""

from __future__ import annotations

from simulator.compiled import inlined

CODE = 3


@inlined
def pick(tables, service):
    """The pod with fewest requests at work and waiting."""
    station = tables.services[service]
    best = station.turn % station.ready
    pod = tables.pods[tables.ready[service, best]]
    fewest = pod.busy + pod.waiting
    for step in range(1, station.ready):
        if fewest == 0:
            break
        place = (station.turn + step) % station.ready
        pod = tables.pods[tables.ready[service, place]]
        if pod.busy + pod.waiting < fewest:
            best, fewest = place, pod.busy + pod.waiting
    station.turn = best + 1
    return tables.ready[service, best]
