"""How often a call is attempted where attempts are lost: without limit, within a budget, and where a service sheds."""

from __future__ import annotations

import numpy as np

from simulator.compiled import inlined

_MOST_AWAY = 1.0 - 1e-6


@inlined
def _attempts(graph, e, lost, calls, span):
    """Attempts of a call on average where so many are lost and ``calls`` are made in a part of a step."""
    if lost <= 0.0 or graph.attempts[e] <= 1.0:
        return 1.0
    most = graph.attempts[e]
    more = most - 1.0 if lost >= 1.0 else lost * (1.0 - lost ** (most - 1.0)) / (1.0 - lost)
    if graph.retry_ratio[e] < np.inf:
        more = min(more, graph.retry_ratio[e] + graph.retries_per_second[e] * span / max(calls, 1.0))
    return 1.0 + more


@inlined
def attempts_of(graph, stations, flows, n, e, called, calls, span):
    """Attempts of a call on average, and how many were there if nothing were shed.

    Who is turned away and soon tries again comes while the service still sheds: either all attempts are, or none is.
    """
    if graph.attempts[e] <= 1.0:
        return 1.0, 1.0
    lost = flows.lost[n, e]
    if not len(stations.log_shed) or lost <= 0.0:
        attempts = _attempts(graph, e, lost, calls, span)
        return attempts, attempts
    away = min(flows.turned_away[n, graph.lane[called]], _MOST_AWAY)
    if graph.back_off_seconds[e] > stations.shed_seconds[graph.service[called]] or away <= 0.0:
        attempts = _attempts(graph, e, lost, calls, span)
        return attempts, attempts
    others = _attempts(graph, e, max(1.0 - (1.0 - lost) / (1.0 - away), 0.0), calls, span)
    most = _attempts(graph, e, 1.0, calls, span)
    never = away * others / (most * (1.0 - away) + away * others)
    return (1.0 - never) * others + never * most, others
