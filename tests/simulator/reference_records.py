"""What the plain simulation counts: all of it is read off the records that calls and requests leave."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from reference_parts import Pod, Request, Station, Visit

from simulator.application import Application
from simulator.arrays import Floats, Ints
from simulator.latency import BUCKETS, bucket_edges_seconds

EDGES_SECONDS = bucket_edges_seconds()


class Records:
    """All requests, and all visits to services, up to now."""

    def __init__(self, application: Application, thresholds: Sequence[float]) -> None:
        self.application, self.thresholds, self.now = application, thresholds, 0.0
        self.stations = [Station(settings) for settings in application.services]
        self.requests: list[Request] = []
        self.visits: list[Visit] = []
        self.pods: dict[int, Pod] = {}

    def counts(self) -> dict[str, Any]:
        """Counts by service and by class, late requests, latency buckets."""
        found: dict[str, Any] = {"refused": [station.refused for station in self.stations]}
        for name in ("served", "dropped", "timed_out", "failed", "waiting", "in_service"):
            found[name] = [sum(each.fate == name for each in self._of(s)) for s in self.stations]
        found["offered"] = [len(self._of(station)) for station in self.stations]
        found["started"] = [sum(each.started < math.inf for each in self._of(s)) for s in self.stations]
        found["retried"] = [sum(each.attempt > 0 for each in self._of(s)) for s in self.stations]
        groups = [[r for r in self.requests if r.group == g] for g in range(len(self.application.classes))]
        found["class_offered"] = [len(group) for group in groups]
        found["in_flight"] = [sum(each.ended == math.inf for each in group) for group in groups]
        ended = [[each for each in group if each.ended < math.inf] for group in groups]
        for name, outcomes in (
            ("class_served", ("ok",)),
            ("class_dropped", ("dropped",)),
            ("class_timed_out", ("timed_out",)),
            ("class_failed", ("failed", "refused")),
        ):
            found[name] = [sum(each.outcome in outcomes for each in group) for group in ended]
        found["late"] = [
            [sum(self._is_late(each, threshold) for each in group) for threshold in self.thresholds]
            for group in groups
        ]
        found["service_latency"] = [
            _buckets([each.left - each.arrived for each in self._of(s) if each.fate == "served"])
            for s in self.stations
        ]
        found["class_latency"] = [
            _buckets([each.ended - each.arrived for each in group if each.outcome == "ok"]) for group in ended
        ]
        return {name: np.array(value, np.int64) for name, value in found.items()}

    def log(self) -> list[tuple[float, float, int, int, str]]:
        """What became of the requests that are over: arrival, latency, class, retries, outcome."""
        return sorted(
            (
                each.arrived,
                each.ended - each.arrived,
                each.group,
                each.retries,
                "failed" if each.outcome == "refused" else each.outcome,
            )
            for each in self.requests
            if each.ended < math.inf
        )

    def pod_cpu_seconds(self, row: int) -> float:
        """Core-seconds that a pod has used."""
        pod = self.pods[row]
        if pod.station.settings.discipline != "slots":
            pod.run(self.now)
            return pod.cpu
        return sum(self._slot_cpu(each) for each in self._of(pod.station) if each.pod is pod)

    def _slot_cpu(self, visit: Visit) -> float:
        if visit.started == math.inf:
            return 0.0
        assert visit.pod is not None
        return visit.pod.core_seconds(visit.started, min(visit.worked, self.now)) / visit.pod.slots

    def _of(self, station: Station) -> list[Visit]:
        return [each for each in self.visits if each.target.station is station and each.arrived < math.inf]

    def _is_late(self, request: Request, threshold: float) -> bool:
        crossing = request.arrived + threshold
        if request.ended == math.inf:
            return crossing < self.now
        return request.outcome != "ok" or crossing < request.ended

    def seconds(self) -> dict[str, Floats]:
        """Sums and integrals over time by service and by class."""
        rows = [self._service_seconds(station) for station in self.stations]
        groups = [[r for r in self.requests if r.group == g] for g in range(len(self.application.classes))]
        response = [sum(r.ended - r.arrived for r in group if r.ended < math.inf) for group in groups]
        in_flight = [sum(min(r.ended, self.now) - r.arrived for r in group) for group in groups]
        found = {name: np.array([row[name] for row in rows]) for name in rows[0]}
        return found | {"class_response": np.array(response), "class_in_flight": np.array(in_flight)}

    def _service_seconds(self, station: Station) -> dict[str, float]:
        taken = [each for each in self._of(station) if each.fate != "dropped"]
        started = [each for each in taken if each.started < math.inf]
        left = [each for each in taken if each.left < math.inf]
        now = self.now
        return {
            "waited": sum(each.started - each.arrived for each in started),
            "waiting_request": sum(min(each.started, each.left, now) - each.arrived for each in taken),
            "in_service_request": sum(min(each.left, now) - each.started for each in started),
            "busy_slot": sum(min(each.released, now) - each.started for each in started),
            "response": sum(each.left - each.arrived for each in left),
            "cpu": self._cpu_seconds(station),
        }

    def _cpu_seconds(self, station: Station) -> float:
        if station.settings.discipline == "slots":
            return sum(self._slot_cpu(each) for each in self._of(station))
        for pod in station.all_pods:
            pod.run(self.now)
        return sum(pod.cpu for pod in station.all_pods)


def _buckets(latencies: list[float]) -> Ints:
    places = np.searchsorted(EDGES_SECONDS, np.array(latencies), side="right") - 1
    return np.bincount(np.clip(places, 0, BUCKETS - 1), minlength=BUCKETS)
