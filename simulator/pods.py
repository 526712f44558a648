"""Pods: all of a cluster by row, what phase each is in, and which ones a scale-down takes."""

from __future__ import annotations

import numpy as np

from simulator.plant import Ints

PENDING, STARTING, READY, DRAINING, GONE = range(5)


class Pods:
    """All pods of a cluster by row: their service, their phase and the times it changed."""

    def __init__(self, services: int) -> None:
        self._services = services
        self.service = np.zeros(16, dtype=np.int64)
        self.phase = np.full(16, GONE)
        self.created = np.zeros(16)
        self.started = np.full(16, np.inf)
        self.ready = np.full(16, np.inf)

    def add(self, service: int, now: float) -> int:
        """A row for a new pod."""
        free = np.flatnonzero(self.phase == GONE)
        if not free.size:
            free = np.array([len(self.phase)])
            more = len(self.phase)
            self.service = np.concatenate([self.service, np.zeros(more, dtype=np.int64)])
            self.phase = np.concatenate([self.phase, np.full(more, GONE)])
            self.created = np.concatenate([self.created, np.zeros(more)])
            self.started = np.concatenate([self.started, np.full(more, np.inf)])
            self.ready = np.concatenate([self.ready, np.full(more, np.inf)])
        row = int(free[0])
        self.service[row] = service
        self.phase[row] = PENDING
        self.created[row] = now
        self.started[row] = self.ready[row] = np.inf
        return row

    def count(self) -> Ints:
        """int64 ``(5, S)``; pods by phase and service."""
        cells = self.phase * self._services + self.service
        return np.bincount(cells, minlength=(GONE + 1) * self._services).reshape(GONE + 1, self._services)

    def rows(self, service: int, last_phase: int = DRAINING) -> Ints:
        """Rows of a service's pods up to a phase."""
        return np.flatnonzero((self.service == service) & (self.phase <= last_phase))

    def to_remove(self, service: int, count: int) -> list[int]:
        """Rows in the order a ReplicaSet deletes: pending, not ready, ready for the shortest time.

        Source: kubernetes/kubernetes pkg/controller/controller_utils.go, ActivePodsWithRanks.
        """
        active = self.rows(service, READY)
        ready = np.where(np.isfinite(self.ready[active]), self.ready[active], 0.0)
        order = np.lexsort((-active, -self.created[active], -ready, self.phase[active]))
        return [int(row) for row in active[order[:count]]]
