"""A run by service and by class of requests."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from simulator.faults import FaultLabel
from simulator.latency import percentile_seconds
from simulator.plant import Interval
from simulator.scenario import Scenario

CALLS = ("offered", "retried", "refused", "served", "dropped", "timed_out", "failed")
REQUESTS = ("offered", "served", "dropped", "timed_out", "failed")
_PERCENTS = (50, 95, 99)
Row = dict[str, str | int | float]


@dataclass(slots=True)
class Breakdown:
    """Adds up Intervals by service and by class."""

    scenario: Scenario
    _intervals: dict[str, np.ndarray] = field(default_factory=dict)

    def add(self, interval: Interval) -> None:
        """Add an Interval."""
        for name in (*CALLS, "cpu_seconds", "cpu_capacity_seconds", "pod_seconds", "duration_seconds"):
            self._sum(name, getattr(interval, name))
        for name in (*REQUESTS, "latency_counts"):
            self._sum(f"requests.{name}", getattr(interval.requests, name))
        if interval.nodes is not None:
            for name in ("node_seconds", "cost_usd", "launched"):
                self._sum(f"nodes.{name}", getattr(interval.nodes, name))

    def _sum(self, name: str, values: np.ndarray) -> None:
        self._intervals[name] = self._intervals.get(name, 0) + np.asarray(values)

    def services(self) -> list[Row]:
        """A row a service: counts of calls, mean pods, and CPU used over CPU requested (NaN without pods)."""
        found, rows = self._intervals, []
        for place, service in enumerate(self.scenario.system.services):
            row: Row = {"service": service.name}
            row |= {name: int(found[name][place]) for name in CALLS}
            row["mean pods"] = float(found["pod_seconds"][place] / found["duration_seconds"])
            capacity = float(found["cpu_capacity_seconds"][place])
            row["CPU, %"] = 100 * float(found["cpu_seconds"][place]) / capacity if capacity else float("nan")
            rows.append(row)
        return rows

    def nodes(self) -> list[Row]:
        """A row a node group: nodes launched, how many there were on average, and what they cost."""
        found, groups = self._intervals, self.scenario.cluster.groups if self.scenario.cluster else ()
        return [
            {
                "nodes": group.name,
                "launched": int(found["nodes.launched"][place]),
                "mean nodes": float(found["nodes.node_seconds"][place] / found["duration_seconds"]),
                "cost, USD": float(found["nodes.cost_usd"][place]),
            }
            for place, group in enumerate(groups)
        ]

    def classes(self) -> list[Row]:
        """A row a class: counts of clients' requests, and percentiles of the served ones, to 0.8 %."""
        found, rows = self._intervals, []
        for place, group in enumerate(self.scenario.system.classes):
            row: Row = {"class": group.name}
            row |= {name: int(found[f"requests.{name}"][place]) for name in REQUESTS}
            counts = found["requests.latency_counts"][place]
            row |= {
                f"p{percent}, ms": 1000 * percentile_seconds(counts, percent / 100) for percent in _PERCENTS
            }
            rows.append(row)
        return rows


def fault_rows(faults: tuple[FaultLabel, ...], end_seconds: float) -> list[Row]:
    """A row a kind of fault and service: how often it began, and for how long it went on in all.

    Args:
        end_seconds: the end of the run, at which those that still go on are cut.
    """
    rows: dict[tuple[str, str], Row] = {}
    for fault in faults:
        row = rows.setdefault(
            (fault.kind, fault.service),
            {
                "fault": f"{fault.kind} {fault.service}".rstrip(),
                "times": 0,
                "first, s": np.inf,
                "seconds": 0.0,
            },
        )
        row["times"] = int(row["times"]) + 1
        row["first, s"] = min(float(row["first, s"]), fault.start_seconds)
        row["seconds"] = float(row["seconds"]) + min(fault.end_seconds, end_seconds) - fault.start_seconds
    return list(rows.values())
