"""Each joint of the control plane once: what the controllers' tests stand on."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from control_plane import binaries
from control_plane.cluster import ControlPlane
from control_plane.kubelet import FakeKubelet
from control_plane.process import NOT_YET, wait_until
from control_plane.prometheus import Application, Prometheus
from control_plane.resource_metrics import MetricsServer
from kubernetes.client import (
    ApiException,
    ApiextensionsV1Api,
    AppsV1Api,
    CoreV1Api,
    CustomObjectsApi,
    RbacAuthorizationV1Api,
)

SCALE = {"apiGroups": ["apps"], "resources": ["deployments/scale"], "verbs": ["get", "patch", "update"]}


@pytest.fixture
def apps(control_plane: ControlPlane) -> AppsV1Api:
    return AppsV1Api(control_plane.admin)


@pytest.fixture
def core(control_plane: ControlPlane) -> CoreV1Api:
    return CoreV1Api(control_plane.admin)


def test_without_a_cache_or_a_folder_the_reason_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    monkeypatch.delenv("SETPOINT_KUBE_BINARIES", raising=False)
    monkeypatch.setenv("SETPOINT_CACHE", str(tmp_path))
    with pytest.raises(
        FileNotFoundError, match=r"no etcd .*control-plane-\w{12}: run `make control-plane`, or"
    ):
        binaries.require("etcd")
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="set SETPOINT_KUBE_BINARIES to a folder"):
        binaries.require("kube-scheduler")


def test_two_programs_are_enough(
    control_plane: ControlPlane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for program in binaries.require("etcd", "kube-apiserver"):
        (tmp_path / program.name).symlink_to(program)
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path))
    monkeypatch.delenv("SETPOINT_KUBE_BINARIES", raising=False)
    with ControlPlane() as small:
        assert not small.has_controllers
        assert set(small.tails()) == {"etcd", "kube-apiserver"}
        assert small.create_namespace() not in [
            namespace.metadata.name for namespace in CoreV1Api(control_plane.admin).list_namespace().items
        ]
        folder = small.kubeconfig.parent
    assert not folder.exists()


def test_no_program_outlives_a_run_that_is_killed(tmp_path: Path) -> None:
    script = (
        "import pathlib, shutil, time; from control_plane.process import Process\n"
        f"sleep = Process([shutil.which('sleep'), '600'], pathlib.Path({str(tmp_path)!r}))\n"
        "sleep.start(); print(sleep._running.pid, flush=True); time.sleep(600)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as run:
        assert run.stdout is not None
        pid = int(run.stdout.readline())
        name = Path(f"/proc/{pid}/comm")
        wait_until(lambda: name.read_text() == "sleep\n", "setpriv has become the program")
        run.kill()
    wait_until(lambda: ended(pid), "the program has ended")


def ended(pid: int) -> bool:
    """Whether a process is gone, or gone but for its parent's notice."""
    status = Path(f"/proc/{pid}/status")
    return not status.exists() or "State:\tZ" in status.read_text()


def deploy(apps: AppsV1Api, namespace: str, replicas: int = 1) -> None:
    container = {"name": "main", "image": "none", "resources": {"requests": {"cpu": "100m"}}}
    labels = {"app": "web"}
    body: Any = {
        "metadata": {"name": "web"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    }
    apps.create_namespaced_deployment(namespace, body)


def scale(apps: AppsV1Api, namespace: str, replicas: int) -> None:
    apps.patch_namespaced_deployment_scale("web", namespace, {"spec": {"replicas": replicas}})


def wait_for_ready(apps: AppsV1Api, namespace: str, replicas: int) -> None:
    wait_until(
        lambda: (
            (apps.read_namespaced_deployment_status("web", namespace).status.ready_replicas or 0) == replicas
        ),
        f"{replicas} replicas are ready",
    )


def test_a_scaled_deployment_gets_ready_pods_and_drains(
    apps: AppsV1Api, core: CoreV1Api, namespace: str, kubelet: FakeKubelet
) -> None:
    deploy(apps, namespace)
    wait_for_ready(apps, namespace, 1)
    scale(apps, namespace, 10)
    wait_for_ready(apps, namespace, 10)

    kubelet.drain_seconds = 3600.0
    scale(apps, namespace, 2)
    pods = wait_until(
        lambda: draining(core, namespace, count=8), "8 pods are told to go and stay while they drain"
    )
    assert len(pods) == 10
    kubelet.drain_seconds = 0.0
    wait_until(lambda: len(core.list_namespaced_pod(namespace).items) == 2, "the drained pods are gone")
    wait_for_ready(apps, namespace, 2)


def draining(core: CoreV1Api, namespace: str, count: int) -> list[Any]:
    """All pods, once this many of them drain."""
    pods = core.list_namespaced_pod(namespace).items
    return pods if sum(pod.metadata.deletion_timestamp is not None for pod in pods) == count else []


def test_a_pod_takes_its_time_to_start(apps: AppsV1Api, namespace: str, kubelet: FakeKubelet) -> None:
    kubelet.start_seconds = 2.0
    begin = time.monotonic()
    deploy(apps, namespace)
    wait_for_ready(apps, namespace, 1)
    assert time.monotonic() - begin >= 2.0


def test_what_was_read_too_long_ago_conflicts(apps: AppsV1Api, namespace: str) -> None:
    deploy(apps, namespace)
    stale = apps.read_namespaced_deployment_scale("web", namespace)
    scale(apps, namespace, 2)
    stale.spec.replicas = 3
    with pytest.raises(ApiException) as refused:
        apps.replace_namespaced_deployment_scale("web", namespace, stale)
    assert refused.value.status == 409
    assert apps.read_namespaced_deployment_scale("web", namespace).spec.replicas == 2


@pytest.mark.parametrize("kind", ["ServiceAccount", "User"])
def test_a_client_may_do_what_its_role_says(
    control_plane: ControlPlane, apps: AppsV1Api, core: CoreV1Api, namespace: str, kind: str
) -> None:
    deploy(apps, namespace)
    if kind == "ServiceAccount":
        account: Any = {"metadata": {"name": "scaler"}}
        core.create_namespaced_service_account(namespace, account)
        client = control_plane.token_client(namespace, "scaler")
    else:
        client = control_plane.user_client("scaler")
    limited = AppsV1Api(client)
    with pytest.raises(ApiException) as refused:
        scale(limited, namespace, 2)
    assert refused.value.status == 403

    rbac = RbacAuthorizationV1Api(control_plane.admin)
    role: Any = {"metadata": {"name": "scaler"}, "rules": [SCALE]}
    rbac.create_namespaced_role(namespace, role)
    subject = {"kind": kind, "name": "scaler"} | (
        {"namespace": namespace} if kind == "ServiceAccount" else {}
    )
    binding: Any = {
        "metadata": {"name": "scaler"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "scaler"},
        "subjects": [subject],
    }
    rbac.create_namespaced_role_binding(namespace, binding)
    scaled = wait_until(
        lambda: limited.patch_namespaced_deployment_scale("web", namespace, {"spec": {"replicas": 2}}),
        "the role counts",
    )
    assert scaled.spec.replicas == 2
    with pytest.raises(ApiException) as refused:
        limited.delete_namespaced_deployment("web", namespace)
    assert refused.value.status == 403


def test_state_outlives_the_api_server(
    control_plane: ControlPlane, apps: AppsV1Api, namespace: str, kubelet: FakeKubelet
) -> None:
    deploy(apps, namespace)
    wait_for_ready(apps, namespace, 1)
    control_plane.kill_api_server()
    try:
        with pytest.raises(NOT_YET):
            apps.read_namespaced_deployment("web", namespace)
    finally:
        control_plane.restart_api_server()
    assert apps.read_namespaced_deployment("web", namespace).spec.replicas == 1
    scale(apps, namespace, 2)
    wait_for_ready(apps, namespace, 2)


def test_a_paused_api_server_does_not_answer(
    control_plane: ControlPlane, apps: AppsV1Api, namespace: str
) -> None:
    deploy(apps, namespace)
    control_plane.pause_api_server()
    try:
        with pytest.raises(NOT_YET, match="timed out"):
            apps.read_namespaced_deployment("web", namespace, _request_timeout=0.5)
    finally:
        control_plane.resume_api_server()
    assert apps.read_namespaced_deployment("web", namespace).spec.replicas == 1


def pod_metrics(control_plane: ControlPlane, namespace: str) -> list[Any]:
    api = CustomObjectsApi(control_plane.admin)
    return api.list_namespaced_custom_object("metrics.k8s.io", "v1beta1", namespace, "pods")["items"]


def test_the_metrics_api_gives_what_is_set(
    control_plane: ControlPlane,
    apps: AppsV1Api,
    core: CoreV1Api,
    namespace: str,
    kubelet: FakeKubelet,
    metrics_server: MetricsServer,
) -> None:
    deploy(apps, namespace, 2)
    wait_for_ready(apps, namespace, 2)
    first, second = (pod.metadata.name for pod in core.list_namespaced_pod(namespace).items)
    assert pod_metrics(control_plane, namespace) == []

    metrics_server.usage = {first: 80.0}.get
    (item,) = pod_metrics(control_plane, namespace)
    assert (item["metadata"]["name"], item["window"]) == (first, "15s")
    assert [container["usage"]["cpu"] for container in item["containers"]] == ["80000000n"]

    fresh = item["timestamp"]
    metrics_server.age_seconds = 600.0
    assert pod_metrics(control_plane, namespace)[0]["timestamp"] < fresh

    metrics_server.fails = True
    with pytest.raises(ApiException) as refused:
        pod_metrics(control_plane, namespace)
    assert refused.value.status == 503
    metrics_server.fails = False
    metrics_server.usage = {first: 80.0, second: 20.0}.get
    assert len(pod_metrics(control_plane, namespace)) == 2


def test_the_real_hpa_scales_on_these_metrics(
    control_plane: ControlPlane,
    apps: AppsV1Api,
    core: CoreV1Api,
    namespace: str,
    kubelet: FakeKubelet,
    metrics_server: MetricsServer,
) -> None:
    deploy(apps, namespace)
    wait_for_ready(apps, namespace, 1)

    def share(millicores: float) -> float:
        return millicores / len(core.list_namespaced_pod(namespace).items)

    metrics_server.usage = lambda pod: share(150.0)
    cpu = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}
    spec = {
        "minReplicas": 1,
        "maxReplicas": 10,
        "metrics": [{"type": "Resource", "resource": cpu}],
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}},
    }
    control_plane.create_hpa(namespace, "web", spec)
    wait_for_ready(apps, namespace, 3)
    metrics_server.usage = lambda pod: share(50.0)
    wait_for_ready(apps, namespace, 1)


def test_prometheus_gives_rates_and_quantiles(prometheus: Prometheus, application: Application) -> None:
    application.load(rate_rps=200.0, latency_seconds=0.15)
    application.queue.set(7)
    service = f'{{service="{application.name}"}}'
    rate = f"rate(http_requests_total{service}[5s])"
    wait_until(lambda: (prometheus.query(rate) or 0.0) == pytest.approx(200.0, rel=0.1), "the rate is seen")
    p95 = f"histogram_quantile(0.95, rate(http_request_duration_seconds_bucket{service}[5s]))"
    # All requests lie in the bucket from 0.1 s to 0.2 s, within which Prometheus interpolates.
    assert prometheus.query(p95) == pytest.approx(0.195)
    assert prometheus.query(f"http_queue_length{service}") == 7


def test_prometheus_keeps_what_it_stored(prometheus: Prometheus, application: Application) -> None:
    application.requests.inc(5)
    counter = f'http_requests_total{{service="{application.name}"}}'
    wait_until(lambda: prometheus.query(counter) == 5, "the counter is seen")
    stored = time.time()
    prometheus.stop()
    try:
        with pytest.raises(NOT_YET):
            prometheus.query(counter)
    finally:
        prometheus.start()
    assert prometheus.query(f"{counter} @ {stored}") == 5


def test_a_custom_resource_can_be_made(control_plane: ControlPlane, namespace: str) -> None:
    group, version, plural = "setpoint.example.com", "v1", "targets"
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    served = {"name": version, "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    definition: Any = {
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": plural, "singular": "target", "kind": "Target"},
            "versions": [served],
        },
    }
    definitions = ApiextensionsV1Api(control_plane.admin)
    definitions.create_custom_resource_definition(definition)
    try:
        objects = CustomObjectsApi(control_plane.admin)
        body = {
            "apiVersion": f"{group}/{version}",
            "kind": "Target",
            "metadata": {"name": "one", "labels": {"a": "b", "c": "d"}},
            "spec": {"replicas": 3},
        }
        wait_until(
            lambda: objects.create_namespaced_custom_object(group, version, namespace, plural, body),
            "the custom resource is taken",
        )
        made = objects.get_namespaced_custom_object(group, version, namespace, plural, "one")
        assert made["spec"] == {"replicas": 3}
    finally:
        definitions.delete_custom_resource_definition(f"{plural}.{group}")
