"""What every period of one run would come to with any number of replicas: the oracle's model.

A run's requests, with the moments at which they come and the work that they bring, are the same whatever is
done, and so are the start-ups of its pods in the order of their creation. So each period is served here
request by request, first come first served, by the slots of every number of replicas that may be worth it,
from every level of what waited at its beginning.

What that leaves out: where a period begins only the amount of work that waits is remembered, rounded to a
level, and the requests in service are those that nobody kept waiting; a pod is ready from the beginning of a
period, and gone with its end; far from what the load needs, and above a second of waiting, the queue is a
fluid.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numba
import numpy as np

from envs.task import Task
from experiments.planned import PERIOD_SECONDS
from experiments.schedules import Model
from simulator.arrays import Floats, Ints
from simulator.arrivals import make_arrivals
from simulator.draws import BlockStream
from simulator.fcfs import draw_service_seconds, law_table
from simulator.prices import SECONDS_PER_HOUR
from simulator.randomness import seed_key, spawn_streams
from simulator.trace import Trace

WAITS_SECONDS = np.array(
    [0.0, 0.07, 0.17, 0.4, 1.0, 2.0, 4.0, 8.0, 14.0, 24.0, 40.0, 70.0, 120.0, 210.0, 400.0, 800.0]
)
"""Levels of what waits, in seconds of the load there."""
_SERVED_SECONDS = 1.0
"""Up to so much of waiting, requests are served one by one."""
_SATURATED = 1.25
"""At this utilisation the queue only grows."""
_SPARE = 1.6
"""So many times the replicas that leave nobody waiting are enough to work off what waits."""
_STARTS = 8192


def usd_per_pod_second(task: Task) -> float:
    """What a pod costs."""
    service, prices = task.scenario.system.services[0], task.scenario.prices
    if prices is None:
        return 0.0
    vcpu, memory = service.vcpu_per_pod, service.memory.request_gib
    return (prices.usd_per_vcpu_hour * vcpu + prices.usd_per_gib_hour * memory) / SECONDS_PER_HOUR


def draw_start_ups(task: Task, seed: int) -> Floats:
    """Start-ups of a run's pods in the order of their creation, seconds: float64 ``(K,)``."""
    rng = np.random.default_rng(spawn_streams(seed).starts)
    stream = BlockStream(partial(task.scenario.system.services[0].start_up.sample, rng))
    return stream.take(_STARTS)


def make_model(
    task: Task, judged: Trace, seed: int, report: Callable[[float], None] | None = None
) -> tuple[Model, int, int]:
    """The model of a run, its requests, and how many of them are late whatever is done.

    Args:
        report: called now and then with the share that is done.
    """
    service = task.scenario.system.services[0]
    slots, slo = service.slots_per_pod, task.objective.slo_seconds
    edges = _edges(judged.duration_seconds)
    scale = _load_slots(judged, edges, task.scenario.system.load_seconds()[0])
    counts = _counts(task, scale)
    periods, levels = len(edges) - 1, len(WAITS_SECONDS)
    late = np.empty((periods, len(counts), levels), np.float32)
    after = np.empty((periods, len(counts), levels), np.uint8)
    work = np.empty((len(counts), levels))
    middles = np.concatenate(([WAITS_SECONDS[1] / 2], np.sqrt(WAITS_SECONDS[1:-1] * WAITS_SECONDS[2:])))
    streams = spawn_streams(seed)
    arrivals = make_arrivals(task.scenario.workload.arrivals, judged, streams.arrivals)
    key, law = seed_key(streams.requests), law_table(task.scenario.system)
    finish, requests, unavoidable = np.empty(0), 0, 0
    for period in range(periods):
        begin, end = float(edges[period]), float(edges[period + 1])
        times = arrivals.until(end)
        demands = draw_service_seconds(law, key, requests, len(times))
        counted = end - slo if period == periods - 1 else end
        waiting = WAITS_SECONDS * scale[period]
        unavoidable += _serve(
            times, demands, finish, (begin, end, counted, slo), slots, counts, waiting, late[period], work
        )
        after[period] = np.searchsorted(middles * scale[period + 1], work)
        finish = np.concatenate((finish, times + demands))
        finish = finish[finish > end]
        requests += len(times)
        if report and period % 64 == 0:
            report(period / periods)
    start_ups = draw_start_ups(task, seed)
    start_seconds = float((np.ceil(start_ups / PERIOD_SECONDS) * PERIOD_SECONDS).mean())
    usd = usd_per_pod_second(task)
    first = int(task.build(seed, judged).snapshot().wanted[0])
    lead = math.ceil(float(np.median(start_ups)) / PERIOD_SECONDS)
    model = Model(late, after, usd * np.diff(edges), usd * start_seconds, int(counts[0]), first, lead)
    return model, requests, unavoidable


def _edges(duration_seconds: float) -> Floats:
    """Where periods begin and end: float64 ``(T + 1,)``."""
    periods = math.ceil(duration_seconds / PERIOD_SECONDS - 1e-9)
    return np.minimum(np.arange(periods + 1, dtype=np.float64) * PERIOD_SECONDS, duration_seconds)


def _load_slots(judged: Trace, edges: Floats, load_seconds: float) -> Floats:
    """Slots that are busy on average about each edge, at least 1: float64 ``(T + 1,)``."""
    expected = np.concatenate(([0.0], np.cumsum(judged.requests)))
    bins = np.arange(len(expected)) * judged.bin_seconds
    low = np.maximum(edges - PERIOD_SECONDS, 0.0)
    high = np.minimum(edges + PERIOD_SECONDS, edges[-1])
    rate = (np.interp(high, bins, expected) - np.interp(low, bins, expected)) / (high - low)
    return np.asarray(np.maximum(rate * load_seconds, 1.0), np.float64)


def _counts(task: Task, load_slots: Floats) -> Ints:
    """Replicas that a schedule may have, in a row: int64 ``(N,)``."""
    service = task.scenario.system.services[0]
    peak = float(load_slots.max())
    enough = math.ceil(_SPARE * (peak + 6 * math.sqrt(peak)) / service.slots_per_pod) + 2
    first = math.ceil((load_slots[0] + 6 * math.sqrt(load_slots[0])) / service.slots_per_pod) + 2
    most = min(service.max_replicas, max(enough, first, service.min_replicas + 1))
    return np.arange(service.min_replicas, most + 1)


@numba.njit(cache=True, nogil=True)
def _serve(times, demands, finish, when, slots_per_pod, counts, waiting, late, work):
    """Fill in what is late, and how much work waits at the end, by count and level; what is late whatever is done."""
    begin, end, counted, slo = when
    seconds, requests = end - begin, len(times)
    total = 0.0
    for index in range(len(finish)):
        total += finish[index] - begin
    tail = np.zeros(requests + 1, np.int64)
    floor, countable = 0, 0
    for index in range(requests):
        total += demands[index]
        countable += times[index] < counted
        floor += demands[index] > slo and times[index] < counted
    load = total / seconds
    quiet = False
    free = np.empty(counts[-1] * slots_per_pod + 1)
    for place in range(len(counts)):
        slots = counts[place] * slots_per_pod
        saturated = load >= _SATURATED * slots
        served = not saturated and not quiet
        for level in range(len(waiting)):
            backlog = waiting[level]
            if served and backlog <= _SERVED_SECONDS * slots:
                late[place, level], work[place, level], longest = _queue(
                    times, demands, finish, when, slots, backlog, free, tail, level == 0, work[place, 0]
                )
                if level == 0:
                    quiet = late[place, 0] == floor and longest < slo / 2
            else:
                over = _over_share(backlog, load, slots, slo, seconds)
                late[place, level] = floor + over * (countable - floor)
                work[place, level] = max(backlog + total - slots * seconds, 0.0)
    return floor


@numba.njit(cache=True, nogil=True)
def _over_share(backlog, load, slots, slo, seconds):
    """The share of a period in which requests wait longer than the SLO, as of a fluid."""
    if slots == 0:
        return 1.0
    room = slo * slots - backlog
    growth = load - slots
    if room < 0:
        return 1.0 if growth >= 0 else min(room / growth / seconds, 1.0)
    return 0.0 if growth <= 0 else max(1.0 - room / growth / seconds, 0.0)


@numba.njit(cache=True, nogil=True)
def _queue(times, demands, finish, when, slots, backlog, free, tail, is_first, first_work):
    """A period request by request; late ones, the work that waits at its end, and the longest wait.

    The first level's path is kept as what is late from each request on; another joins it where nobody waits any more.
    """
    begin, end, counted, slo = when
    base = begin + backlog / slots
    for slot in range(slots):
        free[slot] = base + (finish[slot] - begin if slot < len(finish) else 0.0)
    free[slots] = np.inf
    free[:slots].sort()
    late, longest = 0, 0.0
    work = max(base - end, 0.0) * slots
    for index in range(len(times)):
        time, demand = times[index], demands[index]
        start = free[0]
        if start <= time:
            if not is_first:
                return late + tail[index], first_work, longest
            start = time
        else:
            longest = max(longest, start - time)
        if start >= end:
            work += demand
        is_late = start + demand - time > slo and time < counted
        late += is_late
        if is_first:
            tail[index] = is_late
        _replace_top(free, slots, start + demand)
    if is_first:
        for index in range(len(times) - 2, -1, -1):
            tail[index] += tail[index + 1]
    return late, work, longest


@numba.njit(cache=True, nogil=True)
def _replace_top(free, size, time):
    place, child = 0, 1
    while child < size:
        child += free[child + 1] < free[child]
        if free[child] >= time:
            break
        free[place] = free[child]
        place = child
        child = 2 * place + 1
    free[place] = time
