"""A stand-in for metrics-server: the API metrics.k8s.io with numbers that a test sets."""

from __future__ import annotations

import base64
import datetime as dt
import http.server
import json
import ssl
import threading
import urllib.parse
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from control_plane.cluster import ControlPlane
from control_plane.process import wait_until
from kubernetes.client import ApiregistrationV1Api, CoreV1Api, CustomObjectsApi

GROUP, VERSION = "metrics.k8s.io", "v1beta1"
ROOT = f"/apis/{GROUP}/{VERSION}"
RESOURCES = [
    {
        "name": "nodes",
        "singularName": "",
        "namespaced": False,
        "kind": "NodeMetrics",
        "verbs": ["get", "list"],
    },
    {"name": "pods", "singularName": "", "namespaced": True, "kind": "PodMetrics", "verbs": ["get", "list"]},
]


class MetricsServer:
    """Serves the CPU usage of running pods, all of a pod's in its first container.

    Attributes:
        usage: millicores of a pod by its name; None where the pod has no metrics.
        age_seconds: how old the numbers say they are.
        window_seconds: over which they say they were measured.
        fails: whether to answer 503 for pods.
    """

    usage: Callable[[str], float | None]
    age_seconds: float
    window_seconds: float
    fails: bool

    def __init__(self, control_plane: ControlPlane) -> None:
        self.reset()
        self._control_plane = control_plane
        self._pods = CoreV1Api(control_plane.admin)
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        credentials = control_plane.authority.issue(
            "metrics-server", hosts=["metrics-server.kube-system.svc"]
        )
        context = ssl.create_default_context(
            ssl.Purpose.CLIENT_AUTH, cafile=control_plane.authority.certificate
        )
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_cert_chain(*credentials)
        # The handshake is left to a connection's own thread: one client that says nothing holds up no other.
        self._server.socket = context.wrap_socket(
            self._server.socket, server_side=True, do_handshake_on_connect=False
        )
        self._thread = threading.Thread(target=self._server.serve_forever, name="metrics-server", daemon=True)

    def reset(self) -> None:
        """No pod has metrics; nothing fails."""
        self.usage = lambda pod: None
        self.age_seconds = 0.0
        self.window_seconds = 15.0
        self.fails = False

    def start(self) -> None:
        """Register it with the API server."""
        self._thread.start()
        self._register(self._server.server_address[1])

    def wait_until_served(self) -> None:
        """Until the API server passes requests on to it."""
        api = CustomObjectsApi(self._control_plane.admin)
        wait_until(
            lambda: api.list_cluster_custom_object(GROUP, VERSION, "pods"), "the metrics API is served"
        )

    def stop(self) -> None:
        """Its registration stays."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _register(self, port: int) -> None:
        client = self._control_plane.admin
        service: Any = {
            "metadata": {"name": "metrics-server"},
            "spec": {"type": "ExternalName", "externalName": "localhost", "ports": [{"port": port}]},
        }
        CoreV1Api(client).create_namespaced_service("kube-system", service)
        authority = base64.b64encode(self._control_plane.authority.certificate.read_bytes()).decode()
        body: Any = {
            "metadata": {"name": f"{VERSION}.{GROUP}"},
            "spec": {
                "group": GROUP,
                "version": VERSION,
                "groupPriorityMinimum": 100,
                "versionPriority": 100,
                "service": {"name": "metrics-server", "namespace": "kube-system", "port": port},
                "caBundle": authority,
            },
        }
        ApiregistrationV1Api(client).create_api_service(body)

    def _answer(self, path: str, query: str) -> tuple[HTTPStatus, dict[str, Any]]:
        parts = path.removeprefix(ROOT).strip("/").split("/")
        match parts:
            case [""]:
                # Whatever fails, this does not: else the API server would not ask again for half a minute.
                return HTTPStatus.OK, {
                    "kind": "APIResourceList",
                    "apiVersion": "v1",
                    "groupVersion": f"{GROUP}/{VERSION}",
                    "resources": RESOURCES,
                }
            case [*_, "pods"] if self.fails:
                return _failure(HTTPStatus.SERVICE_UNAVAILABLE, "ServiceUnavailable")
            case ["pods"]:
                return HTTPStatus.OK, self._metrics(self._running(query))
            case ["namespaces", namespace, "pods"]:
                return HTTPStatus.OK, self._metrics(self._running(query, namespace))
            case _:
                return _failure(HTTPStatus.NOT_FOUND, "NotFound")

    def _running(self, query: str, namespace: str | None = None) -> list[Any]:
        selector = urllib.parse.parse_qs(query).get("labelSelector", [""])[0]
        running = {"label_selector": selector, "field_selector": "status.phase=Running"}
        if namespace:
            return self._pods.list_namespaced_pod(namespace, **running).items
        return self._pods.list_pod_for_all_namespaces(**running).items

    def _metrics(self, pods: list[Any]) -> dict[str, Any]:
        usages = ((pod, self.usage(pod.metadata.name)) for pod in pods)
        items = [self._item(pod, usage) for pod, usage in usages if usage is not None]
        return {"kind": "PodMetricsList", "apiVersion": f"{GROUP}/{VERSION}", "metadata": {}, "items": items}

    def _item(self, pod: Any, millicores: float) -> dict[str, Any]:
        measured = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=self.age_seconds)
        metadata = pod.metadata
        return {
            "metadata": {"name": metadata.name, "namespace": metadata.namespace, "labels": metadata.labels},
            "timestamp": measured.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "window": f"{self.window_seconds:g}s",
            "containers": [
                {
                    "name": container.name,
                    "usage": {"cpu": f"{0 if number else round(millicores * 1e6)}n", "memory": "64Mi"},
                }
                for number, container in enumerate(pod.spec.containers)
            ],
        }

    def _handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                url = urllib.parse.urlsplit(self.path)
                status, body = server._answer(url.path, url.query)
                text = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_: object) -> None:
                pass

        return Handler


def _failure(status: HTTPStatus, reason: str) -> tuple[HTTPStatus, dict[str, Any]]:
    body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": status, "reason": reason}
    return status, {**body, "message": f"the test wants this: {reason}"}
