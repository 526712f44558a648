"""The commands ``setpoint forecast ...``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from experiments.cli_options import DurationOption, SeedOption, StartOption, TraceOption
from experiments.interruption import resumable

forecast_app = typer.Typer(no_args_is_help=True, help="Forecasts of request rates.")


@forecast_app.command("backtest")
def backtest(
    *,
    trace: TraceOption,
    horizon: Annotated[
        list[str] | None,
        typer.Option(help="How far ahead, once for each: 5m, 30m (both if not given); whole bins."),
    ] = None,
    forecaster: Annotated[
        list[str] | None,
        typer.Option(help="Once for each, or all; ensemble if not given. See setpoint forecast list."),
    ] = None,
    bin_: Annotated[
        str | None,
        typer.Option(
            "--bin",
            help="Width of the bins that are forecast, such as 1m; the shortest horizon if not given, and never "
            "below the trace's own.",
        ),
    ] = None,
    start: StartOption = None,
    duration: DurationOption = None,
    seed: SeedOption = 0,
    out: Annotated[Path, typer.Option(help="Folder of forecast.csv and forecast.png.")],
) -> None:
    """Judge forecasters on the last part of a trace, each bin of it forecast from what lies before.

    Seasonal naive is always among them. Without --start the last week is judged, or the last quarter of a trace shorter
    than four weeks. Interrupted, the same command goes on where it stopped.
    """
    from experiments.forecast_backtest import Question
    from experiments.forecast_backtest import backtest as command

    question = Question(
        trace, tuple(horizon or ("5m", "30m")), tuple(forecaster or ()), bin_, start, duration, seed
    )
    with resumable():
        command(question, out)


@forecast_app.command("list")
def list_forecasters() -> None:
    """Print the forecasters there are."""
    from experiments.inspection import show_forecasters

    show_forecasters()
