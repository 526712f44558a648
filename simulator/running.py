"""What all parts of a running cluster share: its clock, its pods and nodes, its requests, its journal."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import simpy

from simulator.arrays import Floats, Ints
from simulator.arrivals import ArrivalProcess
from simulator.dataplane import DataPlane
from simulator.events import Event, Journal, What
from simulator.fcfs import OneQueue
from simulator.nodes import MIB_PER_GIB, Nodes
from simulator.pods import DRAINING, LOST, READY, Pods
from simulator.service import Service


class Running:
    """A cluster's state.

    Between two control-plane events no Python runs per request: whoever changes what requests meet
    calls ``catch_up`` first.

    Args:
        services: axis S.
        classes: int64, the class of each arrival; None where it is drawn or there is one only.
        nodes: without any group where pods need no nodes.
        minimum_billed_seconds: a pod without a node costs at least so long.
    """

    def __init__(
        self,
        services: tuple[Service, ...],
        plane: OneQueue | DataPlane,
        arrivals: ArrivalProcess,
        classes: Ints | None,
        nodes: Nodes,
        journal: Journal | None,
        minimum_billed_seconds: float = 0.0,
    ) -> None:
        self.env = simpy.Environment(0.0)
        self.services = services
        self.plane = plane
        self.nodes = nodes
        self.nominal_milli = np.array([round(1000 * service.vcpu_per_pod) for service in services])
        self.nominal_mib = np.array([round(MIB_PER_GIB * service.memory.request_gib) for service in services])
        self.pods = Pods(self.nominal_milli, self.nominal_mib)
        self.pod_seconds = np.zeros(len(services))
        """float64 ``(S,)``; since the beginning, from creation until gone."""
        self.serving_seconds = np.zeros(len(services))
        """The same for ready and draining pods."""
        self.extra_pod = np.zeros((2, len(services)))
        """float64 ``(2, S)``; thousandths of a vCPU and MiB requested beyond the nominal, times seconds."""
        self.extra_serving_milli = np.zeros(len(services))
        self.topped_up_seconds = np.zeros((2, len(services)))
        """float64 ``(2, S)``; what pods that ended early are billed beyond their lives: thousandths of a vCPU and MiB,
        times seconds."""
        self.let_go: Callable[[int], None]
        """Takes a drained pod away where pods need no nodes; on a node it goes when that is looked at."""
        self._arrivals = arrivals
        self._classes = classes
        self._arrived = 0
        self._caught_up = 0.0
        self._journal = journal
        self._minimum = minimum_billed_seconds

    @property
    def now(self) -> float:
        """The simulated time."""
        return float(self.env.now)

    def record(
        self, what: What, *, service: int = -1, pod: int = -1, node: int = -1, detail: str = ""
    ) -> None:
        """Write down what happens now.

        Args:
            service: its place, -1 for none.
            pod: its row, -1 for none; gives the service, too.
            node: its row, -1 for none.
        """
        if self._journal is None:
            return
        number = -1
        if pod >= 0:
            number, service = int(self.pods.number[pod]), int(self.pods.service[pod])
            node = int(self.pods.node[pod]) if node < 0 else node
        name = self.services[service].name if service >= 0 else ""
        self._journal(Event(self.now, what, name, number, node, detail))

    def catch_up(self) -> None:
        """Run all requests before now, with the pods as they have been since the last event."""
        now = self.env.now
        span = now - self._caught_up
        if span <= 0:
            return
        arrivals = self._arrivals.until(now)
        classes = None
        if self._classes is not None:
            classes = self._classes[self._arrived : self._arrived + len(arrivals)]
        self._arrived += len(arrivals)
        self.plane.advance(now, arrivals, classes)
        counts = self.pods.counts
        draining = counts[DRAINING]
        serving = span * (counts[READY] + draining)
        alive = span * (np.add.reduce(counts[:LOST]) + draining)
        self._count_extra(span)
        waits_for_none = not self.nodes.groups and draining.any()
        emptied = self._emptied(now) if waits_for_none else ()
        for row, idle in emptied:
            service = self.pods.service[row]
            serving[service] -= idle
            alive[service] -= idle
            self._uncount_extra(row, idle)
        self.pod_seconds = self.pod_seconds + alive
        self.serving_seconds = self.serving_seconds + serving
        self._caught_up = now
        for row, _ in emptied:
            self.let_go(row)

    def _count_extra(self, span: float) -> None:
        milli, mib = self.pods.extra_milli, self.pods.extra_mib
        if self.pods.unusual:
            of_alive = [part[:LOST].sum(axis=0) + part[DRAINING] for part in (milli, mib)]
            self.extra_pod = self.extra_pod + span * np.array(of_alive)
            self.extra_serving_milli = self.extra_serving_milli + span * (milli[READY] + milli[DRAINING])

    def _uncount_extra(self, row: int, idle: float) -> None:
        service = int(self.pods.service[row])
        milli = self.pods.vcpu_milli[row] - self.nominal_milli[service]
        mib = self.pods.memory_mib[row] - self.nominal_mib[service]
        if milli or mib:
            self.extra_pod, self.extra_serving_milli = self.extra_pod.copy(), self.extra_serving_milli.copy()
            self.extra_pod[:, service] -= (idle * milli, idle * mib)
            self.extra_serving_milli[service] -= idle * milli

    def bill_end(self, row: int) -> None:
        """A pod ends now: it is billed up to the minimum."""
        end = self.now
        if self.pods.phase[row] == DRAINING:
            end = min(end, float(self.plane.pod_emptied_seconds[row]))
        missing = self._minimum - (max(end, float(self.pods.created[row])) - float(self.pods.created[row]))
        if missing > 0:
            amounts = self.pods.vcpu_milli[row] * missing, self.pods.memory_mib[row] * missing
            self.topped_up_seconds = self.topped_up_seconds.copy()
            self.topped_up_seconds[:, self.pods.service[row]] += amounts

    def _emptied(self, now: float) -> list[tuple[int, float]]:
        """Draining pods that have finished their last request, and for how long they have been idle since."""
        emptied: Floats = self.plane.pod_emptied_seconds
        rows = np.flatnonzero(self.pods.phase[: len(emptied)] == DRAINING).tolist()
        return [(row, now - emptied[row]) for row in rows if emptied[row] <= now]

    def kind(self, row: int) -> tuple[int, int, int]:
        """Service, CPU and memory request of a pod: those of one kind fit on the same nodes."""
        pods = self.pods
        return int(pods.service[row]), int(pods.vcpu_milli[row]), int(pods.memory_mib[row])

    def usual_request(self, service: int) -> Ints:
        """int64 ``(R,)``; what a pod of a service requests of a node unless asked for otherwise."""
        gpus = self.services[service].gpus_per_pod
        return np.array([self.nominal_milli[service], self.nominal_mib[service], gpus, 1])

    def request(self, row: int) -> Ints:
        """int64 ``(R,)``; what a pod requests of a node."""
        pods = self.pods
        gpus = self.services[int(pods.service[row])].gpus_per_pod
        return np.array([pods.vcpu_milli[row], pods.memory_mib[row], gpus, 1])
