"""Rate, latency and queue of a service from Prometheus, each with its age."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np
from pydantic import Field, field_validator

from simulator.errors import InputError
from simulator.plant import Metric
from simulator.settings import Settings

LOG = logging.getLogger("setpoint.prometheus")
_NAME = r"^[a-zA-Z_:][a-zA-Z0-9_:]*$"


class PrometheusSettings(Settings):
    """A Prometheus server, and how the service's series are called there."""

    url: str = Field(description="The server's address, such as http://prometheus.monitoring:9090.")
    selector: str = Field(
        default="", description='Labels of the service\'s series, such as namespace="shop",service="web".'
    )
    requests: str = Field(
        default="http_requests_total", pattern=_NAME, description="Counter of requests, one a request."
    )
    latency: str = Field(
        default="http_request_duration_seconds",
        pattern=_NAME,
        description="Histogram of response times in seconds, without _bucket.",
    )
    queue: str | None = Field(
        default=None, pattern=_NAME, description="Gauge of waiting requests; none: always missing."
    )
    window_seconds: int = Field(
        default=60, ge=1, le=3600, description="Window of rates: at least two scrape intervals, better four."
    )
    stale_seconds: float = Field(
        default=60.0, gt=0, le=3600, description="A measurement older than this is missing."
    )
    timeout_seconds: float = Field(default=3.0, gt=0, le=60, description="For one query.")

    @field_validator("url")
    @classmethod
    def _http(cls, url: str) -> str:
        try:
            parsed = httpx.URL(url)
        except httpx.InvalidURL as error:
            raise ValueError(str(error)) from None
        if parsed.scheme not in {"http", "https"} or not parsed.host:
            msg = "must be an address such as http://prometheus:9090"
            raise ValueError(msg)
        return url.rstrip("/")


class _RefusedError(ValueError):
    """The server does not take a query."""


_FAULTS = (httpx.HTTPError, ValueError, KeyError, TypeError, IndexError)


@dataclass(frozen=True, slots=True)
class Query:
    """One measurement in PromQL.

    Attributes:
        value: an expression with one result at most.
        measured: when its newest sample was taken, seconds since the epoch.
    """

    value: str
    measured: str


def queries(settings: PrometheusSettings) -> dict[str, Query]:
    """The queries by the Snapshot's field."""
    labels, window = f"{{{settings.selector}}}", f"[{settings.window_seconds}s]"
    requests, buckets = settings.requests + labels, f"{settings.latency}_bucket{labels}"
    found = {
        "rate": Query(f"sum(rate({requests}{window}))", f"max(timestamp({requests}))"),
        "latency_p95": Query(
            f"histogram_quantile(0.95, sum by (le) (rate({buckets}{window})))", f"max(timestamp({buckets}))"
        ),
    }
    if settings.queue is not None:
        gauge = settings.queue + labels
        found["queue"] = Query(f"sum({gauge})", f"max(timestamp({gauge}))")
    return found


class Prometheus:
    """A MetricSource that asks a Prometheus server.

    A value is missing, NaN, where the server does not answer, has no such series, or none that is
    fresh; its age goes on from the newest sample ever seen, and is inf where none was.
    """

    def __init__(self, settings: PrometheusSettings, client: httpx.Client | None = None) -> None:
        self._settings = settings
        self._queries = queries(settings)
        given = httpx.URL(settings.url)
        self._url = str(given.copy_with(userinfo=b"")).rstrip("/")  # what is logged holds no password
        auth = (given.username, given.password) if given.userinfo else None
        self._client = client or httpx.Client(timeout=settings.timeout_seconds, auth=auth)
        self._measured = dict.fromkeys(("rate", "latency_p95", "queue"), -math.inf)
        self._trouble = ""

    def read(self, now_seconds: float) -> Mapping[str, Metric]:
        """``rate``, ``latency_p95`` and ``queue``, each of shape ``(1,)``.

        Args:
            now_seconds: our time, for ages where the server does not answer with its own.
        """
        trouble = ""
        metrics = {}
        for name in self._measured:
            query = self._queries.get(name)
            if query is None or trouble:
                metrics[name] = self._missing(name, now_seconds)
                continue
            try:
                metrics[name] = self._measure(name, query, now_seconds)
            except _FAULTS as error:
                trouble = f"{self._url}: {error or type(error).__name__}"
                metrics[name] = self._missing(name, now_seconds)
        self._tell(trouble)
        return metrics

    def check(self) -> None:
        """Find a query that the server refuses; one that does not answer may still come up.

        Raises:
            InputError: naming the query and what is wrong with it.
        """
        for query in self._queries.values():
            for expression in (query.value, query.measured):
                try:
                    self._ask(expression)
                except _RefusedError as error:
                    msg = f"prometheus: {self._url} refuses the query {expression!r}: {error}"
                    raise InputError(msg) from None
                except _FAULTS:
                    return

    def _measure(self, name: str, query: Query, now_seconds: float) -> Metric:
        measured = self._ask(query.measured)
        if measured is None:
            return self._missing(name, now_seconds)
        at, newest = measured
        self._measured[name] = newest
        age = max(at - newest, 0.0)
        value = self._ask(query.value) if age <= self._settings.stale_seconds else None
        return Metric(np.array([math.nan if value is None else value[1]]), np.array([age]))

    def _ask(self, expression: str) -> tuple[float, float] | None:
        """When the server evaluated, and the value; None without a result."""
        answer = self._client.get(f"{self._url}/api/v1/query", params={"query": expression})
        if answer.status_code == httpx.codes.BAD_REQUEST:
            raise _RefusedError(answer.json()["error"])
        answer.raise_for_status()
        result: list[dict[str, Any]] = answer.json()["data"]["result"]
        if not result:
            return None
        if len(result) > 1:
            msg = f"{len(result)} results where one is needed"
            raise ValueError(msg)
        at, value = result[0]["value"]
        return float(at), float(value)

    def _missing(self, name: str, now_seconds: float) -> Metric:
        return Metric.missing((1,), max(now_seconds - self._measured[name], 0.0))

    def _tell(self, trouble: str) -> None:
        """Log once when trouble begins, changes or ends."""
        if trouble and trouble != self._trouble:
            LOG.warning("metrics are missing: %s", trouble)
        if self._trouble and not trouble:
            LOG.info("metrics are back from %s", self._url)
        self._trouble = trouble
