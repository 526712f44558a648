"""Clusters made by hand, in which all times are known: no chance in boots, pulls, starts, work and arrivals."""

from __future__ import annotations

from typing import Any

import numpy as np

from simulator.cluster import Cluster
from simulator.events import Event
from simulator.plant import Desired, Interval
from simulator.scenario import Scenario
from simulator.trace import Trace

Fields = dict[str, Any]
BIN_SECONDS = 20.0


def always(seconds: float) -> Fields:
    """A delay that does not vary."""
    return {"p50_seconds": seconds, "p95_seconds": seconds}


def service(**changes: Any) -> Fields:
    """One slot, one vCPU and 1 GiB a pod, work of 0.1 s, a start of 2 s."""
    return {
        "name": "web",
        "slots_per_pod": 1,
        "vcpu_per_pod": 1.0,
        "service_time": {"law": "deterministic", "mean_seconds": 0.1},
        "start_up": always(2.0) | {"pending_share": 0.0},
        "memory": {"request_gib": 1.0},
        "min_replicas": 0,
        "max_replicas": 100,
    } | changes


def group(name: str = "g", **changes: Any) -> Fields:
    """Nodes with room for two such pods, 0.36 USD/h or 0.0001 USD/s, that boot for 30 s."""
    return {
        "name": name,
        "vcpu": 2.0,
        "memory_gib": 4.0,
        "usd_per_hour": 0.36,
        "reserved_vcpu": 0.0,
        "reserved_memory_gib": 0.0,
        "boot": always(30.0),
        "shutdown_seconds": 5.0,
        "initial_nodes": 1,
    } | changes


def scaler(**changes: Any) -> Fields:
    """Looks every 10 s; a node goes when it has not been needed for 20 s."""
    return {"unneeded_seconds": 20.0, "after_add_seconds": 0.0, "utilization_threshold": 0.6} | changes


class Story:
    """A cluster, what happened in it, and what became of requests.

    Args:
        services: the first is called by clients; each calls the next where ``chained``.
        groups: of nodes; none where there are no nodes.
        counts: requests in each 20 s, evenly.
    """

    def __init__(
        self,
        *services: Fields,
        groups: tuple[Fields, ...] = (),
        faults: tuple[Fields, ...] = (),
        counts: tuple[float, ...] = (),
        seconds: float = 2000.0,
        seed: int = 1,
        arrivals: str = "deterministic",
        metrics: Fields | None = None,
        **cluster: Any,
    ) -> None:
        fields: Fields = {
            "workload": {"model": "nasa", "mean_rps": 1, "arrivals": {"process": arrivals}},
            "faults": faults,
            "staffing_quality": 0.0,
            "metrics": metrics or {},
        }
        if len(services) == 1:
            fields["service"] = services[0]
        else:
            classes = [{"name": each["name"], "entry": {"to": each["name"]}} for each in services]
            fields["application"] = {"services": services, "classes": classes}
        if groups:
            fields["cluster"] = {"groups": groups, "autoscaler": None} | cluster
        else:
            fields["prices"] = {"usd_per_vcpu_hour": 0.036}
        self.scenario = Scenario.model_validate(fields)
        requests = np.zeros(round(seconds / BIN_SECONDS))
        requests[: len(counts)] = counts
        self.events: list[Event] = []
        self.intervals: list[Interval] = []
        trace = Trace(requests, BIN_SECONDS, name="load")
        self.cluster: Cluster = self.scenario.build(seed, (0.3,), trace, None, self.events.append)

    def until(self, seconds: float) -> Story:
        """Go on to a time."""
        self.intervals.append(self.cluster.advance(seconds - self.cluster.now_seconds))
        return self

    def ask(self, *replicas: int, **others: Any) -> Story:
        """Ask for replicas, and for ``vcpu``, ``memory_gib`` or ``nodes``."""
        given = {name: np.array(values) for name, values in others.items()}
        self.cluster.apply(Desired(np.array(replicas), **given))
        return self

    def times(self, what: str, **fields: Any) -> list[float]:
        """When something happened, to a ten thousandth of a second."""
        return [
            round(event.time_seconds, 4)
            for event in self.events
            if event.what == what and all(getattr(event, name) == value for name, value in fields.items())
        ]

    def total(self, name: str) -> float:
        """Sum of an Interval's field so far, over all services."""
        return float(sum(np.sum(getattr(interval, name)) for interval in self.intervals))

    def last(self, name: str) -> float:
        """The same of the last Interval alone."""
        return float(np.sum(getattr(self.intervals[-1], name)))
