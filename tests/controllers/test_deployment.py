"""``setpoint control run`` on a real Kubernetes API and Prometheus, with the rights of the shipped Role alone."""

from __future__ import annotations

import itertools
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
import pytest
import yaml
from control_plane.cluster import ControlPlane
from control_plane.kubelet import FakeKubelet
from control_plane.process import free_ports, wait_until
from control_plane.prometheus import Application, Prometheus
from control_plane.resource_metrics import MetricsServer
from kubernetes.client import ApiException, AppsV1Api, CoreV1Api, RbacAuthorizationV1Api
from kubernetes.utils import create_from_yaml

from agents.bundle import Bundle
from controllers.config import load_config
from controllers.plants.kubernetes import Deployment, KubernetesSettings, NoSource
from envs.interface import Interface
from envs.observer import FEATURES
from envs.task import load_task
from simulator.plant import Desired, PlantGone

MANIFESTS = Path(__file__).parents[2] / "controllers" / "manifests"
SETPOINT = Path(sys.executable).with_name("setpoint")
CAPACITY_RPS = 10.0
pytestmark = pytest.mark.timeout(300)


def quick_bundle(path: Path) -> Path:
    """A policy of one second with an actor written by hand: up where load is above 0.8, down below 0.4."""
    web = load_task("web").interface
    observer = web.observer.model_copy(update={"period_seconds": 1.0, "capacity_rps": (CAPACITY_RPS,)})
    actions = web.actions.model_copy(update={"changes": (-0.25, 0.0, 0.5)})
    interface = Interface(
        services=("web",), observer=observer, actions=actions, guard=web.guard, period_seconds=1.0
    )
    load = [feature.name for feature in FEATURES].index("load")
    weights = np.zeros((len(FEATURES), 3), dtype=np.float32)
    weights[load] = (-10.0, 0.0, 10.0)
    bias = np.array([4.0, 0.0, -8.0], dtype=np.float32)
    shape = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Gemm", ["observation", "weights", "bias"], ["logits"])],
        "actor",
        [shape("observation", onnx.TensorProto.FLOAT, ["batch", len(FEATURES)])],
        [shape("logits", onnx.TensorProto.FLOAT, ["batch", 3])],
        [onnx.numpy_helper.from_array(weights, "weights"), onnx.numpy_helper.from_array(bias, "bias")],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    Bundle.of(model.SerializeToString(), interface, {"agent": "by hand"}).save(path)
    return path


class Running:
    """A controller in a process of its own, and all that it has said."""

    def __init__(self, folder: Path, config: Path, *options: str) -> None:
        self.journal, self.log = folder / "journal.jsonl", folder / "controller.log"
        with self.journal.open("wb") as out, self.log.open("wb") as err:
            command = [str(SETPOINT), "control", "run", str(config), *options]
            self.process = subprocess.Popen(command, stdout=out, stderr=err)

    def records(self) -> list[dict[str, Any]]:
        """Every whole line as JSON."""
        text = self.journal.read_text()
        return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]

    def wait_for(
        self, condition: Callable[[dict[str, Any]], bool], what: str, after: int = 0
    ) -> dict[str, Any]:
        """The first record from number ``after`` on that fulfils a condition."""

        def found() -> dict[str, Any] | None:
            assert self.process.poll() is None, self.log.read_text()
            return next((record for record in self.records()[after:] if condition(record)), None)

        record = wait_until(
            found, f"{what}: {self.journal.read_text()[-2000:]}{self.log.read_text()[-2000:]}"
        )
        assert record is not None
        return record

    def stop(self) -> int:
        """Its exit code after SIGTERM."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)


def shipped(name: str, namespace: str) -> list[Any]:
    """A manifest's objects, moved to a namespace."""
    text = (MANIFESTS / name).read_text().replace("namespace: shop", f"namespace: {namespace}")
    return list(yaml.safe_load_all(text))


class Shop:
    """A Deployment, the rights to scale it, and its load."""

    def __init__(
        self,
        control_plane: ControlPlane,
        namespace: str,
        prometheus: Prometheus,
        application: Application,
        folder: Path,
    ) -> None:
        self.namespace, self.application, self._folder = namespace, application, folder
        self.apps, self.core = AppsV1Api(control_plane.admin), CoreV1Api(control_plane.admin)
        container = {"name": "web", "image": "none", "resources": {"requests": {"cpu": "1"}}}
        labels = {"app": "web"}
        body: Any = {
            "metadata": {"name": "web"},
            "spec": {
                "replicas": 2,
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
            },
        }
        self.apps.create_namespaced_deployment(namespace, body)
        create_from_yaml(control_plane.admin, yaml_objects=shipped("rbac.yaml", namespace))
        control_plane.write_token_kubeconfig(folder / "kubeconfig", namespace, "setpoint")
        self.limited = control_plane.token_client(namespace, "setpoint")
        (self.port,) = free_ports(1)
        self.config = {
            "plant": {
                "namespace": namespace,
                "deployment": "web",
                "kubeconfig": "kubeconfig",
                "timeout_seconds": 2,
            },
            "prometheus": {
                "url": prometheus.url,
                "selector": f'service="{application.name}"',
                "queue": "http_queue_length",
                "window_seconds": 4,
                "stale_seconds": 3,
            },
            "policy": str(quick_bundle(folder / "quick.bundle")),
            "min_replicas": 2,
            "max_replicas": 12,
            "listen": {"host": "127.0.0.1", "port": self.port},
        }
        wait_until(self.may_scale, "the role counts")

    def may_scale(self) -> bool:
        return AppsV1Api(self.limited).read_namespaced_deployment_scale("web", self.namespace) is not None

    def start(self, *options: str, **changes: Any) -> Running:
        path = self._folder / "web.yaml"
        path.write_text(yaml.safe_dump(self.config | changes))
        return Running(self._folder, path, *options)

    @property
    def replicas(self) -> int:
        return self.apps.read_namespaced_deployment_scale("web", self.namespace).spec.replicas or 0

    @property
    def ready(self) -> int:
        return self.apps.read_namespaced_deployment_status("web", self.namespace).status.ready_replicas or 0


@pytest.fixture
def shop(
    control_plane: ControlPlane,
    namespace: str,
    kubelet: FakeKubelet,
    metrics_server: MetricsServer,
    prometheus: Prometheus,
    application: Application,
    tmp_path: Path,
) -> Shop:
    metrics_server.usage = lambda _: 500.0
    return Shop(control_plane, namespace, prometheus, application, tmp_path)


@pytest.fixture
def running(shop: Shop) -> Iterator[Running]:
    controller = shop.start()
    yield controller
    if controller.process.poll() is None:
        controller.process.kill()
    controller.process.wait()


def near(record: dict[str, Any], rate_rps: float) -> bool:
    value = record["seen"]["rate"][0]["value"]
    return value is not None and abs(value - rate_rps) <= 0.2 * rate_rps


def held(record: dict[str, Any]) -> bool:
    return record["reason"] == "cpu or rate is missing: hold" and record["outcome"] == "unchanged"


def test_a_bundle_follows_the_load_up_and_down_and_stops_cleanly(shop: Shop, running: Running) -> None:
    shop.application.load(80.0, 0.15)
    wait_until(lambda: shop.replicas >= 10, "scaled up")
    wait_until(lambda: shop.ready >= 10, "the pods are ready")
    up = running.wait_for(
        lambda record: "seen" in record and record["seen"]["ready"][0] >= 10 and near(record, 80.0),
        "sees ready pods and the rate",
    )
    assert up["seen"]["cpu"][0]["value"] == pytest.approx(0.5)
    assert 0.1 <= up["seen"]["latency_p95"][0]["value"] <= 0.2
    assert up["seen"]["queue"][0]["value"] == 0
    shop.application.load(2.0)
    wait_until(lambda: shop.replicas == 2, "scaled down to the minimum")

    health = httpx.get(f"http://127.0.0.1:{shop.port}/healthz")
    assert (health.status_code, health.text) == (200, "ok\n")
    metrics = httpx.get(f"http://127.0.0.1:{shop.port}/metrics").text
    assert re.search(r'setpoint_replicas_wanted\{service="web"\} [2-9]', metrics)
    applied = sum(record["outcome"] == "applied" for record in running.records())
    assert applied >= 4
    assert running.stop() == 0
    assert running.journal.read_text().endswith("}\n")
    assert "stopped" in running.log.read_text()
    assert shop.replicas == 2, "the replicas stay as they are"
    times = np.array([record["time_seconds"] for record in running.records()])
    assert np.median(np.diff(times)) == pytest.approx(1.0, abs=0.1), (
        "what a tick takes does not add to the period"
    )


def test_a_dry_run_tells_and_changes_nothing(shop: Shop) -> None:
    shop.application.load(80.0)
    controller = shop.start("--dry-run")
    try:
        record = controller.wait_for(lambda record: record["outcome"] == "dry-run", "would scale")
        assert record["allowed"] == [3]
        time.sleep(2.0)
        assert shop.replicas == 2
        assert controller.stop() == 0
    finally:
        controller.process.kill()


def test_without_a_series_it_holds(shop: Shop) -> None:
    shop.application.load(80.0)
    nobody = {"selector": 'service="nobody"'}
    controller = shop.start(prometheus=shop.config["prometheus"] | nobody)
    try:
        record = controller.wait_for(held, "holds")
        assert record["seen"]["rate"] == [{"value": None, "age_seconds": None}]
        controller.wait_for(held, "goes on holding", 3)
        assert shop.replicas == 2
        assert controller.stop() == 0
    finally:
        controller.process.kill()


def test_with_prometheus_gone_it_holds_and_then_goes_on(
    shop: Shop, running: Running, prometheus: Prometheus
) -> None:
    shop.application.load(30.0)
    wait_until(lambda: shop.replicas >= 4, "scaled up")
    prometheus.kill()
    try:
        shop.application.load(0.0)
        before = len(running.records())
        running.wait_for(held, "holds", before)
        at = shop.replicas
        first = len(running.records())
        running.wait_for(held, "goes on holding", first + 3)
        assert shop.replicas == at
        ages = [record["seen"]["rate"][0]["age_seconds"] for record in running.records()[first:]]
        assert all(later > sooner for sooner, later in itertools.pairwise(ages)), "its age goes on"
        assert "metrics are missing" in running.log.read_text()
    finally:
        prometheus.start()
    wait_until(lambda: shop.replicas == 2, "goes on and scales down")
    assert "metrics are back" in running.log.read_text()


def test_without_a_cpu_sample_it_holds(shop: Shop, running: Running, metrics_server: MetricsServer) -> None:
    metrics_server.fails = True
    shop.application.load(80.0)
    running.wait_for(held, "holds")
    time.sleep(2.0)
    assert shop.replicas == 2
    metrics_server.fails = False
    wait_until(lambda: shop.replicas > 4, "scales once the numbers are there")


def test_an_api_server_that_is_killed_or_hangs_is_waited_for(
    shop: Shop, running: Running, control_plane: ControlPlane
) -> None:
    running.wait_for(lambda record: "seen" in record, "sees")
    for down, up in (
        (control_plane.kill_api_server, control_plane.restart_api_server),
        (control_plane.pause_api_server, control_plane.resume_api_server),
    ):
        before = len(running.records())
        down()
        try:
            record = running.wait_for(lambda record: record["outcome"] == "unreadable", "says so", before)
            assert "the API server does not answer" in record["reason"]
            assert httpx.get(f"http://127.0.0.1:{shop.port}/healthz").status_code == 200
        finally:
            up()
        after = len(running.records())
        running.wait_for(lambda record: "seen" in record, "sees again", after)
    shop.application.load(80.0)
    wait_until(lambda: shop.replicas >= 10, "scales again")


def test_a_deleted_deployment_ends_it_with_a_clear_message(shop: Shop, running: Running) -> None:
    running.wait_for(lambda record: "seen" in record, "sees")
    shop.apps.delete_namespaced_deployment("web", shop.namespace)
    assert running.process.wait(20) == 1
    last = running.log.read_text().splitlines()[-1]
    assert last == f"setpoint: deployment {shop.namespace}/web does not exist"


def test_what_is_not_there_or_not_allowed_is_said_before_the_first_decision(shop: Shop) -> None:
    for changes, said, code in (
        ({"plant": shop.config["plant"] | {"deployment": "other"}}, "other", 1),
        (
            {"plant": shop.config["plant"] | {"namespace": "elsewhere"}},
            r"get deployments/scale: .*cannot get",
            1,
        ),
        ({"prometheus": shop.config["prometheus"] | {"selector": "a b"}}, "refuses the query", 2),
        ({"policy": "hpa:target=0"}, "target is 0", 2),
    ):
        controller = shop.start(**changes)
        assert controller.process.wait(30) == code, controller.log.read_text()
        last = controller.log.read_text().splitlines()[-1]
        assert last.startswith("setpoint: ")
        assert re.search(said, last), last
        assert controller.journal.read_text() == ""


def test_the_role_allows_what_is_used_and_no_more(shop: Shop) -> None:
    core, apps, rbac = CoreV1Api(shop.limited), AppsV1Api(shop.limited), RbacAuthorizationV1Api(shop.limited)
    for forbidden in (
        lambda: apps.read_namespaced_deployment("web", shop.namespace),
        lambda: apps.delete_namespaced_deployment("web", shop.namespace),
        lambda: apps.read_namespaced_deployment_scale("other", shop.namespace),
        lambda: core.list_namespaced_secret(shop.namespace),
        lambda: core.delete_collection_namespaced_pod(shop.namespace),
        lambda: core.list_namespaced_pod("kube-system"),
        lambda: rbac.list_namespaced_role(shop.namespace),
    ):
        with pytest.raises(ApiException) as refused:
            forbidden()
        assert refused.value.status == 403


def test_a_write_in_between_is_retried_and_a_change_by_another_hand_stays(shop: Shop) -> None:
    settings = KubernetesSettings(namespace=shop.namespace, deployment="web")
    plant = Deployment(settings, shop.limited, NoSource(), time.time)
    plant.snapshot()
    note: Any = {"metadata": {"annotations": {"touched": "1"}}}
    shop.apps.patch_namespaced_deployment("web", shop.namespace, note)
    plant.apply(Desired(np.array([5])))
    assert shop.replicas == 5
    plant.snapshot()
    body: Any = {"spec": {"replicas": 3}}
    shop.apps.patch_namespaced_deployment_scale("web", shop.namespace, body)
    with pytest.raises(OSError, match="replicas went from 5 to 3 by another hand"):
        plant.apply(Desired(np.array([7])))
    assert shop.replicas == 3
    shop.apps.delete_namespaced_deployment("web", shop.namespace)
    with pytest.raises(PlantGone):
        plant.apply(Desired(np.array([7])))


def test_the_snapshot_counts_starting_ready_and_draining_pods(
    shop: Shop, kubelet: FakeKubelet, metrics_server: MetricsServer
) -> None:
    settings = KubernetesSettings(namespace=shop.namespace, deployment="web")
    plant = Deployment(settings, shop.limited, NoSource(), time.time)

    def counts() -> tuple[int, ...]:
        seen = plant.snapshot()
        return tuple(int(part[0]) for part in (seen.wanted, seen.starting, seen.ready, seen.draining))

    wait_until(lambda: counts() == (2, 0, 2, 0), "two are ready")
    kubelet.start_seconds = 3600.0
    plant.apply(Desired(np.array([6])))
    wait_until(lambda: counts() == (6, 4, 2, 0), "four start")
    kubelet.start_seconds, kubelet.drain_seconds = 0.0, 3600.0
    wait_until(lambda: counts() == (6, 0, 6, 0), "six are ready")
    plant.apply(Desired(np.array([3])))
    wait_until(lambda: counts() == (3, 0, 3, 3), "three drain")
    metrics_server.age_seconds = 40.0
    seen = plant.snapshot()
    assert seen.cpu.value[0] == pytest.approx(0.5)
    assert 39.0 <= seen.cpu.age_seconds[0] <= 45.0
    assert int(seen.pods["cpu"].ignored.count[0]) == 3


def test_the_shipped_controller_is_taken_and_its_configuration_is_whole(
    shop: Shop, control_plane: ControlPlane, tmp_path: Path
) -> None:
    objects = shipped("controller.yaml", shop.namespace)
    (tmp_path / "shipped.yaml").write_text(objects[0]["data"]["web.yaml"])
    config = load_config(tmp_path / "shipped.yaml")
    assert (config.plant.namespace, config.plant.deployment, config.dry_run) == (shop.namespace, "web", True)
    create_from_yaml(control_plane.admin, yaml_objects=objects)
    made = shop.apps.read_namespaced_deployment("setpoint", shop.namespace)
    assert made.spec.template.spec.service_account_name == "setpoint"
