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
from simulator.flow.nodes import bind_pods
from simulator.flow.pods import ANY, NEW, OLD, add_pod, has_row, remove_pods


@inlined
def _create(site, world, fleet, happened, n, s, count, now):
    """Create so many pods, or as many as there are rows for; how many."""
    created = 0
    while created < count and has_row(site, world, fleet, happened, n, now):
        add_pod(fleet, n, s, now)
        created += 1
    happened.started[n, s] += created
    return created


@called
def _replace(site, world, state, fleet, happened, n, s, now):
    """One step of a roll-out, as a Deployment takes it; whether old pods may go on to be replaced at once."""
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
    if old == 0:
        return False
    wanted, active = state.wanted[n, s], old + new
    surge, unavailable = math.ceil(site.surge[s] * wanted), math.floor(site.unavailable[s] * wanted)
    if surge == 0 and unavailable == 0:
        unavailable = 1
    fewest = wanted - unavailable
    created = _create(site, world, fleet, happened, n, s, min(wanted - new, wanted + surge - active), now)
    bind_pods(site, world, state, fleet, n, now)
    unready = min(old - old_ready, max(old + new_ready - fewest, 0))
    spare = max(old_ready + new_ready - fewest, 0)
    doomed = min(max(unready + spare, active - wanted - surge), old)
    needless = max(new - wanted, 0)
    remove_pods(site, world, fleet, happened, n, s, (doomed, OLD), now)
    remove_pods(site, world, fleet, happened, n, s, (needless, NEW), now)
    return created + doomed + needless > 0


@inlined
def _has_old(fleet, n, s):
    """Whether a service has replicas of another release than the one that is wanted."""
    for row in range(fleet.cluster[n, POD_ROWS]):
        is_replica = fleet.pod[n, row, SERVICE] == s and fleet.pod[n, row, PHASE] != DRAINING_POD
        if is_replica and fleet.pod[n, row, RELEASE] != fleet.release[n, s]:
            return True
    return False


@called
def reconcile(site, world, state, fleet, happened, n, now):
    """Create and remove pods until there are as many as are wanted, or a roll-out has to wait."""
    for s in range(state.wanted.shape[1]):
        if len(fleet.release):
            while _replace(site, world, state, fleet, happened, n, s, now):
                pass
            if _has_old(fleet, n, s):
                continue
        missing = state.wanted[n, s] - fleet.service[n, s, ALIVE]
        _create(site, world, fleet, happened, n, s, missing, now)
        if missing < 0:
            remove_pods(site, world, fleet, happened, n, s, (-missing, ANY), now)


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
