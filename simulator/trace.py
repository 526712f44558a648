"""Traces: request counts over time on an even grid, read, checked, sliced, refined and scaled."""

from __future__ import annotations

import gzip
import hashlib
import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from simulator.access_log import Origin, is_access_log, origin_of, parse_access_log
from simulator.arrays import Floats
from simulator.errors import InputError
from simulator.files import whole_file
from simulator.request_log import PARQUET, RequestLog, is_log, parse_log, read_parquet_log
from simulator.tables import numbers, parse_csv, read_bytes, unpack

COLUMNS = ("t_seconds", "requests")
FINEST_BIN_SECONDS = 60.0
"""Bins wider than this are refined before they become load."""
COARSE_BIN_SECONDS = 300.0
"""Bins wider than this are too coarse to speak of seconds."""
_GRID_TOLERANCE_SECONDS = 1e-6
_GRID_TOLERANCE_BINS = 1e-6
_MOST_PARTS = 3600
_MOST_BINS = 1_000_000_000
_LOG_BIN_SECONDS, _LONG_LOG_BIN_SECONDS = 1.0, 60.0
_LONG_LOG_SECONDS = 86_400.0
_MOST_LOG_SECONDS = 100 * 366 * 86_400.0


@dataclass(frozen=True, slots=True)
class Trace:
    """Request counts in bins ``[t, t + bin_seconds)``.

    Attributes:
        requests: float64 ``(T,)``; requests in each bin, at least 0; NaN in gaps of what was read with them.
        bin_seconds: width of a bin.
        start_seconds: time of the first bin.
        name: where it comes from, for people.
        sha256: of the file it comes from; empty if it is from no file.
        times_seconds: float64 ``(R,)``; when each request came, ascending, on the same clock as
            ``start_seconds``; None where only counts are known. ``requests`` are their counts.
        classes: the names of the request classes; None where they are not known.
        class_index: int32 ``(R,)``; each request's place in ``classes``.
        origin: of the access log that it counts; None where it is from something else.
    """

    requests: Floats
    bin_seconds: float
    start_seconds: float = 0.0
    name: str = "trace"
    sha256: str = ""
    times_seconds: Floats | None = None
    classes: tuple[str, ...] | None = None
    class_index: NDArray[np.int32] | None = None
    origin: Origin | None = None

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
        none of up to 3,600 do, the part has bins of its own that keep its mass. Requests whose
        times are known are counted again.

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
        part = replace(self, requests=fine, bin_seconds=width, start_seconds=start_seconds)
        return _counted_until(part, end)

    def resample(self, bin_seconds: float) -> Trace:
        """The same counts in other bins; a rest at the end that fills no bin is dropped.

        A bin with a gap in it is NaN where bins are whole numbers of the old ones.
        """
        count = int(self.duration_seconds / bin_seconds + _GRID_TOLERANCE_SECONDS)
        if count < 1:
            msg = f"{self.name}: bins of {bin_seconds:g} s are wider than the trace ({self.duration_seconds:g} s)"
            raise InputError(msg)
        parts = round(bin_seconds / self.bin_seconds)
        is_whole = (
            parts > 0
            and abs(bin_seconds - parts * self.bin_seconds) <= _GRID_TOLERANCE_BINS * self.bin_seconds
        )
        if is_whole and count * parts <= len(self.requests):
            requests = self.requests[: count * parts].reshape(count, parts).sum(axis=1)
        else:
            edges = self.start_seconds + bin_seconds * np.arange(count + 1)
            requests = np.diff(self._cumulative(edges))
        trace = replace(self, requests=requests, bin_seconds=bin_seconds)
        return _counted_until(trace, trace.end_seconds)

    def after(self, earlier: Trace | None) -> Trace:
        """With the counts of what ends where this begins before its own, in bins like its own.

        A rest at the beginning that fills no bin is dropped.
        """
        bins = int(earlier.duration_seconds / self.bin_seconds + _GRID_TOLERANCE_SECONDS) if earlier else 0
        if earlier is None or not bins:
            return self
        seconds = bins * self.bin_seconds
        start = max(self.start_seconds - seconds, earlier.start_seconds)
        counts = earlier.slice(start, seconds).resample(self.bin_seconds).requests
        requests = np.concatenate((counts, self.requests))
        return Trace(requests, self.bin_seconds, start, self.name, self.sha256)

    def scale(self, factor: float) -> Trace:
        """Every count times ``factor``.

        Raises:
            InputError: if the requests' exact times are known and the factor is not 1.
        """
        if self.times_seconds is not None and factor != 1:
            msg = f"{self.name}: exact request times cannot be scaled (leave out --mean-rps)"
            raise InputError(msg)
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
        trace = replace(
            self, requests=requests * np.repeat(share, parts), bin_seconds=self.bin_seconds / parts
        )
        return _counted_until(trace, self.end_seconds)

    def _cumulative(self, times: NDArray[np.floating]) -> Floats:
        edges = self.start_seconds + self.bin_seconds * np.arange(len(self.requests) + 1)
        return np.asarray(np.interp(times, edges, np.concatenate(([0.0], np.cumsum(self.requests)))))


def _counted_until(trace: Trace, end_seconds: float) -> Trace:
    """With the times before ``end_seconds``, counted in the bins there are, where they are known."""
    if trace.times_seconds is None:
        return trace
    first, last = np.searchsorted(trace.times_seconds, (trace.start_seconds, end_seconds))
    times = trace.times_seconds[first:last]
    return replace(
        trace,
        requests=_count(times, trace.start_seconds, trace.bin_seconds, len(trace.requests)),
        times_seconds=times,
        class_index=None if trace.class_index is None else trace.class_index[first:last],
    )


def _count(times: Floats, start_seconds: float, bin_seconds: float, bins: int) -> Floats:
    """Requests in each of even bins; what rounding puts beyond the last one is in it."""
    place = ((times - start_seconds) / bin_seconds).astype(np.int64)
    return np.bincount(np.minimum(place, bins - 1), minlength=bins).astype(np.float64)


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
        msg = f"{trace.name}: start {start:.10g} s is at or beyond the end of the trace ({trace.end_seconds:.10g} s)"
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


def read_trace(path: str | Path, *, gaps: bool = False) -> Trace:
    """Read counts, a request log or an access log.

    Counts are a CSV or CSV.gz file with the columns ``t_seconds,requests``. A log has a row for each
    request, in any order: a CSV or CSV.gz file with the columns ``t_seconds`` or ``t_seconds,class``
    and no other, or a Parquet file with ``arrived_seconds`` and perhaps ``class`` among others. An
    access log, plain or ``.gz``, is in Common or Combined Log Format; its first bin is at time 0.

    Args:
        gaps: take counts that are missing, as rows or as empty values, for NaN, in half of the bins at most.

    Raises:
        InputError: naming file, line and value, if it cannot be read or holds gaps, unordered
            times, or counts that are negative or not finite; a log if it is empty or holds times
            that are negative or not finite; an access log if more than 1 % of its lines are bad.
    """
    path = Path(path)
    if path.suffix == PARQUET:
        return _trace_of_log(path, read_parquet_log(path))
    raw = read_bytes(path)
    sha256 = hashlib.sha256(raw).hexdigest()
    content = unpack(path, raw)
    if is_log(content):
        return _trace_of_log(path, parse_log(path, content, sha256))
    if is_access_log(content):
        return _trace_of_access_log(path, content, sha256)
    table = parse_csv(path, content, COLUMNS)
    times = numbers(path, table, "t_seconds")
    requests = numbers(path, table, "requests", gaps=gaps)
    if len(times) < 2:
        msg = f"{path}: {len(times)} rows; a trace needs at least 2, so that the width of a bin is known"
        raise InputError(msg)
    place = _place(path, times, gaps=gaps)
    negative = np.flatnonzero(requests < 0)
    if negative.size:
        line = int(negative[0]) + 2
        msg = f"{path}:{line}: requests is {requests[negative[0]]:g}; must be at least 0"
        raise InputError(msg)
    bins, known = int(place[-1]) + 1, int(np.isfinite(requests).sum())
    if bins > 2 * known:
        msg = f"{path}: {known} counts in {bins} bins; at least half of them must be known"
        raise InputError(msg)
    counts = np.full(bins, np.nan)
    counts[place] = requests
    return Trace(
        requests=counts,
        bin_seconds=float((times[-1] - times[0]) / place[-1]),
        start_seconds=float(times[0]),
        name=path.name,
        sha256=sha256,
    )


def _trace_of_log(path: Path, log: RequestLog) -> Trace:
    """A log's requests counted: by the second, by the minute where it spans more than a day."""
    span = log.span_seconds
    first, last = span or (float(log.times_seconds[0]), float(log.times_seconds[-1]))
    bin_seconds = _log_bin_seconds(path, first, last)
    start = first if span else first // bin_seconds * bin_seconds
    bins = math.ceil((last - start) / bin_seconds) if span else int((last - start) / bin_seconds) + 1
    return Trace(
        requests=_count(log.times_seconds, start, bin_seconds, bins),
        bin_seconds=bin_seconds,
        start_seconds=start,
        name=path.name,
        sha256=log.sha256,
        times_seconds=log.times_seconds,
        classes=log.classes,
        class_index=log.class_index,
    )


def _trace_of_access_log(path: Path, content: bytes, sha256: str) -> Trace:
    """An access log's requests counted, as a request log's; its whole seconds are no exact times."""
    log = parse_access_log(path, content)
    first, last = int(log.epoch_seconds.min()), int(log.epoch_seconds.max())
    bin_seconds = _log_bin_seconds(path, first, last)
    start = int(first // bin_seconds * bin_seconds)
    bins = int((last - start) / bin_seconds) + 1
    return Trace(
        requests=_count((log.epoch_seconds - start).astype(np.float64), 0.0, bin_seconds, bins),
        bin_seconds=bin_seconds,
        name=path.name,
        sha256=sha256,
        origin=origin_of(path, log, start),
    )


def _log_bin_seconds(path: Path, first: float, last: float) -> float:
    """A second, or a minute where the log spans more than a day."""
    if last - first > _MOST_LOG_SECONDS:
        msg = (
            f"{path}: times go from {first:.15g} to {last:.15g} s; must be within {_MOST_LOG_SECONDS:.10g} s"
        )
        raise InputError(msg)
    return _LOG_BIN_SECONDS if last - first <= _LONG_LOG_SECONDS else _LONG_LOG_BIN_SECONDS


def write_trace(trace: Trace, path: str | Path) -> None:
    """Write a trace's counts as CSV or CSV.gz; the same trace gives the same bytes."""
    times = trace.start_seconds + trace.bin_seconds * np.arange(len(trace.requests))
    rows = [f"{time:.15g},{count:.15g}" for time, count in zip(times, trace.requests, strict=True)]
    content = "\n".join([",".join(COLUMNS), *rows, ""]).encode()
    with whole_file(path) as partial:
        partial.write_bytes(gzip.compress(content, mtime=0) if partial.suffix == ".gz" else content)


def _place(path: Path, times: Floats, *, gaps: bool) -> NDArray[np.int64]:
    """The place of each row among even bins: int64 ``(rows,)``."""
    steps = np.diff(times)
    bin_seconds = float(np.percentile(steps, 50, method="lower"))
    tolerance = max(_GRID_TOLERANCE_SECONDS, 1e-9 * abs(float(times[-1])))
    backwards = np.flatnonzero(steps <= 0)
    if backwards.size:
        row = int(backwards[0]) + 1
        msg = f"{path}:{row + 2}: t_seconds is {times[row]:.15g} after {times[row - 1]:.15g}; times must increase"
        raise InputError(msg)
    bins = np.maximum(np.rint(steps / bin_seconds), 1.0) if gaps else np.ones(len(steps))
    uneven = np.flatnonzero(np.abs(steps - bins * bin_seconds) > tolerance)
    if uneven.size:
        row = int(uneven[0]) + 1
        msg = (
            f"{path}:{row + 2}: t_seconds goes from {times[row - 1]:.15g} to {times[row]:.15g}, where the others are "
            f"{bin_seconds:g} s apart; fill the gap or cut the trace there"
        )
        raise InputError(msg)
    if bins.sum() > _MOST_BINS:
        span = f"{times[0]:.15g} to {times[-1]:.15g}"
        msg = f"{path}: t_seconds goes from {span}, more than {_MOST_BINS} bins of {bin_seconds:g} s"
        raise InputError(msg)
    return np.concatenate(([0], np.cumsum(bins))).astype(np.int64)
