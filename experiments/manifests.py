"""A rule's settings as what Kubernetes is given: a HorizontalPodAutoscaler, or KEDA's ScaledObject.

Source: kubernetes/kubernetes api autoscaling/v2 and kube-controller-manager's flags ``--horizontal-pod-autoscaler-*``;
kedacore/keda apis/keda/v1alpha1 and its Prometheus scaler.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import yaml

from agents.baselines.hpa import HpaSettings
from agents.baselines.hpa_behavior import DirectionRules, filled_down, filled_up
from agents.baselines.hpa_metrics import MetricSettings
from agents.baselines.hpa_settings import ScalingSettings
from agents.baselines.keda import KedaSettings, TriggerSettings
from agents.registry import check_settings, parse_spec
from controllers.sources.prometheus import PrometheusSettings, queries
from simulator.errors import InputError
from simulator.scenario import Scenario

PROMETHEUS_URL = "http://prometheus.monitoring:9090"
PERIOD_SECONDS, TOLERANCE = 15.0, 0.1
"""Of kube-controller-manager, where its flags are left alone."""
_FLAG = "--horizontal-pod-autoscaler-"
_MILLI, _MIB = 1000, 2**20
_LEAST_RATE_SECONDS = 60
_QUEUE = "http_requests_waiting"
_LONGEST = 63
_LABEL = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
_NAME, _SUBDOMAIN = re.compile(_LABEL), re.compile(rf"(?=.{{1,253}}$){_LABEL}(\.{_LABEL})*")
_OTHERS = re.compile(r"[^a-z0-9]+")
_CONTAINERS = 'container!="",namespace="{namespace}",pod=~"{name}-.*"'

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Scaled:
    """A Deployment, and the fewest and most replicas that it may have.

    Attributes:
        window_seconds: over which the task's rates are.
    """

    name: str
    namespace: str
    min_replicas: int
    max_replicas: int
    window_seconds: float

    @property
    def rate_seconds(self) -> int:
        """Over which Prometheus' rates are: that, but at least what holds some scrapes."""
        return max(round(self.window_seconds), _LEAST_RATE_SECONDS)


def scaled_by(scenario: Scenario, deployment: str | None, namespace: str) -> list[Scaled]:
    """What a task's services are called in a cluster: by their own names, or a single one as given.

    Raises:
        InputError: if a name is none that Kubernetes takes, one is given for several services, or two services come to
            the same.
    """
    services = scenario.system.services
    if deployment is not None and len(services) > 1:
        msg = f"--deployment {deployment}: the task has {len(services)} services, which keep their names; leave it out"
        raise InputError(msg)
    if deployment is not None and not _SUBDOMAIN.fullmatch(deployment):
        msg = f"--deployment {deployment!r}: must be lower-case letters, digits, hyphens and dots, such as web-2"
        raise InputError(msg)
    if not _NAME.fullmatch(namespace):
        msg = f"--namespace {namespace!r}: must be lower-case letters, digits and hyphens, such as shop"
        raise InputError(msg)
    found: dict[str, Scaled] = {}
    for service in services:
        name = deployment or _OTHERS.sub("-", service.name.lower())[:_LONGEST].strip("-") or "web"
        if name in found:
            msg = (
                f"service {service.name!r}: another one is a Deployment {name} already; rename one of the two"
            )
            raise InputError(msg)
        window = scenario.metrics.window_seconds
        found[name] = Scaled(name, namespace, service.min_replicas, service.max_replicas, window)
    return list(found.values())


def manifest_of(spec: str, scaled: list[Scaled], warning: str = "") -> str | None:
    """YAML to apply, a document for each Deployment; None of a rule that Kubernetes has no object for.

    What the object cannot say stands in a comment before it, and a warning if there is one.
    """
    rule = parse_spec(spec)
    if rule.name not in DOCUMENTS:
        return None
    settings = check_settings(rule)
    parts = []
    for one in scaled:
        document, notes = DOCUMENTS[rule.name](settings, one)
        said = (
            spec,
            f"For the Deployment {one.name} in the namespace {one.namespace}; change both if yours differ.",
            *notes,
            *([warning] if warning else []),
        )
        comments = "".join(f"# {line}\n" for line in said)
        parts.append(comments + yaml.safe_dump(document, sort_keys=False, width=110))
    return "---\n".join(parts)


def _hpa(settings: HpaSettings, scaled: Scaled) -> tuple[Document, list[str]]:
    notes = _flags(settings)
    metrics = settings.metrics or (MetricSettings(type="resource", name="cpu", utilization=settings.target),)
    of_pods = all(metric.type not in {"object", "external"} for metric in metrics)
    fewest = max(scaled.min_replicas, 1) if of_pods else scaled.min_replicas
    if fewest != scaled.min_replicas:
        notes.append("minReplicas is 1, since an HPA on metrics of pods cannot wake them from 0.")
    if fewest == 0:
        notes.append("minReplicas 0 needs the feature gate HPAScaleToZero.")
    notes += _adapters(metrics, scaled)
    document = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": _metadata(scaled),
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": scaled.name},
            "minReplicas": fewest,
            "maxReplicas": scaled.max_replicas,
            "metrics": [_metric(metric, scaled) for metric in metrics],
            **_behavior(settings),
        },
    }
    return document, notes


def _keda(settings: KedaSettings, scaled: Scaled) -> tuple[Document, list[str]]:
    notes = _flags(settings)
    fewest = min(max(scaled.min_replicas, settings.min_replicas or 0), scaled.max_replicas)
    spec: Document = {
        "scaleTargetRef": {"name": scaled.name},
        "pollingInterval": round(settings.polling),
        "cooldownPeriod": settings.cooldown,
        "initialCooldownPeriod": round(settings.initial_cooldown),
        "minReplicaCount": fewest,
        "maxReplicaCount": scaled.max_replicas,
    }
    notes += [
        f"{field} is {value:g} s, of which KEDA takes whole ones."
        for field, value in (("polling", settings.polling), ("initial_cooldown", settings.initial_cooldown))
        if value != round(value)
    ]
    if settings.idle is not None:
        spec["idleReplicaCount"] = settings.idle
    if settings.fallback is not None:
        fallback = settings.fallback
        spec["fallback"] = {
            "failureThreshold": fallback.failures,
            "replicas": fallback.replicas,
            "behavior": fallback.behavior,
        }
        if all(trigger.type == "value" for trigger in settings.all_triggers):
            notes.append("The fallback needs KEDA 2.18 or newer, since no trigger is of type AverageValue.")
    behavior = _behavior(settings)
    if behavior:
        spec["advanced"] = {"horizontalPodAutoscalerConfig": behavior}
    spec["triggers"] = [_trigger(trigger, scaled) for trigger in settings.all_triggers]
    if fewest == 0 or settings.idle == 0:
        notes.append(
            "From 0 replicas only a metric of what stands before the pods, such as an ingress, wakes them."
        )
    if scaled.rate_seconds != scaled.window_seconds and "rate(" in str(spec["triggers"]):
        notes.append(
            f"Rates are over {scaled.rate_seconds} s, since rate() needs some scrapes; the task's are over "
            f"{scaled.window_seconds:g} s."
        )
    notes.append("Change serverAddress, and metrics' names and labels in the queries to yours.")
    metadata = _metadata(scaled)
    if annotations := _paused(settings):
        metadata["annotations"] = annotations
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": metadata,
        "spec": spec,
    }, notes


DOCUMENTS: dict[str, Callable[[Any, Scaled], tuple[Document, list[str]]]] = {"hpa": _hpa, "keda": _keda}
"""Rules that Kubernetes has an object for."""


def _metadata(scaled: Scaled) -> Document:
    return {"name": scaled.name, "namespace": scaled.namespace}


def _flags(settings: ScalingSettings) -> list[str]:
    """What only kube-controller-manager's flags say, for all HPAs of a cluster."""
    notes = []
    if settings.period != PERIOD_SECONDS:
        notes.append(f"Not in this object: kube-controller-manager {_FLAG}sync-period={settings.period:g}s.")
    if settings.rules is None:
        notes.append(
            f"Not in this object: kube-controller-manager {_FLAG}downscale-stabilization={settings.window}s "
            f"{_FLAG}tolerance={settings.tolerance:g}."
        )
    elif any(_tolerance(settings, upwards=upwards) for upwards in (True, False)):
        notes.append(
            "tolerance needs Kubernetes' feature HPAConfigurableTolerance (alpha in 1.33); without it, "
            f"kube-controller-manager {_FLAG}tolerance is for all."
        )
    return notes


def _behavior(settings: ScalingSettings) -> Document:
    """All of it, so that no default matters; nothing for an HPA without any."""
    rules = settings.rules
    if rules is None:
        return {}
    down, up = filled_down(rules.scale_down, settings.window), filled_up(rules.scale_up)
    return {
        "behavior": {
            "scaleDown": _direction(down) | _tolerance(settings, upwards=False),
            "scaleUp": _direction(up) | _tolerance(settings, upwards=True),
        }
    }


def _direction(rules: DirectionRules) -> Document:
    return {
        "stabilizationWindowSeconds": int(rules.window_seconds),
        "selectPolicy": rules.select_policy,
        "policies": [
            {"type": policy.type, "value": policy.value, "periodSeconds": policy.period_seconds}
            for policy in rules.policies
        ],
    }


def _tolerance(settings: ScalingSettings, *, upwards: bool) -> Document:
    tolerances = settings.tolerances
    tolerance = tolerances.up if upwards else tolerances.down
    return {} if tolerance == TOLERANCE else {"tolerance": _plain(tolerance)}


def _metric(metric: MetricSettings, scaled: Scaled) -> Document:
    target = _target(metric)
    if metric.type == "resource":
        return {"type": "Resource", "resource": {"name": metric.name, "target": target}}
    if metric.type == "container_resource":
        source = {"name": metric.name, "container": metric.container, "target": target}
        return {"type": "ContainerResource", "containerResource": source}
    found: Document = {"metric": {"name": metric.name}, "target": target}
    if metric.type == "object":
        found["describedObject"] = {"apiVersion": "v1", "kind": "Service", "name": scaled.name}
    return {"type": metric.type.capitalize(), metric.type: found}


def _target(metric: MetricSettings) -> Document:
    if metric.utilization is not None:
        return {"type": "Utilization", "averageUtilization": round(100 * metric.utilization)}
    if metric.value is not None:
        return {"type": "Value", "value": _quantity(metric.value)}
    average = metric.average_value or 0.0
    if metric.type in {"resource", "container_resource"} and metric.name == "memory":
        mebibytes = average == int(average)
        written = f"{int(average)}Mi" if mebibytes else str(round(average * _MIB))
        return {"type": "AverageValue", "averageValue": written}
    return {"type": "AverageValue", "averageValue": _quantity(average)}


def _trigger(trigger: TriggerSettings, scaled: Scaled) -> Document:
    metadata = {
        "serverAddress": PROMETHEUS_URL,
        "query": _query(trigger.metric, scaled),
        "threshold": _plain(trigger.target),
        "activationThreshold": _plain(trigger.activation),
        "ignoreNullValues": "false",
    }
    kind = "AverageValue" if trigger.type == "average_value" else "Value"
    return {"type": "prometheus", "metricType": kind, "metadata": metadata}


def _query(metric: str, scaled: Scaled) -> str:
    """PromQL for a metric by its name: the controller's own queries, or a sum of series of that name."""
    selector = f'namespace="{scaled.namespace}",service="{scaled.name}"'
    known = queries(
        PrometheusSettings(
            url=PROMETHEUS_URL, selector=selector, queue=_QUEUE, window_seconds=scaled.rate_seconds
        )
    )
    if metric in known:
        return known[metric].value
    if metric == "cpu":
        pods = _CONTAINERS.format(namespace=scaled.namespace, name=scaled.name)
        used = f"sum(rate(container_cpu_usage_seconds_total{{{pods}}}[{scaled.rate_seconds}s]))"
        return f'{used} / sum(kube_pod_container_resource_requests{{resource="cpu",{pods}}})'
    return f"sum({metric}{{{selector}}})"


def _adapters(metrics: tuple[MetricSettings, ...], scaled: Scaled) -> list[str]:
    return [
        f"{metric.type} metric {metric.name}: an adapter must serve it, such as Prometheus' with "
        f"{_query(metric.name, scaled)}"
        for metric in metrics
        if metric.type in {"pods", "object", "external"}
    ]


def _paused(settings: KedaSettings) -> dict[str, str]:
    annotations = {}
    if settings.paused:
        annotations["autoscaling.keda.sh/paused"] = "true"
    if settings.paused_replicas is not None:
        annotations["autoscaling.keda.sh/paused-replicas"] = str(settings.paused_replicas)
    if settings.paused_scale_in:
        annotations["autoscaling.keda.sh/paused-scale-in"] = "true"
    if settings.paused_scale_out:
        annotations["autoscaling.keda.sh/paused-scale-out"] = "true"
    return annotations


def _quantity(value: float) -> str:
    """Kubernetes' notation, to thousandths."""
    milli = round(value * _MILLI)
    return str(milli // _MILLI) if milli % _MILLI == 0 else f"{milli}m"


def _plain(value: float) -> str:
    """A decimal number without an exponent."""
    number = format(Decimal(repr(float(value))), "f")
    return number.rstrip("0").rstrip(".") if "." in number else number
