"""``setpoint simulate``: one policy on one task, told in full."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError
from rich.table import Table

from agents.runner import Decision
from envs.task import Task
from experiments.breakdown import Breakdown, Row, fault_rows
from experiments.commands import CONSOLE, STATUS, Part, bar, check_png, settle
from experiments.export import TELEMETRY, Export
from experiments.figures import terminal_chart
from experiments.interruption import Interrupted
from experiments.outputs import check_file
from experiments.recipes import check_policy
from experiments.run import Outcome, Run, execute
from experiments.specs import make_settings
from experiments.timeline import draw_timeline
from experiments.wording import plain_number, short_names
from simulator.errors import InputError
from simulator.faults import KINDS
from simulator.plant import Interval
from simulator.request_log import PARQUET
from simulator.trace import Split

if TYPE_CHECKING:
    from collections.abc import Iterator

    from simulator.kernel.tables import Log


@dataclass(frozen=True, slots=True)
class Outputs:
    """Where a simulation is written to.

    Attributes:
        png: the timeline's picture.
        request_log: a Parquet file of all requests; None for none.
        export: a folder of telemetry, events and fault labels; None for none.
    """

    png: Path
    request_log: Path | None = None
    export: Path | None = None


def simulate(part: Part, policy: str, seed: int, faults: tuple[str, ...], outputs: Outputs) -> None:
    """Run it, print a summary, draw the timeline."""
    task, split = part.load(seed)
    task = with_faults(task, faults)
    check_policy(policy, Run(task, split.judged, split.history, policy, policy, seed))
    for warning in late_faults(task, split.judged.duration_seconds):
        STATUS.print(f"warning: {warning}")
    check_png(outputs.png)
    if outputs.request_log:
        _check_log(outputs.request_log, part.trace)
    export = _export(outputs.export, task, split)
    found = settle(policy, task, split, seed, outputs.png.parent)
    run = Run(task, split.judged, split.history, found.policy, policy, seed, found.schedule)
    breakdown = Breakdown(task.scenario)

    def see(decision: Decision, interval: Interval) -> None:
        breakdown.add(interval)
        if export:
            export.add(decision, interval)

    with _told_of_interruption(outputs):
        with (
            bar(f"simulating {split.judged.requests.sum():,.0f} requests") as update,
            _log_writer(outputs.request_log, task, split) as log,
        ):
            outcome = execute(run, update, log, see, export.happened if export else None)
        if export:
            export.write(outcome.faults)
    _tell(outcome, breakdown, str(found) if found.calibration else "")
    title = f"{task.name}: {short_names([policy])[policy]} on {split.judged.name}, seed {seed}"
    draw_timeline(outcome.timeline, task.objective.slo_seconds, title, outputs.png)
    CONSOLE.print(f"\ntimeline drawn in {outputs.png}")
    if outputs.request_log:
        CONSOLE.print(f"requests written to {outputs.request_log}")
    if export:
        CONSOLE.print(f"telemetry, nodes, events and fault labels written to {outputs.export}")


def with_faults(task: Task, specs: tuple[str, ...]) -> Task:
    """A task with further faults.

    Raises:
        InputError: naming the fault, the setting, its value and what is allowed.
    """
    if not specs:
        return task
    more = [make_settings(spec, "fault", KINDS) for spec in specs]
    try:
        scenario = task.scenario.with_faults(more)
    except ValidationError as error:
        said = "; ".join(item["msg"].removeprefix("Value error, ") for item in error.errors())
        raise InputError(f"task {task.name} with --fault: {said}") from None
    return task.model_copy(update={"scenario": scenario})


def late_faults(task: Task, duration_seconds: float) -> list[str]:
    """A line for each fault that never begins, as the run is over before."""
    return [
        f"fault {fault.kind} never begins: at_seconds is {plain_number(fault.at_seconds)}, "
        f"and the run ends at {plain_number(duration_seconds)} s"
        for fault in task.scenario.faults
        if fault.at_seconds is not None and fault.at_seconds >= duration_seconds
    ]


def _tell(outcome: Outcome, breakdown: Breakdown, calibration: str) -> None:
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for name, value in outcome.row.items():
        if name == "regret_to_oracle":
            continue
        digits = 12 if name.endswith("_s") else 5
        shown = plain_number(value, digits) if isinstance(value, float) else str(value)
        table.add_row(name, "" if shown == "nan" else shown)
    CONSOLE.print(table)
    if calibration:
        CONSOLE.print(calibration)
    for rows in (breakdown.services(), breakdown.classes()):
        if len(rows) > 1 or outcome.row["error_ratio"] > 0:
            _print_rows(rows)
    for rows in (breakdown.nodes(), fault_rows(outcome.faults, float(outcome.row["duration_s"]))):
        if rows:
            _print_rows(rows)
    timeline = outcome.timeline
    several = len(breakdown.services()) > 1
    ready = "replicas ready, all services" if several else "replicas ready"
    for name, values in (("load, requests/s", timeline["rate_rps"]), (ready, timeline["ready"])):
        CONSOLE.print(f"\n{name}")
        CONSOLE.print(terminal_chart(values, height=5))


def _print_rows(rows: list[Row]) -> None:
    """Rows that have the same columns, as a table; NaN is left empty."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for place, title in enumerate(rows[0]):
        table.add_column(title.replace("_", " "), justify="right" if place else "left")
    for row in rows:
        cells = (
            f"{cell:,}" if isinstance(cell, int) else plain_number(cell, 4)
            for cell in list(row.values())[1:]
            if not isinstance(cell, str)
        )
        table.add_row(str(next(iter(row.values()))), *("" if cell == "nan" else cell for cell in cells))
    CONSOLE.print()
    CONSOLE.print(table)


def _check_log(path: Path, trace: Path | None) -> None:
    if path.suffix != PARQUET:
        msg = f"--request-log {path}: a request log's name ends in {PARQUET}"
        raise InputError(msg)
    if trace and path.resolve() == trace.resolve():
        msg = f"--request-log {path}: that is the trace itself"
        raise InputError(msg)
    check_file("--request-log", path)


@contextmanager
def _log_writer(path: Path | None, task: Task, split: Split) -> Iterator[Log | None]:
    """What takes finished requests; None where no log is asked for."""
    if path is None:
        yield None
        return
    from simulator.log_writer import write_requests

    classes = [group.name for group in task.scenario.system.classes]
    span = split.judged.start_seconds, split.judged.end_seconds
    with write_requests(path, classes, span) as write:
        yield write


def _export(folder: Path | None, task: Task, split: Split) -> Export | None:
    """What collects the run, checked; None where nothing is asked for."""
    if folder is None:
        return None
    services = [service.name for service in task.scenario.system.services]
    groups = [group.name for group in task.scenario.cluster.groups] if task.scenario.cluster else []
    export = Export(services, groups, folder, split.judged.start_seconds)
    export.check()
    return export


@contextmanager
def _told_of_interruption(outputs: Outputs) -> Iterator[None]:
    """Ctrl-C says of the request log and the export what there is of them."""
    files = {path: path for path in (outputs.request_log,) if path}
    files |= {folder: folder / TELEMETRY for folder in (outputs.export,) if folder}
    before = {path: _version(file) for path, file in files.items()}
    try:
        yield
    except KeyboardInterrupt:
        if not files:
            raise
        said = [f"{path} is {_fate(before[path], _version(file))}" for path, file in files.items()]
        raise Interrupted(f"interrupted: {', '.join(said)}") from None


def _version(path: Path) -> tuple[int, int] | None:
    """What tells a file from one that takes its place; None where there is none."""
    if not path.exists():
        return None
    found = path.stat()
    return found.st_ino, found.st_mtime_ns


def _fate(before: tuple[int, int] | None, after: tuple[int, int] | None) -> str:
    if before != after:
        return "written"
    return "not written" if before is None else "as it was"
