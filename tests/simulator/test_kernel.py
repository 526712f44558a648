"""The request kernel against a plain simulation of the same, on random applications."""

from __future__ import annotations

import importlib.util
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from simulator.application import Application
from simulator.dataplane import DataPlane
from simulator.plant import Floats

sys.path.insert(0, str(Path(__file__).parent))
from reference import Reference

THRESHOLDS = (0.05, 0.3, 2.0)
START_UP = {"p50_seconds": 1.0, "p95_seconds": 2.0}


# --- random applications ----------------------------------------------------------------------


@dataclass(frozen=True)
class Story:
    """An application and what happens to it."""

    application: Application
    seed: int
    arrivals: Floats
    cuts: list[float]
    changes: list[tuple[float, str, int, int]]
    end: float


class Author:
    """Writes random stories; its numbers are continuous, so that nothing happens at once by chance."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.bursts = self.chance(0.3)

    def chance(self, share: float) -> bool:
        return self.random.random() < share

    def between(self, low: float, high: float) -> float:
        return math.exp(self.random.uniform(math.log(low), math.log(high)))

    def law(self) -> dict[str, Any]:
        mean = self.between(0.01, 0.2)
        name = self.random.choice(["exponential", "lognormal", "gamma"])
        return {"law": name, "mean_seconds": mean}

    def retry(self) -> dict[str, Any]:
        retry: dict[str, Any] = {"max_attempts": self.random.randint(2, 4)}
        if self.chance(0.2):
            retry |= {"back_off_seconds": 0.0, "back_off_cap_seconds": 0.0}
        else:
            first = self.between(0.005, 0.3)
            retry |= {
                "back_off_seconds": first,
                "back_off_cap_seconds": first * self.random.uniform(1.0, 4.0),
                "jitter": self.random.uniform(0.3, 1.0),
            }
        if self.chance(0.5):
            retry["budget"] = {
                "ratio": self.random.uniform(0.0, 0.6),
                "per_second": self.random.choice([0.0, self.between(0.1, 3.0)]),
                "burst": self.random.uniform(1.0, 5.0),
            }
        return retry

    def call(self, to: str, *, instant: bool = False) -> dict[str, Any]:
        count = self.random.choice([1, 1, 1, 2, 4])
        call: dict[str, Any] = {"to": to, "count": count, "optional": self.chance(0.3)}
        if count == 1 and not instant and self.chance(0.5):
            call["network_seconds"] = self.between(0.001, 0.05)
        if self.chance(0.4):
            call["probability"] = self.random.uniform(0.2, 1.0)
        if self.chance(0.5):
            call["timeout_seconds"] = self.between(0.05, 2.0)
        if self.chance(0.5):
            call["retry"] = self.retry()
        if self.chance(0.3):
            call["breaker"] = {
                "window_calls": self.random.randint(1, 8),
                "failure_ratio": self.random.uniform(0.1, 1.0),
                "open_seconds": self.between(0.1, 2.0),
                "trial_calls": self.random.randint(1, 3),
            }
        return call

    def service(self, index: int, steps: list[list[dict[str, Any]]]) -> dict[str, Any]:
        sharing = self.chance(0.5)
        slots = self.random.choice([1, 2, 3, 6])
        service: dict[str, Any] = {
            "name": f"s{index}",
            "slots_per_pod": slots,
            "vcpu_per_pod": self.random.choice([0.5, 1.0, 2.0, 1.7]),
            "discipline": "processor_sharing" if sharing else "slots",
            "cfs_throttling": sharing and self.chance(0.5),
            "holds_slot_while_calling": self.chance(0.5),
            "dispatch": self.random.choice(
                ["shared", "shared", "round_robin", "random", "least_requests", "two_choices"]
            ),
            "discards_expired": self.chance(0.5),
            "start_up": START_UP,
            "min_replicas": 0,
            "max_replicas": 10,
        }
        if self.chance(0.5):
            service["queue_limit_per_pod"] = self.random.choice([0, 1, 3, 10])
        if self.chance(0.4):
            service["shedding"] = {
                "after_waiting_seconds": self.between(0.02, 0.5),
                "spares_priority": self.random.choice([None, 0, 1, 2]),
            }
        if not steps and self.chance(0.5):
            return service | {"service_time": self.law()}
        return service | {"operations": [{"service_time": self.law(), "steps": steps}]}

    def application(self) -> Application:
        count = self.random.randint(1, 4)
        calls: list[list[dict[str, Any]]] = [[] for _ in range(count)]
        for index in range(1, count):
            callers = {self.random.randrange(index) for _ in range(self.random.randint(1, 2))}
            for caller in callers:
                calls[caller].append(self.call(f"s{index}"))
        services = []
        for index in range(count):
            steps: list[list[dict[str, Any]]] = []
            for call in calls[index]:
                if steps and self.chance(0.5):
                    steps[-1].append(call)
                else:
                    steps.append([call])
            services.append(self.service(index, steps))
        classes = [
            {
                "name": f"c{index}",
                "share": self.random.uniform(0.2, 1.0),
                "priority": self.random.randint(0, 2),
                "entry": self.call("s0", instant=self.bursts),
            }
            for index in range(self.random.randint(1, 3))
        ]
        return Application.model_validate({"services": services, "classes": classes})

    def arrivals(self, end: float) -> Floats:
        rate = self.between(1.0, 25.0)
        times = [self.random.uniform(0.0, end) for _ in range(int(rate * end * 0.7))]
        if self.bursts:
            times += times[:3] * self.random.randint(1, 20)
        return np.array(sorted(times))

    def changes(self, services: int, end: float, *, kills: bool) -> list[tuple[float, str, int, int]]:
        changes = []
        row = 0
        for service in range(services):
            for _ in range(self.random.randint(0 if self.chance(0.1) else 1, 3)):
                opened = self.random.choice([0.0, 0.0, self.random.uniform(0.0, end)])
                changes.append((opened, "open", row, service))
                if self.chance(0.5):
                    closed = self.random.uniform(opened, end)
                    changes.append((closed, "close", row, service))
                    if kills and self.chance(0.7):
                        killed = self.random.choice([closed, self.random.uniform(closed, end)])
                        changes.append((killed, "kill", row, service))
                row += 1
        order = {"open": 0, "close": 1, "kill": 2}
        return sorted(changes, key=lambda change: (change[0], order[change[1]]))

    def story(self) -> Story:
        application = self.application()
        end = self.random.uniform(2.0, 8.0)
        cuts = sorted(self.random.uniform(0.0, end) for _ in range(self.random.randint(0, 6)))
        changes = self.changes(len(application.services), end, kills=self.chance(0.5))
        return Story(application, self.random.randrange(2**63), self.arrivals(end), cuts, changes, end)


# --- driving both -----------------------------------------------------------------------------


def counts_of(plane: DataPlane) -> dict[str, Any]:
    totals = plane.totals()
    found = {name: totals.services[name] for name in COUNTS}
    found |= {f"class_{name}": totals.classes[name] for name in REQUEST_COUNTS}
    return found | {
        "waiting": plane.waiting,
        "in_service": plane.in_service,
        "in_flight": plane.in_flight,
        "late": totals.late,
        "service_latency": totals.service_latency_counts,
        "class_latency": totals.class_latency_counts,
    }


COUNTS = ("offered", "started", "served", "dropped", "timed_out", "failed", "retried", "refused")
REQUEST_COUNTS = ("offered", "served", "dropped", "timed_out", "failed")
SECONDS = ("waited", "waiting_request", "in_service_request", "response", "busy_slot", "cpu")


def seconds_of(plane: DataPlane) -> dict[str, Any]:
    totals = plane.totals()
    found = {name: totals.services[f"{name}_seconds"] for name in SECONDS}
    return found | {
        "class_response": totals.classes["response_seconds"],
        "class_in_flight": totals.classes["in_flight_request_seconds"],
    }


def assert_equal(plane: DataPlane, reference: Reference) -> None:
    counts, expected = counts_of(plane), reference.counts()
    for name, value in expected.items():
        np.testing.assert_array_equal(counts[name], value, err_msg=name)
    seconds, wanted = seconds_of(plane), reference.seconds()
    for name, value in wanted.items():
        np.testing.assert_allclose(seconds[name], value, rtol=1e-9, atol=1e-8, err_msg=name)


@settings(deadline=None, max_examples=300, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 2**32))
def test_the_kernel_does_what_a_plain_simulation_does(seed: int) -> None:
    story = Author(seed).story()
    plane = DataPlane(story.application, np.uint64(story.seed), THRESHOLDS)
    reference = Reference(story.application, np.uint64(story.seed), THRESHOLDS)
    stops = sorted({*story.cuts, *(change[0] for change in story.changes), story.end, story.end + 5.0})
    begin = 0.0
    for stop in stops:
        part = story.arrivals[(story.arrivals >= begin) & (story.arrivals < stop)]
        for each in (plane, reference):
            each.advance(stop, part)
        for time, what, row, service in story.changes:
            if time != stop:
                continue
            if what == "kill" and len(reference.pods[row].calls + reference.pods[row].queue.visits) > 1:
                continue
            for each in (plane, reference):
                if what == "open":
                    each.open_pod(row, service)
                else:
                    getattr(each, f"{what}_pod")(row)
        plane._settle()
        reference._do_what_is_due()
        assert_equal(plane, reference)
        begin = stop
