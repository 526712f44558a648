"""Random applications and what happens to them, for tests of the request kernel."""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random
from typing import Any, NamedTuple

import numpy as np

from simulator.application import Application
from simulator.arrays import Floats

START_UP = {"p50_seconds": 1.0, "p95_seconds": 2.0}


class Change(NamedTuple):
    """Done to a pod: open, set, close, kill (if it is closed), crash, reopen; to a service: divert, restore."""

    time: float
    what: str
    row: int
    service: int = -1
    traits: dict[str, float] = {}  # noqa: RUF012 - nobody writes to it


@dataclass(frozen=True)
class Story:
    """An application and what happens to it."""

    application: Application
    seed: int
    arrivals: Floats
    cuts: list[float]
    changes: list[Change]
    end: float
    orderless: bool

    def stops(self) -> list[float]:
        return sorted({*self.cuts, *(change.time for change in self.changes), self.end})

    def between(self, begin: float, end: float) -> Floats:
        return self.arrivals[(self.arrivals >= begin) & (self.arrivals < end)]


class Author:
    """Writes random stories; its numbers are continuous, so that what happens at once has one cause.

    What a killed pod held fails at one moment. Where ``orderless``, it does not matter in which order; so
    pods that share a queue are then alike, for the order says which of them takes what waits.
    """

    def __init__(self, seed: int, *, kills: bool = True) -> None:
        self.random = Random(seed)
        self.bursts = self.chance(0.3)
        self.kills = kills and self.chance(0.6)
        self.orderless = self.kills and self.chance(0.5)

    def chance(self, share: float) -> bool:
        return self.random.random() < share

    def between(self, low: float, high: float) -> float:
        return math.exp(self.random.uniform(math.log(low), math.log(high)))

    def law(self) -> dict[str, Any]:
        mean = self.between(0.01, 0.2)
        name = self.random.choice(["exponential", "lognormal", "gamma"])
        return {"law": name, "mean_seconds": mean}

    def retry(self, *, even: bool) -> dict[str, Any]:
        """Waits have no jitter where ``even``: with a time-out, a retry might be due at a deadline."""
        retry: dict[str, Any] = {"max_attempts": self.random.randint(2, 4)}
        if self.chance(0.2) and not self.orderless:
            retry |= {"back_off_seconds": 0.0, "back_off_cap_seconds": 0.0}
        else:
            first = self.between(0.005, 0.3)
            retry |= {
                "back_off_seconds": first,
                "back_off_cap_seconds": first * self.random.uniform(1.0, 4.0),
                "jitter": 0.0 if even else self.random.uniform(0.3, 1.0),
            }
        if self.chance(0.5) and not self.orderless:
            retry["budget"] = {
                "ratio": self.random.uniform(0.0, 0.6),
                "per_second": self.random.choice([0.0, self.between(0.1, 3.0)]),
                "burst": self.random.uniform(1.0, 5.0),
            }
        return retry

    def call(self, to: str) -> dict[str, Any]:
        count = self.random.choice([1, 1, 1, 2, 4])
        call: dict[str, Any] = {"to": to, "count": count}
        call["optional"] = self.chance(0.3) and not self.orderless
        if self.chance(0.5):
            call["network_seconds"] = self.between(0.001, 0.05)
        if self.chance(0.4):
            call["probability"] = self.random.uniform(0.2, 1.0)
        if self.chance(0.5):
            call["timeout_seconds"] = self.between(0.05, 2.0)
        if self.chance(0.5):
            even = not self.orderless and "timeout_seconds" not in call and self.chance(0.5)
            call["retry"] = self.retry(even=even)
        if self.chance(0.3):
            call["breaker"] = {
                "window_calls": self.random.randint(1, 8),
                "failure_ratio": self.random.uniform(0.1, 1.0),
                "open_seconds": self.between(0.1, 2.0),
                "trial_calls": self.random.randint(1, 3),
            }
        return call

    def with_fallback(self, call: dict[str, Any], targets: list[str]) -> dict[str, Any]:
        """A call that may go to one of the targets instead."""
        if not targets or self.chance(0.5):
            return call
        seconds = self.random.choice([0.0, self.between(0.001, 0.1)])
        return call | {"fallback": {"to": self.random.choice(targets), "network_seconds": seconds}}

    def service(self, index: int, steps: list[list[dict[str, Any]]]) -> dict[str, Any]:
        discipline = self.random.choice(
            ["slots", "slots", "processor_sharing", "processor_sharing", "batching"]
        )
        sharing = discipline != "slots"
        rules = ["round_robin", "random", "least_requests", "two_choices"]
        if not (sharing and self.orderless):
            rules += ["shared", "shared", "shared"]
        service: dict[str, Any] = {
            "name": f"s{index}",
            "slots_per_pod": self.random.choice([1, 2, 3, 6]),
            "vcpu_per_pod": self.random.choice([0.5, 1.0, 2.0, 1.7]),
            "discipline": discipline,
            "cfs_throttling": discipline == "processor_sharing" and self.chance(0.5),
            "batch_slowdown": self.random.choice([0.0, 0.1, 1.0]) if discipline == "batching" else 0.0,
            "holds_slot_while_calling": self.chance(0.5),
            "dispatch": self.random.choice(rules),
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
        return service | {"operations": self.operations(index, steps)}

    def operations(self, index: int, steps: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
        """What others call is ``all``; it may call another operation of its own service."""
        whole = {"name": "all", "service_time": self.law(), "steps": steps}
        if self.chance(0.7):
            return [whole]
        own = self.call(f"s{index}.part")
        whole["steps"] = [*steps, [own]]
        return [whole, {"name": "part", "service_time": self.law()}]

    def application(self) -> Application:
        count = self.random.randint(1, 4)
        calls: list[list[dict[str, Any]]] = [[] for _ in range(count)]
        services: list[dict[str, Any]] = []
        targets: list[str] = []
        for index in reversed(range(count)):
            steps: list[list[dict[str, Any]]] = []
            for call in calls[index]:
                if steps and self.chance(0.5):
                    steps[-1].append(call)
                else:
                    steps.append([call])
            service = self.service(index, steps)
            services.insert(0, service)
            target = f"s{index}.all" if "operations" in service else f"s{index}"
            targets.append(target)
            for caller in {self.random.randrange(index) for _ in range(self.random.randint(1, 2)) if index}:
                calls[caller].append(self.with_fallback(self.call(target), targets))
        classes = [
            {
                "name": f"c{index}",
                "share": self.random.uniform(0.2, 1.0),
                "priority": self.random.randint(0, 2),
                "entry": self.with_fallback(self.call(target), targets),
            }
            for index in range(self.random.randint(1, 3))
        ]
        return Application.model_validate({"services": services, "classes": classes})

    def arrivals(self, end: float) -> Floats:
        times = [self.random.uniform(0.0, end) for _ in range(int(self.between(1.0, 20.0) * end))]
        if self.bursts:
            times += times[:3] * self.random.randint(1, 20)
        return np.array(sorted(times))

    def cuts(self, end: float) -> list[float]:
        """Moments within the story, some of them at boundaries of periods."""
        cuts = [self.random.uniform(0.0, end) for _ in range(self.random.randint(0, 6))]
        return sorted(round(cut, 1) if self.chance(0.3) else cut for cut in cuts)

    def traits(self) -> dict[str, float]:
        """Some of a pod's traits, with values that are usual every now and then."""
        traits = {
            "vcpu": self.random.choice([0.3, 1.0, 1.7, 4.0]),
            "speed": self.random.choice([1.0, self.between(0.05, 5.0)]),
            "delay_seconds": self.random.choice([0.0, self.between(0.001, 0.5)]),
            "error_probability": self.random.choice([0.0, self.random.uniform(0.0, 1.0), 1.0]),
        }
        return {name: value for name, value in traits.items() if self.chance(0.5)}

    def settings(self, row: int, end: float) -> list[Change]:
        """Changes of a pod's traits at any time, whether it is there or not."""
        times = [self.random.uniform(0.0, end) for _ in range(self.random.randint(0, 4))]
        return [Change(time, "set", row, traits=self.traits()) for time in times if self.chance(0.6)]

    def changes(self, application: Application, end: float) -> list[Change]:
        services = len(application.services)
        alike = self.orderless and any(each.dispatch == "shared" for each in application.services)
        changes = [
            Change(self.random.uniform(0.0, end), self.random.choice(["divert", "restore"]), -1, service)
            for service in range(services)
            for _ in range(self.random.randint(0, 3))
        ]
        for row in range(services * 2 + self.random.randint(0, 2)):
            service = row % services
            opened = self.random.choice([0.0, 0.0, self.random.uniform(0.0, end)])
            own = {"vcpu": self.random.choice([0.4, 2.0])} if self.chance(0.2) and not alike else {}
            changes.append(Change(opened, "open", row, service, own))
            changes += [] if alike else self.settings(row, end)
            if self.chance(0.5):
                closed = self.random.uniform(opened, end)
                if self.kills and self.chance(0.3):
                    changes.append(Change(self.random.uniform(opened, closed), "crash", row))
                changes.append(Change(closed, "close", row, service))
                killed = self.random.choice([closed, self.random.uniform(closed, end)])
                if self.kills:
                    changes.append(Change(killed, "kill", row, service))
                again = self.random.choice([killed, self.random.uniform(killed, end)])
                changes.append(Change(again, "reopen", row, self.random.randrange(services)))
        if self.chance(0.1):
            changes = changes[1:]
        return sorted(changes, key=lambda change: change.time)

    def story(self) -> Story:
        application = self.application()
        end = self.random.uniform(2.0, 8.0)
        arrivals, cuts = self.arrivals(end), self.cuts(end)
        changes = self.changes(application, end)
        seed = self.random.randrange(2**63)
        return Story(application, seed, arrivals, cuts, changes, end, self.orderless)


class CalmAuthor(Author):
    """All calls end well: nothing is limited, given up, refused or tried again, and all pods stay."""

    def call(self, to: str) -> dict[str, Any]:
        allowed = ("to", "count", "network_seconds", "probability")
        return {name: value for name, value in super().call(to).items() if name in allowed}

    def service(self, index: int, steps: list[list[dict[str, Any]]]) -> dict[str, Any]:
        ruled_out = ("queue_limit_per_pod", "shedding")
        service = super().service(index, steps)
        return {name: value for name, value in service.items() if name not in ruled_out}

    def operations(self, index: int, steps: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
        """No call of its own service: with few slots it would wait for itself."""
        return [{"name": "all", "service_time": self.law(), "steps": steps}]

    def changes(self, application: Application, end: float) -> list[Change]:
        return [Change(0.0, "open", row, row) for row in range(len(application.services))]
