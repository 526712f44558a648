"""Faults at work: each a SimPy process with randomness of its own."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace

import numpy as np
import simpy

from simulator.arrays import Ints
from simulator.deployments import Deployments
from simulator.effects import Effects
from simulator.faults import (
    AnyFault,
    BadRelease,
    CpuStarvation,
    FaultLabel,
    Latency,
    NodeLoss,
    PodKill,
    RegionLoss,
    ServiceFault,
    ZoneLoss,
)
from simulator.kubelet import Kubelet
from simulator.nodes import GONE
from simulator.nodes import READY as NODE_READY
from simulator.pods import READY
from simulator.prices import SECONDS_PER_HOUR
from simulator.provisioning import Provisioner
from simulator.release import Release
from simulator.running import Running


class Injector:
    """Makes faults happen and labels them.

    Args:
        sequence: spawns two streams a fault, of when and of whom it hits, so that neither another fault nor
            what is there to be hit changes when the others happen.
    """

    def __init__(
        self,
        running: Running,
        faults: tuple[AnyFault, ...],
        effects: Effects,
        kubelet: Kubelet,
        deployments: Deployments,
        provisioner: Provisioner | None,
        sequence: np.random.SeedSequence,
    ) -> None:
        self._running = running
        self._effects = effects
        self._kubelet = kubelet
        self._deployments = deployments
        self._provisioner = provisioner
        self.labels: list[FaultLabel] = []
        """What has begun so far, in order."""
        self._bad: list[list[Release]] = [[] for _ in running.services]
        for fault, own in zip(faults, sequence.spawn(len(faults)), strict=True):
            times, victims = (np.random.default_rng(each) for each in own.spawn(2))
            running.env.process(self._happen(fault, times, victims))

    def _happen(
        self, fault: AnyFault, times: np.random.Generator, victims: np.random.Generator
    ) -> Generator[simpy.Event]:
        env = self._running.env
        while True:
            if fault.at_seconds is not None:
                yield env.timeout(fault.at_seconds)
            else:
                yield env.timeout(float(times.exponential(SECONDS_PER_HOUR / (fault.per_hour or 1.0))))
            label, bad = self._begin(fault, victims)
            if fault.duration_seconds:
                yield env.timeout(fault.duration_seconds)
            self._end(fault, label, bad)
            if fault.at_seconds is not None:
                return

    def _begin(self, fault: AnyFault, rng: np.random.Generator) -> tuple[int, list[Release]]:
        """Let it begin; its label's place, and what it has released."""
        running = self._running
        service = (fault.service or "") if isinstance(fault, ServiceFault) else ""
        self.labels.append(FaultLabel(fault.kind, running.now, np.inf, service))
        running.record("fault begins", service=self._place(service), detail=fault.kind)
        bad: list[Release] = []
        running.catch_up()
        self._effects.begin(fault)
        if isinstance(fault, Latency | CpuStarvation):
            self._retrait(fault)
        elif isinstance(fault, PodKill):
            self._kill_pods(fault, rng)
        elif isinstance(fault, BadRelease):
            bad = [self._release(fault, place) for place in self._services(fault)]
        elif self._provisioner is not None:
            for node in self._dying(fault, rng).tolist():
                self._provisioner.lose(node)
        return len(self.labels) - 1, bad

    def _end(self, fault: AnyFault, label: int, bad: list[Release]) -> None:
        running, begun = self._running, self.labels[label]
        self.labels[label] = FaultLabel(begun.kind, begun.start_seconds, running.now, begun.service)
        running.record("fault ends", service=self._place(begun.service), detail=begun.kind)
        running.catch_up()
        self._effects.end(fault)
        if isinstance(fault, Latency | CpuStarvation):
            self._retrait(fault)
        for release in bad:
            self._roll_back(release)

    def _release(self, fault: BadRelease, service: int) -> Release:
        now = self._deployments.release_of(service)
        image = self._deployments.new_image(service)
        bad = replace(now, image=image, error_probability=fault.error_probability, slowness=fault.slowness)
        self._bad[service].append(bad)
        self._deployments.roll_out(bad)
        return bad

    def _roll_back(self, bad: Release) -> None:
        """Release what there was before, or the newest bad release that is still there; requests stay."""
        service = bad.service
        self._bad[service].remove(bad)
        now = self._deployments.release_of(service)
        good = Release(service, 0, now.vcpu_milli, now.memory_mib)
        last = self._bad[service][-1] if self._bad[service] else good
        self._deployments.roll_out(replace(last, vcpu_milli=now.vcpu_milli, memory_mib=now.memory_mib))

    def _retrait(self, fault: ServiceFault) -> None:
        for place in self._services(fault):
            self._kubelet.retrait(service=place)

    def _kill_pods(self, fault: PodKill, rng: np.random.Generator) -> None:
        pods, places = self._running.pods, self._services(fault)
        ready = np.flatnonzero((pods.phase == READY) & np.isin(pods.service, places))
        ready = ready[np.argsort(pods.number[ready])]
        for row in rng.permutation(ready)[: fault.count].tolist():
            if pods.phase[row] == READY:
                self._kubelet.kill(row, fault.kind)
        for place in places:
            self._deployments.reconcile(place)

    def _dying(self, fault: AnyFault, rng: np.random.Generator) -> Ints:
        """Rows of the nodes that a fault ends."""
        nodes = self._running.nodes
        if isinstance(fault, NodeLoss):
            return rng.permutation(nodes.rows(NODE_READY))[: fault.count]
        rows = np.flatnonzero(nodes.phase[: nodes.count] != GONE)
        places = [nodes.zones[zone] for zone in nodes.zone[rows]]
        if isinstance(fault, ZoneLoss):
            return np.asarray(
                rows[np.array([place == (fault.region, fault.zone) for place in places], dtype=bool)]
            )
        if isinstance(fault, RegionLoss):
            return np.asarray(rows[np.array([place[0] == fault.region for place in places], dtype=bool)])
        return rows[:0]

    def _services(self, fault: AnyFault | ServiceFault) -> list[int]:
        """Places of the services that a fault hits."""
        if not isinstance(fault, ServiceFault):
            return []
        names = [service.name for service in self._running.services]
        return [place for place, name in enumerate(names) if fault.service in {None, name}]

    def _place(self, service: str) -> int:
        names = [each.name for each in self._running.services]
        return names.index(service) if service else -1
