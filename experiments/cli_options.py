"""Options that several commands have; ``typer`` reads them from the annotations."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

MOST_SECONDS = 1e8
"""No part is longer: three years, which in bins of a second still fit into memory."""
TaskOption = Annotated[
    str, typer.Option("--task", help="A task that ships (see setpoint tasks) or a task's YAML file.")
]
TraceOption = Annotated[
    Path,
    typer.Option(
        "--trace", help="CSV or CSV.gz with the columns t_seconds,requests, a request log or an access log."
    ),
]
StartOption = Annotated[
    float | None,
    typer.Option("--start", help="Where the judged part starts, on the trace's own clock, seconds."),
]
DurationOption = Annotated[
    float | None,
    typer.Option("--duration", min=1.0, max=MOST_SECONDS, help="Length of the judged part, seconds."),
]
MeanOption = Annotated[
    float | None,
    typer.Option(
        "--mean-rps", min=1e-9, help="Scale the part before --start (the whole trace without one) to this."
    ),
]
DeploymentOption = Annotated[
    str | None,
    typer.Option(
        "--deployment", help="Of the YAML for hpa and keda: the Deployment; the service's name if not given."
    ),
]
NamespaceOption = Annotated[
    str, typer.Option("--namespace", help="Of the YAML for hpa and keda: the Deployment's namespace.")
]
PrometheusOption = Annotated[
    str, typer.Option("--prometheus", help="Address of a Prometheus server, such as http://prometheus:9090.")
]
SpanOption = Annotated[
    str,
    typer.Option(help="A time such as 2024-05-01T00:00:00Z, UTC if no zone is named, or seconds since 1970."),
]
StepOption = Annotated[str, typer.Option(help="Width of a bin: 15s, 1m.")]
TokenOption = Annotated[
    Path | None, typer.Option(help="A file that holds a bearer token for the Prometheus server.")
]
HeaderOption = Annotated[
    list[str] | None, typer.Option(help="A header for the server, 'Name: value'; once for each.")
]
TimeoutOption = Annotated[float, typer.Option(min=0.1, help="Seconds to wait for an answer.")]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="The same seed gives the same result.")]
