"""Pulls of images: one after another on a node, held up while they are stuck."""

from __future__ import annotations

import numpy as np

from simulator.compiled import called, inlined
from simulator.flow.chance import delay_of
from simulator.flow.fleet import (
    DISTURBED,
    DRAWN,
    GOOD,
    LEFT,
    NO_NODE,
    NODE,
    NODE_PHASE,
    NODE_ROWS,
    PHASE,
    POD_ROWS,
    PULL,
    PULLED,
    READY_AT,
    RELEASE,
    SERVICE,
    STARTED,
    STARTING,
    TURN_AT,
)
from simulator.nodes import GONE


@inlined
def image_of(fleet, n, s, release):
    """Where the image of a service's release stands."""
    services = fleet.service.shape[1]
    if release == GOOD:
        return s
    return s + services * (1 + (release - 1) % fleet.hit.shape[1])


@inlined
def _pull_from(site, world, fleet, n, row, node, begin):
    """When a pod has its image whose turn to pull it is at a time."""
    s = fleet.pod[n, row, SERVICE]
    image = image_of(fleet, n, s, fleet.pod[n, row, RELEASE])
    if fleet.image[n, node, image] == np.inf:
        seconds = delay_of(world, n, site.image[s], fleet.pod[n, row, PULL]) * world.starts[n]
        fleet.image[n, node, image] = begin + seconds
        return begin + seconds
    return begin


@called
def pull(site, world, fleet, n, row, node, now):
    """When a new pod on a node has its image."""
    s = fleet.pod[n, row, SERVICE]
    if fleet.image[n, node, image_of(fleet, n, s, fleet.pod[n, row, RELEASE])] <= now:
        return now
    fleet.cluster[n, DRAWN] += 1
    fleet.pod[n, row, PULL] = fleet.cluster[n, DRAWN]
    begin = max(now, fleet.node_when[n, node, PULLED], fleet.held_until[n, s])
    fleet.pod_when[n, row, TURN_AT] = begin
    fleet.node_when[n, node, PULLED] = _pull_from(site, world, fleet, n, row, node, begin)
    return fleet.node_when[n, node, PULLED]


@inlined
def _waits(fleet, n, row, node, after):
    """Whether a pod waits on a node for its turn, which comes after a time."""
    if fleet.pod[n, row, NODE] != node or fleet.pod[n, row, PHASE] != STARTING:
        return False
    return fleet.pod[n, row, PULL] > 0 and fleet.pod_when[n, row, STARTED] > after


@inlined
def _shift(fleet, n, node, after, seconds):
    """Let a node's pulls that are done after a time, and pods whose turn comes after it, come so much later."""
    for row in range(fleet.cluster[n, POD_ROWS]):
        if _waits(fleet, n, row, node, after):
            fleet.pod_when[n, row, STARTED] += seconds
            fleet.pod_when[n, row, READY_AT] += seconds
            if fleet.pod_when[n, row, TURN_AT] > after:
                fleet.pod_when[n, row, TURN_AT] += seconds
    for image in range(fleet.image.shape[2]):
        if fleet.image[n, node, image] > after:
            fleet.image[n, node, image] += seconds
    if fleet.node_when[n, node, PULLED] > after:
        fleet.node_when[n, node, PULLED] += seconds


@inlined
def _hold(fleet, n, node, now):
    """Let a node's pull stand still that is at work or comes next while it is stuck, and all behind it."""
    services = fleet.service.shape[1]
    while True:
        done, s = np.inf, -1
        for image in range(fleet.image.shape[2]):
            if now < fleet.image[n, node, image] < done:
                done, s = fleet.image[n, node, image], image % services
        if s < 0:
            return
        if now < fleet.held_until[n, s]:
            _shift(fleet, n, node, now, fleet.held_until[n, s] - now)
            return
        now = done


@called
def hold_pulls(fleet, n, now):
    """Let pulls stand still that are stuck, on all nodes."""
    for node in range(fleet.cluster[n, NODE_ROWS]):
        if fleet.node[n, node, NODE_PHASE] != GONE:
            _hold(fleet, n, node, now)


@inlined
def leave_pull(fleet, n, row, node, now):
    """A pod leaves the pulls on its node, which are settled later."""
    if _waits(fleet, n, row, node, now):
        fleet.node[n, node, LEFT] = fleet.cluster[n, DISTURBED] = 1


@inlined
def _next_turn(fleet, n, node, turn, now):
    """The pod whose turn comes next on a node; NO_NODE where there is none."""
    following = NO_NODE
    for row in range(fleet.cluster[n, POD_ROWS]):
        theirs = fleet.pod[n, row, PULL]
        if theirs <= turn or not _waits(fleet, n, row, node, now):
            continue
        if following == NO_NODE or theirs < fleet.pod[n, following, PULL]:
            following = row
    return following


@inlined
def _settle(site, world, fleet, n, node, now):
    """Let those move up whose turns on a node have not come, and pull what is not there."""
    fleet.node[n, node, LEFT] = 0
    for image in range(fleet.image.shape[2]):
        if fleet.image[n, node, image] > now:
            fleet.image[n, node, image] = np.inf
    done, row = now, _next_turn(fleet, n, node, 0, now)
    while row != NO_NODE:
        s = fleet.pod[n, row, SERVICE]
        if fleet.pod_when[n, row, TURN_AT] <= now:
            done = fleet.pod_when[n, row, STARTED]
            fleet.image[n, node, image_of(fleet, n, s, fleet.pod[n, row, RELEASE])] = done
        else:
            begin = max(done, fleet.held_until[n, s])
            done = _pull_from(site, world, fleet, n, row, node, begin)
            starts = fleet.pod_when[n, row, READY_AT] - fleet.pod_when[n, row, STARTED]
            fleet.pod_when[n, row, TURN_AT] = begin
            fleet.pod_when[n, row, STARTED] = done
            fleet.pod_when[n, row, READY_AT] = done + starts
        row = _next_turn(fleet, n, node, fleet.pod[n, row, PULL], now)
    fleet.node_when[n, node, PULLED] = done


@called
def settle_pulls(site, world, fleet, n, now):
    """Put the pulls of nodes in order that pods have left."""
    if fleet.cluster[n, DISTURBED]:
        fleet.cluster[n, DISTURBED] = 0
        for node in range(fleet.cluster[n, NODE_ROWS]):
            if fleet.node[n, node, LEFT]:
                _settle(site, world, fleet, n, node, now)
