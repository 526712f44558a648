"""The commands ``setpoint control ...``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from experiments.cli_options import (
    DurationOption,
    MeanOption,
    SeedOption,
    StartOption,
    TaskOption,
    TraceOption,
)

control_app = typer.Typer(no_args_is_help=True, help="The control loop.")


@control_app.command("rehearse")
def rehearse(
    task: TaskOption = "web",
    *,
    trace: TraceOption,
    policy: Annotated[
        str, typer.Option(help="hpa:target=0.6, calibrated-hpa or a bundle's path; see setpoint policies.")
    ] = "hpa",
    start: StartOption = None,
    duration: DurationOption = 3600.0,
    mean_rps: MeanOption = None,
    seed: SeedOption = 0,
    log: Annotated[
        Path | None, typer.Option(help="Write one JSON record a decision here, not to the screen.")
    ] = None,
) -> None:
    """Run the real control loop on a simulated cluster in virtual time, a JSON record a decision."""
    from experiments.commands import Part
    from experiments.commands import rehearse as command

    command(Part(task, trace, start, duration, mean_rps), policy, seed, log)


@control_app.command("run")
def control_run(
    config: Annotated[Path, typer.Argument(help="The controller's YAML file; docs/kubernetes.md has one.")],
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Decide and tell, but change nothing.")] = False,
) -> None:
    """Scale a Kubernetes Deployment: a JSON record a decision on standard output, a log on standard error."""
    from controllers.config import load_config
    from controllers.controller import run_controller

    found = load_config(config)
    run_controller(found.model_copy(update={"dry_run": found.dry_run or dry_run}), sys.stdout)
