"""Records of services whose parameters are known, from a simulator of its own.

Nothing of setpoint is used here: one heap of finish times, a deque of waiting requests, and pods that an
autoscaler of its own starts and stops.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

Law = Callable[[np.random.Generator, int], np.ndarray]


def lognormal(mean: float, scv: float) -> Law:
    sigma = math.sqrt(math.log1p(scv))
    return lambda rng, size: rng.lognormal(math.log(mean) - sigma**2 / 2, sigma, size)


def gamma(mean: float, scv: float) -> Law:
    return lambda rng, size: rng.gamma(1 / scv, mean * scv, size)


def exponential(mean: float) -> Law:
    return lambda rng, size: rng.exponential(mean, size)


def constant(mean: float) -> Law:
    return lambda _, size: np.full(size, mean)


@dataclass(frozen=True)
class Service:
    """A service, its autoscaler and how it is measured."""

    law: Law
    cpu_seconds: float
    slots: int
    mean_seconds: float
    queue: str = "shared"  # or random, round_robin: which pod's own queue a request joins
    idle_cores: float = 0.0
    target: float = 0.6  # busy slots over slots
    fewest: int = 2
    most: int = 60
    fixed: int | None = None
    start_p50: float = 25.0
    start_p95: float = 45.0
    noise: float = 0.0
    slowed: Callable[[float], float] = field(default=lambda _: 1.0)  # service times by the time


def load(hours: float, step: float, mean_rps: float, seed: int = 0, swing: float = 0.6) -> np.ndarray:
    """Requests/s by step: two waves, and noise that lasts minutes."""
    rng = np.random.default_rng(seed)
    times = step * np.arange(round(hours * 3600 / step))
    waves = swing * np.sin(2 * np.pi * times / 21_600) + 0.25 * np.sin(2 * np.pi * times / 3000)
    rough = np.repeat(rng.normal(0, 0.1, len(times) // 10 + 1), 10)[: len(times)]
    return mean_rps * np.maximum(0.1, 1 + waves + rough)


def run(service: Service, rates: np.ndarray, step: float, seed: int = 0) -> dict[str, np.ndarray]:
    """The record's columns, and every pod's start-up as `starts`."""
    rng = np.random.default_rng(seed)
    line = _Shared(service.slots) if service.queue == "shared" else _Apart(service.slots, service.queue, rng)
    sigma = math.log(service.start_p95 / service.start_p50) / 1.6448536
    ready_at: list[float] = []
    first = service.fixed or max(
        service.fewest, math.ceil(rates[0] * service.mean_seconds / service.slots / service.target)
    )
    line.resize(first, 0.0)
    starts, wishes, rows = [], deque([first], maxlen=max(1, round(300 / step))), []
    for place, rate in enumerate(rates):
        begin, end = place * step, (place + 1) * step
        arrivals = np.sort(begin + step * rng.random(rng.poisson(rate * step)))
        works = service.law(rng, len(arrivals)) * service.slowed(begin)
        marks = sorted(one for one in ready_at if one < end)
        ready_at = [one for one in ready_at if one >= end]
        before, area = line.busy_seconds(begin), 0.0
        done: list[float] = []
        moment, at = begin, 0
        for mark in [*marks, end]:
            until = np.searchsorted(arrivals, mark)
            done += line.advance(arrivals[at:until], works[at:until], mark)
            area += line.pods * (mark - moment)
            moment, at = mark, until
            if mark < end:
                line.resize(line.pods + 1, mark)
        busy = line.busy_seconds(end) - before
        pods = area / step
        found = np.array(done)
        rows.append(
            (
                begin,
                len(arrivals) / step,
                busy / step * service.cpu_seconds / service.mean_seconds + service.idle_cores * pods,
                pods,
                *(np.percentile(found, (95, 50)) if done else (np.nan, np.nan)),
                found.mean() if done else np.nan,
            )
        )
        if service.fixed is None:
            use = busy / step / (service.slots * max(pods, 1))
            wish = math.ceil((line.pods + len(ready_at)) * use / service.target - 1e-9)
            wishes.append(min(max(wish, service.fewest), service.most))
            wanted, alive = max(wishes), line.pods + len(ready_at)
            for _ in range(wanted - alive):
                seconds = float(rng.lognormal(math.log(service.start_p50), sigma))
                starts.append(seconds)
                ready_at.append(end + seconds)
            if wanted < line.pods and not ready_at:
                line.resize(wanted, end)
    names = (
        "t_seconds",
        "rate_rps",
        "cpu_cores",
        "replicas",
        "latency_p95_seconds",
        "latency_p50_seconds",
        "latency_mean_seconds",
    )
    columns = dict(zip(names, np.array(rows).T, strict=True))
    for name in names[2:]:
        if service.noise and name != "replicas":
            columns[name] = columns[name] * rng.lognormal(0, service.noise, len(rows))
    return columns | {"starts": np.array(starts)}


def write(columns: dict[str, np.ndarray], path: Path, drop: tuple[str, ...] = ()) -> Path:
    """As CSV; start-ups in the column's first rows."""
    names = [name for name in columns if name not in {*drop, "starts"}]
    values = [columns[name] for name in names]
    count = len(values[0])
    if columns["starts"].size and "starts" not in drop:
        names.append("pod_start_seconds")
        values.append(np.append(columns["starts"], np.full(count, np.nan))[:count])
    rows = [
        ",".join("" if np.isnan(one) else f"{one:.8g}" for one in row) for row in zip(*values, strict=True)
    ]
    path.write_text("\n".join([",".join(names), *rows, ""]))
    return path


class _Shared:
    """One queue for all pods."""

    def __init__(self, slots: int) -> None:
        self.slots, self.pods = slots, 0
        self._waiting: deque[tuple[float, float]] = deque()
        self._running: list[tuple[float, float]] = []
        self._finished_busy = 0.0

    def resize(self, pods: int, now: float) -> None:
        self.pods = pods
        self._fill(now)

    def _fill(self, now: float) -> None:
        while self._waiting and len(self._running) < self.slots * self.pods:
            arrived, work = self._waiting.popleft()
            self._begin(now, arrived, work)

    def _begin(self, now: float, arrived: float, work: float) -> None:
        heapq.heappush(self._running, (now + work, arrived))
        self._finished_busy += work

    def advance(self, arrivals: np.ndarray, works: np.ndarray, until: float) -> list[float]:
        done: list[float] = []
        for arrived, work in zip(arrivals.tolist(), works.tolist(), strict=True):
            self._finish(arrived, done)
            if len(self._running) < self.slots * self.pods:
                self._begin(arrived, arrived, work)
            else:
                self._waiting.append((arrived, work))
        self._finish(until, done)
        return done

    def _finish(self, until: float, done: list[float]) -> None:
        while self._running and self._running[0][0] <= until:
            now, arrived = heapq.heappop(self._running)
            done.append(now - arrived)
            self._fill(now)

    def busy_seconds(self, now: float) -> float:
        """Slot-seconds used until now."""
        return self._finished_busy - sum(end - now for end, _ in self._running)


class _Apart:
    """A queue for each pod."""

    def __init__(self, slots: int, rule: str, rng: np.random.Generator) -> None:
        self._slots, self._rule, self._rng = slots, rule, rng
        self._queues: list[_Shared] = []
        self.pods, self._next = 0, 0

    def resize(self, pods: int, now: float) -> None:
        while len(self._queues) < pods:
            self._queues.append(_Shared(self._slots))
        for place, queue in enumerate(self._queues):
            if place < pods:
                queue.resize(1, now)
        self.pods = pods

    def advance(self, arrivals: np.ndarray, works: np.ndarray, until: float) -> list[float]:
        count = len(arrivals)
        if self._rule == "random":
            chosen = self._rng.integers(self.pods, size=count)
        else:
            chosen = (self._next + np.arange(count)) % self.pods
            self._next = (self._next + count) % self.pods
        done: list[float] = []
        for place, queue in enumerate(self._queues):
            mine = chosen == place
            done += queue.advance(arrivals[mine], works[mine], until)
        return done

    def busy_seconds(self, now: float) -> float:
        return sum(queue.busy_seconds(now) for queue in self._queues)
