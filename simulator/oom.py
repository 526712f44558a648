"""What pods use of memory, and what happens to those that use too much."""

from __future__ import annotations

from collections.abc import Generator

import numpy as np
import simpy

from simulator.arrays import Floats
from simulator.effects import Effects
from simulator.faults import MemoryLeak
from simulator.kubelet import Kubelet
from simulator.pods import READY
from simulator.prices import SECONDS_PER_HOUR
from simulator.running import Running

HOUSEKEEPING_SECONDS = 10.0
"""How often memory is looked at: the kubelet's housekeeping interval."""


class OomKiller:
    """Kills containers that use more memory than their limit, which moves with the request."""

    def __init__(self, running: Running, kubelet: Kubelet, effects: Effects) -> None:
        self._running = running
        self._kubelet = kubelet
        self._effects = effects
        memory = [service.memory for service in running.services]
        self._base = np.array([each.base_gib for each in memory])
        self._each = np.array([each.gib_per_request for each in memory])
        self._limit = np.array([each.most_gib for each in memory])

    def used_gib(self) -> Floats:
        """float64 by pod row; what pods use, meaningless where there is none."""
        pods = self._running.pods
        known = self._running.plane.pod_requests[: len(pods.phase)]
        requests = np.zeros(len(pods.phase))
        requests[: len(known)] = known
        used = self._base[pods.service] + self._each[pods.service] * requests + pods.leaked_gib
        return np.asarray(used)

    def watch(self) -> Generator[simpy.Event]:
        """Look after memory as long as the cluster runs."""
        pods = self._running.pods
        while True:
            yield self._running.env.timeout(HOUSEKEEPING_SECONDS)
            self._running.catch_up()
            self._leak()
            nominal = np.maximum(self._running.nominal_mib[pods.service], 1)
            limit = self._limit[pods.service] * (pods.memory_mib / nominal)
            for row in np.flatnonzero((pods.phase == READY) & (self.used_gib() > limit)).tolist():
                self._kubelet.crash(row, "out of memory")

    def _leak(self) -> None:
        pods = self._running.pods
        for place, service in enumerate(self._running.services):
            rate = sum(fault.gib_per_hour for fault in self._effects.of(MemoryLeak, service.name))
            leaking = (pods.service == place) & (pods.phase == READY)
            pods.leaked_gib[leaking] += rate * HOUSEKEEPING_SECONDS / SECONDS_PER_HOUR
