"""What a running controller tells of itself: ``/metrics``, ``/healthz`` and its journal."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Self, TextIO
from wsgiref.simple_server import WSGIRequestHandler, make_server

from prometheus_client import CollectorRegistry, Counter, Gauge, make_wsgi_app
from prometheus_client.exposition import ThreadingWSGIServer

from controllers.loop import Record

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

LOG = logging.getLogger("setpoint.decisions")
_PERIODS_UNTIL_STUCK = 4.0
_SHORTEST_SECONDS = 30.0
_OUTCOMES = ("applied", "unchanged", "dry-run", "unreadable", "refused")


class Journal:
    """One JSON line a decision, and one that people read."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def __call__(self, record: Record) -> None:
        """Write a record."""
        print(json.dumps(record.to_json(), allow_nan=False), file=self._file, flush=True)
        if record.decision is None:
            LOG.warning("%s: %s", record.outcome, record.reason)
            return
        seen, allowed = record.decision.snapshot, record.decision.allowed
        LOG.log(
            logging.WARNING if record.outcome == "refused" else logging.INFO,
            "%s: %s wanted, %s ready -> %s; %s",
            record.outcome,
            "/".join(map(str, seen.wanted)),
            "/".join(map(str, seen.ready)),
            "/".join(map(str, allowed.replicas)),
            record.reason,
        )


class Telemetry:
    """Metrics of the controller, and whether it is alive.

    Args:
        services: names along axis S.
        period_seconds: the policy's; after four of them, and half a minute, without a tick the
            controller is not healthy.
        now: the clock that the records' times come from.
    """

    def __init__(self, services: tuple[str, ...], period_seconds: float, now: Callable[[], float]) -> None:
        self._services = services
        self._stuck_seconds = max(_PERIODS_UNTIL_STUCK * period_seconds, _SHORTEST_SECONDS)
        self._now = now
        self._last_tick = now()
        registry = CollectorRegistry()
        label = ["service"]
        self._replicas = {
            name: Gauge(f"setpoint_replicas_{name}", text, label, registry=registry)
            for name, text in (
                ("wanted", "Replicas asked for last."),
                ("starting", "Pods created and not ready yet."),
                ("ready", "Pods that serve."),
                ("draining", "Pods told to go and not gone yet."),
                ("wished", "What the policy wished for."),
                ("allowed", "What the guard let through."),
            )
        }
        self._ages = Gauge(
            "setpoint_metric_age_seconds", "Age of a metric.", ["service", "metric"], registry=registry
        )
        self._decisions = Counter(
            "setpoint_decisions", "Decisions by outcome.", ["outcome"], registry=registry
        )
        for outcome in _OUTCOMES:
            self._decisions.labels(outcome)
        self._ticked = Gauge(
            "setpoint_last_tick_timestamp_seconds", "When the loop last looked.", registry=registry
        )
        self._expose = make_wsgi_app(registry)

    def observe(self, record: Record) -> None:
        """Take a record into the metrics."""
        self._last_tick = record.time_seconds
        self._ticked.set(record.time_seconds)
        self._decisions.labels(record.outcome).inc()
        if record.decision is None:
            return
        seen = record.decision.snapshot
        counts = {name: getattr(seen, name) for name in ("wanted", "starting", "ready", "draining")}
        counts |= {"wished": record.decision.wish.replicas, "allowed": record.decision.allowed.replicas}
        for index, service in enumerate(self._services):
            for name, values in counts.items():
                self._replicas[name].labels(service).set(int(values[index]))
            for name in ("cpu", "rate", "latency_p95", "queue"):
                self._ages.labels(service, name).set(float(getattr(seen, name).age_seconds[index]))

    @property
    def stuck_seconds(self) -> float:
        """How much longer than it may the last tick has been ago; 0 where all is well."""
        return max(self._now() - self._last_tick - self._stuck_seconds, 0.0)

    def app(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """``/metrics`` and ``/healthz`` as a WSGI application."""
        path = environ.get("PATH_INFO", "/")
        if path == "/metrics":
            exposed: Iterable[bytes] = self._expose(environ, start_response)
            return exposed
        if path == "/healthz":
            stuck = self.stuck_seconds
            status = "503 Service Unavailable" if stuck else "200 OK"
            return _plain(start_response, status, f"no tick for {stuck:.0f} s too long" if stuck else "ok")
        return _plain(start_response, "404 Not Found", "there are /metrics and /healthz")


def _plain(start_response: StartResponse, status: str, text: str) -> list[bytes]:
    start_response(status, [("Content-Type", "text/plain; charset=utf-8")])
    return [f"{text}\n".encode()]


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, ANN401 - the base class's signature
        """Scrapes are no news."""


class Server:
    """Telemetry on a port, in a thread of its own; use it in a ``with`` block.

    Raises:
        OSError: if the address cannot be listened on.
    """

    def __init__(self, telemetry: Telemetry, host: str, port: int) -> None:
        self._server = make_server(host, port, telemetry.app, ThreadingWSGIServer, handler_class=_Quiet)
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Self:
        """Start to answer."""
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Close the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
