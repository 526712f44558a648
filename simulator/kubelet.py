"""Pods' lives: a node, an image, a start, requests, a memory limit, a grace, an end."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from dataclasses import asdict
from functools import partial

import numpy as np
import simpy

from simulator.arrays import Ints
from simulator.draws import BlockStream
from simulator.effects import Effects
from simulator.faults import CpuStarvation, Latency, SlowStart, StuckPull
from simulator.node_autoscaler import Demand
from simulator.nodes import CPU
from simulator.pods import BACK_OFF, DRAINING, GONE, LOST, NO_NODE, PENDING, READY, STARTING
from simulator.release import Release
from simulator.restarts import BACK_OFF_CAP_SECONDS, BACK_OFF_SECONDS, CALM_SECONDS, MOST_DOUBLINGS
from simulator.running import Running
from simulator.scheduler import Scheduler
from simulator.traits import Traits

Life = Generator[simpy.Event, object, None]
_DRAIN_POLL_SECONDS = 1.0


class Kubelet:
    """Carries out what is decided of pods.

    Args:
        starts: of start-ups, a draw a pod.
        lives: of pulls and restarts.
        releases: by revision, what a pod runs.
    """

    def __init__(
        self,
        running: Running,
        scheduler: Scheduler,
        effects: Effects,
        starts: np.random.Generator,
        lives: np.random.Generator,
        releases: list[Release],
    ) -> None:
        self._running = running
        self._scheduler = scheduler
        self._effects = effects
        self._releases = releases
        services = running.services
        self._start_ups = [BlockStream(partial(service.start_up.sample, starts)) for service in services]
        self._lives = lives
        self._processes: dict[int, simpy.Process] = {}
        self._pulls: dict[int, simpy.Resource] = {}
        self._images: dict[int, set[tuple[int, int]]] = {}
        self._crashed: dict[int, float] = {}
        self._cold: set[int] = set()
        self._traits: dict[int, Traits] = {}
        self._bursts = any(service.most_vcpu > service.vcpu_per_pod for service in services)
        self.told_ready: Callable[[int], None] = lambda _: None
        """Called with the service of a pod that has become ready."""
        self.told_room: Callable[[int], None] = lambda _: None
        """Called with the node that a pod has left."""
        running.let_go = self._let_go

    def start(self, row: int) -> None:
        """Begin a new pod's life."""
        service = int(self._running.pods.service[row])
        seconds = float(self._start_ups[service].take(1)[0])
        running = self._running
        running.record("pod created", pod=row)
        bound = self._scheduler.submit(row) if running.nodes.groups else None
        self._processes[row] = running.env.process(self._begin(row, seconds, bound))

    def place_ready(self, row: int, node: int) -> None:
        """A pod that has been ready since before the beginning."""
        running = self._running
        if node != NO_NODE:
            running.pods.node[row] = node
            running.nodes.requested[node] += running.request(row)
            self._images.setdefault(node, set()).add(self._image(row))
        running.pods.move(row, STARTING)
        running.pods.started[row] = running.now
        self._make_ready(row)
        self._share_again(node)

    def remove(self, row: int) -> None:
        """Tell a pod to go: it finishes its requests within its grace."""
        running = self._running
        phase = running.pods.phase[row]
        if phase in {DRAINING, GONE}:
            return
        running.catch_up()
        if phase != READY:
            self._end(row)
            return
        running.plane.close_pod(row)
        running.pods.move(row, DRAINING)
        running.record("pod draining", pod=row)
        grace = running.services[int(running.pods.service[row])].drain_grace_seconds
        self._stop(row)
        self._processes[row] = running.env.process(self._drain(row, grace))

    def kill(self, row: int, why: str) -> None:
        """End a pod at once; what it was doing fails."""
        self._fail_requests(row)
        self._end(row, why)

    def lose(self, row: int) -> None:
        """A pod's node is no more; until that is noticed the pod is counted."""
        self._running.catch_up()
        self._fail_requests(row)
        if self._running.pods.phase[row] == DRAINING:
            self._end(row, "node lost")
            return
        self._stop(row)
        self._running.pods.move(row, LOST)
        self._running.record("pod lost", pod=row)

    def forget(self, row: int) -> None:
        """A lost pod has been noticed."""
        self._end(row, "node lost")

    def crash(self, row: int, why: str) -> None:
        """A ready pod's container is killed, and started again in place."""
        running, pods = self._running, self._running.pods
        self._fail_requests(row)
        self._stop(row)
        pods.move(row, BACK_OFF)
        calm = running.now - self._crashed.get(row, -np.inf) > CALM_SECONDS and pods.restarts[row] > 0
        pods.restarts[row] = 1 if calm else pods.restarts[row] + 1
        pods.started[row] = pods.ready[row] = np.inf
        pods.leaked_gib[row] = 0.0
        self._crashed[row] = running.now
        running.record("container killed", pod=row, detail=why)
        self._processes[row] = running.env.process(self._restart(row))

    def retrait(self, service: int | None = None, node: int | None = None) -> None:
        """Give ready and draining pods what faults, releases and neighbours leave them now."""
        running, pods = self._running, self._running.pods
        serving = (pods.phase == READY) | (pods.phase == DRAINING)
        if service is not None:
            serving &= pods.service == service
        if node is not None:
            serving &= pods.node == node
        rows = np.flatnonzero(serving).tolist()
        if rows:
            running.catch_up()
        for row in rows:
            if pods.phase[row] in {READY, DRAINING}:
                self._set_traits(row)

    def _begin(self, row: int, seconds: float, bound: simpy.Event | None) -> Life:
        running, pods = self._running, self._running.pods
        service = running.services[int(pods.service[row])]
        try:
            if bound is not None:
                yield bound
                self._share_again(int(pods.node[row]))
            if running.nodes.groups and service.image is not None:
                yield from self._pull(row)
                left = seconds * self._slowness(service.name)
            else:
                seconds *= self._slowness(service.name)
                pending = seconds * service.start_up.pending_share
                yield running.env.timeout(pending)
                left = seconds - pending
            yield from self._run(row, left)
        except simpy.Interrupt:
            return

    def _restart(self, row: int) -> Life:
        running, pods = self._running, self._running.pods
        service = running.services[int(pods.service[row])]
        waits = int(pods.restarts[row]) - 1
        doubled = BACK_OFF_SECONDS * 2.0 ** min(waits - 1, MOST_DOUBLINGS)
        wait = min(doubled, BACK_OFF_CAP_SECONDS) if waits else 0.0
        seconds = float(service.start_up.sample(self._lives, 1)[0]) * self._slowness(service.name)
        if service.image is None:
            seconds *= 1 - service.start_up.pending_share
        try:
            yield running.env.timeout(wait)
            yield from self._run(row, seconds)
        except simpy.Interrupt:
            return

    def _run(self, row: int, seconds: float) -> Life:
        """From a container's start until its pod is ready and warm."""
        running, pods = self._running, self._running.pods
        pods.move(row, STARTING)
        pods.started[row] = running.now
        running.record("pod started", pod=row)
        yield running.env.timeout(seconds)
        running.catch_up()
        warm_up = running.services[int(pods.service[row])].warm_up
        if warm_up is not None:
            self._cold.add(row)
        self._make_ready(row)
        if self._processes.get(row) is not running.env.active_process:
            return  # a roll-out that it has moved on took it away
        if warm_up is not None:
            yield running.env.timeout(warm_up.seconds)
            running.catch_up()
            self._cold.discard(row)
            self._set_traits(row)
        self._processes.pop(row, None)

    def _pull(self, row: int) -> Life:
        """Wait for the image: pulls on a node come one after the other."""
        running = self._running
        node, image = int(running.pods.node[row]), self._image(row)
        images = self._images.setdefault(node, set())
        if image in images:
            return
        service = running.services[image[0]]
        turns = self._pulls.setdefault(node, simpy.Resource(running.env))
        with turns.request() as turn:
            yield turn
            left = (
                0.0
                if image in images or service.image is None
                else float(service.image.sample(self._lives, 1)[0])
            )
            while left > 0:
                begin, changed = running.now, self._effects.changed
                if self._effects.of(StuckPull, service.name):
                    yield changed
                    continue
                done = running.env.timeout(left)
                yield done | changed
                left = 0.0 if done.processed else left - (running.now - begin)
            images.add(image)
        running.record("image pulled", pod=row)

    def _image(self, row: int) -> tuple[int, int]:
        pods = self._running.pods
        return int(pods.service[row]), self._releases[int(pods.revision[row])].image

    def _slowness(self, service: str) -> float:
        return math.prod(fault.factor for fault in self._effects.of(SlowStart, service))

    def _make_ready(self, row: int) -> None:
        running, pods = self._running, self._running.pods
        service = int(pods.service[row])
        pods.move(row, READY)
        pods.ready[row] = running.now
        running.plane.open_pod(row, service)
        self._traits.pop(row, None)
        self._set_traits(row)
        running.record("pod ready", pod=row)
        self.told_ready(service)

    def _set_traits(self, row: int) -> None:
        """What a pod has of CPU, speed, delay and errors now; nothing is said where all is as usual."""
        running, pods = self._running, self._running.pods
        service = running.services[int(pods.service[row])]
        release = self._releases[int(pods.revision[row])]
        starved = (fault.share for fault in self._effects.of(CpuStarvation, service.name))
        vcpu = self._cores(row) * math.prod(starved)
        speed = service.warm_up.speed if service.warm_up is not None and row in self._cold else 1.0
        delay = math.fsum(fault.delay_seconds for fault in self._effects.of(Latency, service.name))
        if pods.node[row] != NO_NODE:
            delay += running.nodes.groups[running.nodes.group[pods.node[row]]].latency_seconds
        traits = Traits(vcpu, speed / release.slowness, delay, release.error_probability)
        if traits != self._traits.get(row, Traits(service.vcpu_per_pod)):
            self._traits[row] = traits
            running.plane.set_pod(row, **asdict(traits))

    def _cores(self, row: int) -> float:
        """A pod's CPU limit, or its share of a full node: capacity by request, as CFS weighs it."""
        running, pods = self._running, self._running.pods
        place = int(pods.service[row])
        service, milli = running.services[place], int(pods.vcpu_milli[row])
        if milli == running.nominal_milli[place]:
            request, limit = service.vcpu_per_pod, service.most_vcpu
        else:
            request = milli / 1000
            limit = request * service.most_vcpu / service.vcpu_per_pod
        if service.discipline == "slots":
            limit = min(
                limit, max(service.vcpu_per_pod, float(service.slots_per_pod))
            )  # a thread has one core
        if limit == request or pods.node[row] == NO_NODE:
            return limit
        node = pods.node[row]
        full = running.nodes.capacity[node, CPU] / running.nodes.requested[node, CPU]
        return min(limit, request * float(full))

    def _drain(self, row: int, seconds: float) -> Life:
        """A pod that still has requests when its grace is over is killed."""
        running, pods = self._running, self._running.pods
        number, end = pods.number[row], running.now + seconds
        try:
            while running.nodes.groups and running.now + _DRAIN_POLL_SECONDS < end:
                yield running.env.timeout(_DRAIN_POLL_SECONDS)
                running.catch_up()
                if pods.number[row] != number or pods.phase[row] != DRAINING:
                    return
                if running.plane.pod_emptied_seconds[row] <= running.now:
                    self._let_go(row)
                    return
            yield running.env.timeout(end - running.now)
        except simpy.Interrupt:
            return
        running.catch_up()
        if pods.number[row] == number and pods.phase[row] == DRAINING:
            self._let_go(row)

    def _fail_requests(self, row: int) -> None:
        running = self._running
        if running.pods.phase[row] in {READY, DRAINING}:
            running.catch_up()
        if running.pods.phase[row] in {READY, DRAINING}:
            running.plane.kill_pod(row)

    def _let_go(self, row: int) -> None:
        self._running.plane.kill_pod(row)
        self._end(row)

    def _stop(self, row: int) -> None:
        process = self._processes.pop(row, None)
        if process is not None and process.is_alive and process is not self._running.env.active_process:
            process.interrupt()

    def _end(self, row: int, why: str = "") -> None:
        running, pods = self._running, self._running.pods
        if pods.phase[row] == GONE:
            return
        self._stop(row)
        if pods.phase[row] == PENDING:
            self._scheduler.withdraw(row)
        node = int(pods.node[row])
        running.record("pod gone", pod=row, detail=why)
        running.bill_end(row)
        self._crashed.pop(row, None)
        self._cold.discard(row)
        pods.move(row, GONE)
        if node != NO_NODE:
            running.nodes.requested[node] -= running.request(row)
            self._share_again(node)
            self.told_room(node)

    def _share_again(self, node: int) -> None:
        """Pods on a node share its CPU by what all of them request."""
        if self._bursts and node != NO_NODE:
            self.retrait(node=node)

    def demands_on(self, node: int) -> list[Demand]:
        """The pods on a node by what they request."""
        running, kinds = self._running, dict[tuple[int, int, int], list[int]]()
        for row in self.rows_on(node).tolist():
            kinds.setdefault(running.kind(row), []).append(row)
        return [
            Demand(len(rows), running.request(rows[0]), running.services[kind[0]].region)
            for kind, rows in kinds.items()
        ]

    def rows_on(self, node: int) -> Ints:
        """Rows of the pods on a node."""
        pods = self._running.pods
        return np.flatnonzero((pods.node == node) & (pods.phase != GONE))
