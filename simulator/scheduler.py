"""Which node a pod goes to: the filters and scores of Kubernetes' scheduler that go by requests."""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from itertools import count, islice

import numpy as np
import simpy

from simulator.arrays import Ints
from simulator.cluster_settings import Packing
from simulator.node_autoscaler import Demand
from simulator.nodes import CPU, MEMORY, READY, Nodes
from simulator.pods import ACTIVE
from simulator.running import Running

Kind = tuple[int, int, int]
HIGHEST_SCORE = 100
NOWHERE = -1


def score(capacity: Ints, requested: Ints, packing: Packing) -> Ints:
    """Scores of nodes with a pod's request added: 0 to 100, the mean of CPU and memory, cut to whole numbers.

    Args:
        capacity: int64 ``(N, R)``; what pods may request of each node.
        requested: int64 ``(N, R)``; what they would with the pod.

    Source: kubernetes/kubernetes pkg/scheduler/framework/plugins/noderesources (least_allocated.go,
    most_allocated.go), both resources with weight 1.
    """
    parts = []
    for resource in (CPU, MEMORY):
        have, used = capacity[:, resource], requested[:, resource]
        counted = have - used if packing == "least_allocated" else used
        parts.append(np.where(used <= have, counted * HIGHEST_SCORE // np.maximum(have, 1), 0))
    return np.asarray((parts[0] + parts[1]) // 2)


def choose_node(
    nodes: Nodes, request: Ints, packing: Packing, pods_by_zone: Ints, region: str | None = None
) -> int:
    """The row of the node for a pod, NOWHERE where none has room.

    Zones with the fewest of the service's pods come first (Kubernetes' default topology spread, which
    it weighs against the score), then the best score, then the node that was launched first
    (Kubernetes draws among equal ones).

    Args:
        request: int64 ``(R,)``.
        pods_by_zone: int64 ``(Z,)``; the service's pods.
        region: the only region that will do, None for any.
    """
    rows = nodes.rows(READY)
    requested = nodes.requested[rows] + request
    has_room = (requested <= nodes.capacity[rows]).all(axis=1)
    if region is not None:
        inside = np.array([place[0] == region for place in nodes.zones])
        has_room &= inside[nodes.zone[rows]]
    rows, requested = rows[has_room], requested[has_room]
    if not rows.size:
        return NOWHERE
    if len(nodes.zones) > 1:
        pods = pods_by_zone[nodes.zone[rows]]
        fewest = pods == pods.min()
        rows, requested = rows[fewest], requested[fewest]
    return int(rows[np.argmax(score(nodes.capacity[rows], requested, packing))])


class Scheduler:
    """Binds pods to nodes, first come, first served; those that fit nowhere wait for room."""

    def __init__(self, running: Running, packing: Packing) -> None:
        self._running = running
        self._packing = packing
        self._waiting: dict[Kind, dict[int, simpy.Event]] = {}
        self._order = count()
        self._arrived: dict[int, int] = {}

    def submit(self, row: int) -> simpy.Event:
        """What happens when the pod has got a node; at once where there is room and none of its kind waits."""
        bound = self._running.env.event()
        waiting = self._waiting.setdefault(self._running.kind(row), {})
        self._arrived[row] = next(self._order)
        waiting[row] = bound
        if len(waiting) == 1:
            self._bind(row)
        return bound

    def withdraw(self, row: int) -> None:
        """A pod that is gone waits no more."""
        if row in self._arrived:
            self._take(row)

    def kick(self) -> None:
        """There may be room: bind all that can be, first come, first served."""
        heads = [
            (self._arrived[row], row, kind) for kind, rows in self._waiting.items() for row in islice(rows, 1)
        ]
        heapify(heads)
        while heads:
            _, row, kind = heappop(heads)
            if self._bind(row):
                for following in islice(self._waiting.get(kind, ()), 1):
                    heappush(heads, (self._arrived[following], following, kind))

    def __iter__(self) -> Iterator[int]:
        """Rows of the pods that wait, first come first."""
        return iter(self._arrived)

    def demands(self) -> list[Demand]:
        """What waits, by what it requests."""
        return [
            Demand(len(rows), self._running.request(next(iter(rows))), self._running.services[kind[0]].region)
            for kind, rows in self._waiting.items()
        ]

    def _take(self, row: int) -> simpy.Event:
        """A pod's event; it waits no more."""
        kind = self._running.kind(row)
        del self._arrived[row]
        event = self._waiting[kind].pop(row)
        if not self._waiting[kind]:
            del self._waiting[kind]
        return event

    def _bind(self, row: int) -> bool:
        running = self._running
        pods, nodes = running.pods, running.nodes
        service = int(pods.service[row])
        mates = pods.rows(service, ACTIVE - 1) if len(nodes.zones) > 1 else np.empty(0, np.int64)
        zones = nodes.zone[pods.node[mates[pods.node[mates] >= 0]]]
        by_zone = np.bincount(zones, minlength=len(nodes.zones))
        request = running.request(row)
        node = choose_node(nodes, request, self._packing, by_zone, running.services[service].region)
        if node == NOWHERE:
            return False
        pods.node[row] = node
        nodes.requested[node] += request
        running.record("pod bound", pod=row)
        self._take(row).succeed()
        return True
