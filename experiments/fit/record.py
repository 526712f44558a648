"""Records of a real service: what was measured of it, step by step, from CSV and Parquet files."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from simulator.arrays import Floats
from simulator.errors import InputError
from simulator.files import whole_file
from simulator.request_log import PARQUET
from simulator.tables import parse_csv, read_bytes, require_column, unpack
from simulator.trace import Trace

if TYPE_CHECKING:
    import pandas as pd

TIME = "t_seconds"
NEEDED = ("rate_rps", "replicas", "latency_p95_seconds")
CPU, UTILIZATION = "cpu_cores", "cpu_utilization"
OPTIONAL = ("latency_p50_seconds", "latency_mean_seconds")
POD_START = "pod_start_seconds"
MOST_MISSING_SHARE = 0.2
"""A column with a larger share of missing values is refused, one that is optional left out."""
FEWEST_STEPS = 60
_GRID_TOLERANCE = 1e-3
_MOST_STEPS = 5_000_000
_MOST_VALUE = 1e9


@dataclass(frozen=True, slots=True)
class Record:
    """What was measured, in even steps ``[t, t + step)``; NaN where it is missing.

    Attributes:
        step_seconds: width of a step.
        start_seconds: time of the first step.
        rate_rps: float64 ``(T,)``; requests/s that came.
        cpu_cores: CPU that all pods used, in cores.
        replicas: pods that served, the mean over the step.
        latency_p95_seconds: of the requests that were answered in the step; NaN without any.
        latency_p50_seconds: all NaN where the record has none, as for the mean.
        pod_start_seconds: float64 ``(P,)``; how long each pod took from its creation until it was ready.
        name: where it comes from, for people.
        sha256: of the file; empty if it is from no file.
        notes: what was left out or filled in.
    """

    step_seconds: float
    start_seconds: float
    rate_rps: Floats
    cpu_cores: Floats
    replicas: Floats
    latency_p95_seconds: Floats
    latency_p50_seconds: Floats
    latency_mean_seconds: Floats
    pod_start_seconds: Floats
    name: str = "record"
    sha256: str = ""
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Number of steps."""
        return len(self.rate_rps)

    @property
    def times_seconds(self) -> Floats:
        """float64 ``(T,)``; when each step begins."""
        return self.start_seconds + self.step_seconds * np.arange(len(self), dtype=np.float64)

    @property
    def load_rps(self) -> Floats:
        """The rate, a straight line where it is missing."""
        known = np.flatnonzero(np.isfinite(self.rate_rps))
        return np.asarray(np.interp(np.arange(len(self)), known, self.rate_rps[known]))

    @property
    def serving(self) -> Floats:
        """Replicas, the last ones known where they are missing."""
        known = np.isfinite(self.replicas)
        last = np.maximum.accumulate(np.where(known, np.arange(len(self)), -1))
        return np.asarray(self.replicas[np.where(last < 0, np.argmax(known), last)])

    @property
    def answered(self) -> Floats:
        """About how many requests each step's latencies speak of."""
        return self.load_rps * self.step_seconds

    def trace(self) -> Trace:
        """The load."""
        return Trace(self.answered, self.step_seconds, self.start_seconds, self.name, self.sha256)

    def part(self, begin: int, end: int) -> Record:
        """The steps from ``begin`` to before ``end``; the pods' start-ups stay."""
        series = {
            field.name: getattr(self, field.name)[begin:end]
            for field in fields(self)
            if field.name in {*NEEDED, CPU, *OPTIONAL}
        }
        start = self.start_seconds + begin * self.step_seconds
        return replace(self, start_seconds=start, **series)


def read_record(path: Path, cpu_request: float | None = None, pod_starts: Path | None = None) -> Record:
    """A record from a CSV, CSV.gz or Parquet file.

    Args:
        cpu_request: of a pod, vCPU: what ``cpu_utilization`` is a share of.
        pod_starts: a second file with the column ``pod_start_seconds``.

    Raises:
        InputError: naming file, line and value, if it cannot be read, has no even steps, is too short,
            holds negative or infinite values, or too many are missing.
    """
    table, first, sha256 = _read_table(path)
    place = Rows(path, first)
    require_column(str(path), list(table.columns), TIME)
    names = [str(name) for name in table.columns]
    for name in NEEDED:
        require_column(str(path), names, name)
    times = _column(place, table, TIME)
    columns = {name: _column(place, table, name) for name in NEEDED}
    columns |= {name: _column(place, table, name) for name in OPTIONAL if name in names}
    columns[CPU] = _cores(place, table, columns["replicas"], cpu_request)
    starts = _column(place, table, POD_START) if POD_START in names else np.empty(0)
    if pod_starts:
        listed, first_listed, _ = _read_table(pod_starts, (POD_START,))
        starts = np.append(starts, _column(Rows(pod_starts, first_listed), listed, POD_START))
    return make_record(place, times, columns, starts[np.isfinite(starts)], path.name, sha256)


@dataclass(frozen=True, slots=True)
class Rows:
    """How the rows of a file are called in errors."""

    path: Path | str
    first: int

    def of(self, row: int) -> str:
        """The place of a row, counted from 0."""
        return f"{self.path}:{row + self.first}"


def make_record(
    place: Rows, times: Floats, columns: dict[str, Floats], starts: Floats, name: str, sha256: str
) -> Record:
    """A record of columns of the same length; steps that are absent become missing ones.

    Raises:
        InputError: as ``read_record``.
    """
    if len(times) < FEWEST_STEPS:
        msg = f"{place.path}: {len(times)} rows; a record needs at least {FEWEST_STEPS}"
        raise InputError(msg)
    step, at, count = _grid(place, times)
    whole = {name: _spread(values, at, count) for name, values in columns.items()}
    for optional in OPTIONAL:
        whole.setdefault(optional, np.full(count, np.nan))
    notes = []
    if absent := count - len(times):
        notes.append(f"{absent} of {count} steps are absent and count as missing")
    quiet = whole["rate_rps"] == 0
    for column, values in whole.items():
        is_latency = column.startswith("latency")
        missing = np.isnan(values) & ~(quiet & is_latency)
        share = float(missing.mean())
        if share > MOST_MISSING_SHARE and column in OPTIONAL:
            if column in columns:
                notes.append(f"{column} is missing at {share:.0%} of the steps and is left out")
            whole[column] = np.full(count, np.nan)
        elif share > MOST_MISSING_SHARE:
            msg = (
                f"{place.path}: {column} is missing at {share:.0%} of the steps; "
                f"at most {MOST_MISSING_SHARE:.0%} may be"
            )
            raise InputError(msg)
        elif share > 0:
            notes.append(f"{column} is missing at {missing.sum()} steps ({share:.1%})")
    if not np.nansum(whole["rate_rps"]) > 0:
        msg = f"{place.path}: rate_rps is 0 throughout; there is nothing to fit"
        raise InputError(msg)
    return Record(
        step_seconds=step,
        start_seconds=float(times[0]),
        **whole,
        pod_start_seconds=starts,
        name=name,
        sha256=sha256,
        notes=tuple(notes),
    )


def write_record(record: Record, path: Path) -> None:
    """Write a record as CSV; reading it gives the same one."""
    names = [TIME, *NEEDED, CPU, *(name for name in OPTIONAL if np.isfinite(getattr(record, name)).any())]
    columns = [record.times_seconds, *(getattr(record, name) for name in names[1:])]
    starts = record.pod_start_seconds[: len(record)]
    if starts.size:
        names.append(POD_START)
        columns.append(np.append(starts, np.full(len(record) - starts.size, np.nan)))
    rows = [
        ",".join("" if np.isnan(one) else f"{one:.9g}" for one in row) for row in zip(*columns, strict=True)
    ]
    with whole_file(path) as partial:
        partial.write_text("\n".join([",".join(names), *rows, ""]), encoding="utf-8")


def _read_table(path: Path, needed: tuple[str, ...] = (TIME, *NEEDED)) -> tuple[pd.DataFrame, int, str]:
    """The table, the number of its first row in errors, and the file's SHA-256."""
    raw = read_bytes(path)
    sha256 = hashlib.sha256(raw).hexdigest()
    if path.suffix != PARQUET:
        return parse_csv(path, unpack(path, raw), needed), 2, sha256
    import io

    import pandas as pd
    import pyarrow as pa

    try:
        table = pd.read_parquet(io.BytesIO(raw))
    except (pa.ArrowException, OSError, ValueError) as error:
        msg = f"{path}: not a Parquet file ({' '.join(str(error).split())})"
        raise InputError(msg) from None
    for name in needed:
        require_column(str(path), [str(one) for one in table.columns], name)
    return table.astype(str).replace({"None": "", "<NA>": ""}), 1, sha256


def _column(place: Rows, table: pd.DataFrame, name: str) -> Floats:
    """A column of text as numbers of at least 0; NaN where it is empty or says so."""
    import pandas as pd

    text = table[name].str.strip()
    values = pd.to_numeric(text, errors="coerce").to_numpy(dtype=np.float64).copy()
    missing = text.str.lower().isin(["", "nan", "null"]).to_numpy()
    least = -np.inf if name == TIME else 0.0
    wrong = np.flatnonzero(~missing & ~((values >= least) & (values <= _MOST_VALUE * 10)))
    if name == TIME:
        wrong = np.flatnonzero(~np.isfinite(values))
    if wrong.size:
        row = int(wrong[0])
        allowed = (
            "a finite number" if name == TIME else "a finite number of at least 0, or empty where missing"
        )
        msg = f"{place.of(row)}: {name} is {str(table[name].iloc[row])[:40]!r}; must be {allowed}"
        raise InputError(msg)
    values[missing] = np.nan
    return values


def _cores(place: Rows, table: pd.DataFrame, replicas: Floats, cpu_request: float | None) -> Floats:
    names = list(table.columns)
    if CPU in names:
        return _column(place, table, CPU)
    if UTILIZATION not in names:
        require_column(str(place.path), names, CPU)
    if cpu_request is None:
        msg = f"{place.path}: {UTILIZATION} is a share of the pods' CPU request: give it with --cpu-request, or {CPU}"
        raise InputError(msg)
    return _column(place, table, UTILIZATION) * cpu_request * replicas


def _grid(place: Rows, times: Floats) -> tuple[float, np.ndarray, int]:
    """The step, each row's place on the even grid, and the grid's length."""
    steps = np.diff(times)
    backwards = np.flatnonzero(steps <= 0)
    if backwards.size:
        row = int(backwards[0]) + 1
        msg = f"{place.of(row)}: {TIME} is {times[row]:.15g} after {times[row - 1]:.15g}; times must increase"
        raise InputError(msg)
    step = float(np.percentile(steps, 50, method="lower"))
    at = (times - times[0]) / step
    uneven = np.flatnonzero(np.abs(at - np.rint(at)) > np.maximum(_GRID_TOLERANCE, 1e-6 * at))
    if uneven.size:
        row = int(uneven[0])
        msg = (
            f"{place.of(row)}: {TIME} is {times[row]:.15g}, which is no whole number of steps of {step:g} s "
            f"after the first row's {times[0]:.15g}"
        )
        raise InputError(msg)
    count = round(float(at[-1])) + 1
    if count > _MOST_STEPS:
        msg = f"{place.path}: {count} steps of {step:g} s; at most {_MOST_STEPS} are read"
        raise InputError(msg)
    return step, np.rint(at).astype(np.int64), count


def _spread(values: Floats, at: np.ndarray, count: int) -> Floats:
    whole = np.full(count, np.nan)
    whole[at] = values
    return whole
