"""Fixtures of a control plane: one for each worker of a run, a fresh namespace for each test.

Where the binaries are missing, these skip and say how to have them. A test that fails shows the ends of the logs.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:  # a run without these tests does not load Kubernetes' client
    from control_plane.cluster import ControlPlane
    from control_plane.history import History
    from control_plane.kubelet import FakeKubelet
    from control_plane.prometheus import Application, Exporter, Prometheus
    from control_plane.resource_metrics import MetricsServer

_STARTED = pytest.StashKey["dict[str, ControlPlane | Prometheus]"]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        for fixture, programs in item.config.stash.get(_STARTED, {}).items():
            if fixture in getattr(item, "fixturenames", ()):
                report.sections += [(f"end of {name}'s log", text) for name, text in programs.tails().items()]
    return report


@contextlib.contextmanager
def _skip_where_missing() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def control_plane(pytestconfig: pytest.Config) -> Iterator[ControlPlane]:
    """etcd and kube-apiserver; the controllers, too, where their binaries are found."""
    from control_plane.cluster import ControlPlane

    with _skip_where_missing():
        control_plane = ControlPlane()
    with control_plane:
        pytestconfig.stash.setdefault(_STARTED, {})["control_plane"] = control_plane
        yield control_plane


@pytest.fixture
def namespace(control_plane: ControlPlane) -> Iterator[str]:
    """A fresh namespace, which takes pods."""
    from kubernetes.client import CoreV1Api

    name = control_plane.create_namespace()
    yield name
    CoreV1Api(control_plane.admin).delete_namespace(name)


@pytest.fixture(scope="session")
def controllers(control_plane: ControlPlane) -> ControlPlane:
    """A control plane that makes pods of Deployments and binds them to nodes, once there are any."""
    from control_plane import binaries

    with _skip_where_missing():
        binaries.require("kube-controller-manager", "kube-scheduler")
    return control_plane


@pytest.fixture(scope="session")
def one_kubelet(controllers: ControlPlane) -> Iterator[FakeKubelet]:
    from control_plane.kubelet import FakeKubelet

    kubelet = FakeKubelet(controllers.admin)
    kubelet.start()
    yield kubelet
    kubelet.stop()


@pytest.fixture
def kubelet(one_kubelet: FakeKubelet) -> Iterator[FakeKubelet]:
    """Deployments get pods, and these become ready; needs the controllers."""
    yield one_kubelet
    one_kubelet.reset()


@pytest.fixture(scope="session")
def one_metrics_server(control_plane: ControlPlane) -> Iterator[MetricsServer]:
    from control_plane.resource_metrics import MetricsServer

    server = MetricsServer(control_plane)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def metrics_server(one_metrics_server: MetricsServer) -> Iterator[MetricsServer]:
    """metrics.k8s.io, in which no pod has metrics until the test says so."""
    one_metrics_server.wait_until_served()  # a restarted API server has to find it again
    yield one_metrics_server
    one_metrics_server.reset()


@pytest.fixture(scope="session")
def exporter() -> Iterator[Exporter]:
    """Where Prometheus scrapes."""
    from control_plane.prometheus import Exporter

    exporter = Exporter()
    yield exporter
    exporter.stop()


@pytest.fixture(scope="session")
def prometheus(
    exporter: Exporter, pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus]:
    """A Prometheus that scrapes each second; a test that stops it starts it again."""
    from control_plane.prometheus import Prometheus

    with _skip_where_missing():
        prometheus = Prometheus(tmp_path_factory.mktemp("prometheus"), exporter.address)
    try:
        prometheus.start()
        pytestconfig.stash.setdefault(_STARTED, {})["prometheus"] = prometheus
        yield prometheus
    finally:
        prometheus.kill()


@pytest.fixture(scope="session")
def history(tmp_path_factory: pytest.TempPathFactory) -> Iterator[History]:
    """A Prometheus that scrapes nothing and has a history from a file."""
    from control_plane.history import History

    with _skip_where_missing():
        history = History(tmp_path_factory.mktemp("history"))
    try:
        history.start()
        yield history
    finally:
        history.kill()


@pytest.fixture
def application(prometheus: Prometheus, exporter: Exporter) -> Iterator[Application]:
    """A fresh application whose series Prometheus has from its next scrape on."""
    name = f"app-{uuid.uuid4().hex[:8]}"
    yield exporter.add(name)
    exporter.remove(name)
