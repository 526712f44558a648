"""A cluster's control step without its requests one by one.

Waiting is a reflected Brownian motion: a queue of c slots gets work at a rate and with a variance, and its state V is
the time that the slots need for what has come and is not done. Its stationary law is exponential, as conditional waits
are in heavy traffic; that often no call waits is a depth below which V means idle slots:
``W = max(0, V - depth)`` with ``P(V > depth) = rho ** (sqrt(2 (c + 1)) - 1)``. So waits have the mean of Sakasegawa's
formula where load is steady, and overload, recovery and what is between are those of the process.
Sources: J. Kingman, The heavy traffic approximation in the theory of queues, 1965; H. Sakasegawa, An approximation
formula Lq = a rho^b / (1 - rho), 1977; L. Shepp, The joint density of the maximum and its location for a Wiener
process with drift, 1979 (the lowest point of a path whose end is known).
"""

from __future__ import annotations

import math

import numpy as np

from simulator.compiled import inlined, kernel
from simulator.flow.survival import exceeds
from simulator.flow.tables import BUSY, CAPACITY, LATENCY, OFFERED, READY, WAITING
from simulator.randomness import mix, uniform

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_ONE = np.uint64(1)
_SMALL_MEAN = 30.0
_ALMOST = 1.0 - 1e-4
_LEAST_LOAD = 1e-3
_HALVINGS = 8
_LATE_SHARE = 0.05
_ARRIVALS, _NOISE, _LOWEST, _READ, _, _COHORT = range(6)
"""What the numbers of a part's key are for; a cohort takes that of its age further on."""
_EIGHT, _TOP = np.uint64(8), np.uint64(48)
_EVEN_BYTES, _SUM_UP = np.uint64(0x00FF00FF00FF00FF), np.uint64(0x0001000100010001)
_MEAN_OF_BYTES, _PER_DEVIATION = 8 * 127.5, (8 * (256**2 - 1) / 12) ** -0.5


@inlined
def part_key(key, part):
    """Key of all draws of a part of a step."""
    return mix(key + _GOLDEN * (np.uint64(part) + _ONE))


@inlined
def deviate_of(key, number):
    """A number of mean 0 and variance 1, almost normal up to 4.9 either way: the sum of eight uniform bytes."""
    bits = mix(key + _GOLDEN * (np.uint64(number) + _ONE))
    pairs = (bits & _EVEN_BYTES) + ((bits >> _EIGHT) & _EVEN_BYTES)
    total = (pairs * _SUM_UP) >> _TOP
    return (np.float64(np.int64(total)) - _MEAN_OF_BYTES) * _PER_DEVIATION


@inlined
def poisson(key, number, mean):
    """A Poisson number from a key's numbers from this one on: rounded from a normal one where the mean is large."""
    if mean <= 0.0:
        return 0.0
    if mean > _SMALL_MEAN:
        deviate = deviate_of(key, number)
        return max(np.rint(mean + math.sqrt(mean) * deviate + (deviate * deviate - 1.0) / 6.0), 0.0)
    left = uniform(key, number)
    chance = math.exp(-mean)
    count = 0.0
    while left > chance and count < 200.0:
        left -= chance
        count += 1.0
        chance *= mean / count
    return count


@inlined
def expected(loads, load, seconds):
    """Requests expected since a load's beginning."""
    table = loads.expected[load]
    position = seconds / loads.bin_seconds
    place = min(int(position), len(table) - 2)
    return table[place] + (position - place) * (table[place + 1] - table[place])


@inlined
def idle_depth(mean_seconds, variability, slots, utilization):
    """How far the process is below the first wait, seconds.

    Args:
        variability: sum of the squared coefficients of variation of arrivals and service.
    """
    load = min(max(utilization, _LEAST_LOAD), _ALMOST)
    scale = mean_seconds * variability / (2.0 * slots * (1.0 - load))
    return scale * (math.sqrt(2.0 * (slots + 1.0)) - 1.0) * -math.log(load)


@inlined
def start_cohort(world, state, n, s, count, key):
    """Create pods at a step's beginning."""
    slot = state.step[n] % state.left.shape[2]
    state.left[n, s, slot] = count
    state.done[n, s, slot] = 0
    state.mark[n, s, slot] = 0.0
    state.spread[n, s, slot] = uniform(key, _COHORT)
    state.starting[n, s] += count


@inlined
def remove_pods(clock, world, state, n, s, count, key):
    """Take pods away at a step's beginning, those that have just started first; how many of them were ready."""
    cohorts = state.left.shape[2]
    for age in range(1, cohorts):
        if count == 0 or state.starting[n, s] == 0:
            break
        slot = (state.step[n] - age) % cohorts
        if age > state.step[n]:
            break
        waiting = np.int64(state.left[n, s, slot]) - state.done[n, s, slot]
        taken = min(count, waiting)
        if taken == 0:
            continue
        state.left[n, s, slot] = waiting - taken
        state.done[n, s, slot] = 0
        state.mark[n, s, slot] = world.started[n, s, age * clock.parts - 1]
        state.spread[n, s, slot] = uniform(key, _COHORT + age)
        state.starting[n, s] -= taken
        count -= taken
    state.ready[n, s] -= count
    return count


@inlined
def make_ready(clock, world, state, n, s, part):
    """Let pods become ready whose time has come by this part of the step."""
    if state.starting[n, s] == 0:
        return
    cohorts = state.left.shape[2]
    for age in range(min(cohorts, state.step[n] + 1)):
        slot = (state.step[n] - age) % cohorts
        left = np.int64(state.left[n, s, slot])
        if left == state.done[n, s, slot]:
            continue
        share = world.started[n, s, age * clock.parts + part]
        mark = state.mark[n, s, slot]
        due = left
        if share < 1.0:
            due = min(left, np.int64(left * ((share - mark) / (1.0 - mark)) + state.spread[n, s, slot]))
        new = due - state.done[n, s, slot]
        if new > 0:
            state.done[n, s, slot] = due
            state.ready[n, s] += new
            state.starting[n, s] -= new


@inlined
def latency_p95(laws, law, mean_seconds, waits, counts):
    """The 95th percentile of waiting and service time over the last parts of a step, NaN without calls."""
    lowest, highest, total = np.inf, 0.0, 0.0
    for place in range(len(waits)):
        if counts[place] > 0.0:
            lowest = min(lowest, waits[place])
            highest = max(highest, waits[place])
            total += counts[place]
    if total == 0.0:
        return np.nan
    alone = laws.p95[law] * mean_seconds
    low, high = lowest + alone, highest + alone
    if high - low > 0.01 * alone:
        for _ in range(_HALVINGS):
            middle = 0.5 * (low + high)
            over = 0.0
            for place in range(len(waits)):
                if counts[place] > 0.0:
                    over += counts[place] * exceeds(
                        laws.survival[law], (middle - waits[place]) / mean_seconds
                    )
            if over > _LATE_SHARE * total:
                low = middle
            else:
                high = middle
    return 0.5 * (low + high)


@inlined
def read(clock, laws, world, state, n, s, seconds, gains, key):
    """Take the readings that fall in a part of a step, with the noise that there is within it.

    Args:
        seconds: the part's beginning and length.
        gains: what OFFERED, BUSY and CAPACITY grow by in it.
    """
    begin, length = seconds
    offered, busy, capacity = gains
    mean = world.mean_seconds[n, s]
    first = world.first_scrape_seconds[n]
    number = max(math.ceil((begin - first) / clock.scrape_seconds), 0)
    moment = first + number * clock.scrape_seconds
    while moment < begin + length:
        if moment >= begin:
            share = (moment - begin) / length
            reading = state.readings[n, s, number % state.readings.shape[2]]
            totals = state.totals[n, s]
            deviation = math.sqrt(share * (1.0 - share) * offered)
            calls = share * offered + deviation * deviate_of(key, _READ)
            reading[OFFERED] = totals[OFFERED] + min(max(calls, 0.0), offered)
            noise = mean * math.sqrt(1.0 + world.scv[n, s]) * deviation * deviate_of(key, _READ + 1)
            least, most = max(busy - (1.0 - share) * capacity, 0.0), min(share * capacity, busy)
            reading[BUSY] = totals[BUSY] + min(max(share * busy + noise, least), most)
            reading[CAPACITY] = totals[CAPACITY] + share * capacity
            reading[READY] = state.ready[n, s]
            reading[WAITING] = np.rint(state.backlog[n, s] / mean)
            reading[LATENCY] = latency_p95(laws, world.law[n, s], mean, state.waits[n, s], state.counts[n, s])
        number += 1
        moment = first + number * clock.scrape_seconds


@inlined
def serve(loads, laws, world, state, happened, n, s, arrived, span, part, key):
    """Let a part of a step happen at a service: what BUSY and CAPACITY grow by.

    Args:
        arrived: calls expected, and calls.
        span: the part's length, seconds.
        part: its number since the episode's beginning.
    """
    mean_calls, calls = arrived
    mean, scv = world.mean_seconds[n, s], world.scv[n, s]
    slots = state.ready[n, s] * world.slots[n, s]
    before = state.backlog[n, s]
    work = calls * mean
    if slots == 0.0:
        state.work[n, s] += work
        state.backlog[n, s] = before + work
        wait, late, busy = np.inf, calls, 0.0
    else:
        utilization = mean_calls * mean / (slots * span)
        deviate = deviate_of(key, _NOISE)
        flow = work / slots - span + math.sqrt(mean * scv * span / slots) * deviate
        variance = span * mean / slots * (max(utilization, 1.0) * loads.dispersion + scv)
        fall = 0.5 * (flow - math.sqrt(flow * flow - 2.0 * variance * math.log(uniform(key, _LOWEST))))
        begin = state.work[n, s] / slots
        end = max(begin + flow, flow - fall)
        depth = idle_depth(mean, loads.dispersion + scv, slots, utilization)
        wait = max(end - depth, 0.0)
        survival, slo = laws.survival[world.law[n, s]], world.slo_seconds[n]
        late_at_begin = exceeds(survival, (slo - max(begin - depth, 0.0)) / mean)
        late_at_end = exceeds(survival, (slo - wait) / mean)
        late = 0.5 * calls * (late_at_begin + late_at_end)
        state.work[n, s] = end * slots
        work += mean * math.sqrt(scv * min(calls, slots * span / mean)) * deviate
        backlog = min(wait * slots, max(before + work, 0.0))
        never_idle = begin + fall > depth
        busy = slots * span if never_idle else min(work + before - backlog, slots * span)
        state.backlog[n, s] = backlog
    place = part % state.waits.shape[2]
    state.waits[n, s, place] = wait
    state.counts[n, s, place] = calls
    happened.offered[n, s] += np.int64(calls)
    happened.busy_seconds[n, s] += busy
    happened.waiting_seconds[n, s] += 0.5 * (before + state.backlog[n, s]) / mean * span
    happened.capacity_seconds[n, s] += slots * span
    happened.late[n] += late
    return busy, slots * span


@inlined
def advance_one(clock, loads, laws, world, state, happened, n):
    """Let a cluster's control step happen; what is wanted is asked for at its beginning."""
    first = state.step[n] * clock.parts
    span = clock.period_seconds / clock.parts
    services = state.wanted.shape[1]
    happened.late[n] = 0.0
    for s in range(services):
        happened.offered[n, s] = 0
        happened.busy_seconds[n, s] = 0.0
        happened.capacity_seconds[n, s] = 0.0
        happened.waiting_seconds[n, s] = 0.0
        change = state.wanted[n, s] - state.ready[n, s] - state.starting[n, s]
        key = part_key(world.key[n], first)
        gone = 0
        if change > 0:
            start_cohort(world, state, n, s, change, key)
        else:
            slot = state.step[n] % state.left.shape[2]
            state.left[n, s, slot] = 0
            state.done[n, s, slot] = 0
            if change < 0:
                gone = remove_pods(clock, world, state, n, s, -change, key)
        alive = state.ready[n, s] + state.starting[n, s]
        seconds = alive * clock.period_seconds + gone * world.drain_seconds[n, s]
        happened.started[n, s] = max(change, 0)
        happened.pod_seconds[n, s] = seconds
        happened.usd[n, s] = seconds * world.usd_per_second[n, s]
    for part in range(clock.parts):
        begin = (first + part) * span
        key = part_key(world.key[n], first + part)
        since = world.load_begin_seconds[n] + begin
        mean_calls = world.load_scale[n] * (
            expected(loads, world.load[n], since + span) - expected(loads, world.load[n], since)
        )
        calls = poisson(key, _ARRIVALS, mean_calls)
        for s in range(services):
            make_ready(clock, world, state, n, s, part)
            state.history[n, s, (first + part) % state.history.shape[2]] = state.ready[n, s]
            busy, capacity = serve(
                loads, laws, world, state, happened, n, s, (mean_calls, calls), span, first + part, key
            )
            read(clock, laws, world, state, n, s, (begin, span), (calls, busy, capacity), key)
            state.totals[n, s, OFFERED] += calls
            state.totals[n, s, BUSY] += busy
            state.totals[n, s, CAPACITY] += capacity
    state.step[n] += 1


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


@kernel
def advance(begin, end, clock, loads, laws, world, state, happened, seen):
    """Let a control step of clusters ``begin`` to ``end`` happen, and show what is seen after it."""
    for n in range(begin, end):
        advance_one(clock, loads, laws, world, state, happened, n)
        see_one(clock, world, state, seen, n)
