"""Request logs: when each request came and of which class it was, from CSV and Parquet files."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from simulator.arrays import Floats
from simulator.errors import InputError
from simulator.tables import header_names, numbers, parse_csv, require_column, unreadable

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

TIME, CLASS = "t_seconds", "class"
"""Columns of a CSV file; the second may be missing."""
ARRIVED = "arrived_seconds"
"""Column of a Parquet file's times."""
LATENCY, OUTCOME, RETRIES = "latency_seconds", "outcome", "retries"
"""Further columns of a log that ``simulate --request-log`` writes."""
SERVED = "served"
OUTCOMES = (SERVED, "dropped", "timed_out", "failed", "in_flight")
"""What a written log says became of a request."""
SPAN = b"setpoint.span_seconds"
"""Key of a written log's metadata: start and end of the simulated part, on the trace's clock."""
PERCENTS = (50, 90, 95, 99, 99.9)
PARQUET = ".parquet"
Codes = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class RequestLog:
    """Requests in the order they came.

    Attributes:
        times_seconds: float64 ``(R,)``; ascending, at least 0.
        classes: the names of the classes there are, in order; None if none are known.
        class_index: int32 ``(R,)``; each request's place in ``classes``, None if none are known.
        sha256: of the file, in hexadecimal.
        span_seconds: start and end of the time that it covers; None where the file does not say.
    """

    times_seconds: Floats
    classes: tuple[str, ...] | None
    class_index: Codes | None
    sha256: str
    span_seconds: tuple[float, float] | None = None


def is_log(content: bytes) -> bool:
    """Whether a CSV file's header is one of a request log: times, classes and nothing else."""
    return sorted(header_names(content)) in ([TIME], [CLASS, TIME])


def parse_log(path: Path, content: bytes, sha256: str) -> RequestLog:
    """A log from a CSV file's content with a row for each request, in any order.

    Raises:
        InputError: naming file, line and value, if it is empty, or holds times that are negative
            or no finite numbers, or requests without a class among others with one.
    """
    names = header_names(content)
    table = _parse_fast(content, names)
    if table is None:
        # Slower and larger, but it knows what is wrong in which line.
        table = parse_csv(path, content, tuple(names))
        numbers(path, table, TIME)
        table = table.astype({TIME: np.float64} | ({CLASS: "category"} if CLASS in names else {}))
    times = table[TIME].to_numpy(dtype=np.float64)
    places = _Places(f"{path}:", first=2, column=TIME)
    _check_times(places, times)
    found = None
    if CLASS in names:
        column = table[CLASS].cat
        found = (column.codes.to_numpy(), [str(name) for name in column.categories])
    return _sorted(_Places(f"{path}:", first=2, column=CLASS), times, found, sha256)


def read_parquet_log(path: Path) -> RequestLog:
    """A log from a Parquet file with ``arrived_seconds`` and perhaps ``class``, in any order.

    Raises:
        InputError: naming file, row and value, as for a CSV file.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    try:
        with path.open("rb") as content:
            sha256 = hashlib.file_digest(content, "sha256").hexdigest()
    except OSError as error:
        raise unreadable(path, error) from None
    try:
        with pq.ParquetFile(path, memory_map=True) as file:
            schema = file.schema_arrow
            require_column(str(path), schema.names, ARRIVED)
            _check_types(path, schema)
            known = schema.names.count(CLASS) == 1
            span = _span(schema)
            table = file.read([ARRIVED, CLASS] if known else [ARRIVED])
    except (pa.ArrowException, OSError) as error:
        msg = f"{path}: not a Parquet file ({' '.join(str(error).split())})"
        raise InputError(msg) from None
    places = _Places(f"{path}: row ", first=1, column=ARRIVED)
    arrived = table[ARRIVED]
    if arrived.null_count:
        row = int(pc.index(arrived.is_null(), value=True).as_py())
        raise places.refusal(row, "null", "a finite number of at least 0")
    times = arrived.cast(pa.float64(), safe=False).to_numpy()
    if not len(times) and span:
        return RequestLog(times, None, None, sha256, span)
    _check_times(places, times)
    found = _dictionary(table[CLASS]) if known else None
    log = _sorted(_Places(f"{path}: row ", first=1, column=CLASS), times, found, sha256)
    return replace(log, span_seconds=span)


@dataclass(frozen=True, slots=True)
class Latencies:
    """What became of the requests of a log, a row a class.

    Attributes:
        requests: how many there are, by class.
        shares: of each outcome that occurs, by class.
        percentiles_seconds: of the served requests' latency, by class, a column for each of PERCENTS: exact,
            the smallest latency that so many stay within; NaN where none was served.
    """

    requests: pd.Series[int]
    shares: pd.DataFrame
    percentiles_seconds: pd.DataFrame


def read_latencies(path: Path) -> Latencies | None:
    """What a Parquet log says beyond arrivals; None where it has no outcomes and latencies of setpoint's form."""
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        schema = file.schema_arrow
        if not {CLASS, LATENCY, OUTCOME} <= set(schema.names) or schema.field(LATENCY).type != pa.float64():
            return None
        table = file.read([CLASS, LATENCY, OUTCOME]).to_pandas()
    if not set(table[OUTCOME].unique()) <= set(OUTCOMES):
        return None
    served = table[table[OUTCOME] == SERVED].groupby(CLASS, observed=True)[LATENCY]
    exact = {
        name: np.quantile(latencies.to_numpy(), np.array(PERCENTS) / 100, method="inverted_cdf")
        for name, latencies in served
    }
    requests = table.groupby(CLASS, observed=True).size()
    return Latencies(
        requests=requests,
        shares=pd.crosstab(table[CLASS], table[OUTCOME], normalize="index"),
        percentiles_seconds=pd.DataFrame.from_dict(exact, orient="index", columns=list(PERCENTS)).reindex(
            requests.index
        ),
    )


@dataclass(frozen=True, slots=True)
class _Places:
    """How the rows of a file are called in errors."""

    prefix: str
    first: int
    column: str

    def refusal(self, row: int, value: str, allowed: str) -> InputError:
        return InputError(f"{self.prefix}{row + self.first}: {self.column} is {value}; must be {allowed}")

    @property
    def file(self) -> str:
        return self.prefix.partition(": row")[0].rstrip(":")


def _parse_fast(content: bytes, names: list[str]) -> pd.DataFrame | None:
    """Times as numbers and classes as categories; None where a plain look at the text is due."""
    import io

    import pandas as pd

    kinds = {TIME: "float64", CLASS: "category"}
    try:
        table = pd.read_csv(
            io.BytesIO(content),
            header=0,
            names=names,
            dtype={name: kinds[name] for name in names},
            keep_default_na=False,
            skip_blank_lines=False,
            encoding="utf-8-sig",
            float_precision="round_trip",
        )
    except (pd.errors.ParserError, ValueError):
        return None
    return table if isinstance(table.index, pd.RangeIndex) and np.isfinite(table[TIME]).all() else None


def _span(schema: pa.Schema) -> tuple[float, float] | None:
    """What a log that setpoint wrote says of the time that it covers."""
    written = (schema.metadata or {}).get(SPAN)
    if written is None:
        return None
    start, end = json.loads(written)
    return float(start), float(end)


def _check_types(path: Path, schema: pa.Schema) -> None:
    from pyarrow import types

    kind = schema.field(ARRIVED).type
    if not (types.is_floating(kind) or types.is_integer(kind)):
        msg = f"{path}: column {ARRIVED!r} holds {kind}; must be numbers"
        raise InputError(msg)
    if schema.names.count(CLASS) == 1:
        kind = schema.field(CLASS).type
        plain = kind.value_type if types.is_dictionary(kind) else kind
        if not (types.is_string(plain) or types.is_large_string(plain)):
            msg = f"{path}: column {CLASS!r} holds {kind}; must be text"
            raise InputError(msg)


def _dictionary(column: pa.ChunkedArray) -> tuple[NDArray[Any], list[str]]:
    """Each row's code and the names of the codes; -1 where there is none."""
    import pyarrow as pa

    encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    whole = encoded.unify_dictionaries().combine_chunks()
    chunk = whole.chunk(0) if isinstance(whole, pa.ChunkedArray) else whole
    codes = chunk.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    names = [name or "" for name in chunk.dictionary.to_pylist()]
    return codes, names


def _check_times(places: _Places, times: Floats) -> None:
    if not len(times):
        msg = f"{places.file}: the log is empty; it needs a row for each request"
        raise InputError(msg)
    wrong = np.flatnonzero(~(np.isfinite(times) & (times >= 0)))
    if wrong.size:
        row = int(wrong[0])
        raise places.refusal(row, f"{times[row]:.15g}", "a finite number of at least 0")


def _sorted(
    places: _Places, times: Floats, found: tuple[NDArray[Any], list[str]] | None, sha256: str
) -> RequestLog:
    """The log in the order of time; requests of one time stay in the file's order."""
    order = None if (np.diff(times) >= 0).all() else np.argsort(times, kind="stable")
    times = times if order is None else times[order]
    if found is None:
        return RequestLog(times, None, None, sha256)
    codes, spelled = found
    stripped = [name.strip() for name in spelled]
    nameless = [place for place, name in enumerate(stripped) if not name]
    empty = np.flatnonzero((codes < 0) | np.isin(codes, nameless))
    if empty.size:
        raise places.refusal(int(empty[0]), "empty", "a name")
    used = np.bincount(codes, minlength=len(stripped)) > 0
    classes = sorted({name for name, there in zip(stripped, used, strict=True) if there})
    place_of = {name: place for place, name in enumerate(classes)}
    index = np.array([place_of.get(name, -1) for name in stripped], dtype=np.int32)[codes]
    return RequestLog(times, tuple(classes), index if order is None else index[order], sha256)
