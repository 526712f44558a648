"""The commands ``setpoint task ...``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from experiments.cli_options import (
    HeaderOption,
    SeedOption,
    StepOption,
    TimeoutOption,
    TokenOption,
)

task_app = typer.Typer(no_args_is_help=True, help="Tasks of real services.")


@task_app.command("fit")
def fit_task(
    *,
    record: Annotated[
        Path | None,
        typer.Option(help="CSV, CSV.gz or Parquet of rate, CPU, replicas, latency: docs/task-fit.md."),
    ] = None,
    pod_starts: Annotated[
        Path | None, typer.Option(help="A second file, with the column pod_start_seconds.")
    ] = None,
    prometheus: Annotated[
        str | None, typer.Option(help="Ask this Prometheus server for the record instead.")
    ] = None,
    queries: Annotated[Path | None, typer.Option(help="YAML of PromQL by the record's columns.")] = None,
    namespace: Annotated[
        str | None, typer.Option(help="Of the Deployment; with the default queries.")
    ] = None,
    deployment: Annotated[str | None, typer.Option(help="Its name.")] = None,
    start: Annotated[str | None, typer.Option(help="As of traces pull.")] = None,
    end: Annotated[str | None, typer.Option(help="As of traces pull.")] = None,
    step: StepOption = "60s",
    token_file: TokenOption = None,
    header: HeaderOption = None,
    timeout: TimeoutOption = 30.0,
    record_out: Annotated[
        Path | None, typer.Option(help="Where the record from Prometheus is written, *.csv.")
    ] = None,
    share: Annotated[
        float, typer.Option("--fit-share", min=0.1, max=0.9, help="Share of the record that is fitted on.")
    ] = 0.7,
    slo: Annotated[
        float | None, typer.Option(min=1e-6, max=3600, help="SLO, seconds; twice the usual p95 if not given.")
    ] = None,
    mean_rps: Annotated[
        float | None, typer.Option(min=1e-9, max=1e7, help="The task's mean load; the record's if not given.")
    ] = None,
    cpu_request: Annotated[
        float | None, typer.Option(min=1e-4, max=1024, help="A pod's CPU request, vCPU.")
    ] = None,
    price: Annotated[float, typer.Option(min=0, max=1000, help="USD per requested vCPU-hour.")] = 0.04,
    min_replicas: Annotated[
        int | None, typer.Option(min=0, max=100_000, help="Fewest; the record's if not given.")
    ] = None,
    max_replicas: Annotated[
        int | None, typer.Option(min=1, max=100_000, help="Most; twice the record's if not given.")
    ] = None,
    scrape: Annotated[
        float, typer.Option(min=0.1, max=3600, help="Seconds between two scrapes that a policy will see.")
    ] = 15.0,
    lag: Annotated[float, typer.Option(min=0, max=3600, help="Seconds until it sees one.")] = 15.0,
    seed: SeedOption = 0,
    out: Annotated[Path, typer.Option(help="The task to write, *.yaml.")],
    png: Annotated[Path | None, typer.Option(help="Draw record and model into this PNG file.")] = None,
    trace_out: Annotated[Path | None, typer.Option(help="Write the record's load as a trace, *.csv.")] = None,
) -> None:
    """Fit a task to a record of a real service and say how far it can be trusted."""
    from experiments.fit.command import Choices, Source, fit
    from experiments.pull import Server, Span

    server = None if prometheus is None else Server(prometheus, token_file, tuple(header or ()), timeout)
    span = None if prometheus is None else Span(start or "", end or "", step)
    source = Source(record, pod_starts, server, span, queries, namespace, deployment, record_out)
    choices = Choices(slo, mean_rps, cpu_request, price, min_replicas, max_replicas, scrape, lag, share, seed)
    fit(source, choices, out, png, trace_out)
