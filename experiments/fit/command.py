"""``setpoint task fit``: a task from a record of a real service, with its errors."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.table import Table

from experiments.commands import CONSOLE, STATUS, check_png
from experiments.fit.analysis import Analysis, analyse
from experiments.fit.model import Wanted, write_task
from experiments.fit.pulled import default_queries, load_queries, pull_record
from experiments.fit.record import Record, read_record, write_record
from experiments.fit.told import comments, facts, outside
from experiments.fit.verdict import LIMITS, Error
from experiments.pull import Server, Span
from experiments.trace_view import check_csv
from experiments.wording import duration
from simulator.errors import InputError
from simulator.files import check_writable
from simulator.trace import write_trace


@dataclass(frozen=True, slots=True)
class Source:
    """Where the record comes from: a file, or a Prometheus server that is asked for it.

    Attributes:
        record: a file; None where a server is asked.
        pod_starts: a second file, of pods' start-ups.
        record_out: where a record that was asked for is written.
    """

    record: Path | None
    pod_starts: Path | None
    server: Server | None
    span: Span | None
    queries: Path | None
    namespace: str | None
    deployment: str | None
    record_out: Path | None

    def check(self) -> None:
        """Refuse options that do not go together.

        Raises:
            InputError: naming them.
        """
        if (self.record is None) == (self.server is None):
            msg = "one of --record and --prometheus is needed, and not both"
            raise InputError(msg)
        if self.server is None:
            return
        if self.record_out is None:
            msg = "--prometheus needs --record-out: where the record that is asked for is kept"
            raise InputError(msg)
        check_csv("--record-out", self.record_out)
        if (self.queries is None) == (self.namespace is None or self.deployment is None):
            msg = "--prometheus needs --queries, or --namespace and --deployment"
            raise InputError(msg)

    def load(self, cpu_request: float | None) -> Record:
        """The record; one that is asked for is written, too."""
        if self.record is not None:
            return read_record(self.record, cpu_request, self.pod_starts)
        if self.server is None or self.span is None or self.record_out is None:
            raise AssertionError
        grid = self.span.grid()
        if self.queries is not None:
            queries = load_queries(self.queries)
        else:
            queries = default_queries(self.namespace or "", self.deployment or "", grid.step_seconds)
        with closing(self.server.connect()) as prometheus:
            record = pull_record(prometheus, queries, grid, self.record_out.name)
        write_record(record, self.record_out)
        CONSOLE.print(f"record written to {self.record_out}")
        return read_record(self.record_out, cpu_request, self.pod_starts)


@dataclass(frozen=True, slots=True)
class Choices:
    """What the command line says of the task; None where the record has to."""

    slo_seconds: float | None
    mean_rps: float | None
    cpu_request: float | None
    usd_per_vcpu_hour: float
    min_replicas: int | None
    max_replicas: int | None
    scrape_seconds: float
    lag_seconds: float
    share: float
    seed: int

    def check(self) -> None:
        """Refuse bounds that hold nothing.

        Raises:
            InputError: naming them.
        """
        fewest, most = self.min_replicas, self.max_replicas
        if fewest is not None and most is not None and fewest > most:
            msg = f"--min-replicas {fewest} is above --max-replicas {most}; it must be at most that"
            raise InputError(msg)

    def wanted(self, name: str, first: Record) -> Wanted:
        """With what the part to fit on says of the rest."""
        usual = float(np.nanmedian(first.latency_p95_seconds))
        seen = np.rint(first.serving)
        fewest = max(1, int(seen.min())) if self.min_replicas is None else self.min_replicas
        most = max(2 * int(seen.max()), fewest, 1) if self.max_replicas is None else self.max_replicas
        if self.min_replicas is None:
            fewest = min(fewest, most)
        return Wanted(
            name=name,
            slo_seconds=self.slo_seconds or float(f"{2 * usual:.2g}"),
            mean_rps=self.mean_rps or float(first.load_rps.mean()),
            cpu_request=self.cpu_request,
            usd_per_vcpu_hour=self.usd_per_vcpu_hour,
            min_replicas=fewest,
            max_replicas=most,
            scrape_seconds=self.scrape_seconds,
            lag_seconds=self.lag_seconds,
        )


def fit(source: Source, choices: Choices, out: Path, png: Path | None, trace_out: Path | None) -> None:
    """``setpoint task fit``."""
    source.check()
    choices.check()
    if out.suffix not in {".yaml", ".yml"}:
        msg = f"--out {out}: a task file's name ends in .yaml"
        raise InputError(msg)
    check_writable(out)
    if png:
        check_png(png)
    if trace_out:
        check_csv("--trace-out", trace_out, source.record)
    record = source.load(choices.cpu_request)
    name = out.stem

    def wanted(first: Record) -> Wanted:
        return choices.wanted(name, first)

    with STATUS.status("reading") as status:
        analysis = analyse(record, choices.share, wanted, choices.seed, status.update)
    _print(record, analysis, choices)
    write_task(analysis.task, out, comments(record, analysis))
    CONSOLE.print(f"\ntask written to {out}")
    if trace_out:
        write_trace(record.trace(), trace_out)
        CONSOLE.print(f"the record's load written to {trace_out}")
    if png:
        from experiments.fit.picture import draw_fit

        draw_fit(analysis, f"{record.name}: record and model", png)
        CONSOLE.print(f"drawn in {png}")


def _print(record: Record, analysis: Analysis, choices: Choices) -> None:
    CONSOLE.print(
        f"{record.name}: {len(record):,} steps of {record.step_seconds:g} s, "
        f"{duration(len(record) * record.step_seconds)}, the first {choices.share:.0%} fitted on"
    )
    for note in (*record.notes, *outside(analysis)):
        CONSOLE.print(f"  {note}")
    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("fitted", "value", "how it is known"):
        table.add_column(title, overflow="fold")
    for row in facts(analysis):
        table.add_row(*row)
    CONSOLE.print()
    CONSOLE.print(table)
    CONSOLE.print()
    CONSOLE.print(_error_table(analysis))
    CONSOLE.print()
    if not analysis.reasons:
        CONSOLE.print(
            "verdict: the model follows the record within the limits on the part that it has not seen."
        )
        return
    CONSOLE.print("verdict: advice from this model is not to be trusted:")
    for reason in analysis.reasons:
        CONSOLE.print(f"  {reason}")


def _error_table(analysis: Analysis) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), title="relative errors of the replay", title_justify="left")
    for title in ("part", "of", "median", "90th percentile", "limits", "steps"):
        table.add_column(title, justify="left" if title in {"part", "of"} else "right")
    for part, errors in (("held out", analysis.held_out), ("fitted on", analysis.fitted)):
        for error in errors:
            table.add_row(part, error.quantity, *_cells(error))
    return table


def _cells(error: Error) -> tuple[str, ...]:
    median, p90 = LIMITS[error.quantity]
    found = (f"{error.median:.1%}", f"{error.p90:.1%}") if error.steps else ("", "")
    return (*found, f"{median:.0%}, {p90:.0%}", f"{error.steps:,}")
