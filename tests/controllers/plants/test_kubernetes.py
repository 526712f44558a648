"""What is read out of the API's JSON, and how requests fail; a real API server is asked in test_deployment.py."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from case_tables import Case, parameters
from kubernetes import client

from controllers.plants.kubernetes import (
    Deployment,
    KubernetesSettings,
    NoSource,
    connect,
)
from controllers.plants.kubernetes_pods import read_pod, request_milli
from simulator.errors import InputError
from simulator.plant import Desired, PlantGone
from simulator.pod_groups import PodSample

ROOT = Path(__file__).parents[3]
NOW = 1_700_000_000.0
SETTINGS = KubernetesSettings(namespace="shop", deployment="web")


def stamp(age_seconds: float) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(NOW - age_seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def pod(name: str, phase: str = "Running", ready: str | None = "True", **metadata: str) -> dict[str, Any]:
    conditions = (
        [] if ready is None else [{"type": "Ready", "status": ready, "lastTransitionTime": stamp(70)}]
    )
    return {
        "metadata": {"name": name, **metadata},
        "spec": {"containers": [{"resources": {"requests": {"cpu": "500m"}}}]},
        "status": {"phase": phase, "startTime": stamp(100), "conditions": conditions},
    }


def test_a_pod_is_read_with_its_ages() -> None:
    sample = PodSample(100, 5.0, 30.0)
    found = read_pod(pod("a"), sample, NOW)
    assert (found.phase, found.deleted, found.ready) == ("Running", False, True)
    assert (found.start_age_seconds, found.ready_age_seconds) == (100.0, 70.0)
    assert (found.request_milli, found.sample) == (500, sample)
    fresh = read_pod({"metadata": {"name": "b"}, "spec": {"containers": [{}]}}, None, NOW)
    assert (fresh.phase, fresh.ready, fresh.start_age_seconds, fresh.request_milli) == (
        "Pending",
        None,
        None,
        None,
    )
    assert read_pod(pod("c", deletionTimestamp=stamp(1)), None, NOW).deleted


def container(case: Case, resource: str) -> Case:
    asked = case["request_milli"]
    resources = {} if asked is None else {"resources": {"requests": {resource: f"{asked}m"}}}
    policy = case.get("restart_policy")
    return {"name": case.get("name", "")} | resources | ({"restartPolicy": policy} if policy else {})


def check_requests(case: Case) -> None:
    resource, found = case["resource"], {}
    for one in case["pods"]:
        whole = one["pod_level_request_milli"] if case["pod_level_requests_enabled"] else None
        spec = {
            "containers": [container(part, resource) for part in one["containers"]],
            "initContainers": [container(part, resource) for part in one["init_containers"]],
        } | ({} if whole is None else {"resources": {"requests": {resource: f"{whole}m"}}})
        found[one["name"]] = request_milli(spec, resource, case["container"])
    if "error" in case["expected"]:
        assert None in found.values()
    else:
        assert found == case["expected"]["requests_milli"]


CHECKS = {"hpa_pod_requests": check_requests}


@pytest.mark.parametrize(("table", "case"), parameters(CHECKS))
def test_case_requests_add_up_as_upstream_says(table: str, case: Case) -> None:
    CHECKS[table](case)


class Response:
    def __init__(self, content: object) -> None:
        self.data = json.dumps(content).encode()


class FakeApi:
    """Answers by method; each may be an answer or an error to raise, the last one stays."""

    def __init__(self, **answers: list[Any]) -> None:
        self.answers = answers
        self.bodies: list[Any] = []

    def call(self, name: str, *arguments: Any, **options: Any) -> Response:
        if name == "replace_namespaced_deployment_scale":
            self.bodies.append(client.ApiClient().sanitize_for_serialization(arguments[2]))
        left = self.answers[name]
        answer = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(answer, Exception):
            raise answer
        return Response(answer)


def refusal(status: int, message: str) -> client.ApiException:
    error = client.ApiException(status=status, reason="Refused")
    error.body = json.dumps({"message": message, "reason": "NotFound" if status == 404 else "Refused"})
    return error


def scale(replicas: int, version: str = "1") -> dict[str, Any]:
    metadata = {"name": "web", "namespace": "shop", "resourceVersion": version}
    status = {"replicas": replicas, "selector": "app=web"}
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": metadata,
        "spec": {"replicas": replicas},
        "status": status,
    }


USAGE = {
    "items": [
        {
            "metadata": {"name": name},
            "timestamp": stamp(age),
            "window": "30s",
            "containers": [{"usage": {"cpu": cpu}}],
        }
        for name, age, cpu in (("a", 12, "250m"), ("b", 20, "150000001n"))
    ]
}
PODS = {
    "items": [
        pod("a"),
        pod("b"),
        pod("c", ready="False"),
        pod("d", phase="Pending", ready=None),
        pod("e", deletionTimestamp=stamp(3)),
        pod("f", phase="Failed", ready="False"),
    ]
}
HEALTHY: dict[str, list[Any]] = {
    "read_namespaced_deployment_scale": [scale(4)],
    "list_namespaced_pod": [PODS],
    "list_namespaced_custom_object": [USAGE],
    "replace_namespaced_deployment_scale": [scale(6, "2")],
}


def deployment(monkeypatch: pytest.MonkeyPatch, **answers: list[Any]) -> tuple[Deployment, FakeApi]:
    api = FakeApi(**(HEALTHY | answers))
    for group in (client.AppsV1Api, client.CoreV1Api, client.CustomObjectsApi):
        for name in HEALTHY:
            if hasattr(group, name):
                monkeypatch.setattr(
                    group,
                    name,
                    lambda _, *arguments, name=name, **options: api.call(name, *arguments, **options),
                )
    return Deployment(SETTINGS, client.ApiClient(), NoSource(), lambda: NOW), api


def wish(replicas: int) -> Desired:
    import numpy as np

    return Desired(np.array([replicas]))


def test_the_snapshot_counts_pods_and_measures_the_ready_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    plant, _ = deployment(monkeypatch)
    seen = plant.snapshot()
    assert (int(seen.wanted[0]), int(seen.starting[0]), int(seen.ready[0]), int(seen.draining[0])) == (
        4,
        2,
        2,
        1,
    )
    assert seen.cpu.value[0] == pytest.approx((250 + 151) / 1000), "upstream rounds a share of a millicore up"
    assert seen.cpu.age_seconds[0] == 20.0
    groups = seen.pods["cpu"]
    assert [
        int(group.count[0]) for group in (groups.counted, groups.unready, groups.missing, groups.ignored)
    ] == [
        2,
        1,
        1,
        2,
    ]
    assert math.isnan(seen.rate.value[0])


def test_memory_and_single_containers_are_seen_as_the_hpa_sees_them(monkeypatch: pytest.MonkeyPatch) -> None:
    def two(name: str) -> dict[str, Any]:
        asked = {"web": {"cpu": "500m", "memory": "1Gi"}, "proxy": {"cpu": "100m", "memory": "128Mi"}}
        containers = [{"name": part, "resources": {"requests": one}} for part, one in asked.items()]
        return pod(name) | {"spec": {"containers": containers}}

    def used(name: str, **parts: dict[str, str]) -> dict[str, Any]:
        containers = [{"name": part, "usage": usage} for part, usage in parts.items()]
        meta = {"metadata": {"name": name}, "timestamp": stamp(12), "window": "30s"}
        return meta | {"containers": containers}

    proxy = {"cpu": "50m", "memory": "64Mi"}
    usage = [
        used("a", web={"cpu": "100m", "memory": "512Mi"}, proxy=proxy),
        used("b", web={"cpu": "200m"}, proxy=proxy),
    ]
    plant, _ = deployment(
        monkeypatch,
        list_namespaced_pod=[{"items": [two("a"), two("b")]}],
        list_namespaced_custom_object=[{"items": usage}],
    )
    seen = plant.snapshot()
    assert set(seen.pods) == {"cpu", "memory", "cpu/web", "cpu/proxy", "memory/web", "memory/proxy"}
    counted = {name: groups.counted for name, groups in seen.pods.items()}
    found = {
        name: (int(one.count[0]), int(one.usage_milli[0]), int(one.request_milli[0]))
        for name, one in counted.items()
    }
    assert found["cpu"] == (2, 400, 1200)
    assert found["cpu/proxy"] == (2, 100, 200)
    assert found["memory"] == (1, 576_000, 1_152_000), "in MiB; b's is missing, since one container's is"
    assert found["memory/proxy"] == (2, 128_000, 256_000)
    assert int(seen.pods["memory"].missing.count[0]) == 1
    assert seen.metrics["memory"].value[0] == pytest.approx(576 / 1152)


@pytest.mark.parametrize(
    "fault", [refusal(404, "the server could not find the requested resource"), refusal(503, "unavailable")]
)
def test_without_the_metrics_api_cpu_is_missing_and_the_rest_is_there(
    fault: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    plant, api = deployment(monkeypatch, list_namespaced_custom_object=[USAGE, fault])
    assert plant.snapshot().cpu.value[0] > 0
    for _ in range(2):
        seen = plant.snapshot()
        assert math.isnan(seen.cpu.value[0])
        assert seen.cpu.age_seconds[0] == 20.0
        assert int(seen.ready[0]) == 2
        assert int(seen.pods["cpu"].missing.count[0]) == 3
    assert len([one for one in caplog.messages if one.startswith("cpu is missing")]) == 1
    api.answers["list_namespaced_custom_object"] = [USAGE]
    assert plant.snapshot().cpu.value[0] > 0


def test_replicas_are_set_at_the_version_that_was_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    plant, api = deployment(monkeypatch)
    plant.snapshot()
    plant.apply(wish(6))
    (body,) = api.bodies
    assert body["spec"] == {"replicas": 6}
    assert body["metadata"]["resourceVersion"] == "1"


def test_a_conflict_is_retried_on_fresh_state_where_the_replicas_are_as_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plant, api = deployment(
        monkeypatch,
        read_namespaced_deployment_scale=[scale(4, "1"), scale(4, "2")],
        replace_namespaced_deployment_scale=[refusal(409, "has been modified"), scale(6, "3")],
    )
    plant.snapshot()
    plant.apply(wish(6))
    assert [body["metadata"]["resourceVersion"] for body in api.bodies] == ["1", "2"]


def test_a_change_by_another_hand_is_not_overwritten(monkeypatch: pytest.MonkeyPatch) -> None:
    plant, api = deployment(
        monkeypatch,
        read_namespaced_deployment_scale=[scale(4, "1"), scale(9, "2")],
        replace_namespaced_deployment_scale=[refusal(409, "has been modified")],
    )
    plant.snapshot()
    with pytest.raises(OSError, match="deployment shop/web: replicas went from 4 to 9 by another hand"):
        plant.apply(wish(6))
    assert len(api.bodies) == 1


def test_endless_conflicts_end_after_three_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    plant, api = deployment(
        monkeypatch, replace_namespaced_deployment_scale=[refusal(409, "has been modified")]
    )
    plant.snapshot()
    with pytest.raises(OSError, match="changed 3 times while being scaled"):
        plant.apply(wish(6))
    assert len(api.bodies) == 3


@pytest.mark.parametrize("method", ["snapshot", "apply"])
def test_a_deleted_deployment_is_gone(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = refusal(404, 'deployments.apps "web" not found')
    plant, api = deployment(monkeypatch)
    plant.snapshot()
    for name in ("read_namespaced_deployment_scale", "replace_namespaced_deployment_scale"):
        api.answers[name] = [gone]
    with pytest.raises(PlantGone, match="deployment shop/web does not exist"):
        plant.snapshot() if method == "snapshot" else plant.apply(wish(6))


@pytest.mark.parametrize("name", ["read_namespaced_deployment_scale", "list_namespaced_pod"])
def test_a_refusal_names_what_was_asked_and_why(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plant, _ = deployment(monkeypatch, **{name: [refusal(403, "user u cannot do that")]})
    with pytest.raises(OSError, match=r"(get deployments/scale|list pods): user u cannot do that \(403\)"):
        plant.snapshot()


def test_no_answer_is_an_os_error_in_one_line() -> None:
    configuration = client.Configuration(host="http://127.0.0.1:9")
    plant = Deployment(SETTINGS, client.ApiClient(configuration), NoSource(), lambda: NOW)
    with pytest.raises(OSError, match="get deployments/scale: the API server does not answer") as caught:
        plant.snapshot()
    assert "object at" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_kubeconfig_that_cannot_be_used_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    for content in (None, "", "hello", "a: [", "apiVersion: v1\nkind: Config\n"):
        path = tmp_path / "config"
        path.unlink(missing_ok=True)
        if content is not None:
            path.write_text(content)
        with pytest.raises(InputError, match=f"{path}: cannot be used as a kubeconfig"):
            connect(SETTINGS.model_copy(update={"kubeconfig": path}))
    with pytest.raises(InputError, match="not in a pod .*; plant.kubeconfig names a kubeconfig file"):
        connect(SETTINGS)


def test_a_proxys_404_is_no_deleted_deployment(monkeypatch: pytest.MonkeyPatch) -> None:
    page = client.ApiException(status=404, reason="Not Found")
    page.body = "<html>404 page not found</html>"
    plant, _ = deployment(monkeypatch, read_namespaced_deployment_scale=[page])
    with pytest.raises(OSError, match=r"get deployments/scale: Not Found \(404\)"):
        plant.snapshot()


@pytest.mark.parametrize("name", list(HEALTHY)[:2])
@pytest.mark.parametrize("answer", [None, [], {}, {"items": [{}]}, {"status": None}])
def test_an_odd_answer_is_an_os_error(name: str, answer: object, monkeypatch: pytest.MonkeyPatch) -> None:
    plant, _ = deployment(monkeypatch, **{name: [answer]})
    with pytest.raises(OSError, match="answer"):
        plant.snapshot()


@pytest.mark.parametrize(
    "change",
    [
        {"containers": []},
        {"containers": None},
        {"containers": [{"usage": {"memory": "1Mi"}}]},
        {"timestamp": None},
        {"window": None},
        {"metadata": {}},
    ],
)
def test_a_pod_whose_metrics_are_odd_has_none_and_the_others_keep_theirs(
    change: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = USAGE["items"]
    plant, _ = deployment(monkeypatch, list_namespaced_custom_object=[{"items": [first, second | change]}])
    seen = plant.snapshot()
    assert seen.cpu.value[0] == pytest.approx(0.5), "never 0"
    assert int(seen.pods["cpu"].missing.count[0]) == 2


def test_no_items_at_all_are_missing_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    plant, _ = deployment(monkeypatch, list_namespaced_custom_object=[{"items": None}])
    assert math.isnan(plant.snapshot().cpu.value[0])


def test_cpu_that_is_too_old_is_missing_at_its_age(monkeypatch: pytest.MonkeyPatch) -> None:
    old = {"items": [item | {"timestamp": stamp(121)} for item in USAGE["items"]]}
    plant, _ = deployment(monkeypatch, list_namespaced_custom_object=[old])
    seen = plant.snapshot()
    assert math.isnan(seen.cpu.value[0])
    assert seen.cpu.age_seconds[0] == 121.0
