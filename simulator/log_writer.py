"""Every request of a run into a Parquet file that ``simulator.request_log`` reads again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from simulator.files import whole_file
from simulator.kernel.tables import DROPPED, FAILED, IN_FLIGHT, OK, REFUSED, TIMED_OUT, Log, Table
from simulator.request_log import ARRIVED, CLASS, LATENCY, OUTCOME, OUTCOMES, RETRIES, SPAN

_WRITTEN = {OK: 0, DROPPED: 1, TIMED_OUT: 2, FAILED: 3, REFUSED: 3, IN_FLIGHT: 4}
"""Place in OUTCOMES of each outcome of the kernel; to a client, a call that its breaker stopped has failed."""


@contextmanager
def write_requests(path: Path, classes: Sequence[str], span_seconds: tuple[float, float]) -> Iterator[Log]:
    """Takes blocks of finished requests and writes a row each; the file is there whole or not at all.

    Columns: ``arrived_seconds`` on the trace's own clock, ``class``, ``latency_seconds`` (null where the
    request was not over at the end), ``outcome`` and ``retries`` of the client.

    Args:
        classes: names of the classes, by their place in the application.
        span_seconds: start and end of the simulated part on the trace's clock.

    Raises:
        OSError: naming the file, if it cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    name = pa.dictionary(pa.int32(), pa.string())
    schema = pa.schema(
        [
            (ARRIVED, pa.float64()),
            (CLASS, name),
            (LATENCY, pa.float64()),
            (OUTCOME, name),
            (RETRIES, pa.int32()),
        ],
        metadata={SPAN: json.dumps(span_seconds)},
    )
    outcome_of = np.array([_WRITTEN[each] for each in sorted(_WRITTEN)], dtype=np.int32)
    class_names, outcome_names = pa.array(classes, pa.string()), pa.array(OUTCOMES, pa.string())
    with whole_file(path) as partial, pq.ParquetWriter(partial, schema, compression="zstd") as writer:

        def write(block: Table) -> None:
            columns = [
                pa.array(block["arrived_seconds"] + span_seconds[0]),
                pa.DictionaryArray.from_arrays(pa.array(block["request_class"]), class_names),
                pa.array(block["latency_seconds"], from_pandas=True),
                pa.DictionaryArray.from_arrays(pa.array(outcome_of[block["outcome"]]), outcome_names),
                pa.array(block["retries"]),
            ]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))

        yield write
