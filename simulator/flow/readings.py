"""What a metric pipeline reads, and what is shown of it."""

from __future__ import annotations

import math

import numpy as np

from simulator.compiled import inlined
from simulator.flow.draws import READ, deviate_of, gamma_factor, service_key
from simulator.flow.tables import BUSY, CAPACITY, LATENCY, OFFERED, READY, WAITING
from simulator.randomness import mix, uniform

RATE, P95, CPU = range(3)
"""What noise is drawn for."""
_READINGS = np.uint64(0xA0761D6478BD642F)
_ONE = np.uint64(1)
_LOST = 3


@inlined
def is_read(clock, world, n, begin, length):
    """Whether a reading falls in a part of a step."""
    first = world.first_scrape_seconds[n]
    number = max(math.ceil((begin - first) / clock.scrape_seconds), 0)
    return first + number * clock.scrape_seconds < begin + length


@inlined
def read(clock, world, state, n, s, seconds, gains, shown, key):
    """Take the readings that fall in a part of a step, with the noise that there is within it.

    Args:
        seconds: the part's beginning and length.
        gains: what OFFERED, BUSY and CAPACITY grow by in it.
        shown: WAITING and LATENCY.
    """
    begin, length = seconds
    offered, busy, capacity = gains
    first = world.first_scrape_seconds[n]
    number = max(math.ceil((begin - first) / clock.scrape_seconds), 0)
    moment = first + number * clock.scrape_seconds
    while moment < begin + length:
        share = (moment - begin) / length
        reading = state.readings[n, number % state.readings.shape[1], s]
        totals = state.totals[n, s]
        deviation = math.sqrt(share * (1.0 - share) * offered)
        calls = share * offered + deviation * deviate_of(key, READ)
        reading[OFFERED] = totals[OFFERED] + min(max(calls, 0.0), offered)
        a_call = world.mean_seconds[n, s] * math.sqrt(1.0 + world.scv[n, s])
        noise = a_call * deviation * deviate_of(key, READ + 1)
        least, most = max(busy - (1.0 - share) * capacity, 0.0), min(share * capacity, busy)
        reading[BUSY] = totals[BUSY] + min(max(share * busy + noise, least), most)
        reading[CAPACITY] = totals[CAPACITY] + share * capacity
        reading[READY] = state.ready[n, s]
        reading[WAITING], reading[LATENCY] = shown
        if state.is_out[n]:
            reading[OFFERED] = np.inf
        elif clock.gap_probability > 0.0:
            own = mix(world.key[n] + _READINGS * (np.uint64(number) + _ONE))
            if uniform(own, _LOST) < clock.gap_probability:
                reading[OFFERED] = np.nan
        number += 1
        moment = first + number * clock.scrape_seconds


@inlined
def find_sample(clock, world, state, n):
    """The numbers of the newest reading that is shown and of that at its window's beginning; -1 where there is none.

    Where readings were lost a window is longer; it never holds an outage.
    """
    now = state.step[n] * clock.period_seconds
    first = world.first_scrape_seconds[n]
    seen = min(now, state.frozen_seconds[n]) - world.lag_seconds[n]
    number = math.floor((seen - first) / clock.scrape_seconds)
    oldest = now - world.lag_seconds[n] - clock.stale_seconds
    if state.is_out[n]:
        return -1, -1
    if clock.gap_probability == 0.0 and state.fault_begin.shape[1] == 0:
        is_fresh = first + number * clock.scrape_seconds >= oldest
        return (number, number - clock.window) if number >= clock.window and is_fresh else (-1, -1)
    kept = state.readings.shape[1]
    earliest = math.floor((now - first) / clock.scrape_seconds) - kept + 1
    while number >= clock.window and first + number * clock.scrape_seconds >= oldest:
        before = number
        while before >= max(earliest, 0) and before > number - clock.window:
            if state.readings[n, before % kept, 0, OFFERED] == np.inf:
                break
            before -= 1
        while before >= max(earliest, 0) and np.isnan(state.readings[n, before % kept, 0, OFFERED]):
            before -= 1
        is_whole = before >= max(earliest, 0) and number - before >= clock.window
        if (
            is_whole
            and np.isfinite(state.readings[n, before % kept, 0, OFFERED])
            and np.isfinite(state.readings[n, number % kept, 0, OFFERED])
        ):
            return number, before
        number -= 1
    return -1, -1


@inlined
def blur(clock, world, n, s, number, kind, values):
    """The factor of the noise on a value of a reading: of the rate, the latency or the CPU of so many pods."""
    if clock.noise == 0.0:
        return 1.0
    key = service_key(mix(world.key[n] + _READINGS * (np.uint64(number) + _ONE)), s)
    return gamma_factor(key, kind, clock.noise / math.sqrt(max(values, 1.0)))


@inlined
def see_one(clock, world, state, seen, n):
    """Show the newest readings that have come through."""
    now = state.step[n] * clock.period_seconds
    newest, oldest = find_sample(clock, world, state, n)
    kept = state.readings.shape[1]
    for s in range(state.wanted.shape[1]):
        seen.age_seconds[n, s] = np.inf
        seen.rate[n, s] = seen.cpu[n, s] = seen.latency_p95[n, s] = seen.queue[n, s] = np.nan
        if newest < 0:
            continue
        last, before = state.readings[n, newest % kept, s], state.readings[n, oldest % kept, s]
        seconds = (newest - oldest) * clock.scrape_seconds
        capacity = max(last[READY] * world.slots[n, s] * seconds, last[CAPACITY] - before[CAPACITY])
        seen.age_seconds[n, s] = now - (world.first_scrape_seconds[n] + newest * clock.scrape_seconds)
        seen.rate[n, s] = (
            (last[OFFERED] - before[OFFERED]) / seconds * blur(clock, world, n, s, newest, RATE, 1)
        )
        seen.latency_p95[n, s] = last[LATENCY] * blur(clock, world, n, s, newest, P95, 1)
        seen.queue[n, s] = last[WAITING]
        if last[READY] > 0:
            noise = blur(clock, world, n, s, newest, CPU, last[READY])
            seen.cpu[n, s] = (last[BUSY] - before[BUSY]) / capacity * noise
