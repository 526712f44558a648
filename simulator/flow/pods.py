"""Pods one by one: created, started on their nodes, ready, told to go, lost, gone.

Source of the order in which they go: kubernetes/kubernetes pkg/controller/controller_utils.go, ActivePodsWithRanks.
"""

from __future__ import annotations

import math

import numpy as np

from simulator.compiled import called, inlined
from simulator.flow.chance import draw, draw_delay
from simulator.flow.fleet import (
    ALIVE,
    COUNTED,
    CRASHED,
    CREATED,
    DRAINING_POD,
    FIRST_FREE,
    GOOD,
    GROUP,
    LEAKED,
    LOST,
    MATES,
    NO_NODE,
    NO_POD,
    NODE,
    NODE_ROWS,
    PHASE,
    POD_ROWS,
    PULL,
    READY_AT,
    READY_POD,
    RELEASE,
    RESTARTS,
    SERVICE,
    STARTED,
    STARTING,
    TURN,
    TURNS,
    UNTIL,
    WAITING,
    WITHOUT_NODE,
)
from simulator.flow.pulls import leave_pull, pull

_READY_RANK = 3


@inlined
def _free_row(fleet, n):
    """The first row without a pod; as many as there are rows where all are taken."""
    row = fleet.cluster[n, FIRST_FREE]
    while row < fleet.cluster[n, POD_ROWS] and fleet.pod[n, row, PHASE] != NO_POD:
        row += 1
    return row


@inlined
def add_pod(fleet, n, s, now):
    """Create a pod; it waits for a node."""
    row = _free_row(fleet, n)
    fleet.cluster[n, FIRST_FREE] = row + 1
    fleet.cluster[n, POD_ROWS] = max(fleet.cluster[n, POD_ROWS], row + 1)
    fleet.pod[n, row, SERVICE] = s
    fleet.pod[n, row, NODE] = NO_NODE
    fleet.pod[n, row, PHASE] = WAITING
    fleet.pod[n, row, RELEASE] = fleet.release[n, s] if len(fleet.release) else GOOD
    fleet.pod[n, row, PULL] = fleet.pod[n, row, RESTARTS] = 0
    fleet.pod_when[n, row, CREATED] = now
    fleet.pod_when[n, row, CRASHED] = -np.inf
    fleet.pod_when[n, row, LEAKED] = 0.0
    fleet.pod_when[n, row, STARTED] = fleet.pod_when[n, row, READY_AT] = fleet.pod_when[n, row, UNTIL] = (
        np.inf
    )
    if fleet.service[n, s, WITHOUT_NODE] == 0:
        fleet.cluster[n, TURNS] += 1
        fleet.service[n, s, TURN] = fleet.cluster[n, TURNS]
    fleet.service[n, s, WITHOUT_NODE] += 1
    fleet.service[n, s, ALIVE] += 1
    return row


@called
def place_pod(site, world, state, fleet, n, row, node, now):
    """Give a pod that waits its node, NO_NODE where pods need none: its start-up begins."""
    s = fleet.pod[n, row, SERVICE]
    fleet.service[n, s, WITHOUT_NODE] -= 1
    fleet.pod[n, row, PHASE] = STARTING
    slow = world.starts[n] * state.start_factor[n, s]
    seconds = draw_delay(world, fleet, n, site.start_up[s]) * slow
    pending = site.pending_share[s] * seconds
    begin = now
    if node != NO_NODE:
        _take_room(site, fleet, n, row, node)
        if site.image[s, 0] > 0.0:
            begin = pull(site, world, fleet, n, row, node, now)
    fleet.pod_when[n, row, STARTED] = begin + pending
    fleet.pod_when[n, row, READY_AT] = begin + seconds


@inlined
def _take_room(site, fleet, n, row, node):
    s = fleet.pod[n, row, SERVICE]
    fleet.pod[n, row, NODE] = node
    fleet.on_node[n, node, s] += 1
    fleet.by_zone[n, s, site.zone[fleet.node[n, node, GROUP]]] += 1
    for r in range(site.request.shape[1]):
        fleet.requested[n, node, r] += site.request[s, r]


@inlined
def put_ready(site, fleet, n, s, node):
    """A pod that has been ready since before the beginning."""
    row = add_pod(fleet, n, s, 0.0)
    fleet.service[n, s, WITHOUT_NODE] -= 1
    fleet.pod[n, row, PHASE] = READY_POD
    fleet.pod_when[n, row, STARTED] = fleet.pod_when[n, row, READY_AT] = 0.0
    if node != NO_NODE:
        _take_room(site, fleet, n, row, node)
        fleet.image[n, node, s] = 0.0


@called
def end_pod(site, world, fleet, happened, n, row, now):
    """A pod is gone."""
    s, node = fleet.pod[n, row, SERVICE], fleet.pod[n, row, NODE]
    phase = fleet.pod[n, row, PHASE]
    if phase == WAITING:
        fleet.service[n, s, WITHOUT_NODE] -= 1
    if phase != DRAINING_POD:
        fleet.service[n, s, ALIVE] -= 1
    if node != NO_NODE:
        fleet.on_node[n, node, s] -= 1
        if phase != DRAINING_POD:
            fleet.by_zone[n, s, site.zone[fleet.node[n, node, GROUP]]] -= 1
        for r in range(site.request.shape[1]):
            fleet.requested[n, node, r] -= site.request[s, r]
        leave_pull(fleet, n, row, node, now)
    missing = max(site.pod_minimum_seconds - (now - fleet.pod_when[n, row, CREATED]), 0.0)
    happened.usd[n, s] += missing * world.usd_per_second[n, s]
    if phase != LOST:
        alive = max(now - max(fleet.cluster_when[n, COUNTED], fleet.pod_when[n, row, CREATED]), 0.0)
        happened.pod_seconds[n, s] += alive
        happened.usd[n, s] += alive * world.usd_per_second[n, s]
    fleet.pod[n, row, SERVICE] = fleet.pod[n, row, NODE] = NO_NODE
    fleet.pod[n, row, PHASE] = NO_POD
    fleet.pod_when[n, row, UNTIL] = np.inf
    fleet.cluster[n, FIRST_FREE] = min(fleet.cluster[n, FIRST_FREE], row)
    while fleet.cluster[n, POD_ROWS] > 0 and fleet.pod[n, fleet.cluster[n, POD_ROWS] - 1, PHASE] == NO_POD:
        fleet.cluster[n, POD_ROWS] -= 1


@called
def tell_to_go(site, world, fleet, happened, n, row, now):
    """A pod finishes what it is doing within its grace, or is gone at once where it is not ready: how long that takes.

    On a node it is looked at every second whether it has finished.
    """
    if fleet.pod[n, row, PHASE] == DRAINING_POD:
        return max(fleet.pod_when[n, row, UNTIL] - now, 0.0)
    if fleet.pod[n, row, PHASE] != READY_POD:
        end_pod(site, world, fleet, happened, n, row, now)
        return 0.0
    s, node = fleet.pod[n, row, SERVICE], fleet.pod[n, row, NODE]
    seconds = world.drain_seconds[n, s]
    fleet.service[n, s, ALIVE] -= 1
    if node != NO_NODE:
        fleet.by_zone[n, s, site.zone[fleet.node[n, node, GROUP]]] -= 1
        seconds = min(math.floor(seconds) + 1.0, max(site.drain_grace_seconds[s], seconds))
    fleet.pod[n, row, PHASE] = DRAINING_POD
    fleet.pod_when[n, row, UNTIL] = now + seconds
    return seconds


@called
def lose_pod(site, fleet, n, row, now):
    """A pod's node has died, which is noticed later; until then it is counted."""
    s, node = fleet.pod[n, row, SERVICE], fleet.pod[n, row, NODE]
    fleet.by_zone[n, s, site.zone[fleet.node[n, node, GROUP]]] -= 1
    fleet.pod[n, row, NODE] = NO_NODE
    fleet.pod[n, row, PHASE] = LOST
    fleet.pod_when[n, row, UNTIL] = now + site.detection_seconds


@inlined
def _rank(fleet, n, row, now):
    """Which pods go first: without a node, on a node and not running, running, ready."""
    phase = fleet.pod[n, row, PHASE]
    if phase == READY_POD:
        return _READY_RANK
    if phase == WAITING:
        return 0
    return 2 if fleet.pod_when[n, row, STARTED] <= now or fleet.pod[n, row, RESTARTS] > 0 else 1


@inlined
def _count_mates(fleet, n, s):
    """How many replicas of a service each node has."""
    for node in range(fleet.cluster[n, NODE_ROWS]):
        fleet.node[n, node, MATES] = 0
    for row in range(fleet.cluster[n, POD_ROWS]):
        node = fleet.pod[n, row, NODE]
        is_replica = fleet.pod[n, row, SERVICE] == s and fleet.pod[n, row, PHASE] != DRAINING_POD
        if is_replica and node != NO_NODE:
            fleet.node[n, node, MATES] += 1


@inlined
def _mates(fleet, n, row):
    """Replicas of its service on a pod's node."""
    node = fleet.pod[n, row, NODE]
    return fleet.node[n, node, MATES] if node != NO_NODE else 0


@inlined
def _goes_before(fleet, n, row, other, now):
    """Whether a pod of a service goes before another one."""
    rank, others = _rank(fleet, n, row, now), _rank(fleet, n, other, now)
    if rank != others:
        return rank < others
    mates, theirs = _mates(fleet, n, row), _mates(fleet, n, other)
    if mates != theirs:
        return mates > theirs
    if rank == _READY_RANK and fleet.pod_when[n, row, READY_AT] != fleet.pod_when[n, other, READY_AT]:
        return fleet.pod_when[n, row, READY_AT] > fleet.pod_when[n, other, READY_AT]
    restarts, others = fleet.pod[n, row, RESTARTS], fleet.pod[n, other, RESTARTS]
    if restarts != others:
        return restarts > others
    return fleet.pod_when[n, row, CREATED] >= fleet.pod_when[n, other, CREATED]


@called
def remove_pods(site, world, fleet, happened, n, s, which, now):
    """Tell so many pods of a service to go.

    Args:
        which: how many of other releases than the one that is wanted, and of that.
    """
    old, new = which
    _count_mates(fleet, n, s)
    for number in range(old + new):
        chosen = NO_NODE
        for row in range(fleet.cluster[n, POD_ROWS]):
            if fleet.pod[n, row, SERVICE] != s or fleet.pod[n, row, PHASE] == DRAINING_POD:
                continue
            is_old = len(fleet.release) > 0 and fleet.pod[n, row, RELEASE] != fleet.release[n, s]
            if is_old != (number < old):
                continue
            if chosen == NO_NODE or _goes_before(fleet, n, row, chosen, now):
                chosen = row
        if chosen == NO_NODE:
            return
        tell_to_go(site, world, fleet, happened, n, chosen, now)


@called
def kill_pods(site, world, fleet, happened, n, s, count, now):
    """Ready pods are killed, drawn one by one."""
    for _ in range(count):
        ready = 0
        for row in range(fleet.cluster[n, POD_ROWS]):
            ready += fleet.pod[n, row, SERVICE] == s and fleet.pod[n, row, PHASE] == READY_POD
        chosen = np.int64(draw(world, fleet, n) * ready)
        for row in range(fleet.cluster[n, POD_ROWS]):
            if fleet.pod[n, row, SERVICE] == s and fleet.pod[n, row, PHASE] == READY_POD:
                if chosen == 0:
                    end_pod(site, world, fleet, happened, n, row, now)
                    break
                chosen -= 1


@inlined
def has_row(site, world, fleet, happened, n, now):
    """Whether there is a row for another pod; a draining one goes at once if need be."""
    most = fleet.pod.shape[1]
    row = 0
    while row < most and _free_row(fleet, n) == most:
        if fleet.pod[n, row, PHASE] == DRAINING_POD:
            end_pod(site, world, fleet, happened, n, row, now)
        row += 1
    return _free_row(fleet, n) < most


@inlined
def next_pod(fleet, n, end):
    """The pod that has finished, or whose loss is noticed, first of all before a time; NO_NODE where there is none."""
    first = NO_NODE
    for row in range(fleet.cluster[n, POD_ROWS]):
        if fleet.pod_when[n, row, UNTIL] < end:
            first, end = row, fleet.pod_when[n, row, UNTIL]
    return first


@inlined
def make_ready(fleet, n, end):
    """Let pods get ready that do before a time."""
    for row in range(fleet.cluster[n, POD_ROWS]):
        if fleet.pod[n, row, PHASE] == STARTING and fleet.pod_when[n, row, READY_AT] < end:
            fleet.pod[n, row, PHASE] = READY_POD
