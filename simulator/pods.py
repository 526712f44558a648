"""Pods: all of a cluster by row, what phase each is in, and which ones a scale-down takes."""

from __future__ import annotations

from heapq import heappop, heappush

import numpy as np

from simulator.arrays import Floats, Ints

PENDING, STARTING, BACK_OFF, READY, LOST, DRAINING, GONE = range(7)
"""Phases: no node or no image yet; running and not ready; its container was killed and starts again
later; takes requests; on a node that died unnoticed; told to go; no more. Up to LOST a ReplicaSet
counts it."""

ACTIVE = LOST + 1
"""Phases before this one are a ReplicaSet's replicas."""

NEXT = {
    PENDING: {STARTING, LOST, GONE},
    STARTING: {READY, BACK_OFF, LOST, GONE},
    BACK_OFF: {STARTING, LOST, GONE},
    READY: {BACK_OFF, LOST, DRAINING, GONE},
    LOST: {GONE},
    DRAINING: {GONE},
    GONE: {PENDING},
}
"""Which phase may follow which; a row that is GONE may be given to another pod."""

NO_NODE = -1
_COLUMNS = {
    "service": (np.int64, 0),
    "phase": (np.int64, GONE),
    "number": (np.int64, -1),
    "node": (np.int64, NO_NODE),
    "revision": (np.int64, 0),
    "vcpu_milli": (np.int64, 0),
    "memory_mib": (np.int64, 0),
    "restarts": (np.int64, 0),
    "created": (np.float64, 0.0),
    "started": (np.float64, np.inf),
    "ready": (np.float64, np.inf),
    "leaked_gib": (np.float64, 0.0),
}


class Pods:
    """All pods of a cluster by row: their service, their phase and the times it changed.

    Args:
        nominal_milli: int64 ``(S,)``; the CPU that a pod of each service requests unless asked for otherwise.
        nominal_mib: int64 ``(S,)``; the same for memory.
    """

    service: Ints
    phase: Ints
    number: Ints
    node: Ints
    revision: Ints
    vcpu_milli: Ints
    memory_mib: Ints
    restarts: Ints
    created: Floats
    started: Floats
    ready: Floats
    leaked_gib: Floats

    def __init__(self, nominal_milli: Ints, nominal_mib: Ints) -> None:
        self._nominal = nominal_milli, nominal_mib
        services = len(nominal_milli)
        for name, (kind, empty) in _COLUMNS.items():
            setattr(self, name, np.full(16, empty, dtype=kind))
        self.counts = np.zeros((GONE + 1, services), dtype=np.int64)
        """int64 ``(7, S)``; pods by phase and service; those that are GONE are not counted."""
        self.extra_milli = np.zeros_like(self.counts)
        """The same for the CPU that they request beyond the nominal, summed."""
        self.extra_mib = np.zeros_like(self.counts)
        self.unusual = 0
        """How many pods request anything but the nominal."""
        self._free = list(range(16))
        self._created = 0

    def add(self, service: int, now: float, vcpu_milli: int, memory_mib: int, revision: int = 0) -> int:
        """A row for a new pod: the lowest that is free."""
        if not self._free:
            self._grow()
        row = heappop(self._free)
        self.service[row] = service
        self.phase[row] = PENDING
        self.number[row] = self._created
        self.revision[row] = revision
        self.vcpu_milli[row] = vcpu_milli
        self.memory_mib[row] = memory_mib
        self.created[row] = now
        for name in ("node", "restarts", "started", "ready", "leaked_gib"):
            getattr(self, name)[row] = _COLUMNS[name][1]
        self._created += 1
        self._count(row, 1)
        return row

    def _grow(self) -> None:
        more = len(self.phase)
        for name, (kind, empty) in _COLUMNS.items():
            setattr(self, name, np.concatenate([getattr(self, name), np.full(more, empty, dtype=kind)]))
        self._free = list(range(more, 2 * more))

    def move(self, row: int, phase: int) -> None:
        """Put a pod in another phase.

        Raises:
            ValueError: if that may not follow the one it is in.
        """
        if phase not in NEXT[int(self.phase[row])]:
            msg = f"pod {self.number[row]} goes from phase {self.phase[row]} to {phase}"
            raise ValueError(msg)
        self._count(row, -1)
        self.phase[row] = phase
        if phase == GONE:
            heappush(self._free, row)
        else:
            self._count(row, 1)

    def _count(self, row: int, change: int) -> None:
        cell = self.phase[row], self.service[row]
        self.counts[cell] += change
        milli, mib = (nominal[self.service[row]] for nominal in self._nominal)
        if self.vcpu_milli[row] != milli or self.memory_mib[row] != mib:
            self.extra_milli[cell] += change * (self.vcpu_milli[row] - milli)
            self.extra_mib[cell] += change * (self.memory_mib[row] - mib)
            self.unusual += change

    def rows(self, service: int, last_phase: int = DRAINING) -> Ints:
        """Rows of a service's pods up to a phase."""
        return np.flatnonzero((self.service == service) & (self.phase <= last_phase))

    def to_remove(self, service: int, count: int, candidates: Ints | None = None) -> list[int]:
        """Rows in the order a ReplicaSet deletes: without a node, pending, not ready, then ready ones.

        Among equals those that share their node with the most of the service's pods go first, then
        those ready for the shortest time, restarted most often, youngest.
        Source: kubernetes/kubernetes pkg/controller/controller_utils.go, ActivePodsWithRanks; since
        1.22 it compares times by powers of two only, with ties by chance.

        Args:
            candidates: rows to choose from; all of the service's replicas if not given.
        """
        active = self.rows(service, ACTIVE - 1)
        chosen = active if candidates is None else candidates
        node, phase = self.node[chosen], self.phase[chosen]
        rank = np.where(phase == READY, 3, np.where(phase > PENDING, 2, np.where(node == NO_NODE, 0, 1)))
        together = np.bincount(self.node[active] + 1, minlength=1)[node + 1]
        together[node == NO_NODE] = 0
        ready = np.where(np.isfinite(self.ready[chosen]), self.ready[chosen], 0.0)
        keys = (-chosen, -self.created[chosen], -self.restarts[chosen], -ready, -together, rank)
        order = np.lexsort(keys)
        return [int(row) for row in chosen[order[:count]]]
