"""Every request of a run into a Parquet file that ``simulator.request_log`` reads again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from simulator.files import whole_file
from simulator.kernel.tables import Log, Table

OUTCOMES = ("served", "dropped", "timed_out", "failed", "failed", "in_flight")
"""Outcomes of requests as they are written, by the kernel's own numbers (``simulator.kernel.tables.OK`` ...)."""


@contextmanager
def write_requests(path: Path, classes: Sequence[str], start_seconds: float) -> Iterator[Log]:
    """Takes blocks of finished requests and writes a row each; the file is there whole or not at all.

    Columns: ``arrived_seconds`` on the trace's own clock, ``class``, ``latency_seconds`` (null where the
    request was not over at the end), ``outcome`` and ``retries`` of the client.

    Args:
        classes: names of the classes, by their place in the application.
        start_seconds: what is time 0 on the trace's clock.

    Raises:
        OSError: naming the file, if it cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    name = pa.dictionary(pa.int32(), pa.string())
    schema = pa.schema(
        [
            ("arrived_seconds", pa.float64()),
            ("class", name),
            ("latency_seconds", pa.float64()),
            ("outcome", name),
            ("retries", pa.int32()),
        ]
    )
    named = sorted(set(OUTCOMES), key=OUTCOMES.index)
    outcome_of = np.array([named.index(each) for each in OUTCOMES], dtype=np.int32)
    class_names, outcome_names = pa.array(classes, pa.string()), pa.array(named, pa.string())
    with whole_file(path) as partial, pq.ParquetWriter(partial, schema, compression="zstd") as writer:

        def write(block: Table) -> None:
            columns = [
                pa.array(block["arrived_seconds"] + start_seconds),
                pa.DictionaryArray.from_arrays(pa.array(block["request_class"]), class_names),
                pa.array(block["latency_seconds"], from_pandas=True),
                pa.DictionaryArray.from_arrays(pa.array(outcome_of[block["outcome"]]), outcome_names),
                pa.array(block["retries"]),
            ]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))

        yield write
