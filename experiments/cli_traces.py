"""The commands ``setpoint traces ...``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from experiments.cli_options import (
    MOST_SECONDS,
    HeaderOption,
    PrometheusOption,
    SeedOption,
    SpanOption,
    StepOption,
    TimeoutOption,
    TokenOption,
)

traces_app = typer.Typer(no_args_is_help=True, help="Workload traces and models of them.")


@traces_app.command("show")
def show_trace(
    file: Annotated[
        Path,
        typer.Argument(
            help="CSV or CSV.gz with the columns t_seconds,requests, a request log or an access log."
        ),
    ],
    png: Annotated[Path | None, typer.Option(help="Draw it into this PNG file, too.")] = None,
    csv: Annotated[
        Path | None, typer.Option(help="Write a log's counts to this CSV or CSV.gz file, too.")
    ] = None,
) -> None:
    """Print what a trace is and draw it."""
    from experiments.trace_view import show_trace as command

    command(file, png, csv)


@traces_app.command("pull")
def pull_trace(
    *,
    prometheus: PrometheusOption,
    query: Annotated[
        str,
        typer.Option(
            help="PromQL for requests/s, such as 'sum(rate(http_requests_total[1m]))'; exactly one series."
        ),
    ],
    start: SpanOption,
    end: SpanOption,
    step: StepOption = "60s",
    counts: Annotated[
        bool, typer.Option("--counts", help="The query gives requests a step already, not requests/s.")
    ] = False,
    out: Annotated[Path, typer.Option(help="The trace to write, *.csv or *.csv.gz.")],
    png: Annotated[Path | None, typer.Option(help="Draw it into this PNG file, too.")] = None,
    token_file: TokenOption = None,
    header: HeaderOption = None,
    timeout: TimeoutOption = 30.0,
) -> None:
    """Fetch a trace from Prometheus; the value at the end of each step is that step's."""
    from experiments.pull import Server, Span
    from experiments.pull import pull as command

    server = Server(prometheus, token_file, tuple(header or ()), timeout)
    command(server, query, Span(start, end, step), out, png, counts=counts)


@traces_app.command("fit")
def fit_trace(
    file: Annotated[
        Path, typer.Argument(help="CSV or CSV.gz with the columns t_seconds,requests, or a request log.")
    ],
    name: Annotated[str | None, typer.Option(help="The model's name; the file's if not given.")] = None,
    source: Annotated[
        str | None, typer.Option(help="Where the trace comes from, kept in the model's file.")
    ] = None,
    first_weekday: Annotated[
        int | None,
        typer.Option(min=0, max=6, help="Weekday of its start, 0 is Monday; found if not given."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the model into this YAML file.")] = None,
    png: Annotated[
        Path | None, typer.Option(help="Draw the original and a look-alike into this PNG file.")
    ] = None,
) -> None:
    """Fit a model to a trace and say how like its look-alikes are."""
    from experiments.trace_models import fit

    fit(file, name, source, first_weekday, out, png)


@traces_app.command("sample")
def sample_trace(
    model: Annotated[
        str,
        typer.Argument(
            help="A model that ships, a model's YAML file, or flash_crowd:peak=8; see setpoint traces models."
        ),
    ],
    duration: Annotated[
        float | None,
        typer.Option(min=1.0, max=MOST_SECONDS, help="Seconds; the original's length or a day if not given."),
    ] = None,
    mean_rps: Annotated[
        float | None,
        typer.Option("--mean-rps", min=1e-9, help="Mean; the original's or 100 requests/s if not given."),
    ] = None,
    seed: SeedOption = 0,
    out: Annotated[Path | None, typer.Option(help="Write it as a trace, *.csv or *.csv.gz.")] = None,
    png: Annotated[Path | None, typer.Option(help="Draw it into this PNG file.")] = None,
) -> None:
    """Draw a trace from a workload model: of a fitted one, a look-alike in whole counts."""
    from experiments.trace_models import sample

    sample(model, duration, mean_rps, seed, out, png)


@traces_app.command("models")
def trace_models() -> None:
    """Print the workload models that ship and the made workloads there are."""
    from experiments.trace_models import list_models

    list_models()
