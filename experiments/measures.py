"""Measures of an episode, from its Intervals."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from simulator.arrays import Ints
from simulator.latency import BUCKETS, percentile_seconds
from simulator.plant import Interval
from simulator.prices import SECONDS_PER_HOUR

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


@dataclass(slots=True)
class Tally:
    """Adds up Intervals over services and classes of requests; the SLO is their first latency threshold."""

    cost_usd: float = 0.0
    pod_seconds: float = 0.0
    offered: int = 0
    late: int = 0
    unserved: int = 0
    scale_events: int = 0
    pods_started: int = 0
    cpu_seconds: float = 0.0
    cpu_capacity_seconds: float = 0.0
    latency_counts: Ints = field(default_factory=lambda: np.zeros(BUCKETS, dtype=np.int64))

    def add(self, interval: Interval, *, changed: bool) -> None:
        """Add an Interval and whether the decision before it changed what is wanted."""
        requests = interval.requests
        self.cost_usd += float(interval.total_usd)
        self.pod_seconds += float(interval.pod_seconds.sum())
        self.offered += int(requests.offered.sum())
        self.late += int(requests.late[:, 0].sum())
        self.unserved += int((requests.dropped + requests.timed_out + requests.failed).sum())
        self.scale_events += changed
        self.pods_started += int(interval.pods_started.sum())
        self.cpu_seconds += float(interval.cpu_seconds.sum())
        self.cpu_capacity_seconds += float(interval.cpu_capacity_seconds.sum())
        self.latency_counts += requests.latency_counts.sum(axis=0)

    def measures(self) -> dict[str, float]:
        """All measures by name; ratios and latencies are NaN where there were no requests.

        * ``cost_usd``: sum of price x seconds of what is paid: pods from creation until gone, or nodes from launch.
        * ``replica_hours``: pod-seconds / 3600.
        * ``slo_violation_ratio``: requests slower than the SLO, failed or dropped, over requests
          offered; unfinished ones older than the SLO at the end count.
        * ``error_ratio``: requests dropped, timed out or failed over requests offered.
        * ``latency_pXX_ms``: percentiles of the served requests, end to end, to 0.8 %.
        * ``scale_events``: decisions that changed what is wanted.
        * ``pods_started``: pods created after the start.
        * ``cpu_utilization``: core-seconds used over those that ready and draining pods requested.
        * ``regret_to_oracle``: NaN; ``evaluate`` fills in the cost over that of the oracle's cheapest run of the same
          seed at equal or fewer violations, minus 1 (``experiments.oracle``).
        """
        latency_ms = {
            f"latency_p{percent}_ms": 1000 * percentile_seconds(self.latency_counts, percent / 100)
            for percent in (50, 95, 99)
        }
        return {
            "cost_usd": self.cost_usd,
            "replica_hours": self.pod_seconds / SECONDS_PER_HOUR,
            "slo_violation_ratio": _ratio(self.late, self.offered),
            "error_ratio": _ratio(self.unserved, self.offered),
            **latency_ms,
            "scale_events": self.scale_events,
            "pods_started": self.pods_started,
            "cpu_utilization": _ratio(self.cpu_seconds, self.cpu_capacity_seconds),
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
