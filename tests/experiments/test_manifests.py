"""Manifests: valid by the published schemas, and read back they mean what the settings meant."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from kubernetes.client import V2HorizontalPodAutoscaler
from typer.testing import CliRunner

from agents.baselines.hpa import HpaSettings
from agents.baselines.hpa_behavior import DirectionRules, filled_down, filled_up
from agents.baselines.hpa_metrics import MetricSettings
from agents.baselines.hpa_proposal import Tolerance
from agents.baselines.hpa_settings import ScalingSettings
from agents.baselines.keda import KedaSettings
from agents.registry import RULES, Spec, check_settings, parse_spec
from agents.space import Ground
from envs.task import load_task
from experiments.cli import app
from experiments.manifests import Scaled, manifest_of, scaled_by
from experiments.run import make_context
from simulator.errors import InputError
from simulator.scenario import Scenario
from simulator.trace import Trace

SCHEMAS = Path(__file__).parent.parent / "data" / "schemas"
WEB = Scaled("web", "shop", 2, 200, 60)
DEFAULTS = ("hpa", "keda:target=40")
GUIDE = (Path(__file__).parents[2] / "docs" / "hpa.md").read_text(encoding="utf-8")
OF_GUIDE = sorted(set(re.findall(r"--policy '?((?:hpa|keda):(?:[^'\n]+(?=')|\S+))", GUIDE)))


def strict(schema: Any) -> Any:
    """A structural schema in which what it does not name is an error, where a server would drop it."""
    if isinstance(schema, list):
        return [strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: strict(value) for key, value in schema.items()}
    if "properties" in found and isinstance(found["properties"], dict) and found.get("type") == "object":
        found.setdefault("additionalProperties", False)
    return found


VALIDATORS = {
    kind: Draft202012Validator(strict(json.loads((SCHEMAS / name).read_text())))
    for kind, name in (
        ("HorizontalPodAutoscaler", "horizontalpodautoscaler-v2.json"),
        ("ScaledObject", "scaledobject-v1alpha1.json"),
    )
}


def documents(spec: str, scaled: Scaled = WEB) -> Any:
    text = manifest_of(spec, [scaled])
    assert text is not None
    (document,) = yaml.safe_load_all(text)
    errors = [error.message for error in VALIDATORS[document["kind"]].iter_errors(document)]
    assert errors == [], text
    return document


def number(quantity: str) -> float:
    """A quantity of Kubernetes'."""
    for suffix, factor in (("Mi", 1), ("m", Decimal(1) / 1000)):
        if quantity.endswith(suffix):
            return float(Decimal(quantity.removesuffix(suffix)) * factor)
    return float(Decimal(quantity))


def meaning(settings: ScalingSettings) -> tuple[DirectionRules, DirectionRules, Tolerance] | None:
    rules = settings.rules
    if rules is None:
        return None
    return filled_down(rules.scale_down, settings.window), filled_up(rules.scale_up), settings.tolerances


def behavior_of(document: dict[str, Any]) -> Any:
    """The behavior setting of a manifest's."""
    if "behavior" not in document:
        return "none"
    names = {"scaleUp": "scale_up", "scaleDown": "scale_down"}
    return {names[way]: rules_of(rules) for way, rules in document["behavior"].items()}


def rules_of(rules: dict[str, Any]) -> dict[str, Any]:
    found = {
        "stabilization_window_seconds": rules["stabilizationWindowSeconds"],
        "select_policy": rules["selectPolicy"],
        "policies": [
            {"type": one["type"], "value": one["value"], "period_seconds": one["periodSeconds"]}
            for one in rules["policies"]
        ],
    }
    return found | ({"tolerance": number(rules["tolerance"])} if "tolerance" in rules else {})


def metric_of(metric: dict[str, Any]) -> MetricSettings:
    kinds = {
        "Resource": "resource",
        "ContainerResource": "container_resource",
        "Pods": "pods",
        "Object": "object",
        "External": "external",
    }
    kind = kinds[metric["type"]]
    (source,) = (value for key, value in metric.items() if key != "type")
    target, name = source["target"], source.get("name") or source["metric"]["name"]
    found: dict[str, Any] = {"type": kind, "name": name, "container": source.get("container")}
    if "averageUtilization" in target:
        found["utilization"] = target["averageUtilization"] / 100
    elif "value" in target:
        found["value"] = number(target["value"])
    else:
        found["average_value"] = number(target["averageValue"])
        if (
            name == "memory"
            and kind in {"resource", "container_resource"}
            and target["averageValue"].isdigit()
        ):
            found["average_value"] /= 2**20
    return MetricSettings.model_validate(found)


def hpa_of(document: dict[str, Any]) -> HpaSettings:
    spec = document["spec"]
    metrics = tuple(metric_of(metric) for metric in spec["metrics"])
    return HpaSettings.model_validate({"metrics": metrics, "behavior": behavior_of(spec)})


def keda_of(document: dict[str, Any]) -> KedaSettings:
    spec = document["spec"]
    config = spec.get("advanced", {}).get("horizontalPodAutoscalerConfig", {})
    nulls = {trigger["metadata"]["ignoreNullValues"] for trigger in spec["triggers"]}
    assert nulls == {"false"}, "no answer is not 0"
    triggers = [
        {
            "metric": trigger["metadata"]["query"],
            "target": float(trigger["metadata"]["threshold"]),
            "activation": float(trigger["metadata"]["activationThreshold"]),
            "type": {"AverageValue": "average_value", "Value": "value"}[trigger["metricType"]],
        }
        for trigger in spec["triggers"]
    ]
    fallback = spec.get("fallback")
    return KedaSettings.model_validate(
        {
            "triggers": triggers,
            "behavior": behavior_of(config),
            "cooldown": spec["cooldownPeriod"],
            "initial_cooldown": spec["initialCooldownPeriod"],
            "polling": spec["pollingInterval"],
            "min_replicas": spec["minReplicaCount"],
            "idle": spec.get("idleReplicaCount"),
            "fallback": fallback
            and {
                "failures": fallback["failureThreshold"],
                "replicas": fallback["replicas"],
                "behavior": fallback["behavior"],
            },
        }
    )


MILLI = st.integers(1, 10_000_000).map(lambda milli: milli / 1000)
POLICIES = st.lists(
    st.fixed_dictionaries(
        {
            "type": st.sampled_from(["Pods", "Percent"]),
            "value": st.integers(1, 10_000),
            "period_seconds": st.integers(1, 1800),
        }
    ),
    min_size=1,
    max_size=3,
)
TOLERANCES = st.none() | st.integers(0, 900).map(lambda milli: milli / 1000)
RULES_OF_A_WAY = st.none() | st.fixed_dictionaries(
    {},
    optional={
        "stabilization_window_seconds": st.none() | st.integers(0, 3600),
        "select_policy": st.sampled_from(["Max", "Min", "Disabled", None]),
        "policies": st.none() | POLICIES,
        "tolerance": TOLERANCES,
    },
)
SCALING = st.fixed_dictionaries(
    {},
    optional={
        "tolerance": st.integers(0, 900).map(lambda milli: milli / 1000),
        "window": st.integers(0, 3600),
        "period": st.sampled_from([15.0, 30.0, 7.5]),
    },
)
WAYS = st.one_of(
    st.just({}),
    st.just({"scale_up": "gentle"}),
    st.just({"behavior": "none"}),
    st.fixed_dictionaries(
        {"behavior": st.fixed_dictionaries({"scale_up": RULES_OF_A_WAY, "scale_down": RULES_OF_A_WAY})}
    ),
)
UTILIZATION = st.integers(1, 1000).map(lambda percent: {"utilization": percent / 100})
AVERAGE, WHOLE = MILLI.map(lambda value: {"average_value": value}), MILLI.map(lambda value: {"value": value})
RESOURCES, NAMES = (
    st.sampled_from(["cpu", "memory"]),
    st.sampled_from(["rate", "queue", "latency_p95", "jobs"]),
)


def metrics_of(kind: str, names: Any, targets: Any, **more: str) -> Any:
    return st.tuples(names, targets).map(lambda both: {"type": kind, "name": both[0], **both[1], **more})


METRICS = st.one_of(
    metrics_of("resource", RESOURCES, UTILIZATION | AVERAGE),
    metrics_of("container_resource", RESOURCES, UTILIZATION | AVERAGE, container="app"),
    metrics_of("pods", NAMES, AVERAGE),
    metrics_of("object", NAMES, AVERAGE | WHOLE),
    metrics_of("external", NAMES, AVERAGE | WHOLE),
)
HPAS = st.tuples(
    SCALING,
    WAYS,
    st.one_of(
        st.just({}),
        st.integers(1, 1000).map(lambda percent: {"target": percent / 100}),
        st.lists(METRICS, min_size=1, max_size=3).map(lambda metrics: {"metrics": metrics}),
    ),
).map(lambda parts: parts[0] | parts[1] | parts[2])
TRIGGERS = st.lists(
    st.fixed_dictionaries(
        {"metric": NAMES | st.just("cpu"), "target": MILLI},
        optional={"activation": MILLI, "type": st.sampled_from(["average_value", "value"])},
    ),
    min_size=1,
    max_size=3,
)
KEDAS = st.tuples(
    SCALING,
    WAYS,
    st.fixed_dictionaries(
        {"triggers": TRIGGERS},
        optional={
            "cooldown": st.integers(0, 86_400),
            "initial_cooldown": st.integers(0, 86_400),
            "polling": st.integers(1, 3600),
            "fallback": st.fixed_dictionaries(
                {"failures": st.integers(0, 9), "replicas": st.integers(0, 99)},
                optional={
                    "behavior": st.sampled_from(["static", "currentReplicas", "currentReplicasIfLower"])
                },
            ),
        },
    ),
    st.just({}) | st.just({"min_replicas": 3}) | st.just({"min_replicas": 3, "idle": 0}),
).map(lambda parts: parts[0] | parts[1] | parts[2] | parts[3])
BOUNDS = st.tuples(st.integers(0, 5), st.integers(0, 200)).map(
    lambda both: Scaled("web", "shop", both[0], max(both[0] + both[1], 1), 60)
)


@given(HPAS, BOUNDS)
def test_an_hpas_manifest_is_valid_and_means_what_its_settings_mean(
    given_: dict[str, Any], scaled: Scaled
) -> None:
    spec = str(Spec("hpa", given_))
    settings = check_settings(parse_spec(spec))
    assert isinstance(settings, HpaSettings)
    document = documents(spec, scaled)
    back = hpa_of(document)
    if settings.rules is None:
        assert back.rules is None
    else:
        assert meaning(back) == meaning(settings)
    wanted = settings.metrics or (MetricSettings(type="resource", name="cpu", utilization=settings.target),)
    assert back.metrics is not None
    assert [metric.rule for metric in back.metrics] == [metric.rule for metric in wanted]
    assert document["spec"]["maxReplicas"] == scaled.max_replicas
    assert document["spec"]["minReplicas"] in {scaled.min_replicas, 1}
    read = V2HorizontalPodAutoscaler.from_dict(document)
    assert read is not None
    assert read.model_dump(by_alias=True, exclude_none=True) == document, "the client knows all of it"


@given(KEDAS, BOUNDS)
def test_a_scaled_object_is_valid_and_means_what_its_settings_mean(
    given_: dict[str, Any], scaled: Scaled
) -> None:
    spec = str(Spec("keda", given_))
    settings = check_settings(parse_spec(spec))
    assert isinstance(settings, KedaSettings)
    document = documents(spec, scaled)
    fewest = min(max(scaled.min_replicas, settings.min_replicas or 0), scaled.max_replicas)
    assert document["spec"]["minReplicaCount"] == fewest
    back = keda_of(document)
    if settings.rules is None:
        assert back.rules is None
    else:
        assert meaning(back) == meaning(settings)
    assert [(one.target, one.activation, one.type) for one in back.all_triggers] == [
        (one.target, one.activation, one.type) for one in settings.all_triggers
    ]
    kept = ("cooldown", "initial_cooldown", "polling", "idle")
    assert [getattr(back, name) for name in kept] == [getattr(settings, name) for name in kept]
    assert back.fallback == settings.fallback


@pytest.mark.parametrize("spec", DEFAULTS)
def test_the_schemas_refuse_what_is_misspelt_or_of_another_kind(spec: str) -> None:
    document = documents(spec)
    validator = VALIDATORS[document["kind"]]
    for name in document["spec"]:
        spoiled = {key + ("s" if key == name else ""): value for key, value in document["spec"].items()}
        assert list(validator.iter_errors(document | {"spec": spoiled})), name
    for name in ("minReplicas", "minReplicaCount"):
        if name in document["spec"]:
            spoiled = document["spec"] | {name: "two"}
            assert list(validator.iter_errors(document | {"spec": spoiled}))


@pytest.mark.parametrize("spec", DEFAULTS)
def test_the_defaults_say_all_that_kubernetes_would_fill_in(spec: str) -> None:
    document = documents(spec)
    behavior = (
        document["spec"].get("behavior")
        or document["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    )
    assert behavior == {
        "scaleDown": {
            "stabilizationWindowSeconds": 300,
            "selectPolicy": "Max",
            "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}],
        },
        "scaleUp": {
            "stabilizationWindowSeconds": 0,
            "selectPolicy": "Max",
            "policies": [
                {"type": "Pods", "value": 4, "periodSeconds": 15},
                {"type": "Percent", "value": 100, "periodSeconds": 15},
            ],
        },
    }


def test_the_guide_has_specs() -> None:
    assert len(OF_GUIDE) == 4


@pytest.mark.parametrize("spec", OF_GUIDE)
def test_what_the_guide_shows_has_a_valid_manifest(spec: str) -> None:
    assert documents(spec)["spec"]["scaleTargetRef"]["name"] == "web"


@pytest.mark.parametrize("name", ["hpa", "keda"])
def test_every_point_of_a_calibration_has_a_valid_manifest(name: str) -> None:
    space, task = RULES[name].space, load_task("web")
    assert space is not None
    load = Trace(np.full(10, 6000.0), 60.0)
    ground = Ground(make_context(task, None, 0), load)
    for point in space.points:
        document = documents(str(Spec(name, space.settings_at(point, ground))))
        assert document["spec"]["scaleTargetRef"]["name"] == "web"


def test_a_trigger_asks_prometheus_as_the_controller_does() -> None:
    document = documents(
        "keda:triggers=[{metric: rate, target: 50}, {metric: jobs, target: 0.5, type: value}]"
    )
    rate, jobs = document["spec"]["triggers"]
    assert rate["type"] == "prometheus"
    assert rate["metadata"]["query"] == 'sum(rate(http_requests_total{namespace="shop",service="web"}[60s]))'
    assert (rate["metadata"]["threshold"], rate["metricType"]) == ("50", "AverageValue")
    assert jobs["metadata"]["query"] == 'sum(jobs{namespace="shop",service="web"})'
    assert (jobs["metadata"]["threshold"], jobs["metricType"]) == ("0.5", "Value")


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("hpa:period=30", "kube-controller-manager --horizontal-pod-autoscaler-sync-period=30s"),
        (
            "hpa:behavior=none,window=60,tolerance=0.05",
            "--horizontal-pod-autoscaler-downscale-stabilization=60s --horizontal-pod-autoscaler-tolerance=0.05",
        ),
        ("hpa:tolerance=0.05", "tolerance needs Kubernetes' feature HPAConfigurableTolerance"),
        (
            "hpa:metrics=[{type: external, name: rate, average_value: 50}]",
            "external metric rate: an adapter must serve it, such as Prometheus' with sum(rate(http_requests_total",
        ),
        ("hpa", "For the Deployment web in the namespace shop; change both if yours differ."),
        ("keda:target=40", "Change serverAddress"),
        (
            "keda:triggers=[{metric: rate, target: 5, type: value}],fallback={replicas: 3}",
            "The fallback needs KEDA 2.18",
        ),
        ("keda:target=40,polling=7.5", "polling is 7.5 s, of which KEDA takes whole ones."),
    ],
)
def test_what_the_object_cannot_say_stands_in_a_comment(spec: str, said: str) -> None:
    text = manifest_of(spec, [WEB])
    assert text is not None
    assert any(line.startswith("# ") and said in line for line in text.splitlines())
    assert documents(spec)


def test_what_is_paused_is_annotated() -> None:
    document = documents("keda:target=40,paused_scale_in=true,paused_replicas=3")
    assert document["metadata"]["annotations"] == {
        "autoscaling.keda.sh/paused-replicas": "3",
        "autoscaling.keda.sh/paused-scale-in": "true",
    }


def test_from_zero_an_hpa_on_cpu_keeps_one_and_a_scaled_object_none() -> None:
    sleeper = Scaled("web", "shop", 0, 9, 60)
    assert documents("hpa", sleeper)["spec"]["minReplicas"] == 1
    assert (
        documents("hpa:metrics=[{type: external, name: rate, average_value: 50}]", sleeper)["spec"][
            "minReplicas"
        ]
        == 0
    )
    assert documents("keda:target=40", sleeper)["spec"]["minReplicaCount"] == 0


def test_an_application_has_a_document_for_each_service() -> None:
    scaled = scaled_by(load_task("shop3").scenario, None, "shop")
    text = manifest_of("hpa:target=0.6", scaled)
    assert text is not None
    found = list(yaml.safe_load_all(text))
    assert [one["metadata"]["name"] for one in found] == [one.name for one in scaled]
    assert len(found) == 3
    with pytest.raises(InputError, match="--deployment web: the task has 3 services"):
        scaled_by(load_task("shop3").scenario, "web", "shop")


def test_rules_that_kubernetes_does_not_have_are_no_manifest() -> None:
    assert manifest_of("staffing", [WEB]) is None


@pytest.mark.parametrize(
    ("name", "namespace"),
    [
        ("Web", "shop"),
        ("web", "my shop"),
        ("-a", "shop"),
        ("a" * 64, "shop"),
        ("a..b", "shop"),
        ("web", "a.b"),
    ],
)
def test_names_that_kubernetes_does_not_take_are_refused(name: str, namespace: str) -> None:
    with pytest.raises(InputError, match="must be lower-case letters, digits"):
        scaled_by(load_task("web").scenario, name, namespace)


def test_a_deployment_may_be_a_subdomain_and_rates_are_over_the_tasks_window() -> None:
    scenario = load_task("web").scenario
    slow = scenario.model_copy(
        update={"metrics": scenario.metrics.model_copy(update={"window_seconds": 120.0})}
    )
    (one,) = scaled_by(slow, "web.v2", "shop")
    (trigger,) = documents("keda:target=40", one)["spec"]["triggers"]
    assert one.name == "web.v2"
    assert trigger["metadata"]["query"].endswith("[120s]))")
    text = manifest_of("keda:target=40", scaled_by(scenario, None, "shop"))
    assert text is not None
    assert scenario.metrics.window_seconds == 15
    assert "# Rates are over 60 s, since rate() needs some scrapes; the task's are over 15 s." in text


def test_two_services_that_would_be_one_deployment_are_refused() -> None:
    shop = load_task("shop3").scenario
    first, second, *others = shop.system.services
    named = [first.model_copy(update={"name": "web.a"}), second.model_copy(update={"name": "web-a"}), *others]
    twins = SimpleNamespace(system=SimpleNamespace(services=named), metrics=shop.metrics)
    with pytest.raises(InputError, match="service 'web-a': another one is a Deployment web-a already"):
        scaled_by(cast("Scenario", twins), None, "shop")


def test_the_command_prints_what_is_to_be_applied() -> None:
    done = CliRunner().invoke(
        app, ["manifest", "keda:target=40", "--deployment", "web", "--namespace", "shop"]
    )
    assert done.exit_code == 0
    assert done.stdout == manifest_of("keda:target=40", scaled_by(load_task("web").scenario, "web", "shop"))
    for policy, message in (("staffing", "there are: hpa, keda"), ("keda", "target")):
        refused = CliRunner().invoke(app, ["manifest", policy])
        assert refused.exit_code != 0
        assert message in str(refused.exception)
