"""What the plain simulation of an application consists of: edges, calls, queues, pods, services."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from typing import Any

import numpy as np

from simulator import randomness
from simulator.laws.draws import draw_many
from simulator.operation import Breaker, Call, RetryBudget
from simulator.randomness import ERROR, SERVICE
from simulator.service import Service

PERIOD_SECONDS = 0.1


def child_key(caller: np.uint64, edge: int, branch: int, attempt: int) -> np.uint64:
    return np.uint64(randomness.call_key(caller, edge, branch, attempt))


def number(key: np.uint64, purpose: int, index: int = 0) -> float:
    return float(randomness.uniform(np.uint64(randomness.purpose_key(key, purpose)), index))


class Circuit:
    """A breaker's state."""

    def __init__(self, settings: Breaker) -> None:
        self.settings = settings
        self.turn("closed", 0.0)

    def turn(self, mode: str, now: float) -> None:
        self.mode, self.since = mode, now
        self.failures: deque[bool] = deque(maxlen=self.settings.window_calls)
        self.trials = 0
        self.trial_failures: list[bool] = []

    def lets_through(self, now: float) -> bool:
        if self.mode == "closed":
            return True
        used_up = self.trials >= self.settings.trial_calls
        if now >= self.since + self.settings.open_seconds and (self.mode == "open" or used_up):
            self.turn("half-open", now)
        if self.mode == "open" or self.trials >= self.settings.trial_calls:
            return False
        self.trials += 1
        return True

    def hear(self, issued: float, now: float, *, failed: bool) -> None:
        if self.mode == "open" or issued < self.since:
            return
        if self.mode == "half-open":
            self.trial_failures.append(failed)
            if len(self.trial_failures) == self.settings.trial_calls:
                bad = sum(self.trial_failures) >= self.settings.failure_ratio * self.settings.trial_calls
                self.turn("open" if bad else "closed", now)
            return
        self.failures.append(failed)
        full = len(self.failures) == self.settings.window_calls
        if full and sum(self.failures) >= self.settings.failure_ratio * self.settings.window_calls:
            self.turn("open", now)


class Budget:
    """A bucket of retries."""

    def __init__(self, settings: RetryBudget) -> None:
        self.settings = settings
        self.tokens, self.counted = min(settings.per_second, settings.burst), 0.0

    def add(self, tokens: float, now: float) -> None:
        earned = self.settings.per_second * (now - self.counted)
        self.tokens = min(min(self.tokens + earned, self.settings.burst) + tokens, self.settings.burst)
        self.counted = now

    def pay(self, now: float) -> bool:
        self.add(0.0, now)
        if self.tokens < 1.0:
            return False
        self.tokens -= 1.0
        return True


class Edge:
    """One call of the graph, and what all its calls share."""

    def __init__(self, index: int, settings: Call, target: Work, fallback: Work | None) -> None:
        self.index, self.settings, self.target, self.fallback = index, settings, target, fallback
        self.circuit = settings.breaker and Circuit(settings.breaker)
        self.budget = settings.retry and settings.retry.budget and Budget(settings.retry.budget)


class Work:
    """An operation of a service."""

    def __init__(self, station: Station, law: Any) -> None:
        self.station, self.code, self.values = station, law.code, np.array(law.parameters())
        self.steps: list[list[Edge]] = []

    def seconds(self, key: np.uint64) -> float:
        keys = np.array([randomness.purpose_key(key, SERVICE)], np.uint64)
        return float(draw_many(self.code, self.values, keys)[0])


class Node:
    """Who makes calls: a client's request, or a call at its service."""

    def __init__(self, key: np.uint64, group: int, priority: int, steps: list[list[Edge]]) -> None:
        self.key, self.group, self.priority, self.steps = key, group, priority, steps
        self.step, self.pending, self.outcome, self.alive = -1, 0, "ok", True


class Request(Node):
    """What a client asks for."""

    arrived = 0.0
    ended = math.inf
    retries = 0


class Visit(Node):
    """One attempt of one call, and what became of it at its service."""

    def __init__(self, caller: Node, edge: Edge, branch: int, attempt: int) -> None:
        key = child_key(caller.key, edge.index, branch, attempt)
        super().__init__(key, caller.group, caller.priority, [])
        self.send(edge.target, edge.settings.network_seconds)
        self.caller: Node | None = caller
        self.edge, self.branch, self.attempt = edge, branch, attempt
        self.issued = math.nan
        self.pod: Pod | None = None
        self.fate = "travelling"
        self.arrived = self.started = self.worked = self.released = self.left = math.inf
        self.work_left = math.nan

    def send(self, target: Work, network_seconds: float) -> None:
        self.target, self.steps, self.network_seconds = target, target.steps, network_seconds

    @property
    def awaited(self) -> bool:
        return self.caller is not None and self.caller.alive


class Queue:
    """First come, first served within a priority."""

    def __init__(self) -> None:
        self.visits: list[Visit] = []

    def pop(self) -> Visit | None:
        if not self.visits:
            return None
        first = max(self.visits, key=lambda visit: visit.priority)
        self.visits.remove(first)
        return first


class Pod:
    """A pod and its threads."""

    def __init__(self, station: Station, now: float, vcpu: float | None) -> None:
        self.station, self.accepting = station, True
        self.cores = station.settings.vcpu_per_pod if vcpu is None else vcpu
        self.speed, self.delay_seconds, self.error_probability = 1.0, 0.0, 0.0
        self.cores_since = [(now, self.cores)]
        self.slots, self.busy, self.emptied = station.settings.slots_per_pod, 0, math.inf
        self.queue = Queue()
        self.calls: list[Visit] = []
        self.threads: list[Visit] = []
        self.touched, self.cpu, self.version = now, 0.0, 0
        self.period, self.quota_left = math.floor(now / PERIOD_SECONDS), self.quota

    @property
    def quota(self) -> float:
        return self.cores * PERIOD_SECONDS

    @property
    def pace(self) -> float:
        """Work that a slot does a second."""
        return self.cores / self.station.settings.vcpu_per_pod * self.speed

    def change(self, now: float, traits: dict[str, float]) -> None:
        """Have other traits from now on; what a period's quota gains or loses can be used in it."""
        self.run(now)
        before = self.quota
        self.cores = traits.get("vcpu", self.cores)
        self.quota_left += self.quota - before
        self.cores_since.append((now, self.cores))
        self.speed = traits.get("speed", self.speed)
        self.delay_seconds = traits.get("delay_seconds", self.delay_seconds)
        self.error_probability = traits.get("error_probability", self.error_probability)

    def core_seconds(self, begin: float, end: float) -> float:
        """What all its cores would have done from one time to another."""
        ends = [time for time, _ in self.cores_since[1:]] + [math.inf]
        return sum(
            cores * max(0.0, min(end, until) - max(begin, since))
            for (since, cores), until in zip(self.cores_since, ends, strict=True)
        )

    def errs(self, visit: Visit) -> bool:
        return number(visit.key, ERROR) < self.error_probability

    @property
    def load(self) -> int:
        return self.busy + len(self.queue.visits)

    def pieces(self, begin: float, until: float) -> Iterator[tuple[float, float]]:
        """Stretches in which all threads run at one speed: when each ends, and the speed."""
        cores, threads = self.cores, len(self.threads)
        if self.station.settings.discipline == "batching":
            yield (
                until,
                1.0 / (1.0 + self.station.settings.batch_slowdown * (threads - 1)) if threads else 0.0,
            )
            return
        if not self.station.settings.cfs_throttling:
            yield until, min(1.0, cores / threads) if threads else 0.0
            return
        period, left = self.period, max(self.quota_left, 0.0)
        while begin < until:
            end = (period + 1) * PERIOD_SECONDS
            runs = min(end, until, begin + left / threads) if threads else begin
            yield runs, 1.0
            yield min(end, until), 0.0
            begin, period, left = end, period + 1, self.quota

    def run(self, now: float) -> None:
        """Let the threads run up to now."""
        begin = self.touched
        if not self.threads and math.floor(now / PERIOD_SECONDS) > self.period:
            self.period, self.quota_left, begin = math.floor(now / PERIOD_SECONDS), self.quota, now
        for end, speed in self.pieces(begin, now):
            for visit in self.threads:
                visit.work_left -= speed * self.speed * (end - begin)
            used = speed * (end - begin) * len(self.threads)
            if self.station.settings.discipline == "batching":
                used = self.cores * (end - begin) if self.threads else 0.0
            self.cpu += used
            self.quota_left -= used
            begin = end
            if end >= (self.period + 1) * PERIOD_SECONDS:
                self.period, self.quota_left = self.period + 1, self.quota
        self.touched = now

    def next_done(self) -> tuple[float, Visit]:
        """When the first thread is done if none comes or goes."""
        first = min(self.threads, key=lambda visit: visit.work_left)
        begin, left = self.touched, first.work_left
        for end, speed in self.pieces(begin, math.inf):
            pace = speed * self.speed
            if speed > 0 and left <= pace * (end - begin):
                return begin + max(left, 0.0) / pace, first
            left -= pace * (end - begin)
            begin = end
        raise AssertionError


class Station:
    """A service."""

    def __init__(self, settings: Service) -> None:
        self.settings = settings
        self.queue = Queue()
        self.idle: deque[Pod] = deque()  # an entry an idle slot
        self.ready: list[Pod] = []
        self.all_pods: list[Pod] = []
        self.turn = 0
        self.refused = 0
        self.diverted = False
