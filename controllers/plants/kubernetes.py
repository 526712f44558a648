"""One Kubernetes Deployment as a Plant.

The Deployment is read and written through its ``scale`` subresource alone, its pods and their CPU
through the lists that ``kubectl top`` uses, so four verbs are enough: ``get`` and ``update`` on
``deployments/scale``, ``list`` on ``pods``, ``list`` on ``pods`` of ``metrics.k8s.io``.
"""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import yaml
from kubernetes import client, config
from kubernetes.utils.quantity import parse_quantity
from pydantic import Field
from urllib3.exceptions import HTTPError

from simulator.errors import InputError
from simulator.plant import Desired, Metric, PlantGone, Snapshot
from simulator.pod_groups import Pod, PodRules, PodSample, PodTable, group_pods
from simulator.settings import Settings

LOG = logging.getLogger("setpoint.kubernetes")
_NOT_FOUND, _CONFLICT = 404, 409
_MOST_TRIES = 3
_ODD = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError)
_DNS_LABEL = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"
Json = dict[str, Any]


class KubernetesSettings(Settings):
    """Which Deployment, and how its API server is reached."""

    namespace: str = Field(pattern=_DNS_LABEL, max_length=63, description="The Deployment's namespace.")
    deployment: str = Field(pattern=_DNS_LABEL, max_length=253, description="The Deployment's name.")
    kubeconfig: Path | None = Field(
        default=None, description="A kubeconfig file; none: the service account of the pod that this runs in."
    )
    context: str | None = Field(
        default=None, description="A context of the kubeconfig; none: its current one."
    )
    timeout_seconds: float = Field(default=5.0, gt=0, le=60, description="For one request.")
    stale_seconds: float = Field(
        default=120.0, gt=0, le=3600, description="CPU whose oldest sample is older than this is missing."
    )


class MetricSource(Protocol):
    """What measures a service beside its API server."""

    def read(self, now_seconds: float) -> Mapping[str, Metric]:
        """``rate``, ``latency_p95`` and ``queue``; never raises."""
        ...


class NoSource:
    """Nothing is measured: every metric is missing."""

    def read(self, now_seconds: float) -> Mapping[str, Metric]:
        """All missing."""
        del now_seconds
        return {name: Metric.missing((1,)) for name in ("rate", "latency_p95", "queue")}


def connect(settings: KubernetesSettings) -> client.ApiClient:
    """A client of the API server.

    Raises:
        InputError: if there is no usable kubeconfig, or no service account to use instead.
    """
    configuration = client.Configuration()
    configuration.retries = False  # the next tick tries again, from a fresh look
    try:
        if settings.kubeconfig is not None:
            config.load_kube_config(str(settings.kubeconfig), settings.context, configuration)
        else:
            config.load_incluster_config(configuration)
    except (config.ConfigException, yaml.YAMLError, OSError, ValueError, TypeError, LookupError) as error:
        reason = " ".join(str(error).split())
        if settings.kubeconfig is not None:
            msg = f"{settings.kubeconfig}: cannot be used as a kubeconfig ({reason})"
        else:
            msg = f"not in a pod ({reason}); plant.kubeconfig names a kubeconfig file"
        raise InputError(msg) from None
    return client.ApiClient(configuration)


class Deployment:
    """A Deployment as a Plant of one service.

    Args:
        api: authenticated as whoever may do what the module names.
        source: measures rate, latency and queue.
        now: seconds since the epoch.
    """

    def __init__(
        self,
        settings: KubernetesSettings,
        api: client.ApiClient,
        source: MetricSource,
        now: Callable[[], float],
        rules: PodRules | None = None,
    ) -> None:
        self._settings = settings
        self._apps, self._core = client.AppsV1Api(api), client.CoreV1Api(api)
        self._custom = client.CustomObjectsApi(api)
        self._source = source
        self._now = now
        self._rules = rules or PodRules()
        self._scale: Json = {}
        self._cpu_seen = -math.inf
        self._trouble = ""

    def __str__(self) -> str:
        """For messages."""
        return f"deployment {self._settings.namespace}/{self._settings.deployment}"

    def snapshot(self) -> Snapshot:
        """What the API server and the source show now; axis S is 1.

        Raises:
            PlantGone: if the Deployment does not exist.
            OSError: if the API server does not answer or refuses.
        """
        self._scale = self._read_scale()
        try:
            selector = self._scale["status"]["selector"]
            wanted = np.array([self._scale["spec"].get("replicas", 0)], dtype=np.int64)
            listed = self._call(
                "list pods",
                self._core.list_namespaced_pod,
                self._settings.namespace,
                label_selector=selector,
            )["items"]
            now = self._now()
            samples = self._usage(selector, now)
            pods = [read_pod(pod, samples.get(pod["metadata"]["name"]), now) for pod in listed or ()]
        except _ODD as error:
            msg = f"the API server's answer cannot be read ({type(error).__name__}: {error})"
            raise OSError(msg) from None
        counts = np.bincount([_phase_of(pod) for pod in pods], minlength=4)
        metrics = self._source.read(now)
        return Snapshot(
            time_seconds=np.array(now),
            wanted=wanted,
            starting=counts[0:1],
            ready=counts[1:2],
            draining=counts[2:3],
            cpu=self._cpu(pods, now),
            rate=metrics["rate"],
            latency_p95=metrics["latency_p95"],
            queue=metrics["queue"],
            pods={"cpu": group_pods(PodTable.of(pods), self._rules)},
        )

    def apply(self, desired: Desired) -> None:
        """Set the replicas, unless somebody else has changed them since the last snapshot.

        Raises:
            PlantGone: if the Deployment does not exist any more.
            OSError: if the API server refuses, the replicas are not those that were decided upon, or more than
                replicas is asked for.
        """
        if any(part is not None for part in (desired.vcpu, desired.memory_gib, desired.nodes)):
            msg = f"{self}: requests and nodes cannot be set here, replicas alone can"
            raise OSError(msg)
        seen = self._scale["spec"].get("replicas", 0)
        for _ in range(_MOST_TRIES):
            body = {**self._scale, "spec": {"replicas": int(desired.replicas[0])}}
            try:
                self._scale = self._call(
                    "update deployments/scale",
                    self._apps.replace_namespaced_deployment_scale,
                    self._settings.deployment,
                    self._settings.namespace,
                    client.V1Scale.from_dict(body),
                )
            except _ConflictError:
                self._scale = self._read_scale()
                now = self._scale["spec"].get("replicas", 0)
                if now != seen:
                    msg = (
                        f"{self}: replicas went from {seen} to {now} by another hand; decided anew next time"
                    )
                    raise OSError(msg) from None
            else:
                return
        msg = f"{self}: changed {_MOST_TRIES} times while being scaled; tried again next time"
        raise OSError(msg)

    def _read_scale(self) -> Json:
        return self._call(
            "get deployments/scale",
            self._apps.read_namespaced_deployment_scale,
            self._settings.deployment,
            self._settings.namespace,
        )

    def _usage(self, selector: str, now: float) -> dict[str, PodSample]:
        """CPU by pod name; empty where the metrics API does not answer."""
        try:
            listed = self._call(
                "list pods.metrics.k8s.io",
                self._custom.list_namespaced_custom_object,
                "metrics.k8s.io",
                "v1beta1",
                self._settings.namespace,
                "pods",
                label_selector=selector,
            )
        except (OSError, PlantGone) as error:
            self._tell(f"cpu is missing: {error}")
            return {}
        self._tell("")
        samples = (_named_sample(item, now) for item in listed.get("items") or ())
        return dict(sample for sample in samples if sample is not None)

    def _cpu(self, pods: list[Pod], now: float) -> Metric:
        """Used over requested CPU of the ready pods that have a sample and a request."""
        known = [
            (pod.sample, pod.request_milli)
            for pod in pods
            if _phase_of(pod) == _READY and pod.sample is not None and pod.request_milli
        ]
        if not known:
            return Metric.missing((1,), max(now - self._cpu_seen, 0.0))
        age = max(sample.age_seconds for sample, _ in known)
        self._cpu_seen = now - age
        if age > self._settings.stale_seconds:
            return Metric.missing((1,), age)
        used, requested = sum(sample.usage_milli for sample, _ in known), sum(asked for _, asked in known)
        return Metric(np.array([used / requested]), np.array([age]))

    def _call(self, what: str, method: Callable[..., Any], *arguments: object, **options: object) -> Json:
        """One request as JSON; the API server's refusals as errors that say what to do."""
        timeout = self._settings.timeout_seconds
        try:
            answer = method(*arguments, **options, _preload_content=False, _request_timeout=timeout)
            content = json.loads(answer.data)
        except client.ApiException as error:
            raise self._refusal(what, error) from None
        except (HTTPError, ValueError, config.ConfigException) as error:
            reason = re.sub(r"<[^>]*object at 0x[0-9a-f]*>:? ?", "", str(error))
            msg = f"{what}: the API server does not answer ({reason})"
            raise OSError(msg) from None
        if not isinstance(content, dict):
            msg = f"{what}: the API server's answer is no object"
            raise OSError(msg)
        return content

    def _refusal(self, what: str, error: client.ApiException) -> Exception:
        try:
            status = json.loads(error.body or "")
            reason, gone = status["message"], status.get("reason") == "NotFound"
        except _ODD:  # a proxy's page, not the API server's own words
            reason, gone = error.reason, False
        if error.status == _NOT_FOUND and gone and "scale" in what:
            return PlantGone(f"{self} does not exist")
        if error.status == _CONFLICT:
            return _ConflictError(str(reason))
        return OSError(f"{what}: {reason} ({error.status})")

    def _tell(self, trouble: str) -> None:
        """Log once when trouble begins, changes or ends."""
        if trouble and trouble != self._trouble:
            LOG.warning(trouble)
        if self._trouble and not trouble:
            LOG.info("cpu is back")
        self._trouble = trouble


class _ConflictError(OSError):
    """The object has changed since it was read."""


_STARTING, _READY, _DRAINING, _ENDED = range(4)


def _phase_of(pod: Pod) -> int:
    if pod.phase in {"Failed", "Succeeded"}:
        return _ENDED
    if pod.deleted:
        return _DRAINING
    return _READY if pod.ready else _STARTING


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


def _named_sample(item: Json, now_seconds: float) -> tuple[str, PodSample] | None:
    """A pod's name with usage, age and window; None where any container's is missing, as for the HPA."""
    try:
        usage = [_milli(container["usage"]["cpu"]) for container in item["containers"]]
        age, window = _age(item["timestamp"], now_seconds), _duration_seconds(item["window"])
        return (item["metadata"]["name"], PodSample(sum(usage), age, window)) if usage else None
    except _ODD:
        return None


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
