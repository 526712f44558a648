"""Slots behind one queue, and the compiled loop that runs them.

While the slots stay the same and service times are fixed, so that no events are needed, each request
starts on the slot that is free first (Kiefer and Wolfowitz, 1955), found on a binary heap. Requests
that could not start wait in a ring for the next stretch.
"""

from __future__ import annotations

import numpy as np

from simulator.arrays import Floats, Ints
from simulator.compiled import inlined, kernel
from simulator.kernel.station import count_latency
from simulator.latency import BUCKETS

OFFERED, STARTED, SERVED, FAILED = range(4)
WAITED, WAITING_AREA, BUSY, RESPONSE = range(4)
_IDLE = np.inf
_SLOT_BITS = 32
_SLOT_MASK = (1 << _SLOT_BITS) - 1
"""An entry of the heap: a slot, and above it how often it had been closed when it was opened."""
_WORD_BITS = 6
_ONE, _DE_BRUIJN, _TO_PLACE = np.uint64(1), np.uint64(0x03F79D71B4CB0A89), np.uint64(58)
_PLACES = np.zeros(64, dtype=np.int64)
_PLACES[[((1 << place) * int(_DE_BRUIJN) & (1 << 64) - 1) >> 58 for place in range(64)]] = np.arange(64)
"""Which bit is set, by the product of a word of one bit and a de Bruijn sequence.

Source: C. Leiserson, H. Prokop and K. Randall, Using de Bruijn sequences to index a 1 in a computer word, 1998.
"""
_FEW_SLOTS = 4096
"""A heap of no more entries is rid of closed slots at once, a larger one when half of it is closed."""


class Station:
    """Slots, a queue and exact counters.

    Args:
        latency_thresholds_seconds: K thresholds at which late requests are counted exactly.

    Attributes:
        counts: int64 ``(4,)``; requests offered, started, served, failed.
        late: int64 ``(K,)``; requests past each latency threshold.
        latency_counts: int64 ``(B,)``; served requests by latency bucket.
        seconds: float64 ``(4,)``; waited, waiting-request, busy-slot and response seconds.
    """

    def __init__(self, latency_thresholds_seconds: tuple[float, ...]) -> None:
        self._thresholds = np.array(latency_thresholds_seconds, dtype=np.float64)
        self.counts = np.zeros(4, dtype=np.int64)
        self.late = np.zeros(len(self._thresholds), dtype=np.int64)
        self.latency_counts = np.zeros(BUCKETS, dtype=np.int64)
        self.seconds = np.zeros(4)
        self._slot_pod = np.empty(0, dtype=np.int64)
        self._arrived = np.empty(0)
        self._finish = np.empty(0)
        self._heap_time = np.zeros(1)
        self._heap_slot = np.zeros(1, dtype=np.int64)
        self._heap_size = 0
        self._closed_entries = 0
        self._closings = np.empty(0, dtype=np.int64)
        self._busy = np.zeros(0, dtype=np.uint64)
        self._pod_slots: dict[int, Ints] = {}
        self._unused_slots: list[int] = []
        self._queue = np.empty((1024, 2))
        self._head = 0
        self._waiting = 0
        self._now = 0.0
        self.pod_busy_seconds = np.zeros(0)
        """float64 by pod row: busy-slot seconds since the row was given to a pod."""
        self._pod_pace = np.ones(0)
        self._all_even = True

    @property
    def pod_in_service(self) -> Ints:
        """int64 by pod row; requests on a slot."""
        busy = self._slot_pod[self._finish < _IDLE]
        return np.bincount(busy, minlength=len(self.pod_busy_seconds))

    @property
    def waiting(self) -> int:
        """Requests waiting for a slot."""
        return self._waiting

    @property
    def in_service(self) -> int:
        """Requests on a slot."""
        return int(np.count_nonzero(self._finish < _IDLE))

    def open_slots(self, pod: int, count: int) -> None:
        """Give ``count`` slots of a pod to the queue from now on."""
        if pod >= len(self.pod_busy_seconds):
            grown = np.zeros(max(16, 2 * (pod + 1)))
            grown[: len(self.pod_busy_seconds)] = self.pod_busy_seconds
            self.pod_busy_seconds = grown
            self._pod_pace = np.append(self._pod_pace, np.ones(len(grown) - len(self._pod_pace)))
        self._pod_pace[pod] = 1.0
        self._reserve(count)
        slots = np.array([self._unused_slots.pop() for _ in range(count)], dtype=np.int64)
        self._slot_pod[slots] = pod
        self._pod_slots[pod] = slots
        entries = slots | (self._closings[slots] << _SLOT_BITS)
        _push_all(self._heap_time, self._heap_slot, self._heap_size, self._now, entries)
        self._heap_size += count

    def set_pace(self, pod: int, pace: float) -> None:
        """Work that a pod's slots do a second, for requests that begin from now on."""
        self._pod_pace[pod] = pace
        self._all_even &= pace == 1.0

    def close_slots(self, pod: int) -> float:
        """Take a pod's slots from the queue; the time at which its last request finishes."""
        slots = self._pod_slots[pod]
        self._closings[slots] += 1
        self._closed_entries += len(slots)
        if self._heap_size <= _FEW_SLOTS or 2 * self._closed_entries > self._heap_size:
            self._clean_heap()
        finish = self._finish[slots]
        return float(finish.max(where=finish < _IDLE, initial=self._now))

    def _clean_heap(self) -> None:
        """Take closed slots' entries out of the heap."""
        entries = self._heap_slot[: self._heap_size]
        keep = self._closings[entries & _SLOT_MASK] == entries >> _SLOT_BITS
        times, entries = self._heap_time[: self._heap_size][keep], entries[keep]
        order = np.argsort(times, kind="stable")
        self._heap_size = len(entries)
        self._heap_time[: self._heap_size] = times[order]
        self._heap_slot[: self._heap_size] = entries[order]
        self._closed_entries = 0

    def release_pod(self, pod: int) -> None:
        """Forget a closed pod; what it still has in service fails, and so counts as late."""
        for slot in np.sort(self._pod_slots.pop(pod, np.empty(0, dtype=np.int64))):
            if self._finish[slot] < _IDLE:
                self.counts[FAILED] += 1
                self.seconds[RESPONSE] += self._now - self._arrived[slot]
                self.late += self._arrived[slot] + self._thresholds >= self._now
                self._finish[slot] = _IDLE
                self._busy[slot >> _WORD_BITS] ^= _ONE << np.uint64(slot & 63)
            self._slot_pod[slot] = -1
            self._unused_slots.append(int(slot))
        if pod < len(self.pod_busy_seconds):
            self.pod_busy_seconds[pod] = 0.0

    def advance(self, until: float, arrivals: Floats, demands: Floats) -> None:
        """Run ``[now, until)`` with these arrivals and their service times."""
        self._make_room(len(arrivals))
        self._head, self._waiting, self._heap_size, self._closed_entries = _serve(
            (self._now, until),
            (arrivals, demands),
            (self._queue, self._head, self._waiting),
            (self._heap_time, self._heap_slot, self._heap_size, self._closings, self._closed_entries),
            (self._slot_pod, self._arrived, self._finish, self._busy, self.pod_busy_seconds),
            (self._all_even, self._pod_pace),
            self._thresholds,
            (self.counts, self.late, self.latency_counts, self.seconds),
        )
        self._now = until

    def _reserve(self, count: int) -> None:
        """Room for so many more slots; the heap has one more place, for what the compiled code puts after its end."""
        if self._heap_size + count >= len(self._heap_time):
            more = max(64, len(self._heap_time), count)
            self._heap_time = np.concatenate([self._heap_time, np.zeros(more)])
            self._heap_slot = np.concatenate([self._heap_slot, np.zeros(more, dtype=np.int64)])
        if count <= len(self._unused_slots):
            return
        old = len(self._slot_pod)
        new = max(64, 2 * old, old + count)
        more = new - old
        self._slot_pod = np.concatenate([self._slot_pod, np.full(more, -1, dtype=np.int64)])
        self._arrived = np.concatenate([self._arrived, np.zeros(more)])
        self._finish = np.concatenate([self._finish, np.full(more, _IDLE)])
        self._closings = np.concatenate([self._closings, np.zeros(more, dtype=np.int64)])
        words = (new >> _WORD_BITS) + 1 - len(self._busy)
        self._busy = np.concatenate([self._busy, np.zeros(words, dtype=np.uint64)])
        self._unused_slots.extend(range(new - 1, old - 1, -1))

    def _make_room(self, count: int) -> None:
        needed = self._waiting + count
        if needed <= len(self._queue):
            return
        grown = np.empty((2 * needed, 2))
        places = (self._head + np.arange(self._waiting)) % len(self._queue)
        grown[: self._waiting] = self._queue[places]
        self._queue, self._head = grown, 0


@kernel
def _push_all(heap_time, heap_slot, size, time, entries):
    """Put slots that are free from a time on into the heap."""
    for index in range(len(entries)):
        _push(heap_time, heap_slot, size + index, time, entries[index])


@inlined
def _push(heap_time, heap_slot, size, time, slot):
    place = size
    while place > 0:
        parent = (place - 1) >> 1
        if heap_time[parent] <= time:
            break
        heap_time[place] = heap_time[parent]
        heap_slot[place] = heap_slot[parent]
        place = parent
    heap_time[place] = time
    heap_slot[place] = slot


@inlined
def _replace_top(heap_time, heap_slot, size, time):
    slot = heap_slot[0]
    place = 0
    child = 1
    while child < size:
        earlier, other = heap_time[child], heap_time[child + 1]
        child += 1 if other < earlier else 0
        earlier = min(earlier, other)
        if earlier >= time:
            break
        heap_time[place] = earlier
        heap_slot[place] = heap_slot[child]
        place = child
        child = 2 * place + 1
    heap_time[place] = time
    heap_slot[place] = slot


@inlined
def _drop_closed(heap):
    """Take closed slots off the top of the heap; its size, and how many closed ones are still in it."""
    heap_time, heap_slot, size, closings, closed = heap
    while closed > 0 and size > 0:
        entry = heap_slot[0]
        if closings[entry & _SLOT_MASK] == entry >> _SLOT_BITS:
            break
        size -= 1
        closed -= 1
        last, heap_time[size] = heap_time[size], np.inf
        heap_slot[0] = heap_slot[size]
        _replace_top(heap_time, heap_slot, size, last)
    return size, closed


@inlined
def _count_late(arrived, finish, begin, end, thresholds, late):
    for index in range(len(thresholds)):
        crossing = arrived + thresholds[index]
        if begin <= crossing < end and finish > crossing:
            late[index] += 1


@inlined
def _crossed(ring, threshold, time):
    """How many of the waiting requests, oldest first, had an age over the threshold before a time."""
    queue, head, waiting = ring
    low, high = 0, waiting
    while low < high:
        middle = (low + high) >> 1
        if queue[(head + middle) % len(queue), 0] + threshold < time:
            low = middle + 1
        else:
            high = middle
    return low


@kernel
def _serve(span, requests, waiting_ring, heap, slots, paces, thresholds, totals):
    """Run one stretch; the queue's new head and length, the heap's size and how much of that is closed."""
    begin, end = span
    arrivals, demands = requests
    queue, head, waiting = waiting_ring
    heap_time, heap_slot, size, closings, closed = heap
    slot_pod, slot_arrived, slot_finish, busy_slots, pod_busy = slots
    all_even, pod_pace = paces
    counts, late, latency_counts, seconds = totals
    served = 0
    busy = 0.0
    waited = 0.0
    area = 0.0
    responded = 0.0

    for word in range(len(busy_slots)):
        left = busy_slots[word]
        while left != 0:
            lowest = left & (~left + _ONE)
            left ^= lowest
            slot = (word << _WORD_BITS) + _PLACES[(lowest * _DE_BRUIJN) >> _TO_PLACE]
            finish = slot_finish[slot]
            arrived = slot_arrived[slot]
            _count_late(arrived, finish, begin, end, thresholds, late)
            worked = min(finish, end) - begin
            busy += worked
            pod_busy[slot_pod[slot]] += worked
            if finish < end:
                served += 1
                responded += finish - arrived
                count_latency(latency_counts, finish - arrived)
                slot_finish[slot] = np.inf
                busy_slots[word] ^= lowest

    heap_time[size] = np.inf
    next_arrival = 0
    started = 0
    while size > closed:
        if closed > 0:
            size, closed = _drop_closed((heap_time, heap_slot, size, closings, closed))
        if waiting > 0:
            arrived = queue[head, 0]
            demand = queue[head, 1]
        elif next_arrival < len(arrivals):
            arrived = arrivals[next_arrival]
            demand = demands[next_arrival]
        else:
            break
        start = max(arrived, heap_time[0])
        if start >= end:
            break
        if waiting > 0:
            head = (head + 1) % len(queue)
            waiting -= 1
            area += start - max(arrived, begin)
        else:
            next_arrival += 1
            area += start - arrived
        slot = heap_slot[0] & _SLOT_MASK
        if not all_even:
            demand /= pod_pace[slot_pod[slot]]
        finish = start + demand
        _replace_top(heap_time, heap_slot, size, finish)
        started += 1
        waited += start - arrived
        _count_late(arrived, finish, begin, end, thresholds, late)
        if finish < end:
            served += 1
            responded += finish - arrived
            count_latency(latency_counts, finish - arrived)
            worked = demand
        else:
            slot_arrived[slot] = arrived
            slot_finish[slot] = finish
            busy_slots[slot >> _WORD_BITS] |= _ONE << np.uint64(slot & 63)
            worked = end - start
        busy += worked
        pod_busy[slot_pod[slot]] += worked

    area += waiting * (end - begin)
    while next_arrival < len(arrivals):
        place = (head + waiting) % len(queue)
        queue[place, 0] = arrivals[next_arrival]
        queue[place, 1] = demands[next_arrival]
        area += end - arrivals[next_arrival]
        waiting += 1
        next_arrival += 1
    for index in range(len(thresholds)):
        ring = queue, head, waiting
        late[index] += _crossed(ring, thresholds[index], end) - _crossed(ring, thresholds[index], begin)

    counts[0] += len(arrivals)
    counts[1] += started
    counts[2] += served
    seconds[0] += waited
    seconds[1] += area
    seconds[2] += busy
    seconds[3] += responded
    return head, waiting, size, closed
