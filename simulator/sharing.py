"""Processor sharing and batching: all requests at work on a pod share it, and progress alike.

Processor sharing: each is one thread. Without throttling n threads get min(n, cores) cores in equal parts. Under CFS
bandwidth control each runs at full speed until the pod's quota of the period is used, then all
stand still until the next period. Batching: each of n requests progresses at a rate of 1 / (1 + s (n - 1)), s the
slowdown, for all of a batch are served in each step, which takes longer the more there are; the pod is busy with all
its cores. A pod's speed is the work that a core-second does. Between two
changes of n, of the cores or of the speed, the work that each thread has got is piecewise linear in
time, so the next completion is known in closed form.
Source: L. Kleinrock, Time-shared systems, 1967; Linux kernel, Documentation/scheduler/sched-bwc.rst; G. Yu et al.,
Orca, 2022 (scheduling by iteration); W. Kwon et al., Efficient memory management for large language model serving
with PagedAttention, 2023 (vLLM).
"""

from __future__ import annotations

import math

import numpy as np

from simulator.compiled import inlined

CFS_PERIOD_SECONDS = 0.1
"""Period of CFS bandwidth control: Kubernetes' --cpu-cfs-quota-period."""

_DONE_SECONDS, _CLOCK_ERROR = 1e-9, 1e-15


@inlined
def share(pod, station, now):
    """Bring what each thread of a pod has got, and the CPU used, up to now; the core-seconds used since."""
    begin, threads = pod.touched, pod.working
    pod.touched = now
    if station.batching:
        if threads == 0:
            return 0.0
        pod.attained += (now - begin) / _step_stretch(station, threads) * pod.speed
        return (now - begin) * pod.cores
    if pod.quota_seconds == np.inf:
        used = (now - begin) * min(float(threads), pod.cores)
        pod.attained += used / max(threads, 1) * pod.speed
        return used
    periods = _period(now) - _period(begin)
    if threads == 0:
        if periods > 0:
            pod.spent = 0.0
        return 0.0
    if periods == 0:
        run = min(max(pod.quota_seconds - pod.spent, 0.0) / threads, now - begin)
        pod.spent += run * threads
    else:
        share_of_quota = pod.quota_seconds / threads
        last = min(max(now - _period(now) * CFS_PERIOD_SECONDS, 0.0), share_of_quota)
        run = _runnable(pod, begin, threads) + last
        run += (periods - 1) * min(CFS_PERIOD_SECONDS, share_of_quota)
        pod.spent = last * threads
    pod.attained += run * pod.speed
    return run * threads


@inlined
def done_at(pod, station, work, now):
    """When a thread that has so much ``work`` left is done if no thread comes or goes."""
    threads = pod.working
    work = max(work, 0.0) / pod.speed
    if station.batching:
        return now + work * _step_stretch(station, threads)
    if pod.quota_seconds == np.inf:
        return now + work * max(threads / pod.cores, 1.0)
    first = _runnable(pod, now, threads)
    if work <= first + _DONE_SECONDS:
        return now + min(work, first)
    work -= first
    run = min(CFS_PERIOD_SECONDS, pod.quota_seconds / threads)
    full = max(math.ceil((work - _DONE_SECONDS) / run) - 1.0, 0.0)
    return (_period(now) + 1.0 + full) * CFS_PERIOD_SECONDS + min(work - full * run, run)


@inlined
def _step_stretch(station, threads):
    """How many times as long a step takes with so many in the batch as with one."""
    return 1.0 + station.batch_slowdown * (threads - 1)


@inlined
def is_done(pod, work, now):
    """Whether so little work is left that the clock cannot tell it from nothing."""
    return work <= (_DONE_SECONDS + _CLOCK_ERROR * now) * max(pod.speed, 1.0)


@inlined
def _period(now):
    """Which period a moment is in: the one measure of it, for rounding puts boundaries on either side."""
    return math.floor(now / CFS_PERIOD_SECONDS)


@inlined
def _runnable(pod, now, threads):
    """For how long the threads may run in what is left of the period."""
    left = max(pod.quota_seconds - pod.spent, 0.0) / threads
    return min(left, max((_period(now) + 1.0) * CFS_PERIOD_SECONDS - now, 0.0))


@inlined
def add_thread(tables, pod_row, row):
    """Put a call in its pod's heap, ordered by the work at which it is done."""
    tables.calls[row].next = tables.calls[row].previous = -1
    tables.pods[pod_row].heap = _meld(tables.calls, tables.pods[pod_row].heap, row)


@inlined
def remove_first(tables, pod_row):
    """Take the call that is done first out of its pod's heap.

    Source: M. Fredman et al., The pairing heap, 1986 (two passes over the first's children).
    """
    calls = tables.calls
    first = tables.pods[pod_row].heap
    pairs = -1
    child = calls[first].previous
    while child != -1:
        other = calls[child].next
        after = -1
        if other != -1:
            after = calls[other].next
            calls[other].next = -1
        calls[child].next = -1
        pair = _meld(calls, child, other)
        calls[pair].next = pairs
        pairs = pair
        child = after
    heap = -1
    while pairs != -1:
        after = calls[pairs].next
        calls[pairs].next = -1
        heap = _meld(calls, heap, pairs)
        pairs = after
    tables.pods[pod_row].heap = heap
    return first


@inlined
def _meld(calls, one, other):
    if one == -1:
        return other
    if other == -1:
        return one
    if calls[other].work < calls[one].work:
        one, other = other, one
    calls[other].next = calls[one].previous
    calls[one].previous = other
    return one
