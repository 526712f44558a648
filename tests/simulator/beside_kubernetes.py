"""One world twice, on a real control plane and simulated: what is done to it, and what becomes of its pods."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
from control_plane.cluster import ControlPlane
from control_plane.kubelet import FakeKubelet
from control_plane.pod_watch import PodLife, PodWatch
from control_plane.process import wait_until
from kubernetes.client import AppsV1Api, CoreV1Api

from simulator.events import Event
from simulator.plant import Desired
from simulator.scenario import Scenario
from simulator.scheduler import Packing
from simulator.trace import Trace

NEVER = float("inf")
STATES = ("created", "bound", "running", "ready", "told", "gone")
ZONE = "topology.kubernetes.io/zone"
DRAIN_SECONDS = 0.5
BEGIN_FRACTION = 0.1


@dataclass(frozen=True)
class Kind:
    """A Deployment's pods.

    Attributes:
        milli: CPU request, thousandths of a vCPU.
        mib: memory request.
    """

    name: str
    milli: int
    mib: int


@dataclass(frozen=True)
class World:
    """Nodes and what may run on them; nothing runs at the start.

    Attributes:
        nodes: CPU in thousandths, MiB and most pods of each.
        zones: where each node is; all in one if not given. Pods spread over zones as evenly as can be.
        start_seconds: from a pod's binding until it is ready.
        run_share: share of that which it is Pending.
    """

    kinds: tuple[Kind, ...]
    nodes: tuple[tuple[int, int, int], ...]
    zones: tuple[str, ...] = ()
    packing: Packing = "least_allocated"
    start_seconds: float = 2.0
    run_share: float = 0.5

    @property
    def zone_of_nodes(self) -> tuple[str, ...]:
        """The zone of each node."""
        return self.zones or ("a",) * len(self.nodes)


@dataclass(frozen=True)
class Act:
    """What is done so many seconds after the beginning: another scale, another CPU request, or a node drained."""

    at_seconds: float
    kind: str = ""
    replicas: int | None = None
    milli: int | None = None
    drained: int | None = None


@dataclass
class Life:
    """A pod; times from the beginning, infinity for never."""

    kind: str
    node: int = -1
    created: float = NEVER
    bound: float = NEVER
    running: float = NEVER
    ready: float = NEVER
    told: float = NEVER
    gone: float = NEVER
    created_stamp: float = NEVER
    ready_stamp: float = NEVER

    def state(self, now: float) -> str:
        """Where it is in its life."""
        for name in reversed(STATES):
            if getattr(self, name) <= now:
                return name
        return "unborn"

    def left(self, state: str) -> float:
        """When it came into any later state."""
        return min((getattr(self, later) for later in STATES[STATES.index(state) + 1 :]), default=NEVER)


@dataclass(frozen=True)
class Course:
    """All pods in the order of their creation, and what was done when.

    Attributes:
        latency_seconds: how long the API took to take in what was done, the median.
    """

    lives: list[Life]
    acts: list[Act] = field(default_factory=list)
    latency_seconds: float = 0.0

    def of(self, kind: str) -> list[Life]:
        """The pods of one kind."""
        return [life for life in self.lives if life.kind == kind]

    def count(self, kind: str, state: str, now: float) -> int:
        """Pods of a kind in a state."""
        return sum(life.state(now) == state for life in self.of(kind))

    def acts_before(self, moment: float) -> int:
        """How many things had been done."""
        return sum(act.at_seconds <= moment for act in self.acts)


class RealWorld:
    """Nodes and Deployments on a real control plane."""

    def __init__(self, control_plane: ControlPlane, namespace: str, world: World) -> None:
        self._world, self._namespace = world, namespace
        self._apps, self._core = AppsV1Api(control_plane.admin), CoreV1Api(control_plane.admin)
        self._nodes = [f"{namespace}-{number}" for number in range(len(world.nodes))]
        sizes = (
            {"cpu": f"{milli}m", "memory": f"{mib}Mi", "pods": str(pods)} for milli, mib, pods in world.nodes
        )
        capacities = dict(zip(self._nodes, sizes, strict=True))
        labels = [{"world": namespace, ZONE: zone} for zone in world.zone_of_nodes]
        self.kubelet = FakeKubelet(
            control_plane.admin, capacities, dict(zip(self._nodes, labels, strict=True))
        )
        self.kubelet.start_seconds = world.start_seconds
        self.kubelet.run_seconds = world.start_seconds * world.run_share
        self.kubelet.drain_seconds = DRAIN_SECONDS
        self.kubelet.start()
        wait_until(self._all_take_pods, "all nodes take pods")
        for kind in world.kinds:
            self._apps.create_namespaced_deployment(namespace, self._deployment(kind))
        self._watch = PodWatch(control_plane.admin, namespace)

    def play(self, script: Sequence[Act], seconds: float) -> Course:
        """What became of it; the course's acts have the times at which they were done.

        Kubernetes writes whole seconds down. All begins early in one, so that what happens together bears one stamp.
        """
        time.sleep((BEGIN_FRACTION - time.time()) % 1.0)
        begin = time.monotonic()
        done, latencies = [], []
        for act in script:
            time.sleep(max(begin + act.at_seconds - time.monotonic(), 0.0))
            now = time.monotonic()
            done.append(replace(act, at_seconds=now - begin))
            self._do(act)
            latencies.append(time.monotonic() - now)
        time.sleep(max(begin + seconds - time.monotonic(), 0.0))
        lives = [self._life(life, begin) for life in list(self._watch.lives)]
        return Course(lives, done, statistics.median(latencies))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is left of it."""
        self.kubelet.drain_seconds = 0.0
        for kind in self._world.kinds:
            self._apps.delete_namespaced_deployment(kind.name, self._namespace)
        wait_until(lambda: not self._core.list_namespaced_pod(self._namespace).items, "all pods are gone")
        self.kubelet.stop()
        self.kubelet.remove_nodes()
        self._core.delete_namespace(self._namespace)

    def _do(self, act: Act) -> None:
        if act.drained is not None:
            self._drain(self._nodes[act.drained])
            return
        spec: dict[str, Any] = {}
        if act.replicas is not None:
            spec["replicas"] = act.replicas
        if act.milli is not None:
            kind = next(each for each in self._world.kinds if each.name == act.kind)
            spec["template"] = {"spec": {"containers": [container_of(replace(kind, milli=act.milli))]}}
        self._apps.patch_namespaced_deployment(act.kind, self._namespace, {"spec": spec})

    def _drain(self, node: str) -> None:
        self._core.patch_node(node, {"spec": {"unschedulable": True}})
        pods = self._core.list_namespaced_pod(self._namespace, field_selector=f"spec.nodeName={node}").items
        for pod in pods:
            self._core.delete_namespaced_pod(pod.metadata.name, self._namespace)

    def _all_take_pods(self) -> bool:
        nodes = self._core.list_node(label_selector=f"world={self._namespace}").items
        return len(nodes) == len(self._nodes) and not any(node.spec.taints for node in nodes)

    def _deployment(self, kind: Kind) -> Any:
        labels = {"app": kind.name}
        spec: dict[str, Any] = {
            "schedulerName": self._world.packing.replace("_", "-"),
            "nodeSelector": {"world": self._namespace},
            "containers": [container_of(kind)],
        }
        if self._world.zones:
            spread = {"maxSkew": 1, "topologyKey": ZONE, "whenUnsatisfiable": "DoNotSchedule"}
            spec["topologySpreadConstraints"] = [{**spread, "labelSelector": {"matchLabels": labels}}]
        return {
            "metadata": {"name": kind.name},
            "spec": {
                "replicas": 0,
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": spec},
            },
        }

    def _life(self, seen: PodLife, begin: float) -> Life:
        times = {name: getattr(seen, name) - begin for name in STATES}
        node = self._nodes.index(seen.node) if seen.node else -1
        return Life(seen.app, node, **times, created_stamp=seen.created_stamp, ready_stamp=seen.ready_stamp)


def container_of(kind: Kind) -> dict[str, Any]:
    """A pod's container that requests so much."""
    requests = {"cpu": f"{kind.milli}m", "memory": f"{kind.mib}Mi"}
    return {"name": "main", "image": "none", "resources": {"requests": requests}}


def simulate(world: World, acts: Sequence[Act], seconds: float) -> Course:
    """The same without Kubernetes."""
    events: list[Event] = []
    trace = Trace(np.zeros(int(seconds) + 1), 1.0)
    cluster = scenario(world).build(1, (), trace, journal=events.append)
    names = [kind.name for kind in world.kinds]
    replicas = np.zeros(len(names), dtype=np.int64)
    vcpu = np.array([kind.milli / 1000 for kind in world.kinds])
    nodes = np.ones(len(world.nodes), dtype=np.int64)
    for act in acts:
        if act.at_seconds > cluster.now_seconds:
            cluster.advance(act.at_seconds - cluster.now_seconds)
        if act.replicas is not None:
            replicas[names.index(act.kind)] = act.replicas
        if act.milli is not None:
            vcpu[names.index(act.kind)] = act.milli / 1000
        if act.drained is not None:
            nodes[act.drained] = 0
        cluster.apply(Desired(replicas.copy(), vcpu=vcpu.copy(), nodes=nodes.copy()))
    cluster.advance(seconds - cluster.now_seconds)
    return Course(_lives(events), list(acts))


def _lives(events: Sequence[Event]) -> list[Life]:
    lives: dict[int, Life] = {}
    times = {
        "pod created": "created",
        "pod bound": "bound",
        "pod started": "running",
        "pod ready": "ready",
        "pod draining": "told",
        "pod gone": "gone",
    }
    for event in events:
        if event.what not in times:
            continue
        life = lives.setdefault(event.pod, Life(event.service))
        setattr(life, times[event.what], event.time_seconds)
        if event.what == "pod bound":
            life.node = event.node
        if event.what == "pod ready":
            life.ready_stamp = event.time_seconds
        if event.what == "pod created":
            life.created_stamp = event.time_seconds
        life.told = min(life.told, life.gone)
    return list(lives.values())


def scenario(world: World) -> Scenario:
    """The world as the simulator knows it: a node group for each node, and no load."""
    start_up = {
        "p50_seconds": world.start_seconds,
        "p95_seconds": world.start_seconds,
        "pending_share": world.run_share,
    }
    services = [
        {
            "name": kind.name,
            "slots_per_pod": 1,
            "vcpu_per_pod": kind.milli / 1000,
            "memory": {"request_gib": kind.mib / 1024},
            "service_time": {"law": "deterministic", "mean_seconds": 0.1},
            "start_up": start_up,
            "min_replicas": 0,
            "max_replicas": 100,
        }
        for kind in world.kinds
    ]
    groups = [
        {
            "name": f"node-{number}",
            "vcpu": milli / 1000,
            "memory_gib": mib / 1024,
            "usd_per_hour": 0.1,
            "reserved_vcpu": 0,
            "reserved_memory_gib": 0,
            "max_pods": pods,
            "zone": zone,
            "initial_nodes": 1,
            "max_nodes": 1,
        }
        for number, ((milli, mib, pods), zone) in enumerate(
            zip(world.nodes, world.zone_of_nodes, strict=True)
        )
    ]
    classes = [{"name": kind.name, "entry": {"to": kind.name}} for kind in world.kinds]
    return Scenario.model_validate(
        {
            "workload": {"model": "nasa", "mean_rps": 1},
            "application": {"services": services, "classes": classes},
            "cluster": {"groups": groups, "packing": world.packing, "autoscaler": None},
        }
    )
