"""A run as four Parquet files: what was seen and done, the nodes, what happened, and what broke.

``telemetry.parquet`` has a row a decision and service: what was seen (``seen_...``), asked for
(``allowed...``, null where it was not) and true (``true_...``). ``nodes.parquet`` has a row a decision and
node group, none where pods need no nodes; ``events.parquet`` a row for each thing that the control plane did;
``faults.parquet`` a label for each fault: what a detector is trained and judged on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from agents.runner import Decision
from experiments.outputs import check_file, check_folder
from simulator.events import Event
from simulator.faults import FaultLabel
from simulator.files import whole_file
from simulator.latency import percentile_seconds
from simulator.plant import Interval, Metric

if TYPE_CHECKING:
    import pyarrow as pa

TELEMETRY, NODES, EVENTS, FAULTS = "telemetry.parquet", "nodes.parquet", "events.parquet", "faults.parquet"
FILES = (TELEMETRY, NODES, EVENTS, FAULTS)
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
_WHOLE = {"nodes_starting", "nodes_ready"}
_NODE_TYPES = {
    "time_seconds": float,
    "duration_seconds": float,
    "group": str,
    "starting": int,
    "ready": int,
    "draining": int,
    "allowed": int,
    "launched": int,
    "node_seconds": float,
    "cost_usd": float,
}
_EVENT_TYPES = {"time_seconds": float, "what": str, "service": str, "pod": int, "node": int, "detail": str}
_FAULT_TYPES = {"kind": str, "start_seconds": float, "end_seconds": float, "service": str}


class Export:
    """Collects a run and writes it.

    Args:
        services: names along axis S.
        groups: names of the node groups along axis G; none where pods need no nodes.
        folder: is made if it is not there; files of these names in it are replaced.
        start_seconds: what time 0 of the run is on the trace's clock.
    """

    def __init__(
        self, services: Sequence[str], groups: Sequence[str], folder: Path, start_seconds: float
    ) -> None:
        self._services = services
        self._groups = groups
        self._folder = folder
        self._start = start_seconds
        self._rows: list[dict[str, Any]] = []
        self._node_rows: list[dict[str, Any]] = []
        self._events: list[Event] = []

    def check(self) -> None:
        """Check, before work, that the files can be written; nothing is made.

        Raises:
            InputError: if the folder is a file, or one of its files a folder.
            OSError: if it cannot be made or written to.
        """
        check_folder("--export", self._folder)
        if self._folder.is_dir():
            for name in FILES:
                check_file("--export", self._folder / name)

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
            row |= {
                f"allowed_{name}": _asked(getattr(decision.allowed, name), place)
                for name in ("vcpu", "memory_gib")
            }
            row |= {name: int(getattr(seen, name)[place]) for name in _SEEN}
            for name, metric in metrics.items():
                row[f"seen_{name}"] = _known(metric.value[place])
                row[f"seen_{name}_age_seconds"] = _known(metric.age_seconds[place])
            for name in ("vcpu", "memory_gib"):
                row[name] = _asked(getattr(seen, name), place)
            row |= {f"true_{name}": getattr(interval, name)[place].item() for name in _TRUE}
            row["true_latency_p95"] = _known(percentile_seconds(interval.latency_counts[place], 0.95))
            self._rows.append(shared | row)
        self._add_nodes(decision, interval)

    def _add_nodes(self, decision: Decision, interval: Interval) -> None:
        seen, spent = decision.snapshot.nodes, interval.nodes
        if seen is None or spent is None:
            return
        for place, group in enumerate(self._groups):
            row = {
                "time_seconds": float(interval.start_seconds) + self._start,
                "duration_seconds": float(interval.duration_seconds),
                "group": group,
                "allowed": _asked(decision.allowed.nodes, place),
            }
            row |= {name: getattr(seen, name)[place].item() for name in ("starting", "ready", "draining")}
            row |= {
                name: getattr(spent, name)[place].item() for name in ("launched", "node_seconds", "cost_usd")
            }
            self._node_rows.append(row)

    def write(self, faults: Sequence[FaultLabel]) -> None:
        """Write all files, whole or not at all; where they cannot be, no folder is left either."""
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
            TELEMETRY: _table(self._rows, _types_of(self._rows)),
            NODES: _table(self._node_rows, _NODE_TYPES),
            EVENTS: _table(events, _EVENT_TYPES),
            FAULTS: _table(labels, _FAULT_TYPES),
        }
        missing = [folder for folder in (self._folder, *self._folder.parents) if not folder.exists()]
        try:
            with ExitStack() as stack:  # all are written before the first takes its name
                paths = {name: stack.enter_context(whole_file(self._folder / name)) for name in tables}
                for name, table in tables.items():
                    pq.write_table(table, paths[name], compression="zstd")
        except BaseException:
            for folder in missing:
                with suppress(OSError):
                    folder.rmdir()
            raise


def _known(value: float) -> float | None:
    """A number; what is not known, or not over, is null."""
    return float(value) if np.isfinite(value) else None


def _asked(values: np.ndarray | None, place: int) -> Any:  # noqa: ANN401 - int or float, as the values are
    """One of the values; null where nothing is asked for."""
    return None if values is None else values[place].item()


def _types_of(rows: list[dict[str, Any]]) -> dict[str, type]:
    """The columns' types by name; float where nothing is known."""
    names = tuple(rows[0]) if rows else ()
    known = {name: next((row[name] for row in rows if row[name] is not None), None) for name in names}
    return {
        name: int if name in _WHOLE else float if value is None else type(value)
        for name, value in known.items()
    }


def _table(rows: list[dict[str, Any]], types: Mapping[str, type]) -> pa.Table:
    """Rows as columns."""
    import pyarrow as pa

    kinds = {bool: pa.bool_(), int: pa.int64(), float: pa.float64(), str: pa.string()}
    return pa.table(
        {name: pa.array([row[name] for row in rows], kinds[kind]) for name, kind in types.items()}
    )
