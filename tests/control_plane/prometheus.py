"""What an application measures of itself, and a Prometheus that scrapes it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable
from pathlib import Path

import httpx
from control_plane import binaries
from control_plane.process import Process, free_ports, wait_until
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, start_http_server

BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.5, 5.0)


class Application:
    """One service's series, told apart by the label `service`.

    Attributes:
        name: the label's value.
        requests: the counter http_requests_total.
        latency: the histogram http_request_duration_seconds.
        queue: the gauge http_queue_length.
    """

    def __init__(self, exporter: Exporter, name: str) -> None:
        self.name = name
        self.requests = exporter.requests.labels(name)
        self.latency = exporter.latency.labels(name)
        self.queue = exporter.queue.labels(name)
        self._rate_rps = 0.0
        self._latency_seconds = 0.0
        self._served_until = time.monotonic()
        self._begun = 0.0
        self._lock = threading.Lock()

    def load(self, rate_rps: float, latency_seconds: float = 0.1) -> None:
        """From now on it serves this rate, each request with this latency."""
        self.advance()
        with self._lock:
            self._rate_rps, self._latency_seconds = rate_rps, latency_seconds

    def advance(self) -> None:
        """Count what the load has brought until now, in whole requests."""
        with self._lock:
            now = time.monotonic()
            self._begun += self._rate_rps * (now - self._served_until)
            self._served_until = now
            served, self._begun = divmod(self._begun, 1)
            self.requests.inc(served)
            for _ in range(int(served)):
                self.latency.observe(self._latency_seconds)


class Exporter:
    """The HTTP endpoint of all applications.

    Attributes:
        address: host and port.
    """

    def __init__(self) -> None:
        registry = CollectorRegistry()
        self._applications: dict[str, Application] = {}
        registry.register(self)  # before the metrics, so that these are collected up to date
        labels = ["service"]
        self.requests = Counter("http_requests", "served", labels, registry=registry)
        self.latency = Histogram(
            "http_request_duration_seconds",
            "from first to last byte",
            labels,
            buckets=BUCKETS,
            registry=registry,
        )
        self.queue = Gauge("http_queue_length", "waiting", labels, registry=registry)
        self._server, self._thread = start_http_server(0, "127.0.0.1", registry)
        self.address = f"127.0.0.1:{self._server.server_port}"

    def collect(self) -> Iterable[Metric]:
        """Bring what the applications count up to date; no metric of its own."""
        for application in tuple(self._applications.values()):
            application.advance()
        return ()

    def add(self, name: str) -> Application:
        """A new application, all of it 0."""
        self._applications[name] = Application(self, name)
        return self._applications[name]

    def remove(self, name: str) -> None:
        """Its series end at the next scrape."""
        del self._applications[name]
        for metric in (self.requests, self.latency, self.queue):
            metric.remove(name)

    def stop(self) -> None:
        """Nothing answers any more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Prometheus:
    """A Prometheus of one target.

    Attributes:
        url: its address.
    """

    def __init__(self, folder: Path, target: str, scrape_seconds: float = 1.0) -> None:
        """Lay out what start() needs.

        Raises:
            FileNotFoundError: there is no prometheus; says how to have it.
        """
        (program,) = binaries.require("prometheus")
        (port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{port}"
        config = folder / "prometheus.yml"
        jobs = [{"job_name": "application", "static_configs": [{"targets": [target]}]}]
        scrape = {"scrape_interval": f"{round(1000 * scrape_seconds)}ms"}
        scrape["scrape_timeout"] = scrape["scrape_interval"]
        config.write_text(json.dumps({"global": scrape, "scrape_configs": jobs}))
        arguments = {
            "config.file": config,
            "storage.tsdb.path": folder / "data",
            "web.listen-address": f"127.0.0.1:{port}",
        }
        self._process = Process(
            [program, *(f"--{name}={value}" for name, value in arguments.items())], folder
        )

    def start(self) -> None:
        """Until it has scraped; what it had stored before is there again."""
        begin = time.time()
        self._process.start()
        self._process.wait_until_healthy(f"{self.url}/-/ready")
        wait_until(
            lambda: (self.query("timestamp(up)") or 0.0) > begin,
            "Prometheus scrapes",
        )

    def stop(self) -> None:
        """It saves what it has and ends."""
        self._process.stop()

    def kill(self) -> None:
        """As a crash would."""
        self._process.kill()

    def query(self, text: str) -> float | None:
        """The value of the one series that answers; None where none does."""
        answer = httpx.get(f"{self.url}/api/v1/query", params={"query": text}, timeout=10)
        answer.raise_for_status()
        series = answer.json()["data"]["result"]
        if len(series) > 1:
            raise ValueError(f"{len(series)} series answer {text}")
        return float(series[0]["value"][1]) if series else None

    def tails(self) -> dict[str, str]:
        """The end of its log, by program."""
        return {self._process.name: self._process.tail()}
