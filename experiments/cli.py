"""The command ``setpoint``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from experiments.cli_control import control_app
from experiments.cli_forecast import forecast_app
from experiments.cli_options import (
    MOST_SECONDS,
    DeploymentOption,
    DurationOption,
    MeanOption,
    NamespaceOption,
    SeedOption,
    StartOption,
    TaskOption,
)
from experiments.cli_task import task_app
from experiments.cli_traces import traces_app
from experiments.extras import how_to_install
from experiments.interruption import Interrupted, resumable
from simulator.errors import InputError
from simulator.plant import PlantGone

app = typer.Typer(
    name="setpoint",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode="markdown",
)
app.add_typer(traces_app, name="traces")
app.add_typer(task_app, name="task")
app.add_typer(forecast_app, name="forecast")
bundle_app = typer.Typer(no_args_is_help=True, help="Learned policies' files.")
app.add_typer(control_app, name="control")
app.add_typer(bundle_app, name="bundle")

_INTERRUPTED = 130


def _tell_version(asked: bool) -> None:  # noqa: FBT001 - typer calls it so
    if asked:
        from importlib import metadata

        print(f"setpoint {metadata.version('setpoint')}")  # noqa: T201 - what was asked for
        raise typer.Exit


@app.callback()
def setpoint(
    *,
    _version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_tell_version, help="Print the version.")
    ] = False,
) -> None:
    """Learn to autoscale in a simulator, judge it against strong baselines, run what was learned."""


@app.command()
def simulate(
    task: TaskOption = "web",
    *,
    trace: Annotated[
        Path | None,
        typer.Option(
            help="The load: counts, a request log or an access log; drawn from the task's workload if not given."
        ),
    ] = None,
    policy: Annotated[
        str, typer.Option(help="hpa:target=0.6, calibrated-hpa or a bundle's path; see setpoint policies.")
    ] = "hpa",
    start: StartOption = None,
    duration: DurationOption = None,
    mean_rps: MeanOption = None,
    seed: SeedOption = 0,
    fault: Annotated[
        list[str] | None,
        typer.Option(
            help="Break something: node_loss:at_seconds=600,count=2 or latency:per_hour=1,delay_seconds=0.2, "
            "once for each. at_seconds counts from the start of the run; per_hour is a hazard rate: how often it "
            "begins while it is not there. See docs/clusters.md."
        ),
    ] = None,
    png: Annotated[Path, typer.Option(help="Where the timeline is drawn.")] = Path("timeline.png"),
    request_log: Annotated[
        Path | None,
        typer.Option(help="Write every request to this Parquet file; --trace reads it again."),
    ] = None,
    export: Annotated[
        Path | None,
        typer.Option(help="Write telemetry, nodes, events and faults as *.parquet to this folder."),
    ] = None,
) -> None:
    """Run one policy, print a summary and draw the timeline."""
    from experiments.commands import Part
    from experiments.simulation import Outputs
    from experiments.simulation import simulate as command

    part = Part(task, trace, start, duration, mean_rps)
    command(part, policy, seed, tuple(fault or ()), Outputs(png, request_log, export))


@app.command()
def tasks() -> None:
    """Print the tasks that ship, each with its question."""
    from experiments.inspection import show_tasks

    show_tasks()


@app.command()
def evaluate(
    task: TaskOption = "web",
    *,
    trace: Annotated[
        list[Path],
        typer.Option(
            help="CSV or CSV.gz with the columns t_seconds,requests, a request log or an access log. Several, once "
            "for each, are judged one after another, each in a folder of its name, and compared."
        ),
    ],
    policy: Annotated[
        list[str] | None,
        typer.Option(
            help="hpa:target=0.6, hindsight-hpa or a bundle's path, once for each; see setpoint policies."
        ),
    ] = None,
    start: StartOption = None,
    duration: DurationOption = None,
    mean_rps: MeanOption = None,
    seeds: Annotated[int, typer.Option(min=1, max=1000, help="Runs of each policy, seeds 0 to K-1.")] = 5,
    out: Annotated[
        Path, typer.Option(help="Folder of results.csv, results.parquet, report.html and plane.png.")
    ],
    processes: Annotated[
        int | None, typer.Option(min=1, help="Runs at a time; all cores if not given.")
    ] = None,
    oracle: Annotated[
        bool, typer.Option(help="Hold all against the oracle, where the task can have it: docs/oracle.md.")
    ] = True,
) -> None:
    """Judge policies on the same arrivals; calibrated-hpa is always among them.

    Without --start the last day is judged, or the last half of a trace shorter than two days.
    Interrupted, the same command goes on where it stopped.
    """
    from experiments.commands import Part
    from experiments.evaluation import evaluate as command

    parts = [Part(task, one, start, duration, mean_rps) for one in trace]
    with resumable():
        command(parts, tuple(policy or ("hpa",)), seeds, out, processes, oracle=oracle)


@app.command()
def conformance(
    task: TaskOption = "web",
    *,
    grid: Annotated[
        str,
        typer.Option(
            help="small: 4 worlds; cover: 39, in which any three settings meet; full: 117, all combinations."
        ),
    ] = "small",
    trace: Annotated[
        list[Path] | None,
        typer.Option(help="A load beside the made ones, scaled to the task's mean rate, once for each."),
    ] = None,
    start: Annotated[
        float | None, typer.Option(help="Where the part of each trace starts; its beginning if not given.")
    ] = None,
    policy: Annotated[
        list[str] | None,
        typer.Option(help="Once for each, in an order; HPA's targets 0.5 to 0.9 if not given."),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, max=1000, help="Runs of the request engine a cell.")] = 2,
    hours: Annotated[int, typer.Option(min=1, max=168, help="Length of a run.")] = 2,
    out: Annotated[Path, typer.Option(help="Folder of conformance.csv and conformance.png.")],
    processes: Annotated[
        int | None, typer.Option(min=1, help="Runs at a time; all cores if not given.")
    ] = None,
) -> None:
    """Hold the batch engine against the request engine on a grid of scenarios, with the same policies.

    Exit code 1 if a bound is not kept. Interrupted, the same command goes on where it stopped.
    """
    from experiments.conformance_command import Comparison
    from experiments.conformance_command import conformance as command

    comparison = Comparison(task, grid, tuple(trace or ()), tuple(policy or ()), seeds, hours, start)
    with resumable():
        kept = command(comparison, out, processes)
    if not kept:
        raise typer.Exit(1)


@app.command()
def calibrate(
    task: TaskOption = "web",
    *,
    trace: Annotated[
        Path | None,
        typer.Option(
            help="The load: counts, a request log or an access log; drawn from the task's workload if not given."
        ),
    ] = None,
    policy: Annotated[
        str, typer.Option(help="The rule whose settings are searched, such as hpa; see setpoint policies.")
    ] = "hpa",
    budget: Annotated[
        float | None,
        typer.Option(help="Most violations, as a share of the requests; the task's if not given."),
    ] = None,
    margin: Annotated[
        float,
        typer.Option(
            help="For settings that are to hold later: the share that is left unused of the violations that the "
            "budget allows over those that no settings avoid. calibrated-RULE leaves 0.5, on three days."
        ),
    ] = 0.0,
    start: StartOption = None,
    duration: DurationOption = None,
    mean_rps: MeanOption = None,
    whole: Annotated[
        bool,
        typer.Option(
            "--whole",
            help="Of a part longer than a day, run all days on the request engine, not only the hardest: half a "
            "minute a week for each of the settings.",
        ),
    ] = False,
    deployment: DeploymentOption = None,
    namespace: NamespaceOption = "default",
    out: Annotated[
        Path,
        typer.Option(
            help="Folder of calibration.csv, calibration.png and, for hpa and keda, the YAML to apply."
        ),
    ],
    processes: Annotated[
        int | None, typer.Option(min=1, help="Runs at a time; all cores if not given.")
    ] = None,
) -> None:
    """Find any rule's cheapest settings that keep the violation budget on a part of a trace.

    Without --start it begins where the trace does; without --duration it ends after 24 hours, or with the trace. Prints
    what was tried, what to take and, for hpa and keda, the YAML to apply. Interrupted, the same command goes on where
    it stopped.
    """
    from experiments.calibration import Wanted, calibrate_rule
    from experiments.commands import Part

    part = Part(task, trace, start, duration, mean_rps)
    wanted = Wanted(policy, budget, margin, deployment, namespace, whole)
    with resumable():
        calibrate_rule(part, wanted, out, processes)


@app.command()
def train(
    task: TaskOption = "web",
    *,
    trace: Annotated[
        Path | None,
        typer.Option(help="Take episodes from this trace; from the task's workload model if not given."),
    ] = None,
    start: Annotated[float | None, typer.Option(help="Start of the part to train on, seconds.")] = None,
    duration: Annotated[
        float | None, typer.Option(min=1.0, max=MOST_SECONDS, help="Length of the part to train on, seconds.")
    ] = None,
    mean_rps: Annotated[float | None, typer.Option(min=1e-9, help="Scale that part to this mean.")] = None,
    agent: Annotated[str, typer.Option(help="The learning algorithm: ppo.")] = "ppo",
    steps: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Environment steps, rounded up to whole rollouts; 3,000,000 on the batch engine and 100,000 on "
            "the request engine by default.",
        ),
    ] = None,
    engine: Annotated[
        str,
        typer.Option(
            help="What is trained on: batch (a thousand clusters at once), request (every request is simulated, "
            "some thirty times slower) or auto, which is batch wherever it models the task."
        ),
    ] = "auto",
    seed: SeedOption = 0,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Begin anew, whatever a stopped training has left.")
    ] = False,
    out: Annotated[Path, typer.Option(help="The bundle to write, *.bundle.")],
) -> None:
    """Train a policy; stopped by Ctrl-C it keeps the last good bundle, and the same command goes on from there."""
    from experiments.commands import Part, Training
    from experiments.commands import train as command

    training = Training(agent, steps, seed, engine, fresh)
    command(Part(task, trace, start, duration, mean_rps), training, out)


@bundle_app.command("inspect")
def inspect_bundle(
    file: Annotated[Path, typer.Argument(help="A bundle, *.bundle.")],
) -> None:
    """Print what a bundle is: where it comes from, what it sees, what it may do."""
    from experiments.inspection import inspect_bundle as command

    command(file)


@app.command()
def manifest(
    policy: Annotated[str, typer.Argument(help="hpa or keda with its settings, such as keda:target=40.")],
    task: TaskOption = "web",
    *,
    deployment: DeploymentOption = None,
    namespace: NamespaceOption = "default",
) -> None:
    """Print the YAML to apply for settings of hpa or keda: a document for each service of a task."""
    from experiments.calibration import print_manifest

    print_manifest(policy, task, deployment, namespace)


@app.command()
def policies() -> None:
    """Print the policies there are: rules with their settings, and recipes."""
    from experiments.inspection import show_policies

    show_policies()


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Where everything goes.")] = Path("build/demo"),
    steps: Annotated[int | None, typer.Option(min=1, help="Training steps, 3,000,000 by default.")] = None,
) -> None:
    """From a workload to a trained policy and a finished report, in a few minutes."""
    from experiments.demo import run_demo

    run_demo(out, steps)


def main() -> None:
    """Run a command; wrong input ends in one line and exit code 2, Ctrl-C in 130."""
    try:
        from simulator.ownership import check_import_names

        check_import_names()
        code = app(standalone_mode=False)
    except typer.TyperException as error:
        _refuse(error)
    except InputError as error:
        _fail(str(error), 2)
    except ModuleNotFoundError as error:
        how = how_to_install((error.name or "").partition(".")[0])
        if how is None:
            raise
        _fail(f"this command needs {error.name}; install it with: {how}", 2)
    except Interrupted as error:
        _fail(str(error), _INTERRUPTED)
    except PlantGone as error:
        _fail(str(error), 1)
    except OSError as error:
        _fail(f"{error.filename}: {error.strerror or error}" if error.filename else str(error), 1)
    else:
        if code == _INTERRUPTED:
            _fail("interrupted", code)
        raise SystemExit(code)


def _refuse(error: typer.TyperException) -> NoReturn:
    """A command line that cannot be read ends in one line, unless its help has been shown instead."""
    message, context = error.format_message(), getattr(error, "ctx", None)
    if not message:
        raise SystemExit(2)
    command = context.command_path if context else "setpoint"
    _fail(f"{message.rstrip('.')} (see {command} --help)", 2)


def _fail(message: str, code: int) -> NoReturn:
    print(f"setpoint: {message}", file=sys.stderr)  # noqa: T201 - the command line's own output
    raise SystemExit(code)


if __name__ == "__main__":
    main()
