"""Deployments: as many pods as are wanted, of the version that is wanted."""

from __future__ import annotations

import math

import numpy as np

from simulator.arrays import Ints
from simulator.kubelet import Kubelet
from simulator.pods import ACTIVE, READY
from simulator.release import Release
from simulator.running import Running


class Deployments:
    """The controller of all services' replicas.

    Args:
        releases: by revision, what a pod runs; a new release is appended.

    Attributes:
        wanted: int64 ``(S,)``; replicas.
    """

    def __init__(self, running: Running, kubelet: Kubelet, releases: list[Release]) -> None:
        self._running = running
        self._kubelet = kubelet
        self._releases = releases
        services = len(running.services)
        self.wanted = np.zeros(services, dtype=np.int64)
        self.pods_started = np.zeros(services, dtype=np.int64)
        """int64 ``(S,)``; pods created since the beginning."""
        releases.extend(
            Release(place, 0, int(running.nominal_milli[place]), int(running.nominal_mib[place]))
            for place in range(services)
        )
        self._revision = list(range(services))
        self._images = [0] * services
        self._rolling: set[int] = set()

    def release_of(self, service: int) -> Release:
        """What new pods of a service run."""
        return self._releases[self._revision[service]]

    def scale(self, wanted: Ints) -> None:
        """Want so many replicas, int64 ``(S,)``."""
        changed = np.flatnonzero(wanted != self.wanted).tolist()
        self.wanted = wanted.astype(np.int64)
        surplus = self._running.pods.counts[:ACTIVE].sum(axis=0) - self.wanted
        if surplus.any():
            self._running.catch_up()
        for service in changed:
            self._running.record("replicas wanted", service=service, detail=str(self.wanted[service]))
        for service in range(len(self.wanted)):
            self.reconcile(service)

    def roll_out(self, release: Release) -> None:
        """Replace a service's pods by those of another release, step by step."""
        service = release.service
        if release == self.release_of(service):
            return
        if release not in self._releases:
            self._releases.append(release)
        self._revision[service] = self._releases.index(release)
        text = f"image {release.image}, {release.vcpu_milli} m CPU, {release.memory_mib} MiB"
        self._running.record("roll-out", service=service, detail=text)
        self._running.catch_up()
        self.reconcile(service)

    def new_image(self, service: int) -> int:
        """The number of a version that no pod has run yet."""
        self._images[service] += 1
        return self._images[service]

    def step(self, service: int) -> None:
        """A pod has become ready: a roll-out goes on."""
        if service in self._rolling:
            self.reconcile(service)

    def reconcile(self, service: int) -> None:
        """Create and remove pods of a service until it is as it should be, or may not be changed further."""
        pods = self._running.pods
        while self._old(service).size:
            self._rolling.add(service)
            if not self._replace(service):
                return
        self._rolling.discard(service)
        surplus = len(pods.rows(service, ACTIVE - 1)) - int(self.wanted[service])
        if surplus > 0:
            self._remove(pods.to_remove(service, surplus))
        self._create(service, -surplus)

    def _old(self, service: int) -> Ints:
        """Rows of the replicas of another release than the one that is wanted."""
        pods = self._running.pods
        active = pods.rows(service, ACTIVE - 1)
        return np.asarray(active[pods.revision[active] != self._revision[service]])

    def _replace(self, service: int) -> bool:
        """One step of a roll-out; whether there was one to take.

        Source: kubernetes/kubernetes pkg/controller/deployment/rolling.go; it scales old and new pods
        in proportion where what is wanted changes meanwhile, here old ones go first.
        """
        pods, wanted = self._running.pods, int(self.wanted[service])
        rule = self._running.services[service].roll_out
        surge = math.ceil(rule.max_surge * wanted)
        unavailable = math.floor(rule.max_unavailable * wanted)
        if surge == unavailable == 0:
            unavailable = 1
        active, old = pods.rows(service, ACTIVE - 1), self._old(service)
        new = np.setdiff1d(active, old)
        created = max(min(wanted - len(new), wanted + surge - len(active)), 0)
        self._create(service, created)
        fewest = wanted - unavailable
        old_ready, new_ready = (int(np.count_nonzero(pods.phase[rows] == READY)) for rows in (old, new))
        # Old pods that are not ready go as far as there would still be enough if all but the new ones got ready.
        unready = min(len(old) - old_ready, max(len(old) + new_ready - fewest, 0))
        spare = max(old_ready + new_ready - fewest, 0)
        surplus = max(len(active) - wanted - surge, 0)
        doomed = pods.to_remove(service, max(unready + spare, surplus), old)
        doomed += pods.to_remove(service, max(len(new) - wanted, 0), new)
        self._remove(doomed)
        return bool(created or doomed)

    def _create(self, service: int, count: int) -> None:
        if count > 0:
            self._running.catch_up()
        release = self.release_of(service)
        for _ in range(count):
            row = self._add(service, release)
            self.pods_started[service] += 1
            self._kubelet.start(row)

    def add_ready(self, service: int, node: int) -> int:
        """A replica that has been ready since before the beginning; its row."""
        row = self._add(service, self.release_of(service))
        self._kubelet.place_ready(row, node)
        return row

    def _add(self, service: int, release: Release) -> int:
        return self._running.pods.add(
            service,
            self._running.now,
            release.vcpu_milli,
            release.memory_mib,
            self._revision[service],
        )

    def _remove(self, rows: list[int]) -> None:
        for row in rows:
            self._kubelet.remove(row)
