"""Nodes that run nothing: their pods start, become ready and go as if they did."""

from __future__ import annotations

import contextlib
import datetime as dt
import itertools
import json
import math
import threading
import time
from collections.abc import Mapping
from typing import Any

import urllib3
from kubernetes.client import ApiClient, ApiException, CoordinationV1Api, CoreV1Api

CAPACITY = {"cpu": "64", "memory": "256Gi", "pods": "500"}
LOOK_SECONDS = 0.1
RENEW_SECONDS = 10.0
TIMEOUT_SECONDS = 5.0


class FakeKubelet:
    """The kubelets of all nodes in one thread. It outlives an API server that is away.

    Args:
        nodes: capacities, all of it for pods, by name.
        labels: of these nodes, by name.

    Attributes:
        start_seconds: from a pod's binding until it is ready; infinity for never.
        run_seconds: from a pod's binding until it runs, if that is before it is ready.
        drain_seconds: from a pod's deletion until it is gone, within the pod's own grace period.
    """

    start_seconds: float
    run_seconds: float
    drain_seconds: float

    def __init__(
        self,
        client: ApiClient,
        nodes: Mapping[str, Mapping[str, str]] | None = None,
        labels: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        self.reset()
        self._core = CoreV1Api(client)
        self._leases = CoordinationV1Api(client)
        self._nodes = nodes or {"node-0": CAPACITY}
        self._labels = labels or {}
        self._renewed = 0.0
        self._since: dict[tuple[str, bool], float] = {}
        self._addresses = itertools.count(1)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="kubelet", daemon=True)

    def reset(self) -> None:
        """Pods start in half a second and drain in less."""
        self.start_seconds = 0.5
        self.run_seconds = math.inf
        self.drain_seconds = 0.2

    def start(self) -> None:
        """Register the nodes and begin."""
        for node in self._nodes:
            self._register(node)
        self._thread.start()

    def stop(self) -> None:
        """The nodes and their pods stay as they are."""
        self._stopped.set()
        self._thread.join()

    def remove_nodes(self) -> None:
        """Their pods, if there are any, are left to the control plane."""
        for node in self._nodes:
            self._core.delete_node(node)
            self._leases.delete_namespaced_lease(node, "kube-node-lease")

    def _register(self, node: str) -> None:
        ready = {
            "type": "Ready",
            "status": "True",
            "reason": "KubeletReady",
            "lastHeartbeatTime": _now(),
            "lastTransitionTime": _now(),
        }
        labels = {"kubernetes.io/hostname": node, **self._labels.get(node, {})}
        body: Any = {"metadata": {"name": node, "labels": labels}}
        self._core.create_node(body)
        capacity = dict(self._nodes[node])
        status = {"capacity": capacity, "allocatable": capacity, "conditions": [ready]}
        self._core.patch_node_status(node, {"status": status})
        lease: Any = {
            "metadata": {"name": node},
            "spec": {"holderIdentity": node, "leaseDurationSeconds": 40, "renewTime": _now()},
        }
        self._leases.create_namespaced_lease("kube-node-lease", lease)

    def _run(self) -> None:
        while not self._stopped.wait(LOOK_SECONDS):
            with contextlib.suppress(ApiException, urllib3.exceptions.HTTPError):
                self._renew()
                self._look()

    def _renew(self) -> None:
        if time.monotonic() < self._renewed + RENEW_SECONDS:
            return
        for node in self._nodes:
            spec = {"spec": {"renewTime": _now()}}
            self._leases.patch_namespaced_lease(
                node, "kube-node-lease", spec, _request_timeout=TIMEOUT_SECONDS
            )
        self._renewed = time.monotonic()

    def _look(self) -> None:
        """Start pods and remove pods whose time has come."""
        pods = self._pods()
        now = time.monotonic()
        states = [(pod["metadata"]["uid"], "deletionTimestamp" in pod["metadata"]) for pod in pods]
        self._since = {state: self._since.get(state, now) for state in states}
        for pod, state in zip(pods, states, strict=True):
            passed = now - self._since[state]
            _, goes = state
            if goes:
                grace = pod["metadata"].get("deletionGracePeriodSeconds", 0)
                if passed >= min(self.drain_seconds, grace):
                    self._remove(pod["metadata"])
            elif passed >= self.start_seconds:
                if not _is_ready(pod):
                    self._set_status(pod, is_ready=True)
            elif pod["status"]["phase"] == "Pending" and passed >= self.run_seconds:
                self._set_status(pod, is_ready=False)

    def _pods(self) -> list[dict[str, Any]]:
        # Read as plain JSON: as objects, ten times a second, they would take much of a core.
        answer: Any = self._core.list_pod_for_all_namespaces(
            field_selector="spec.nodeName!=", _preload_content=False, _request_timeout=TIMEOUT_SECONDS
        )
        return [pod for pod in json.loads(answer.data)["items"] if pod["spec"]["nodeName"] in self._nodes]

    def _set_status(self, pod: dict[str, Any], *, is_ready: bool) -> None:
        address = pod["status"].get("podIP") or self._new_address()
        states = {"Initialized": True, "ContainersReady": is_ready, "Ready": is_ready}
        conditions = [
            {"type": name, "status": str(state), "lastTransitionTime": _now()}
            for name, state in states.items()
        ]
        containers = [
            {
                "name": container["name"],
                "image": container["image"],
                "imageID": "",
                "ready": is_ready,
                "restartCount": 0,
                "state": {"running": {"startedAt": _now()}},
            }
            for container in pod["spec"]["containers"]
        ]
        status = {
            "phase": "Running",
            "podIP": address,
            "startTime": _now(),
            "conditions": conditions,
            "containerStatuses": containers,
        }
        self._core.patch_namespaced_pod_status(
            pod["metadata"]["name"],
            pod["metadata"]["namespace"],
            {"status": status},
            _request_timeout=TIMEOUT_SECONDS,
        )

    def _new_address(self) -> str:
        number = next(self._addresses)
        return f"10.1.{number // 250}.{number % 250 + 1}"

    def _remove(self, metadata: dict[str, Any]) -> None:
        self._core.delete_namespaced_pod(
            metadata["name"], metadata["namespace"], grace_period_seconds=0, _request_timeout=TIMEOUT_SECONDS
        )


def _is_ready(pod: dict[str, Any]) -> bool:
    conditions = pod["status"].get("conditions", ())
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def _now() -> str:
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
