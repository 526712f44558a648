"""A run as three Parquet files: what was seen and done, what happened, and what broke.

``telemetry.parquet`` has a row a decision and service, ``events.parquet`` a row for each thing that the
control plane did, ``faults.parquet`` a label for each fault: what a detector is trained and judged on.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from agents.runner import Decision
from simulator.errors import InputError
from simulator.events import Event
from simulator.faults import FaultLabel
from simulator.files import check_writable, whole_file
from simulator.plant import Interval, Metric

if TYPE_CHECKING:
    import pyarrow as pa

TELEMETRY, EVENTS, FAULTS = "telemetry.parquet", "events.parquet", "faults.parquet"
_SEEN = ("wanted", "starting", "ready", "draining")
_METRICS = ("cpu", "rate", "latency_p95", "queue")
_TRUE = (
    "offered",
    "served",
    "dropped",
    "timed_out",
    "failed",
    "waiting",
    "cpu_seconds",
    "pod_seconds",
    "cost_usd",
)


class Export:
    """Collects a run and writes it.

    Args:
        services: names along axis S.
        folder: is made if it is not there; files of these names in it are replaced.
        start_seconds: what time 0 of the run is on the trace's clock.
    """

    def __init__(self, services: Sequence[str], folder: Path, start_seconds: float) -> None:
        self._services = services
        self._folder = folder
        self._start = start_seconds
        self._rows: list[dict[str, Any]] = []
        self._events: list[Event] = []

    def check(self) -> None:
        """Check, before work, that the files can be written.

        Raises:
            InputError: if the folder is a file.
            OSError: if it cannot be written to.
        """
        if self._folder.exists() and not self._folder.is_dir():
            msg = f"--export {self._folder} is a file; it must be a folder"
            raise InputError(msg)
        self._folder.mkdir(parents=True, exist_ok=True)
        for name in (TELEMETRY, EVENTS, FAULTS):
            check_writable(self._folder / name)

    def happened(self, event: Event) -> None:
        """Take an event."""
        self._events.append(event)

    def add(self, decision: Decision, interval: Interval) -> None:
        """Take a decision and what came of it."""
        seen = decision.snapshot
        metrics: dict[str, Metric] = {name: getattr(seen, name) for name in _METRICS} | dict(seen.metrics)
        nodes = seen.nodes
        shared = {
            "time_seconds": float(interval.start_seconds) + self._start,
            "duration_seconds": float(interval.duration_seconds),
            "requests_offered": int(interval.requests.offered.sum()),
            "requests_late": int(interval.requests.late[:, :1].sum()),
            "nodes_starting": None if nodes is None else int(nodes.starting.sum()),
            "nodes_ready": None if nodes is None else int(nodes.ready.sum()),
            "nodes_cost_usd": None if interval.nodes is None else float(interval.nodes.cost_usd.sum()),
            "refusal": decision.refusal,
        }
        for place, service in enumerate(self._services):
            row = {"service": service, "allowed": int(decision.allowed.replicas[place])}
            row |= {name: int(getattr(seen, name)[place]) for name in _SEEN}
            for name, metric in metrics.items():
                row[f"seen_{name}"] = _known(metric.value[place])
                row[f"seen_{name}_age_seconds"] = _known(metric.age_seconds[place])
            for name in ("vcpu", "memory_gib"):
                asked = getattr(seen, name)
                row[name] = None if asked is None else float(asked[place])
            row |= {f"true_{name}": getattr(interval, name)[place].item() for name in _TRUE}
            self._rows.append(shared | row)

    def write(self, faults: Sequence[FaultLabel]) -> None:
        """Write all three files, whole or not at all."""
        import pyarrow.parquet as pq

        events = [
            asdict(event) | {"time_seconds": event.time_seconds + self._start} for event in self._events
        ]
        labels = [
            {
                "kind": label.kind,
                "start_seconds": label.start_seconds + self._start,
                "end_seconds": _known(label.end_seconds + self._start),
                "service": label.service,
            }
            for label in faults
        ]
        tables = {
            TELEMETRY: _table(self._rows, tuple(self._rows[0]) if self._rows else ()),
            EVENTS: _table(events, tuple(field.name for field in fields(Event))),
            FAULTS: _table(labels, tuple(field.name for field in fields(FaultLabel))),
        }
        with ExitStack() as stack:  # all are written before the first takes its name
            paths = {name: stack.enter_context(whole_file(self._folder / name)) for name in tables}
            for name, table in tables.items():
                pq.write_table(table, paths[name], compression="zstd")


def _known(value: float) -> float | None:
    """A number; what is not known, or not over, is null."""
    return float(value) if np.isfinite(value) else None


def _table(rows: list[dict[str, Any]], names: tuple[str, ...]) -> pa.Table:
    """Rows as columns; those of an empty table have their types all the same."""
    import pyarrow as pa

    columns = {}
    for name in names:
        values = [row[name] for row in rows]
        known = next((value for value in values if value is not None), None)
        kinds = {bool: pa.bool_(), int: pa.int64(), float: pa.float64(), str: pa.string()}
        kind = kinds.get(type(known), pa.float64())
        if known is None and name in {"kind", "what", "service", "detail"}:
            kind = pa.string()
        columns[name] = pa.array(values, type=kind)
    return pa.table(columns)
