"""A record of a Deployment from the metrics that common exporters give Prometheus."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import yaml
from pydantic import Field

from experiments.fit.record import CPU, NEEDED, OPTIONAL, Record, Rows, make_record
from experiments.prometheus_range import Grid, PrometheusRange, describe_labels
from simulator.arrays import Floats
from simulator.errors import InputError
from simulator.settings import Settings, parse_settings, read_text

_MOST_LISTED = 8


class Queries(Settings):
    """PromQL by the record's columns; each gives one series, pod_start_seconds one for each pod."""

    rate_rps: str = Field(min_length=1, description="Requests/s.")
    cpu_cores: str = Field(min_length=1, description="CPU used by all pods, in cores.")
    replicas: str = Field(min_length=1, description="Ready pods, the mean over a step.")
    latency_p95_seconds: str = Field(min_length=1, description="95th percentile of response times.")
    latency_p50_seconds: str | None = Field(default=None, description="Median of them.")
    latency_mean_seconds: str | None = Field(default=None, description="Mean of them.")
    pod_start_seconds: str | None = Field(
        default=None, description="Seconds from a pod's creation until it was ready; a series for each pod."
    )


def default_queries(namespace: str, deployment: str, step_seconds: float) -> Queries:
    """For http_requests_total and http_request_duration_seconds, cAdvisor and kube-state-metrics.

    Raises:
        InputError: if a name is none of Kubernetes'.
    """
    for option, name in (("--namespace", namespace), ("--deployment", deployment)):
        if not name or not all(letter.isascii() and (letter.isalnum() or letter in "-.") for letter in name):
            msg = f"{option} is {name!r}; must be a name of Kubernetes: letters, digits, - and ."
            raise InputError(msg)
    window = f"[{step_seconds:g}s]" if step_seconds >= 1 else f"[{1000 * step_seconds:g}ms]"
    pod = deployment.replace(".", "[.]")
    pods = f'namespace="{namespace}",pod=~"{pod}-[a-z0-9]+-[a-z0-9]+"'
    served = f'namespace="{namespace}",pod=~"{pod}-.*"'
    duration = "http_request_duration_seconds"
    buckets = f"sum by (le) (rate({duration}_bucket{{{served}}}{window}))"
    return Queries(
        rate_rps=f"sum(rate(http_requests_total{{{served}}}{window}))",
        cpu_cores=f'sum(rate(container_cpu_usage_seconds_total{{{pods},container!="",container!="POD"}}{window}))',
        replicas="sum(avg_over_time(kube_deployment_status_replicas_ready"
        f'{{namespace="{namespace}",deployment="{deployment}"}}{window}))',
        latency_p95_seconds=f"histogram_quantile(0.95, {buckets})",
        latency_p50_seconds=f"histogram_quantile(0.5, {buckets})",
        latency_mean_seconds=f"sum(rate({duration}_sum{{{served}}}{window}))"
        f" / sum(rate({duration}_count{{{served}}}{window}))",
        pod_start_seconds=f"max by (pod) (kube_pod_status_ready_time{{{pods}}})"
        f" - max by (pod) (kube_pod_created{{{pods}}})",
    )


def load_queries(path: Path) -> Queries:
    """From a YAML file: a column's name to PromQL.

    Raises:
        InputError: naming file and field.
    """
    return parse_settings(Queries, read_text(path, "file of queries"), str(path))


def pull_record(prometheus: PrometheusRange, queries: Queries, grid: Grid, name: str) -> Record:
    """Ask for every column; steps without a value are missing.

    Raises:
        InputError: naming the column and what is wrong with its answer.
    """
    columns: dict[str, Floats] = {}
    for column in (*NEEDED, CPU, *OPTIONAL):
        query = getattr(queries, column)
        found = {} if query is None else prometheus.all(query, grid)
        if len(found) == 1:
            values = next(iter(found.values()))
            columns[column] = np.where(np.isfinite(values) & (values >= 0), values, np.nan)
        elif query is not None and (found or column not in OPTIONAL):
            raise InputError(_not_one(column, query, [describe_labels(labels) for labels in sorted(found)]))
    starts = prometheus.all(queries.pod_start_seconds, grid) if queries.pod_start_seconds else {}
    first = [values[np.isfinite(values)][:1] for _, values in sorted(starts.items())]
    seconds = np.concatenate(first) if first else np.empty(0)
    times = grid.step_seconds * np.arange(grid.count, dtype=np.float64)
    return make_record(Rows(name, 1), times, columns, seconds[seconds > 0], name, "")


def queries_text(queries: Queries) -> str:
    """As the YAML file that ``load_queries`` reads."""
    return yaml.safe_dump(queries.model_dump(exclude_none=True), sort_keys=False, width=1000)


def _not_one(column: str, query: str, found: list[str]) -> str:
    others = f": {', '.join(found[:_MOST_LISTED])}" if found else ""
    return f"{column}: {len(found) or 'no'} series answer the query {query!r}, and exactly one must{others}"
