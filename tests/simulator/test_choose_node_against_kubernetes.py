"""The simulator's choice of a node beside that of kube-scheduler, pod by pod.

The scheduler is told to score by requests alone, as the simulator does; it draws among equal nodes. By default it
looks at a share of the nodes where more than 100 have room, which the simulator does not.
"""

from __future__ import annotations

import itertools
import math
from functools import partial
from typing import Any, get_args

import numpy as np
import pytest
from beside_kubernetes import Kind, container_of
from control_plane.cluster import ControlPlane
from control_plane.kubelet import FakeKubelet
from control_plane.pod_watch import PodWatch
from control_plane.process import wait_until
from kubernetes.client import CoreV1Api

from simulator.nodes import READY, NodeGroup, Nodes
from simulator.scheduler import NOWHERE, Packing, choose_node, score

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
PACKINGS: tuple[Packing, ...] = get_args(Packing)
SETS, NODES, ROUNDS = 8, 6, 25


def test_each_pod_goes_to_the_best_node(controllers: ControlPlane, namespace: str) -> None:
    """Of random nodes with what is on them already, pod by pod, 200 times with either way of packing.

    A pod comes to each set of nodes once all of the round before have a node, or have been refused one.
    """
    rng = np.random.default_rng(1)
    sets = [RandomSet(rng, packing, namespace) for packing in PACKINGS for _ in range(SETS)]
    capacities = {name: size for each in sets for name, size in each.sizes().items()}
    kubelet = FakeKubelet(controllers.admin, capacities)
    kubelet.start_seconds = math.inf
    kubelet.start()
    core = CoreV1Api(controllers.admin)
    try:
        wait_until(lambda: all_take_pods(core, set(capacities)), "all nodes take pods")
        watch = PodWatch(controllers.admin, namespace)
        for number in range(1, ROUNDS + 1):
            for each in sets:
                core.create_namespaced_pod(namespace, each.next_pod(rng, f"{each.name}-{number}"))
            wait_until(partial(decided, watch, len(sets) * number), "each pod has a node or none")
            nodes = {life.name: life.node for life in watch.lives[-len(sets) :]}
            for each in sets:
                each.take(nodes[f"{each.name}-{number}"])
    finally:
        core.delete_collection_namespaced_pod(namespace)
        kubelet.stop()
        kubelet.remove_nodes()
    choices = [choice for each in sets for choice in each.choices]
    assert set(choices) == {"alone", "among equals", "nowhere"}


def all_take_pods(core: CoreV1Api, names: set[str]) -> bool:
    free = {node.metadata.name for node in core.list_node().items if not node.spec.taints}
    return names <= free


def decided(watch: PodWatch, count: int) -> bool:
    lives = list(watch.lives)
    return len(lives) == count and all(min(life.bound, life.refused) < math.inf for life in lives)


class RandomSet:
    """Some nodes, which pods are told to go to, here and in the simulator."""

    _numbers = itertools.count()

    def __init__(self, rng: np.random.Generator, packing: Packing, namespace: str) -> None:
        self.name = f"set-{next(self._numbers)}"
        self.choices: list[str] = []
        self._packing = packing
        self._names = [f"{namespace}-{self.name}-{number}" for number in range(NODES)]
        groups = [
            NodeGroup(
                name=name,
                vcpu=int(rng.integers(1000, 12_000)) / 1000,
                memory_gib=int(rng.integers(1000, 40_000)) / 1024,
                max_pods=int(rng.integers(2, 9)),
                reserved_vcpu=0,
                reserved_memory_gib=0,
                usd_per_hour=0,
            )
            for name in self._names
        ]
        self._nodes = Nodes(tuple(groups), 0.0)
        for number in range(NODES):
            self._nodes.phase[self._nodes.add(number, 0.0)] = READY
        self._request = np.zeros(4, dtype=np.int64)

    def sizes(self) -> dict[str, dict[str, str]]:
        """What the nodes have for pods, as a kubelet says it."""
        capacity = self._nodes.capacity[:NODES].tolist()
        return {
            name: {"cpu": f"{milli}m", "memory": f"{mib}Mi", "pods": str(pods)}
            for name, (milli, mib, _, pods) in zip(self._names, capacity, strict=True)
        }

    def next_pod(self, rng: np.random.Generator, name: str) -> Any:
        """One of random requests."""
        self._request = np.array([rng.integers(50, 3000), rng.integers(50, 8000), 0, 1])
        container = container_of(Kind(name, int(self._request[0]), int(self._request[1])))
        names = {"key": "kubernetes.io/hostname", "operator": "In", "values": self._names}
        terms = [{"matchExpressions": [names]}]
        affinity = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
        spec = {
            "schedulerName": self._packing.replace("_", "-"),
            "terminationGracePeriodSeconds": 0,
            "affinity": {"nodeAffinity": affinity},
            "containers": [container],
        }
        return {"metadata": {"name": name}, "spec": spec}

    def take(self, name: str) -> None:
        """Kubernetes has put the last pod there, or nowhere: the simulator would have, too, but for equals."""
        nodes = self._nodes
        ours = choose_node(nodes, self._request, self._packing, np.zeros(1, dtype=np.int64))
        theirs = self._names.index(name) if name else NOWHERE
        if NOWHERE in {ours, theirs}:
            assert ours == theirs
            self.choices.append("nowhere")
            return
        requested = nodes.requested[:NODES] + self._request
        scores = score(nodes.capacity[:NODES], requested, self._packing)
        scores[(requested > nodes.capacity[:NODES]).any(axis=1)] = -1
        assert scores[theirs] == scores[ours]
        self.choices.append("alone" if np.count_nonzero(scores == scores[ours]) == 1 else "among equals")
        if self.choices[-1] == "alone":
            assert theirs == ours
        nodes.requested[theirs] += self._request
