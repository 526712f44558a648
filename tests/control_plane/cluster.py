"""A real Kubernetes control plane on this machine, without nodes.

etcd and kube-apiserver always; kube-controller-manager and kube-scheduler, which make pods of Deployments and
scale by HorizontalPodAutoscalers, where there are binaries of them. What else a cluster has stands in modules
beside this one: kubelet.py, resource_metrics.py, prometheus.py. fixtures.py gives all of it to tests.
"""

from __future__ import annotations

import json
import signal
import ssl
import tempfile
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

from control_plane import binaries
from control_plane.certificates import CertificateAuthority, Credentials
from control_plane.process import Process, free_ports, wait_until
from control_plane.scheduling import configuration
from kubernetes.client import ApiClient, Configuration, CoreV1Api, CustomObjectsApi

# Their names before 1.28, which newer versions know as well. Each one more delays the start.
CONTROLLERS = (
    *("serviceaccount", "serviceaccount-token", "namespace", "garbagecollector", "podgc", "nodelifecycle"),
    *("deployment", "replicaset", "statefulset", "disruption", "horizontalpodautoscaling"),
)


class ControlPlane:
    """etcd, kube-apiserver, and kube-controller-manager and kube-scheduler where they are found.

    Attributes:
        url: the API server's address; it listens on 127.0.0.1 alone, as all of them do.
        admin: a client that may do everything.
        kubeconfig: the same for other programs, as a file.
        authority: signs the certificates of this control plane's servers and clients.
        version: of Kubernetes, major and minor.
        has_controllers: whether kube-controller-manager and kube-scheduler run.
    """

    def __init__(self, hpa_sync_seconds: float = 2.0) -> None:
        """Lay out what start() needs.

        Raises:
            FileNotFoundError: there is no etcd or kube-apiserver; says how to have them.
        """
        etcd, api_server = binaries.require("etcd", "kube-apiserver")
        controller_manager, scheduler = map(binaries.find, ("kube-controller-manager", "kube-scheduler"))
        self.version = binaries.kubernetes_version(api_server)
        self.has_controllers = controller_manager is not None and scheduler is not None
        self._folder = tempfile.TemporaryDirectory(prefix="control-plane-", ignore_cleanup_errors=True)
        folder = Path(self._folder.name)

        etcd_port, peer_port, port, *ports = free_ports(6)
        etcd_url, peer_url, self.url = (
            f"http://127.0.0.1:{etcd_port}",
            f"http://127.0.0.1:{peer_port}",
            f"https://127.0.0.1:{port}",
        )
        self.authority = CertificateAuthority(folder)
        self._server = self.authority.issue("server", hosts=["localhost", "kubernetes.default.svc"])
        self._admin = self.authority.issue("admin", ["system:masters"])
        self._service_accounts = self.authority.issue("service-accounts")
        self.admin = self._client(self._admin)
        self.kubeconfig = folder / "kubeconfig"
        admin = {"client-certificate": str(self._admin.certificate), "client-key": str(self._admin.key)}
        self.kubeconfig.write_text(json.dumps(self._kubeconfig(admin)))

        self._etcd = Process([etcd, *_etcd_flags(folder / "etcd", etcd_url, peer_url)], folder)
        self._api_server = Process([api_server, *self._api_server_flags(etcd_url, port)], folder)
        self._controllers: dict[str, Process] = {}
        if controller_manager and scheduler:
            flags = self._controller_manager_flags(ports[0], hpa_sync_seconds)
            self._controllers[f"https://127.0.0.1:{ports[0]}"] = Process([controller_manager, *flags], folder)
            flags = self._scheduler_flags(ports[1], ports[2])
            self._controllers[f"https://127.0.0.1:{ports[1]}"] = Process([scheduler, *flags], folder)
        self._etcd_url = etcd_url

    def start(self) -> Self:
        """Until it takes pods."""
        try:
            self._etcd.start()
            self._etcd.wait_until_healthy(f"{self._etcd_url}/health")
            self.restart_api_server()
            for process in self._controllers.values():
                process.start()
            for url, process in self._controllers.items():
                process.wait_until_healthy(f"{url}/healthz", self._trust())
            self._wait_until_pods_are_taken("default")
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """All of it, and nothing is left."""
        for process in self._processes():
            process.kill()
        self._folder.cleanup()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def kill_api_server(self) -> None:
        """As a crash would; etcd keeps the state."""
        self._api_server.kill()

    def restart_api_server(self) -> None:
        """On the same address, until it is ready."""
        self._api_server.start()
        self._api_server.wait_until_healthy(f"{self.url}/readyz", self._trust())

    def pause_api_server(self) -> None:
        """Connections to it open and get no answer."""
        self._api_server.pause()

    def resume_api_server(self) -> None:
        """It answers what has waited, too."""
        self._api_server.signal(signal.SIGCONT)

    def user_client(self, user: str, groups: Iterable[str] = ()) -> ApiClient:
        """A client with a certificate; what it may do, roles have to say."""
        return self._client(self.authority.issue(user, groups))

    def token_client(self, namespace: str, service_account: str) -> ApiClient:
        """A client with a ServiceAccount's token; what it may do, roles have to say."""
        return self._client(token=self._token(namespace, service_account))

    def write_token_kubeconfig(self, path: Path, namespace: str, service_account: str) -> None:
        """The same for other programs, as a file."""
        user = {"token": self._token(namespace, service_account)}
        path.write_text(json.dumps(self._kubeconfig(user)))

    def create_namespace(self) -> str:
        """A new one's name, once it takes pods."""
        name = f"test-{uuid.uuid4().hex[:8]}"
        body: Any = {"metadata": {"name": name}}
        CoreV1Api(self.admin).create_namespace(body)
        self._wait_until_pods_are_taken(name)
        return name

    def create_hpa(self, namespace: str, target: str, spec: dict[str, Any]) -> None:
        """A HorizontalPodAutoscaler of a Deployment, of whichever version 2 is served; both know the same fields."""
        version = "v2" if self.version >= (1, 23) else "v2beta2"
        reference = {"apiVersion": "apps/v1", "kind": "Deployment", "name": target}
        body = {
            "apiVersion": f"autoscaling/{version}",
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": target},
            "spec": {"scaleTargetRef": reference, **spec},
        }
        api = CustomObjectsApi(self.admin)
        api.create_namespaced_custom_object(
            "autoscaling", version, namespace, "horizontalpodautoscalers", body
        )

    def tails(self) -> dict[str, str]:
        """The ends of the logs, by program."""
        return {process.name: process.tail() for process in self._processes()}

    def _processes(self) -> list[Process]:
        return [*self._controllers.values(), self._api_server, self._etcd]

    def _wait_until_pods_are_taken(self, namespace: str) -> None:
        # They are refused until a controller has made the namespace's ServiceAccount and, in old versions, its token.
        pod: Any = {
            "metadata": {"name": "probe"},
            "spec": {"containers": [{"name": "main", "image": "none"}]},
        }
        api = CoreV1Api(self.admin)
        wait_until(
            lambda: api.create_namespaced_pod(namespace, pod, dry_run="All"),
            f"namespace {namespace} takes pods",
        )

    def _client(self, credentials: Credentials | None = None, token: str | None = None) -> ApiClient:
        configuration = Configuration(
            host=self.url, ssl_ca_cert=str(self.authority.certificate), retries=False
        )
        if credentials:
            configuration.cert_file, configuration.key_file = map(str, credentials)
        if token:
            configuration.api_key = {"authorization": f"Bearer {token}"}
        return ApiClient(configuration)

    def _token(self, namespace: str, service_account: str) -> str:
        request: Any = {"spec": {"audiences": ["kubernetes"], "expirationSeconds": 3600}}
        api = CoreV1Api(self.admin)
        answer = api.create_namespaced_service_account_token(service_account, namespace, request)
        return answer.status.token

    def _kubeconfig(self, user: dict[str, str]) -> dict[str, Any]:
        cluster = {"server": self.url, "certificate-authority": str(self.authority.certificate)}
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": "test", "user": user}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
            "current-context": "test",
        }

    def _trust(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.authority.certificate)
        context.load_cert_chain(*self._admin)
        return context

    def _server_flags(self, port: int) -> list[str]:
        return _flags(
            bind_address="127.0.0.1",
            secure_port=port,
            tls_cert_file=self._server.certificate,
            tls_private_key_file=self._server.key,
        )

    def _api_server_flags(self, etcd_url: str, port: int) -> list[str]:
        front_proxy = self.authority.issue("front-proxy")
        flags = _flags(
            etcd_servers=etcd_url,
            advertise_address="127.0.0.1",
            endpoint_reconciler_type="none",
            service_cluster_ip_range="10.0.0.0/24",
            authorization_mode="RBAC",
            client_ca_file=self.authority.certificate,
            api_audiences="kubernetes",
            service_account_issuer="https://kubernetes.default.svc",
            service_account_key_file=self._service_accounts.key,
            service_account_signing_key_file=self._service_accounts.key,
            # What it tells servers of further APIs, such as the metrics server, of who asks.
            requestheader_client_ca_file=self.authority.certificate,
            requestheader_allowed_names="front-proxy",
            requestheader_username_headers="X-Remote-User",
            requestheader_group_headers="X-Remote-Group",
            requestheader_extra_headers_prefix="X-Remote-Extra-",
            proxy_client_cert_file=front_proxy.certificate,
            proxy_client_key_file=front_proxy.key,
        )
        if self.version < (1, 24):
            flags += _flags(insecure_port=0)
        if not self.has_controllers:  # nobody makes the ServiceAccounts that pods would need
            flags += _flags(disable_admission_plugins="ServiceAccount")
        return [*self._server_flags(port), *flags]

    def _scheduler_flags(self, port: int, insecure_port: int) -> list[str]:
        told = Path(self._folder.name) / "scheduler.json"
        told.write_text(json.dumps(configuration(self.version, self.kubeconfig, insecure_port)))
        return [*self._server_flags(port), *_flags(config=told)]

    def _controller_manager_flags(self, port: int, hpa_sync_seconds: float) -> list[str]:
        flags = _flags(
            kubeconfig=self.kubeconfig,
            leader_elect="false",
            controllers=",".join(CONTROLLERS),
            service_account_private_key_file=self._service_accounts.key,
            root_ca_file=self.authority.certificate,
            kube_api_qps=500,
            kube_api_burst=500,
            horizontal_pod_autoscaler_sync_period=f"{hpa_sync_seconds}s",
            horizontal_pod_autoscaler_cpu_initialization_period="0s",
        )
        if self.version < (1, 23):
            flags += _flags(port=0)  # the one without TLS
        return [*self._server_flags(port), *flags]


def _flags(**values: object) -> list[str]:
    return [f"--{name.replace('_', '-')}={value}" for name, value in values.items()]


def _etcd_flags(folder: Path, url: str, peer_url: str) -> list[str]:
    return _flags(
        name="test",
        data_dir=folder,
        listen_client_urls=url,
        advertise_client_urls=url,
        listen_peer_urls=peer_url,
        initial_advertise_peer_urls=peer_url,
        initial_cluster=f"test={peer_url}",
    )
