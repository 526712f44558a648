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
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import yaml
from kubernetes import client, config
from pydantic import Field
from urllib3.exceptions import HTTPError

from controllers.plants.kubernetes_pods import (
    ODD,
    UNITS,
    Json,
    PodUsage,
    for_resource,
    named_usage,
    read_pod,
)
from simulator.errors import InputError
from simulator.plant import Desired, Metric, PlantGone, Snapshot
from simulator.pod_groups import Pod, PodGroups, PodRules, PodTable, group_pods
from simulator.settings import Settings

LOG = logging.getLogger("setpoint.kubernetes")
_NOT_FOUND, _CONFLICT = 404, 409
_MOST_TRIES = 3
_DNS_LABEL = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"


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
        self._seen: dict[str, float] = {}
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
            usages = self._usage(selector, now)
            pods, groups = self._pods(listed or [], usages, now)
        except ODD as error:
            msg = f"the API server's answer cannot be read ({type(error).__name__}: {error})"
            raise OSError(msg) from None
        counts = np.bincount([_phase_of(pod) for pod in pods["cpu"]], minlength=4)
        metrics = self._source.read(now)
        return Snapshot(
            time_seconds=np.array(now),
            wanted=wanted,
            starting=counts[0:1],
            ready=counts[1:2],
            draining=counts[2:3],
            cpu=self._share("cpu", pods["cpu"], now),
            rate=metrics["rate"],
            latency_p95=metrics["latency_p95"],
            queue=metrics["queue"],
            metrics={"memory": self._share("memory", pods["memory"], now)},
            pods=groups,
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

    def _pods(
        self, listed: list[Json], usages: Mapping[str, PodUsage], now: float
    ) -> tuple[dict[str, list[Pod]], dict[str, PodGroups]]:
        """The pods as seen for each resource, and in groups; for each container, too, where there are several."""
        rows = [
            (one["spec"], read_pod(one, None, now), usages.get(one["metadata"]["name"])) for one in listed
        ]
        names = {part.get("name", "") for spec, _, _ in rows for part in spec["containers"]}
        pods, groups = {}, {}
        for resource, container in product(UNITS, ["", *(sorted(names) if len(names) > 1 else ())]):
            key = f"{resource}/{container}" if container else resource
            pods[key] = [for_resource(*row, resource, container) for row in rows]
            rules = self._rules if resource == "cpu" else replace(self._rules, trust_all=True)
            groups[key] = group_pods(PodTable.of(pods[key]), rules)
        return pods, groups

    def _usage(self, selector: str, now: float) -> dict[str, PodUsage]:
        """Usage by pod name; empty where the metrics API does not answer."""
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
        usages = (named_usage(item, now) for item in listed.get("items") or ())
        return dict(usage for usage in usages if usage is not None)

    def _share(self, resource: str, pods: list[Pod], now: float) -> Metric:
        """Used over requested of the ready pods that have a sample and a request."""
        known = [
            (pod.sample, pod.request_milli)
            for pod in pods
            if _phase_of(pod) == _READY and pod.sample is not None and pod.request_milli
        ]
        if not known:
            return Metric.missing((1,), max(now - self._seen.get(resource, -math.inf), 0.0))
        age = max(sample.age_seconds for sample, _ in known)
        self._seen[resource] = now - age
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
        except ODD:  # a proxy's page, not the API server's own words
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
