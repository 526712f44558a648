"""What is kept of the calls between services: from part to part of a step, and while one happens.

Axes: N clusters, O operations and E calls of the Graph, L lanes, S services, K pairs of services.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulator.arrays import Floats, Ints
from simulator.flow.equipment import Stations
from simulator.flow.graph import Graph, Places


class Flows(NamedTuple):
    """Where the calls of each cluster stand after a part of a step.

    Attributes:
        waiting: float64 ``(N, O)``; that came before and are not worked on yet.
        lost: float64 ``(N, E)``; share of attempts that fail or take too long.
        tried: float64 ``(N, K, 2)``; calls of one service to another, and attempts; ``(N, 0, 2)`` without retries.
        backlog: float64 ``(N, L)``; work that waits.
        turned_away: float64 ``(N, L)``; share of calls.
        expired: float64 ``(N, S)``; calls thrown away in this control step.
        away_seconds: float64 ``(N, S)``; how long a call waits for those that it makes, but for backlogs.
        away_variance: float64 ``(N, S)``; of that, seconds squared.
        diverted: bool ``(N, S)``; whether its calls go to their fallbacks; ``(N, 0)`` where no call has another.
        against_seconds: float64, likewise; how long that has been wrong.
        offered: float64 ``(N, S)``; calls in this control step, and what rounding left of the one before.
    """

    waiting: Floats
    lost: Floats
    tried: Floats
    backlog: Floats
    turned_away: Floats
    expired: Floats
    away_seconds: Floats
    away_variance: Floats
    diverted: NDArray[np.bool_]
    against_seconds: Floats
    offered: Floats

    def forget(self, which: Ints) -> None:
        """Begin anew in these clusters, int64 ``(n,)``."""
        for values in self:
            values[which] = 0


class Traffic(NamedTuple):
    """The calls of a cluster in the part of a step that happens; of one thread.

    Attributes:
        calls: float64 ``(O,)``; that come.
        fresh: float64 ``(O,)``; that do not come only because others were shed.
        wanted: float64 ``(O,)``; sum of the calls' time-outs, of length 0 where nothing is discarded.
        response: float64 ``(O, 5)``; cumulants of how long a call takes, seconds; how much of the third is of times
            with a lognormal's tail; and the first without waits for backlogs.
        failing: float64 ``(O,)``; share of calls that fail.
        demand: float64 ``(S,)``; calls of a service.
        work: float64 ``(L,)``; that comes, slot-seconds.
        slowness: float64 ``(S,)``; how long a call's work takes at the ready pods' pace, with all of their CPU, over
            the usual.
        wait_seconds: float64 ``(L,)``; for the backlog.
        wait_variance: float64 ``(L,)``; of these where calls are shed, seconds squared.
        extra: float64 ``(L, 3)``; see ``Stations``.
        shed: float64 ``(L,)``; share of calls that are dropped where the work can be done; see ``Stations``.
        slot_wait: float64 ``(S, 3)``; cumulants of how long a call waits for a slot since others keep theirs so.
        full: float64 ``(S,)``; work that can be done if slots are not what is short.
        most: float64 ``(S,)``; calls of the usual mix that slots and callees let be worked on.
        waits_for: uint32 ``(S,)``; the callee that limits ``most``, or NO_SERVICE.
        kept_full: bool ``(S,)``; whether a caller has more calls for it than it can take: then it works all the time.
        busy: float64 ``(S,)``; work done.
    """

    calls: Floats
    fresh: Floats
    wanted: Floats
    response: Floats
    failing: Floats
    demand: Floats
    work: Floats
    slowness: Floats
    wait_seconds: Floats
    wait_variance: Floats
    extra: Floats
    shed: Floats
    slot_wait: Floats
    full: Floats
    most: Floats
    waits_for: Places
    kept_full: NDArray[np.bool_]
    busy: Floats


def empty_flows(count: int, graph: Graph, stations: Stations) -> Flows:
    """For so many clusters, with nothing in them."""
    operations, calls, lanes, services = _lengths(graph)
    pairs = len(stations.pairs) if (graph.attempts > 1.0).any() else 0
    diverted = services if (graph.fallback != graph.callee).any() else 0
    return Flows(
        waiting=np.zeros((count, operations)),
        lost=np.zeros((count, calls)),
        tried=np.zeros((count, pairs, 2)),
        backlog=np.zeros((count, lanes)),
        turned_away=np.zeros((count, lanes)),
        expired=np.zeros((count, services)),
        away_seconds=np.zeros((count, services)),
        away_variance=np.zeros((count, services)),
        diverted=np.zeros((count, diverted), np.bool_),
        against_seconds=np.zeros((count, diverted)),
        offered=np.zeros((count, services)),
    )


def empty_traffic(graph: Graph, stations: Stations) -> Traffic:
    """For one thread."""
    operations, _, lanes, services = _lengths(graph)
    return Traffic(
        calls=np.zeros(operations),
        fresh=np.zeros(operations),
        wanted=np.zeros(operations if len(stations.discards) else 0),
        response=np.zeros((operations, 5)),
        failing=np.zeros(operations),
        demand=np.zeros(services),
        work=np.zeros(lanes),
        slowness=np.zeros(services),
        wait_seconds=np.zeros(lanes),
        wait_variance=np.zeros(lanes),
        extra=np.zeros((lanes, 3)),
        shed=np.zeros(lanes),
        slot_wait=np.zeros((services, 3)),
        full=np.zeros(services),
        most=np.zeros(services),
        waits_for=np.zeros(services, np.uint32),
        kept_full=np.zeros(services, np.bool_),
        busy=np.zeros(services),
    )


def _lengths(graph: Graph) -> tuple[int, int, int, int]:
    """Axes O, E, L and S."""
    return len(graph.service), len(graph.callee), len(graph.priority), len(graph.order)
