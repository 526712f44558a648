"""Looks at a cluster at each of its events and keeps books of its own: pods' and nodes' lives, and the bill."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from worlds import World

from simulator.cluster import Cluster
from simulator.dataplane import DataPlane
from simulator.events import Event
from simulator.kernel.tables import NONE
from simulator.nodes import GONE as NODE_GONE
from simulator.nodes import READY as NODE_READY
from simulator.plant import Interval, Snapshot
from simulator.pods import ACTIVE, DRAINING, GONE, LOST, PENDING, READY

NEXT_OF_POD = {
    "": {"pod created", "pod ready"},
    "pod created": {"pod bound", "pod started", "pod gone"},
    "pod bound": {"image pulled", "pod started", "pod lost", "pod gone"},
    "image pulled": {"pod started", "pod lost", "pod gone"},
    "pod started": {"pod ready", "pod lost", "pod gone"},
    "pod ready": {"container killed", "pod draining", "pod lost", "pod gone"},
    "container killed": {"pod started", "pod lost", "pod gone"},
    "pod draining": {"pod gone"},
    "pod lost": {"pod gone"},
    "pod gone": set[str](),
}
NEXT_OF_NODE = {
    "": {"node launched"},
    "node launched": {"node ready", "launch given up", "node draining", "node gone"},
    "launch given up": {"node gone"},
    "node ready": {"node warned", "node draining", "node gone"},
    "node warned": {"node gone"},
    "node draining": {"node gone"},
    "node gone": set[str](),
}
OUTCOMES = ("served", "dropped", "timed_out", "failed")
MOST_STEPS = 100_000
"""More than any of these worlds takes between two moments; a loop that stands still takes more."""


@dataclass
class PodLife:
    """What the journal says of a pod."""

    service: int
    created: float
    vcpu: float
    gib: float
    last: str = ""
    node: int = -1
    since: float = 0.0
    serving_since: float = np.inf
    served: float = 0.0
    end: float = np.inf

    def stop(self, time: float) -> None:
        """It serves no more."""
        if self.serving_since < np.inf:
            self.served += time - self.serving_since
            self.serving_since = np.inf


@dataclass
class NodeLife:
    """What the journal says of a node."""

    group: int
    launched: float
    last: str = ""
    gone: float = np.inf


@dataclass
class Witness:
    """A journal that checks what it is told against what it sees.

    Args:
        looks_inside: whether the cluster's tables are looked at, at each event.
    """

    world: World
    looks_inside: bool = True
    events: list[Event] = field(default_factory=list)
    pods: dict[int, PodLife] = field(default_factory=dict)
    nodes: dict[int, NodeLife] = field(default_factory=dict)
    cluster: Cluster | None = None

    def __post_init__(self) -> None:
        self.services = {
            service.name: place for place, service in enumerate(self.world.scenario.system.services)
        }
        settings = self.world.scenario.cluster
        self.groups = settings.groups if settings else ()
        self.names = [group.name for group in self.groups]
        self.minimum_seconds = settings.minimum_billed_seconds if settings else 0.0
        self.told_usd = 0.0
        self.told_pod_seconds = np.zeros(len(self.services))
        self.told_serving = np.zeros(len(self.services))
        self.before: Interval | None = None

    def build(self) -> Cluster:
        """The cluster that it looks at."""
        world = self.world
        self.cluster = world.scenario.build(world.seed, (0.3,), world.trace, None, self)
        env = self.cluster._running.env
        step, self.steps = env.step, 0

        def counted() -> None:
            self.steps += 1
            assert self.steps < MOST_STEPS, f"time stands still at {env.now}"
            step()

        env.step = counted
        self.check_tables()
        self.check_end_of_step()
        return self.cluster

    def __call__(self, event: Event) -> None:
        """Takes an event."""
        assert not self.events or event.time_seconds >= self.events[-1].time_seconds
        self.events.append(event)
        if event.pod >= 0:
            self._pod_event(event)
        elif event.node >= 0:
            self._node_event(event)
        if self.cluster is not None and self.looks_inside:
            self.check_tables()

    def _row(self, number: int) -> int:
        assert self.cluster is not None
        pods = self.cluster._running.pods
        (row,) = np.flatnonzero((pods.number == number) & (pods.phase != GONE))
        return int(row)

    def _pod_event(self, event: Event) -> None:
        pod = self.pods.get(event.pod)
        if pod is None:
            assert event.pod == len(self.pods), "numbers are given in order, once"
            pod = self.pods[event.pod] = self._new_pod(event)
        what, now = event.what, event.time_seconds
        assert what in NEXT_OF_POD[pod.last], f"pod {event.pod}: {what} after {pod.last!r}"
        assert now >= pod.since
        if self.groups:
            self._check_place(event, pod)
        if what == "pod ready":
            pod.serving_since = now
        elif what in {"container killed", "pod lost"}:
            pod.stop(now)
        if what == "pod lost":
            pod.end = now
        elif what == "pod gone" and pod.end == np.inf:
            pod.end = self._end_of_work(event) if pod.last == "pod draining" else now
            pod.stop(pod.end)
        pod.last, pod.since = what, now

    def _new_pod(self, event: Event) -> PodLife:
        """A new pod requests what it does at its creation; those of the beginning what their service does."""
        place = self.services[event.service]
        service = self.world.scenario.system.services[place]
        vcpu, gib = service.vcpu_per_pod, service.memory.request_gib
        if self.cluster is not None:
            pods, row = self.cluster._running.pods, self._row(event.pod)
            vcpu, gib = pods.vcpu_milli[row] / 1000, pods.memory_mib[row] / 1024
        return PodLife(place, event.time_seconds, vcpu, gib)

    def _end_of_work(self, event: Event) -> float:
        """Without nodes a pod costs nothing once its last request is over."""
        if self.groups or self.cluster is None:
            return event.time_seconds
        emptied = self.cluster._running.plane.pod_emptied_seconds[self._row(event.pod)]
        return min(float(emptied), event.time_seconds)

    def _check_place(self, event: Event, pod: PodLife) -> None:
        if event.what == "pod bound" or (event.what == "pod ready" and not pod.last):
            assert pod.node == -1, "bound twice"
            node = self.nodes[event.node]
            assert node.last == "node ready", "bound to a node that takes no pods"
            region = self.world.scenario.system.services[pod.service].region
            assert region in {None, self.groups[node.group].region}
            pod.node = event.node
        assert event.node == pod.node
        if event.what in {"pod started", "pod ready", "image pulled"}:
            assert pod.node >= 0
            assert self.nodes[pod.node].last != "node gone"

    def _node_event(self, event: Event) -> None:
        node = self.nodes.get(event.node)
        if node is None:
            assert event.node == len(self.nodes)
            node = self.nodes[event.node] = NodeLife(self.names.index(event.detail), event.time_seconds)
        assert event.what in NEXT_OF_NODE[node.last], f"node {event.node}: {event.what} after {node.last!r}"
        node.last = event.what
        if event.what == "node gone":
            node.gone = event.time_seconds

    def check_tables(self) -> None:
        """What holds at any moment."""
        assert self.cluster is not None
        running = self.cluster._running
        pods, nodes, count = running.pods, running.nodes, running.nodes.count
        here = np.flatnonzero(pods.phase != GONE)
        recount = np.zeros_like(pods.counts)
        np.add.at(recount, (pods.phase[here], pods.service[here]), 1)
        assert (recount == pods.counts).all()
        assert len(set(pods.number[here].tolist())) == len(here)
        on_nodes = here[pods.node[here] >= 0]
        on = pods.node[on_nodes]
        dead = nodes.phase[on] == NODE_GONE
        assert (pods.phase[on_nodes][dead] == LOST).all(), "a pod on a dead node"
        assert (nodes.phase[on][pods.phase[on_nodes] == LOST] != NODE_READY).all()
        if self.groups:
            gpus = np.array([service.gpus_per_pod for service in running.services])
            asked = np.column_stack(
                [pods.vcpu_milli, pods.memory_mib, gpus[pods.service], np.ones_like(pods.phase)]
            )
            sums = np.zeros((count, 4), dtype=np.int64)
            np.add.at(sums, on, asked[on_nodes])
            assert (sums == nodes.requested[:count]).all(), "a node's books are wrong"
            assert (sums <= nodes.capacity[:count]).all(), "a node holds more than it can"
            off = here[pods.node[here] < 0]
            assert (pods.phase[off] == PENDING).all()
            self._check_cpu()
        self._check_serving()

    def _check_cpu(self) -> None:
        """Limits above requests share what a node has."""
        assert self.cluster is not None
        kubelet, pods = self.cluster._kubelet, self.cluster._running.pods
        nodes = self.cluster._running.nodes
        used = np.zeros(nodes.count)
        for row, traits in kubelet._traits.items():
            if pods.phase[row] in {READY, DRAINING}:
                used[pods.node[row]] += 1000 * traits.vcpu
        assert (used <= nodes.capacity[: nodes.count, 0] + 1e-6).all(), "more CPU than a node has"

    def _check_serving(self) -> None:
        """The kernel serves on pods that are ready or draining, and sends nothing new to the latter."""
        assert self.cluster is not None
        plane, pods = self.cluster._running.plane, self.cluster._running.pods
        if isinstance(plane, DataPlane):
            table = plane._tables.pods
            accepting = np.flatnonzero(table["accepting"] & (table["service"] != NONE))
            open_ = np.flatnonzero(table["service"] != NONE)
            assert (table["service"][accepting] == pods.service[accepting]).all()
        else:
            accepting = np.array(sorted(plane._accepting), dtype=np.int64)
            open_ = np.array(sorted(plane._traits), dtype=np.int64)
        assert (pods.phase[accepting] == READY).all()
        self.accepting = accepting
        busy = open_[plane.pod_requests[open_] > 0]
        assert np.isin(pods.phase[busy], [READY, DRAINING]).all(), "a request on a pod that is not ready"

    def check_end_of_step(self) -> None:
        """What holds between two steps."""
        assert self.cluster is not None
        self.steps = 0
        running = self.cluster._running
        pods = running.pods
        assert np.flatnonzero(pods.phase == READY).tolist() == self.accepting.tolist()
        assert pods.counts[:GONE].sum() == sum(pod.last != "pod gone" for pod in self.pods.values())
        scheduler = self.cluster._kubelet._scheduler
        assert not any(scheduler._bind(row) for row in list(scheduler)), "a pod waits although there is room"
        if self.cluster._deployments._rolling:
            return
        active = pods.counts[:ACTIVE].sum(axis=0)
        assert active.tolist() == self.cluster._deployments.wanted.tolist()

    def check_interval(self, interval: Interval) -> None:
        """Nothing is lost, and the bill is the sum over the lives of nodes and pods."""
        self.check_tables()
        self._check_conserved(interval)
        self.before = interval
        now = float(interval.start_seconds + interval.duration_seconds)
        alive, serving = (np.zeros(len(self.services)) for _ in range(2))
        pods_usd = 0.0
        prices = self.world.scenario.prices
        for pod in self.pods.values():
            end = min(pod.end, now)
            alive[pod.service] += end - pod.created
            serving[pod.service] += pod.served + max(end - pod.serving_since, 0.0)
            if prices is not None:
                rate = pod.vcpu * prices.usd_per_vcpu_hour + pod.gib * prices.usd_per_gib_hour
                pods_usd += (end - pod.created) * rate / 3600
        self.told_pod_seconds += interval.pod_seconds
        slots = np.array([service.slots_per_pod for service in self.world.scenario.system.services])
        self.told_serving += interval.serving_slot_seconds / slots
        np.testing.assert_allclose(self.told_pod_seconds, alive, rtol=1e-9, atol=1e-6)
        np.testing.assert_allclose(self.told_serving, serving, rtol=1e-9, atol=1e-6)
        usd = float(interval.total_usd)
        assert usd >= -1e-15, "money runs backwards"
        self.told_usd += usd
        np.testing.assert_allclose(self.told_usd, pods_usd + self._nodes_usd(now), rtol=1e-9, atol=1e-12)
        self.check_end_of_step()

    def _nodes_usd(self, now: float) -> float:
        return sum(
            max(min(node.gone, now) - node.launched, self.minimum_seconds)
            * self.groups[node.group].usd_per_second
            for node in self.nodes.values()
        )

    def _check_conserved(self, interval: Interval) -> None:
        waiting, in_service, in_flight = (
            (self.before.waiting, self.before.in_service, self.before.requests.in_flight)
            if self.before
            else (0, 0, 0)
        )
        left = sum(getattr(interval, name) for name in OUTCOMES)
        assert (
            interval.offered + waiting + in_service == left + interval.waiting + interval.in_service
        ).all()
        requests = interval.requests
        over = sum(getattr(requests, name) for name in OUTCOMES)
        assert (requests.offered + in_flight == over + requests.in_flight).all()
        assert interval.latency_counts.sum(axis=1).tolist() == interval.served.tolist()
        assert (interval.busy_slot_seconds <= interval.serving_slot_seconds + 1e-6).all()
        if interval.nodes is not None:
            assert (interval.nodes.cost_usd >= 0).all()
            assert (interval.nodes.node_seconds >= 0).all()

    def check_snapshot(self, snapshot: Snapshot) -> None:
        """A metric that is missing has an age, and none is older than it may be."""
        pipeline = self.world.scenario.metrics
        metrics: dict[str, Any] = {"cpu": snapshot.cpu, "rate": snapshot.rate, "queue": snapshot.queue}
        for name, metric in (metrics | dict(snapshot.metrics)).items():
            seen = ~np.isnan(metric.value)
            age = metric.age_seconds
            assert (age >= pipeline.lag_seconds - 1e-9).all(), name
            assert (age[seen] <= pipeline.lag_seconds + pipeline.stale_seconds + 1e-9).all(), name
        assert (np.isnan(snapshot.rate.value) == np.isnan(snapshot.queue.value)).all()
        assert (snapshot.starting + snapshot.ready + snapshot.draining >= 0).all()
