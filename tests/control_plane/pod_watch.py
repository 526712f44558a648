"""What becomes of a namespace's pods, as it happens."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import threading
import time
from dataclasses import dataclass
from typing import Any

import urllib3
from kubernetes.client import ApiClient, CoreV1Api

LONGEST_SECONDS = 120


@dataclass
class PodLife:
    """A pod and when what happened to it; infinity for never, times as of time.monotonic().

    Attributes:
        name: its own.
        app: what its label says.
        node: its name, empty where it has none.
        refused: when the scheduler had found no node.
        told: when it was told to go.
        created_stamp: whole seconds, as the API server wrote it down, and so for ready.
    """

    name: str
    app: str
    node: str
    created: float
    created_stamp: float
    ready_stamp: float = float("inf")
    refused: float = float("inf")
    bound: float = float("inf")
    running: float = float("inf")
    ready: float = float("inf")
    told: float = float("inf")
    gone: float = float("inf")


class PodWatch:
    """Follows pods in a thread from when it is made on.

    Attributes:
        lives: in the order of the pods' creation.
    """

    def __init__(self, client: ApiClient, namespace: str) -> None:
        self.lives: list[PodLife] = []
        self._by_name: dict[str, PodLife] = {}
        self._answer: Any = CoreV1Api(client).list_namespaced_pod(
            namespace,
            watch=True,
            resource_version="0",
            timeout_seconds=LONGEST_SECONDS,
            _preload_content=False,
        )
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        rest = b""
        with contextlib.suppress(urllib3.exceptions.HTTPError, OSError):  # the API server has ended
            while piece := self._answer.read1():
                *lines, rest = (rest + piece).split(b"\n")
                for line in lines:
                    self._see(json.loads(line), time.monotonic())

    def _see(self, event: dict[str, Any], now: float) -> None:
        pod = event["object"]
        metadata, spec, status = pod["metadata"], pod["spec"], pod.get("status", {})
        life = self._by_name.get(metadata["name"])
        if life is None:
            app = metadata.get("labels", {}).get("app", "")
            life = PodLife(metadata["name"], app, "", now, _seconds(metadata["creationTimestamp"]))
            self.lives.append(life)
            self._by_name[metadata["name"]] = life
        life.node = spec.get("nodeName", "")
        conditions = {each["type"]: each for each in status.get("conditions", ())}
        ready = conditions.get("Ready", {"status": "False"})
        if ready["status"] == "True":
            life.ready_stamp = _seconds(ready["lastTransitionTime"])
        happened = {
            "refused": conditions.get("PodScheduled", {}).get("status") == "False",
            "bound": bool(life.node),
            "running": status.get("phase") == "Running",
            "ready": ready["status"] == "True",
            "told": "deletionTimestamp" in metadata or event["type"] == "DELETED",
            "gone": event["type"] == "DELETED",
        }
        for name, is_so in happened.items():
            if is_so:
                setattr(life, name, min(getattr(life, name), now))


def _seconds(stamp: str) -> float:
    return dt.datetime.fromisoformat(stamp).timestamp()
