"""Replicas as they are wanted: as many, and of the release that is; see ``simulator.deployments``."""

from __future__ import annotations

import math

import numpy as np

from simulator.compiled import called, inlined
from simulator.flow.faults import ALL, BAD_RELEASE
from simulator.flow.fleet import (
    ALIVE,
    DRAINING_POD,
    GOOD,
    NO_NODE,
    PHASE,
    POD_ROWS,
    READY_AT,
    READY_POD,
    RELEASE,
    SERVICE,
    STARTING,
)
from simulator.flow.pods import add_pod, has_row, remove_pods


@inlined
def _count(fleet, n, s):
    """Replicas of other releases than the wanted one and how many are ready, and the same of that."""
    old = old_ready = new = new_ready = 0
    for row in range(fleet.cluster[n, POD_ROWS]):
        phase = fleet.pod[n, row, PHASE]
        if fleet.pod[n, row, SERVICE] != s or phase == DRAINING_POD:
            continue
        if fleet.pod[n, row, RELEASE] == fleet.release[n, s]:
            new += 1
            new_ready += phase == READY_POD
        else:
            old += 1
            old_ready += phase == READY_POD
    return old, old_ready, new, new_ready


@inlined
def _plan(site, state, fleet, n, s):
    """Replicas of a service that are missing, and those that may go: of other releases than the wanted, and of that.

    While there are such, it is a step of a roll-out, as a Deployment takes it.
    """
    wanted = state.wanted[n, s]
    if len(fleet.release):
        old, old_ready, new, new_ready = _count(fleet, n, s)
        if old > 0:
            surge, unavailable = math.ceil(site.surge[s] * wanted), math.floor(site.unavailable[s] * wanted)
            if surge == 0 and unavailable == 0:
                unavailable = 1
            fewest, active = wanted - unavailable, old + new
            unready = min(old - old_ready, max(old + new_ready - fewest, 0))
            spare = max(old_ready + new_ready - fewest, 0)
            doomed = min(max(unready + spare, active - wanted - surge), old)
            return min(wanted - new, wanted + surge - active), doomed, max(new - wanted, 0)
    missing = wanted - fleet.service[n, s, ALIVE]
    return missing, 0, max(-missing, 0)


@called
def create_missing(site, world, state, fleet, happened, n, now):
    """Create pods that are missing, as far as there are rows for them; whether some were."""
    created = 0
    for s in range(state.wanted.shape[1]):
        missing, _, _ = _plan(site, state, fleet, n, s)
        for _ in range(missing):
            if not has_row(site, world, fleet, happened, n, now):
                break
            add_pod(fleet, n, s, now)
            created += 1
            happened.started[n, s] += 1
    return created > 0


@called
def remove_needless(site, world, state, fleet, happened, n, now):
    """Tell pods to go that are too many or of another release than the wanted one; whether there were some."""
    removed = 0
    for s in range(state.wanted.shape[1]):
        _, old, new = _plan(site, state, fleet, n, s)
        if old + new > 0:
            remove_pods(site, world, fleet, happened, n, s, (old, new), now)
        removed += old + new
    return removed > 0


@inlined
def next_ready(fleet, n, end):
    """The pod that gets ready first of all before a time; NO_NODE where there is none."""
    first = NO_NODE
    for row in range(fleet.cluster[n, POD_ROWS]):
        if fleet.pod[n, row, PHASE] == STARTING and fleet.pod_when[n, row, READY_AT] < end:
            first, end = row, fleet.pod_when[n, row, READY_AT]
    return first


@called
def release(hazards, state, fleet, n, middle):
    """Find what new pods run: the bad release that came last of those that are there; whether that is another."""
    changes = False
    for s in range(fleet.release.shape[1]):
        newest, begun = GOOD, -np.inf
        for j in range(len(hazards.kind)):
            if hazards.kind[j] != BAD_RELEASE or hazards.service[j] not in (ALL, s):
                continue
            begin = state.fault_begin[n, j]
            if begin <= middle < begin + hazards.duration_seconds[j] and begin >= begun:
                newest, begun = 1 + j + len(hazards.kind) * state.fault_number[n, j], begin
        changes |= newest != fleet.release[n, s]
        fleet.release[n, s] = newest
    for j in range(len(hazards.kind)):
        if hazards.kind[j] == BAD_RELEASE and state.fault_begin[n, j] <= middle:
            if fleet.hit[n, j] != state.fault_number[n, j]:
                _forget_images(fleet, n, j)
            fleet.hit[n, j] = state.fault_number[n, j]
    return changes


@inlined
def _forget_images(fleet, n, j):
    """No node has a bad release's images: they are others than those of its last coming."""
    services = fleet.service.shape[1]
    for node in range(fleet.image.shape[1]):
        for s in range(services):
            fleet.image[n, node, s + services * (1 + j)] = np.inf
