"""Traces: request counts over time on an even grid, read, checked, sliced, refined and scaled."""

from __future__ import annotations

import gzip
import hashlib
import math
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from simulator.errors import InputError
from simulator.files import whole_file
from simulator.plant import Floats

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("t_seconds", "requests")
FINEST_BIN_SECONDS = 60.0
"""Bins wider than this are refined before they become load."""
COARSE_BIN_SECONDS = 300.0
"""Bins wider than this are too coarse to speak of seconds."""
_GRID_TOLERANCE_SECONDS = 1e-6
_GRID_TOLERANCE_BINS = 1e-6
_MOST_PARTS = 3600


@dataclass(frozen=True, slots=True)
class Trace:
    """Request counts in bins ``[t, t + bin_seconds)``.

    Attributes:
        requests: float64 ``(T,)``; requests in each bin, at least 0.
        bin_seconds: width of a bin.
        start_seconds: time of the first bin.
        name: where it comes from, for people.
        sha256: of the file it comes from; empty if it is from no file.
    """

    requests: Floats
    bin_seconds: float
    start_seconds: float = 0.0
    name: str = "trace"
    sha256: str = ""

    @property
    def duration_seconds(self) -> float:
        """From the first bin's start to the last bin's end."""
        return len(self.requests) * self.bin_seconds

    @property
    def end_seconds(self) -> float:
        """The end of the last bin."""
        return self.start_seconds + self.duration_seconds

    @property
    def rate_rps(self) -> Floats:
        """float64 ``(T,)``; requests/s in each bin."""
        return self.requests / self.bin_seconds

    @property
    def mean_rps(self) -> float:
        """Requests/s over the whole trace."""
        return float(self.requests.sum() / self.duration_seconds)

    def slice(self, start_seconds: float, duration_seconds: float) -> Trace:
        """The part ``[start, start + duration)``, to the second.

        Where the part cuts bins, all bins are cut into as many equal ones as make it whole; where
        none of up to 3,600 do, the part has bins of its own that keep its mass.

        Raises:
            InputError: if the part is empty or reaches outside the trace.
        """
        end = start_seconds + duration_seconds
        inside = self.start_seconds <= start_seconds < end <= self.end_seconds + _GRID_TOLERANCE_SECONDS
        if not inside:
            msg = (
                f"{self.name}: the part from {start_seconds:.10g} s for {duration_seconds:.10g} s is not within "
                f"the trace, which has {self.start_seconds:.10g} s to {self.end_seconds:.10g} s"
            )
            raise InputError(msg)
        first = (start_seconds - self.start_seconds) / self.bin_seconds
        count = duration_seconds / self.bin_seconds
        parts = _parts_that_fit(first, count)
        if parts is None:
            bins = math.ceil(count)
            edges = start_seconds + duration_seconds / bins * np.arange(bins + 1)
            fine, width = np.diff(self._cumulative(edges)), duration_seconds / bins
        else:
            low, high = math.floor(first), math.ceil(first + count - _GRID_TOLERANCE_BINS)
            begin, size = round((first - low) * parts), round(count * parts)
            near = self.requests[low:high]
            fine = near if parts == 1 else np.repeat(near / parts, parts)
            fine, width = fine[begin : begin + size], self.bin_seconds / parts
        return replace(self, requests=fine, bin_seconds=width, start_seconds=start_seconds)

    def resample(self, bin_seconds: float) -> Trace:
        """The same counts in other bins; a rest at the end that fills no bin is dropped."""
        count = int(self.duration_seconds / bin_seconds + _GRID_TOLERANCE_SECONDS)
        if count < 1:
            msg = f"{self.name}: bins of {bin_seconds:g} s are wider than the trace ({self.duration_seconds:g} s)"
            raise InputError(msg)
        edges = self.start_seconds + bin_seconds * np.arange(count + 1)
        return replace(self, requests=np.diff(self._cumulative(edges)), bin_seconds=bin_seconds)

    def scale(self, factor: float) -> Trace:
        """Every count times ``factor``."""
        return replace(self, requests=self.requests * factor)

    def refine(self) -> Trace:
        """Bins of at most 60 s that keep each old bin's count.

        The cumulative count is interpolated by monotone cubics, so no rate is negative and no
        request is lost. Source: Fritsch and Butland, 1984 (SciPy's PCHIP).
        """
        if self.bin_seconds <= FINEST_BIN_SECONDS or len(self.requests) < 2:
            return self
        from scipy.interpolate import PchipInterpolator

        parts = int(np.ceil(self.bin_seconds / FINEST_BIN_SECONDS))
        edges = np.arange(len(self.requests) + 1)
        cumulative = PchipInterpolator(edges, np.concatenate(([0.0], np.cumsum(self.requests))))
        fine = cumulative(np.arange(len(self.requests) * parts + 1) / parts)
        requests = np.maximum(np.diff(fine), 0.0)
        sums = requests.reshape(-1, parts).sum(axis=1)
        share = np.divide(self.requests, sums, out=np.zeros_like(sums), where=sums > 0)
        return replace(
            self, requests=requests * np.repeat(share, parts), bin_seconds=self.bin_seconds / parts
        )

    def _cumulative(self, times: NDArray[np.floating]) -> Floats:
        edges = self.start_seconds + self.bin_seconds * np.arange(len(self.requests) + 1)
        return np.asarray(np.interp(times, edges, np.concatenate(([0.0], np.cumsum(self.requests)))))


def _parts_that_fit(first: float, count: float) -> int | None:
    """In how many parts a bin has to be cut so that both positions, in bins, are whole."""
    parts = np.arange(1, _MOST_PARTS + 1)
    off = np.maximum(*(np.abs(place * parts - np.rint(place * parts)) for place in (first, count)))
    fits = np.flatnonzero(off <= _GRID_TOLERANCE_BINS)
    usable = fits[count * parts[fits] >= 0.5]
    return int(parts[usable[0]]) if usable.size else None


@dataclass(frozen=True, slots=True)
class Split:
    """A trace cut into what may be learned from and what is judged.

    Attributes:
        history: the part before the judged one, None if there is none.
        judged: the part policies are judged on.
        factor: what the file's counts were multiplied with.
        coarse: whether the file's bins are too wide to speak of seconds.
    """

    history: Trace | None
    judged: Trace
    factor: float
    coarse: bool


def split_trace(
    trace: Trace,
    start_seconds: float | None = None,
    duration_seconds: float | None = None,
    mean_rps: float | None = None,
) -> Split:
    """Cut a trace at ``start_seconds`` and turn it into load.

    Args:
        trace: as read.
        start_seconds: start of the judged part, on the trace's own clock; its beginning if None.
        duration_seconds: of the judged part; up to 24 h of what is there if None.
        mean_rps: the mean that the part before the judged one is scaled to, the whole file if
            there is no such part; never the judged part's own.

    Raises:
        InputError: if the part is outside the trace or there is nothing to scale by.
    """
    start = trace.start_seconds if start_seconds is None else start_seconds
    left = trace.end_seconds - start
    if left <= 0:
        msg = (
            f"{trace.name}: start {start:g} s is at or beyond the end of the trace ({trace.end_seconds:g} s)"
        )
        raise InputError(msg)
    duration = min(86_400.0, left) if duration_seconds is None else duration_seconds
    before = start - trace.start_seconds
    part = trace.slice(trace.start_seconds, before) if before > 0 else trace
    factor = 1.0
    if mean_rps is not None:
        if not mean_rps > 0:
            msg = f"mean_rps is {mean_rps:g}; must be above 0"
            raise InputError(msg)
        if part.mean_rps <= 0:
            msg = (
                f"{trace.name}: no requests before {start:g} s to scale to a mean of {mean_rps:g} requests/s"
            )
            raise InputError(msg)
        factor = mean_rps / part.mean_rps
    # Refined on its own: a shape that bends towards the judged part would tell of it.
    history = part.scale(factor).refine().slice(trace.start_seconds, before) if before > 0 else None
    return Split(
        history=history,
        judged=trace.scale(factor).refine().slice(start, duration),
        factor=factor,
        coarse=trace.bin_seconds > COARSE_BIN_SECONDS,
    )


def read_trace(path: str | Path) -> Trace:
    """Read a CSV or CSV.gz file with the columns ``t_seconds,requests``.

    Raises:
        InputError: naming file, line and value, if it cannot be read or holds gaps, unordered
            times, or counts that are negative or not finite.
    """
    path = Path(path)
    content = _read_bytes(path)
    table = _parse(path, _unpack(path, content))
    times = _column(path, table, "t_seconds")
    requests = _column(path, table, "requests")
    if len(times) < 2:
        msg = f"{path}: {len(times)} rows; a trace needs at least 2, so that the width of a bin is known"
        raise InputError(msg)
    _check_grid(path, times)
    negative = np.flatnonzero(requests < 0)
    if negative.size:
        line = int(negative[0]) + 2
        msg = f"{path}:{line}: requests is {requests[negative[0]]:g}; must be at least 0"
        raise InputError(msg)
    return Trace(
        requests=requests,
        bin_seconds=float((times[-1] - times[0]) / (len(times) - 1)),
        start_seconds=float(times[0]),
        name=path.name,
        sha256=hashlib.sha256(content).hexdigest(),
    )


def write_trace(trace: Trace, path: str | Path) -> None:
    """Write a trace as CSV or CSV.gz; the same trace gives the same bytes."""
    times = trace.start_seconds + trace.bin_seconds * np.arange(len(trace.requests))
    rows = [f"{time:.15g},{count:.15g}" for time, count in zip(times, trace.requests, strict=True)]
    content = "\n".join([",".join(COLUMNS), *rows, ""]).encode()
    with whole_file(path) as partial:
        partial.write_bytes(gzip.compress(content, mtime=0) if partial.suffix == ".gz" else content)


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        msg = f"{path}: no such file"
        raise InputError(msg) from None
    except OSError as error:
        msg = f"{path}: cannot be read ({error.strerror or error})"
        raise InputError(msg) from None


def _unpack(path: Path, content: bytes) -> bytes:
    try:
        return gzip.decompress(content) if path.suffix == ".gz" else content
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        msg = f"{path}: not a complete gzip file ({error})"
        raise InputError(msg) from None


def _parse(path: Path, content: bytes) -> pd.DataFrame:
    import io

    import pandas as pd

    if not content.strip():
        msg = f"{path}: the file is empty; a trace is a CSV with the columns t_seconds,requests"
        raise InputError(msg)
    try:
        text = content.decode("utf-8-sig")
        table = pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False, skip_blank_lines=False)
    except UnicodeDecodeError:
        msg = f"{path}: not a text file; a trace is a CSV with the columns t_seconds,requests"
        raise InputError(msg) from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, ValueError) as error:
        msg = f"{path}: not a CSV file ({' '.join(str(error).split())})"
        raise InputError(msg) from None
    table.columns = [str(column).strip() for column in table.columns]
    for column in COLUMNS:
        if list(table.columns).count(column) != 1:
            found = ", ".join(repr(name[:40]) for name in table.columns[:6])
            msg = f"{path}:1: needs one column {column!r}; the header has {found}"
            raise InputError(msg)
    if not isinstance(table.index, pd.RangeIndex):
        msg = f"{path}:2: has more values than the header has columns"
        raise InputError(msg)
    return table


def _column(path: Path, table: pd.DataFrame, column: str) -> Floats:
    import pandas as pd

    values = pd.to_numeric(table[column].str.strip(), errors="coerce").to_numpy(dtype=np.float64)
    wrong = np.flatnonzero(~np.isfinite(values))
    if wrong.size:
        row = int(wrong[0])
        text = str(table[column].iloc[row])[:40]
        msg = f"{path}:{row + 2}: {column} is {text!r}; must be a finite number"
        raise InputError(msg)
    return values


def _check_grid(path: Path, times: Floats) -> None:
    steps = np.diff(times)
    bin_seconds = float(np.percentile(steps, 50, method="lower"))
    tolerance = max(_GRID_TOLERANCE_SECONDS, 1e-9 * abs(float(times[-1])))
    backwards = np.flatnonzero(steps <= 0)
    if backwards.size:
        row = int(backwards[0]) + 1
        msg = f"{path}:{row + 2}: t_seconds is {times[row]:.15g} after {times[row - 1]:.15g}; times must increase"
        raise InputError(msg)
    uneven = np.flatnonzero(np.abs(steps - bin_seconds) > tolerance)
    if uneven.size:
        row = int(uneven[0]) + 1
        msg = (
            f"{path}:{row + 2}: t_seconds goes from {times[row - 1]:.15g} to {times[row]:.15g}, where the others are "
            f"{bin_seconds:g} s apart; fill the gap or cut the trace there"
        )
        raise InputError(msg)
