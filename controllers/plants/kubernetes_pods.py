"""Pods and their usage, read out of the JSON of a Kubernetes API server."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from kubernetes.utils.quantity import parse_quantity

from simulator.pod_groups import Pod, PodSample

Json = dict[str, Any]
ODD: Final = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError)
"""What reading an answer that is not as it should be may raise."""
UNITS: Final = {"cpu": 1, "memory": 2**20}
"""What one unit of a resource is in Kubernetes' own: a core, and a MiB in bytes."""


def read_pod(pod: Json, sample: PodSample | None, now_seconds: float) -> Pod:
    """A Pod from the API's JSON.

    Args:
        sample: its CPU usage, None if the metrics API has none.
        now_seconds: seconds since the epoch.
    """
    status = pod.get("status", {})
    condition = next((one for one in status.get("conditions", ()) if one["type"] == "Ready"), None)
    started = status.get("startTime")
    changed = condition.get("lastTransitionTime") if condition else None
    return Pod(
        phase=status.get("phase", "Pending"),
        deleted="deletionTimestamp" in pod["metadata"],
        ready=None if condition is None else condition["status"] == "True",
        start_age_seconds=_age(started, now_seconds) if started else None,
        ready_age_seconds=_age(changed, now_seconds) if changed else 0.0,
        request_milli=request_milli(pod["spec"]),
        sample=sample,
    )


def request_milli(spec: Json, resource: str = "cpu", container: str = "") -> int | None:
    """A pod's request of a resource in thousandths as the HPA adds it up; None where a container has none.

    Init containers count where they go on running (``restartPolicy: Always``); a request of the
    whole pod stands for all of its containers'. Where a container is named, it alone counts, and
    nothing where the pod has none of that name. Source: kubernetes/kubernetes
    pkg/controller/podautoscaler/replica_calculator.go, ``calculatePodRequests``.
    """
    whole = spec.get("resources", {}).get("requests", {}).get(resource)
    if whole is not None and not container:
        return _milli(whole)
    sidecars = [one for one in spec.get("initContainers", ()) if one.get("restartPolicy") == "Always"]
    asked = [
        one.get("resources", {}).get("requests", {}).get(resource)
        for one in (*spec["containers"], *sidecars)
        if not container or one["name"] == container
    ]
    if None in asked:
        return None
    return sum(_milli(quantity) for quantity in asked)


@dataclass(frozen=True, slots=True)
class PodUsage:
    """What one pod's containers use, by their name and resource, in thousandths of the resource's unit."""

    containers: Mapping[str, Mapping[str, int]]
    age_seconds: float
    window_seconds: float

    def sample(self, resource: str = "cpu", container: str = "") -> PodSample | None:
        """The pod's sample, or one container's; None where any container's is missing, as for the HPA."""
        usage = [
            used.get(resource) for name, used in self.containers.items() if not container or name == container
        ]
        known = [one for one in usage if one is not None]
        if not usage or len(known) < len(usage):
            return None
        return PodSample(sum(known), self.age_seconds, self.window_seconds)


def named_usage(item: Json, now: float) -> tuple[str, PodUsage] | None:
    """A pod's name and usage; None where it cannot be read."""
    try:
        containers = {
            one.get("name", str(place)): {
                resource: _in_unit(_milli(one["usage"][resource]), resource)
                for resource in UNITS
                if resource in one["usage"]
            }
            for place, one in enumerate(item["containers"])
        }
        age, window = _age(item["timestamp"], now), _duration_seconds(item["window"])
        return item["metadata"]["name"], PodUsage(containers, age, window)
    except ODD:
        return None


def for_resource(spec: Json, pod: Pod, usage: PodUsage | None, resource: str, container: str) -> Pod:
    """The pod with a resource's request and sample."""
    asked = request_milli(spec, resource, container)
    request = None if asked is None else _in_unit(asked, resource)
    sample = None if usage is None else usage.sample(resource, container)
    return replace(pod, request_milli=request, sample=sample)


def _in_unit(milli: int, resource: str) -> int:
    """Thousandths of cores, or of MiB for memory, rounded up."""
    return -(-milli // UNITS[resource])


def _milli(quantity: str) -> int:
    """Thousandths, rounded up as ``Quantity.MilliValue`` does."""
    return math.ceil(Decimal(parse_quantity(quantity)) * 1000)


def _age(timestamp: str, now_seconds: float) -> float:
    return max(now_seconds - datetime.fromisoformat(timestamp).timestamp(), 0.0)


def _duration_seconds(text: str) -> float:
    """Seconds of a Go duration such as ``1m30.5s``."""
    units = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "\N{MICRO SIGN}s": 1e-6, "ns": 1e-9}
    parts = re.findall(r"([0-9.]+)(ms|us|\u00b5s|ns|h|m|s)", text)
    return sum(float(number) * units[unit] for number, unit in parts)
