"""Measures of an episode, from its Intervals."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from simulator.latency import BUCKETS, percentile_seconds
from simulator.plant import Interval, Ints

MEASURES = (
    "cost_usd",
    "replica_hours",
    "slo_violation_ratio",
    "error_ratio",
    "latency_p50_ms",
    "latency_p95_ms",
    "latency_p99_ms",
    "scale_events",
    "pods_started",
    "cpu_utilization",
    "regret_to_oracle",
)
_SECONDS_PER_HOUR = 3600.0


@dataclass(slots=True)
class Tally:
    """Adds up Intervals of one service; the SLO is their first latency threshold."""

    cost_usd: float = 0.0
    pod_seconds: float = 0.0
    offered: int = 0
    late: int = 0
    failed: int = 0
    scale_events: int = 0
    pods_started: int = 0
    busy_slot_seconds: float = 0.0
    serving_slot_seconds: float = 0.0
    latency_counts: Ints = field(default_factory=lambda: np.zeros(BUCKETS, dtype=np.int64))

    def add(self, interval: Interval, *, changed: bool) -> None:
        """Add an Interval and whether the decision before it changed what is wanted."""
        self.cost_usd += float(interval.cost_usd[0])
        self.pod_seconds += float(interval.pod_seconds[0])
        self.offered += int(interval.offered[0])
        self.late += int(interval.late[0, 0])
        self.failed += int(interval.failed[0])
        self.scale_events += changed
        self.pods_started += int(interval.pods_started[0])
        self.busy_slot_seconds += float(interval.busy_slot_seconds[0])
        self.serving_slot_seconds += float(interval.serving_slot_seconds[0])
        self.latency_counts += interval.latency_counts[0]

    def measures(self) -> dict[str, float]:
        """All measures by name; ratios and latencies are NaN where there were no requests.

        * ``cost_usd``: sum of price x pod-seconds, from each pod's creation until it is gone.
        * ``replica_hours``: pod-seconds / 3600.
        * ``slo_violation_ratio``: requests slower than the SLO, failed or dropped, over requests
          offered; unfinished ones older than the SLO at the end count.
        * ``error_ratio``: failed requests over requests offered.
        * ``latency_pXX_ms``: percentiles of the finished requests, to 0.8 %.
        * ``scale_events``: decisions that changed what is wanted.
        * ``pods_started``: pods created after the start.
        * ``cpu_utilization``: busy slot-seconds over the slot-seconds of ready and draining pods.
        * ``regret_to_oracle``: NaN, as no oracle was run.
        """
        latency_ms = {
            f"latency_p{percent}_ms": 1000 * percentile_seconds(self.latency_counts, percent / 100)
            for percent in (50, 95, 99)
        }
        return {
            "cost_usd": self.cost_usd,
            "replica_hours": self.pod_seconds / _SECONDS_PER_HOUR,
            "slo_violation_ratio": _ratio(self.late, self.offered),
            "error_ratio": _ratio(self.failed, self.offered),
            **latency_ms,
            "scale_events": self.scale_events,
            "pods_started": self.pods_started,
            "cpu_utilization": _ratio(self.busy_slot_seconds, self.serving_slot_seconds),
            "regret_to_oracle": float("nan"),
        }


def measure(intervals: Iterable[Interval]) -> dict[str, float]:
    """The measures of Intervals alone; scale events are not known and count 0."""
    tally = Tally()
    for interval in intervals:
        tally.add(interval, changed=False)
    return tally.measures()


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")
