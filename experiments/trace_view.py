"""What ``setpoint traces show`` says of a trace and of a log."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from rich.table import Table

from experiments.commands import CONSOLE, check_png, load_trace
from experiments.figures import draw_trace, terminal_chart
from experiments.outputs import check_file
from experiments.wording import duration, plain_number
from simulator.errors import InputError
from simulator.request_log import PARQUET
from simulator.trace import COARSE_BIN_SECONDS, Trace, write_trace

_MOST_CLASSES = 8


def show_trace(file: Path, png: Path | None, csv: Path | None = None) -> None:
    """``setpoint traces show``."""
    if csv:
        check_csv("--csv", csv, file)
    if png:
        check_png(png)
    trace = load_trace(file)
    rate = trace.rate_rps
    mean, lowest, highest = (plain_number(one, 4) for one in (rate.mean(), rate.min(), rate.max()))
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for name, value in (
        ("file", str(file)),
        ("sha256", trace.sha256),
        (
            "bins",
            f"{len(rate)} of {plain_number(trace.bin_seconds)} s, from {plain_number(trace.start_seconds)} s",
        ),
        ("duration", duration(trace.duration_seconds)),
        ("requests", f"{trace.requests.sum():,.0f}"),
        ("rate, requests/s", f"mean {mean}, lowest {lowest}, highest {highest}"),
        ("peak to mean", f"{rate.max() / rate.mean():.3g}" if rate.mean() > 0 else "no requests"),
        *_describe_log(trace),
    ):
        table.add_row(name, value)
    CONSOLE.print(table)
    CONSOLE.print(f"\nrequests/s, {duration(trace.duration_seconds)} from left to right")
    CONSOLE.print(terminal_chart(rate))
    if trace.bin_seconds > COARSE_BIN_SECONDS:
        CONSOLE.print(f"Bins of {trace.bin_seconds:g} s are too coarse to speak of seconds.")
    if file.suffix == PARQUET and trace.times_seconds is not None:
        _show_latencies(file)
    if png:
        draw_trace(trace, png)
        CONSOLE.print(f"drawn in {png}")
    if csv:
        write_trace(trace, csv)
        CONSOLE.print(f"counts written to {csv}")


def check_csv(option: str, path: Path, source: Path | None = None) -> None:
    """Check, before work, that a trace can be written there.

    Args:
        source: what is read, and must not be written over.

    Raises:
        InputError: naming the option, if the file's name has another ending, it is the source or cannot be a file.
    """
    if not path.name.endswith((".csv", ".csv.gz")):
        msg = f"{option} {path}: a trace's name ends in .csv or .csv.gz"
        raise InputError(msg)
    if source and path.resolve() == source.resolve():
        msg = f"{option} {path}: that is the file that is read"
        raise InputError(msg)
    check_file(option, path)


def moment(epoch_seconds: float) -> str:
    """A time as people read it, in UTC."""
    text = datetime.fromtimestamp(epoch_seconds, UTC).isoformat(sep=" ")
    return f"{text.removesuffix('+00:00')} UTC"


def _describe_log(trace: Trace) -> list[tuple[str, str]]:
    """What is known of a log and of single requests, as rows of a table."""
    if trace.origin:
        return [("access log", f"0 s is {moment(trace.origin.epoch_seconds)}")]
    if trace.times_seconds is None:
        return []
    count = len(trace.times_seconds)
    rows = [("request log", f"exact times of {count:,} requests")]
    if trace.classes is not None and trace.class_index is not None:
        counts = np.bincount(trace.class_index, minlength=len(trace.classes))
        largest = np.argsort(-counts, kind="stable")
        shares = [f"{trace.classes[place]} {counts[place] / count:.1%}" for place in largest[:_MOST_CLASSES]]
        others = len(largest) - len(shares)
        rows.append(("classes", ", ".join(shares) + (f" and {others} others" if others else "")))
    return rows


def _show_latencies(file: Path) -> None:
    """What became of a log's requests, with exact percentiles, where it says so."""
    from simulator.request_log import read_latencies

    found = read_latencies(file)
    if found is None:
        return
    title = "latency of served requests, ms, exact"
    table = Table(box=None, padding=(0, 2, 0, 0), title=title, title_justify="left")
    outcomes = (f"{str(name).replace('_', ' ')}, %" for name in found.shares.columns)
    for column in (
        "class",
        "requests",
        *outcomes,
        *(f"p{one:g}" for one in found.percentiles_seconds.columns),
    ):
        table.add_column(column, justify="left" if column == "class" else "right")
    shares, latencies = found.shares.to_numpy(), found.percentiles_seconds.to_numpy()
    for place, (name, count) in enumerate(found.requests.items()):
        exact = ("" if np.isnan(seconds) else f"{1000 * seconds:.4g}" for seconds in latencies[place])
        table.add_row(str(name), f"{count:,}", *(f"{100 * share:.4g}" for share in shares[place]), *exact)
    CONSOLE.print()
    CONSOLE.print(table)
