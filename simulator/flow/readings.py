"""What a metric pipeline reads, and what is shown of it."""

from __future__ import annotations

import math

import numpy as np

from simulator.compiled import inlined
from simulator.flow.draws import READ, deviate_of
from simulator.flow.tables import BUSY, CAPACITY, LATENCY, OFFERED, READY, WAITING


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
        reading = state.readings[n, s, number % state.readings.shape[2]]
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
        number += 1
        moment = first + number * clock.scrape_seconds


@inlined
def see_one(clock, world, state, seen, n):
    """Show the newest readings that have come through."""
    now = state.step[n] * clock.period_seconds
    first, window = world.first_scrape_seconds[n], clock.window
    newest = math.floor((now - world.lag_seconds[n] - first) / clock.scrape_seconds)
    kept = state.readings.shape[2]
    for s in range(state.wanted.shape[1]):
        seen.age_seconds[n, s] = np.inf
        seen.rate[n, s] = seen.cpu[n, s] = seen.latency_p95[n, s] = seen.queue[n, s] = np.nan
        if newest < window:
            continue
        last = state.readings[n, s, newest % kept]
        before = state.readings[n, s, (newest - window) % kept]
        seconds = window * clock.scrape_seconds
        capacity = max(
            last[READY] * world.slots[n, s] * seconds,
            last[CAPACITY] - before[CAPACITY],
        )
        seen.age_seconds[n, s] = now - (first + newest * clock.scrape_seconds)
        seen.rate[n, s] = (last[OFFERED] - before[OFFERED]) / seconds
        seen.latency_p95[n, s] = last[LATENCY]
        seen.queue[n, s] = last[WAITING]
        if last[READY] > 0:
            seen.cpu[n, s] = (last[BUSY] - before[BUSY]) / capacity
