"""Scale to zero: who wakes a service that has no pods, and how long it stays awake."""

from __future__ import annotations

from collections.abc import Generator

import numpy as np
import simpy

from simulator.arrays import Ints
from simulator.deployments import Deployments
from simulator.running import Running

LOOK_SECONDS = 2.0
"""How often services are looked at: Knative's tick-interval."""


class Waker:
    """Keeps one pod of a service that wakes while it has traffic, whatever a policy asks for."""

    def __init__(self, running: Running, deployments: Deployments) -> None:
        self._running = running
        self._deployments = deployments
        self._stays = np.array([each.stays_seconds if each.wakes else -np.inf for each in running.services])
        self._last = np.full(len(running.services), -np.inf)
        self._asked = deployments.wanted.copy()

    def ask(self, replicas: Ints) -> None:
        """Want so many replicas, int64 ``(S,)``, but one where a service is kept awake."""
        self._asked = replicas.astype(np.int64)
        self._deployments.scale(np.maximum(self._asked, self._kept()))

    def _kept(self) -> Ints:
        return (self._running.now - self._last <= self._stays).astype(np.int64)

    def watch(self) -> Generator[simpy.Event]:
        """Look for traffic as long as the cluster runs."""
        running = self._running
        seen = np.zeros(len(running.services), dtype=np.int64)
        while True:
            yield running.env.timeout(LOOK_SECONDS)
            running.catch_up()
            offered = running.plane.offered
            busy = (offered > seen) | (running.plane.waiting > 0) | (running.plane.in_service > 0)
            seen = offered
            self._last[busy] = running.now
            wanted = np.maximum(self._asked, self._kept())
            if (wanted != self._deployments.wanted).any():
                self._deployments.scale(wanted)
