"""Nodes one by one: launched, booted, filled with pods, drained, taken back, lost, paid for.

What ``simulator.scheduler`` and ``simulator.provisioning`` do, in compiled code.
"""

from __future__ import annotations

import math

import numpy as np

from simulator.compiled import called, inlined
from simulator.flow.chance import draw, draw_delay
from simulator.flow.fleet import (
    ANSWER,
    BACK_OFF,
    BLOCKED,
    COUNTED,
    CREATED,
    DRAINING_POD,
    FAILS,
    GIVEN_UP,
    GROUP,
    IN_USE,
    LAST_ADD,
    LAUNCHED,
    LEAST_ALLOCATED,
    LEAVES,
    LEFT,
    NO_NODE,
    NODE,
    NODE_PHASE,
    NODE_ROWS,
    PAID,
    PHASE,
    POD_ROWS,
    PULLED,
    REGISTERED,
    REMOVED,
    RESTS_UNTIL,
    SERVICE,
    UNANSWERED,
    UNNEEDED,
    WAITING,
    WITHOUT_NODE,
)
from simulator.flow.pods import end_pod, lose_pod, place_pod, tell_to_go
from simulator.nodes import BOOTING, CPU, DRAINING, GONE, MEMORY, READY

_REFUSED_SECONDS = 5.0
"""How soon a cloud says that it has no capacity."""
_HIGHEST_SCORE = 100


@inlined
def fits(site, fleet, n, node, s):
    """Whether a node has room for a pod."""
    group = fleet.node[n, node, GROUP]
    for r in range(site.request.shape[1]):
        if fleet.requested[n, node, r] + site.request[s, r] > site.allocatable[group, r]:
            return False
    return True


@inlined
def _score(site, fleet, n, node, s):
    """How good a node is for a pod, 0 to 100: see ``simulator.scheduler.score``."""
    group, total = fleet.node[n, node, GROUP], 0
    for r in (CPU, MEMORY):
        have = site.allocatable[group, r]
        used = fleet.requested[n, node, r] + site.request[s, r]
        total += (have - used if site.packing == LEAST_ALLOCATED else used) * _HIGHEST_SCORE // max(have, 1)
    return total // 2


@called
def choose_node(site, fleet, n, s):
    """The node for a pod, NO_NODE where none has room: see ``simulator.scheduler.choose_node``."""
    best, best_mates, best_score = NO_NODE, 0, 0
    for node in range(fleet.cluster[n, NODE_ROWS]):
        group = fleet.node[n, node, GROUP]
        if fleet.node[n, node, NODE_PHASE] != READY or not site.allowed[s, group]:
            continue
        if not fits(site, fleet, n, node, s):
            continue
        mates = fleet.by_zone[n, s, site.zone[group]]
        if best != NO_NODE and mates > best_mates:
            continue
        score = _score(site, fleet, n, node, s)
        if best == NO_NODE or mates < best_mates or score > best_score:
            better = True
        else:
            better = (
                score == best_score
                and fleet.node_when[n, node, LAUNCHED] < fleet.node_when[n, best, LAUNCHED]
            )
        if better:
            best, best_mates, best_score = node, mates, score
    return best


@called
def bind_pods(site, world, state, fleet, n, now):
    """Give nodes to pods that wait, first come, first served; where one fits nowhere, so do all of its service."""
    for s in range(state.wanted.shape[1]):
        fleet.service[n, s, BLOCKED] = 0
    while True:
        row = _first_waiting(fleet, n)
        if row == NO_NODE:
            return
        node, begin = NO_NODE, max(now, fleet.pod_when[n, row, CREATED])
        if site.has_nodes:
            node = choose_node(site, fleet, n, fleet.pod[n, row, SERVICE])
            if node == NO_NODE:
                fleet.service[n, fleet.pod[n, row, SERVICE], BLOCKED] = 1
                continue
            begin = max(begin, fleet.node_when[n, node, REGISTERED])
        place_pod(site, world, state, fleet, n, row, node, begin)


@inlined
def _comes_before(fleet, n, row, other):
    created, then = fleet.pod_when[n, row, CREATED], fleet.pod_when[n, other, CREATED]
    is_lower = fleet.pod[n, row, SERVICE] < fleet.pod[n, other, SERVICE]
    return created < then or (created == then and is_lower)


@inlined
def _first_waiting(fleet, n):
    """The pod that has waited the longest, of services that are not blocked; NO_NODE where there is none."""
    waits = False
    for s in range(fleet.service.shape[1]):
        waits |= fleet.service[n, s, WITHOUT_NODE] > 0 and fleet.service[n, s, BLOCKED] == 0
    first = NO_NODE
    for row in range(fleet.cluster[n, POD_ROWS] if waits else 0):
        is_blocked = (
            fleet.pod[n, row, PHASE] != WAITING or fleet.service[n, fleet.pod[n, row, SERVICE], BLOCKED]
        )
        if not is_blocked and (first == NO_NODE or _comes_before(fleet, n, row, first)):
            first = row
    return first


@inlined
def _pay(site, world, fleet, happened, n, node, now):
    """Pay for a node up to a time in this part of a step, and at least its minimum."""
    seconds = max(now - max(fleet.cluster_when[n, COUNTED], fleet.node_when[n, node, LAUNCHED]), 0.0)
    happened.node_seconds[n, fleet.node[n, node, GROUP]] += seconds
    due = max(now, fleet.node_when[n, node, LAUNCHED] + site.node_minimum_seconds)
    if due > fleet.node_when[n, node, PAID]:
        group = fleet.node[n, node, GROUP]
        usd = (due - fleet.node_when[n, node, PAID]) * site.usd_per_second[group] * world.price[n]
        happened.node_usd[n, group] += usd
        fleet.node_when[n, node, PAID] = due


@inlined
def _free_row(fleet, n):
    """The first row without a node; as many as there are rows where all are taken."""
    node = 0
    while node < fleet.cluster[n, NODE_ROWS] and fleet.node[n, node, NODE_PHASE] != GONE:
        node += 1
    return node


@called
def add_node(fleet, happened, n, group, now):
    """A row for a node that is launched now."""
    happened.launched[n, group] += 1
    node = _free_row(fleet, n)
    fleet.cluster[n, NODE_ROWS] = max(fleet.cluster[n, NODE_ROWS], node + 1)
    fleet.node[n, node, GROUP] = group
    fleet.node[n, node, NODE_PHASE] = BOOTING
    fleet.node_when[n, node, LAUNCHED] = fleet.node_when[n, node, PAID] = now
    fleet.node_when[n, node, REGISTERED] = fleet.node_when[n, node, LEAVES] = fleet.node_when[
        n, node, UNNEEDED
    ] = np.inf
    fleet.node[n, node, GIVEN_UP] = fleet.node[n, node, LEFT] = 0
    fleet.node[n, node, REMOVED] = IN_USE
    fleet.node_when[n, node, PULLED] = 0.0
    for image in range(fleet.image.shape[2]):
        fleet.image[n, node, image] = np.inf
    for s in range(fleet.on_node.shape[2]):
        fleet.on_node[n, node, s] = 0
    for r in range(fleet.requested.shape[2]):
        fleet.requested[n, node, r] = 0
    return node


@called
def register(site, world, fleet, n, node, now):
    """A node takes pods from now on; a spot node until it is taken back."""
    group = fleet.node[n, node, GROUP]
    fleet.node[n, node, NODE_PHASE] = READY
    fleet.node_when[n, node, REGISTERED] = now
    rate = site.interruptions_per_second[group] * world.hazard[n]
    if rate > 0.0:
        fleet.node_when[n, node, LEAVES] = now - math.log(draw(world, fleet, n)) / rate


@called
def launch(site, world, fleet, happened, n, group, now):
    """Ask the cloud for a node."""
    fleet.cluster_when[n, LAST_ADD] = now
    is_out = site.stock_out[group] > 0.0 and draw(world, fleet, n) < site.stock_out[group]
    is_full = _free_row(fleet, n) == fleet.node.shape[1]
    if is_out or is_full or fleet.group[n, group, FAILS]:
        fleet.group[n, group, UNANSWERED] += 1
        fleet.group_when[n, group, ANSWER] = now + _REFUSED_SECONDS
        return
    node = add_node(fleet, happened, n, group, now)
    seconds = draw_delay(world, fleet, n, site.boot[group]) * world.starts[n]
    fleet.node[n, node, GIVEN_UP] = seconds > site.max_provision_seconds
    fleet.node_when[n, node, REGISTERED] = now + min(seconds, site.max_provision_seconds)


@called
def drain_node(site, world, fleet, happened, n, node, now):
    """A node takes no more pods, those that are there go, and then it."""
    is_booting = fleet.node[n, node, NODE_PHASE] == BOOTING
    fleet.node[n, node, NODE_PHASE] = DRAINING
    if is_booting:
        go(site, world, fleet, happened, n, node, now)
        return
    seconds = evict(site, world, fleet, happened, n, node, now)
    fleet.node_when[n, node, LEAVES] = now + seconds + site.shutdown_seconds[fleet.node[n, node, GROUP]]


@called
def evict(site, world, fleet, happened, n, node, now):
    """Tell all pods of a node to go; how long it takes until they have."""
    longest = 0.0
    for row in range(fleet.cluster[n, POD_ROWS] - 1, -1, -1):
        if fleet.pod[n, row, NODE] == node:
            longest = max(longest, tell_to_go(site, world, fleet, happened, n, row, now))
    return longest


@called
def go(site, world, fleet, happened, n, node, now):
    """A node is no more, and what is still on it is lost."""
    for row in range(fleet.cluster[n, POD_ROWS] - 1, -1, -1):
        if fleet.pod[n, row, NODE] == node:
            if fleet.pod[n, row, PHASE] == DRAINING_POD:
                end_pod(site, world, fleet, happened, n, row, now)
            else:
                lose_pod(site, fleet, n, row, now)
    _pay(site, world, fleet, happened, n, node, now)
    fleet.node[n, node, NODE_PHASE] = GONE
    fleet.node[n, node, REMOVED] = IN_USE
    while (
        fleet.cluster[n, NODE_ROWS] > 0 and fleet.node[n, fleet.cluster[n, NODE_ROWS] - 1, NODE_PHASE] == GONE
    ):
        fleet.cluster[n, NODE_ROWS] -= 1


@called
def rest(site, fleet, n, group, now):
    """Leave a group alone after a failed launch; launches that fail together count once."""
    if fleet.group_when[n, group, RESTS_UNTIL] < now:
        doubled = max(2.0 * fleet.group_when[n, group, BACK_OFF], site.back_off_seconds)
        fleet.group_when[n, group, BACK_OFF] = min(doubled, site.back_off_cap_seconds)
    fleet.group_when[n, group, RESTS_UNTIL] = now + fleet.group_when[n, group, BACK_OFF]


@inlined
def node_due(fleet, n, node):
    """When a node registers or is given up, or is warned, or goes."""
    is_booting = fleet.node[n, node, NODE_PHASE] == BOOTING
    return fleet.node_when[n, node, REGISTERED if is_booting else LEAVES]


@inlined
def next_node(fleet, n, end):
    """The node that is due first of all before a time; NO_NODE where there is none."""
    first = NO_NODE
    for node in range(fleet.cluster[n, NODE_ROWS]):
        if fleet.node[n, node, NODE_PHASE] != GONE and node_due(fleet, n, node) < end:
            first, end = node, node_due(fleet, n, node)
    return first


@inlined
def next_answer(fleet, n, end):
    """A group whose launches are refused before a time; NO_NODE where there is none."""
    for group in range(fleet.group.shape[1]):
        if fleet.group[n, group, UNANSWERED] > 0 and fleet.group_when[n, group, ANSWER] < end:
            return group
    return NO_NODE


@inlined
def hear_refusal(site, fleet, n, group):
    """The cloud says that it has no capacity: the group rests."""
    fleet.group[n, group, UNANSWERED] = 0
    rest(site, fleet, n, group, fleet.group_when[n, group, ANSWER])


@inlined
def move_on(site, world, fleet, happened, n, node, now):
    """A node is up or given up, or is warned that it is taken back, or goes."""
    phase, group = fleet.node[n, node, NODE_PHASE], fleet.node[n, node, GROUP]
    if phase == READY:
        evict(site, world, fleet, happened, n, node, now)
        fleet.node[n, node, NODE_PHASE] = DRAINING
        fleet.node_when[n, node, LEAVES] = now + site.notice_seconds[group]
    elif phase == DRAINING:
        go(site, world, fleet, happened, n, node, now)
    elif fleet.node[n, node, GIVEN_UP]:
        go(site, world, fleet, happened, n, node, now)
        rest(site, fleet, n, group, now)
    else:
        register(site, world, fleet, n, node, now)
        fleet.group_when[n, group, BACK_OFF] = 0.0


@called
def pay_nodes(site, world, fleet, happened, n, end):
    """Pay for nodes up to a time."""
    for node in range(fleet.cluster[n, NODE_ROWS]):
        if fleet.node[n, node, NODE_PHASE] != GONE:
            _pay(site, world, fleet, happened, n, node, end)


@called
def show_nodes(fleet, n):
    """Count the nodes that are shown, by phase and group."""
    for phase in range(GONE):
        for group in range(fleet.node_counts.shape[2]):
            fleet.node_counts[n, phase, group] = 0
    for node in range(fleet.cluster[n, NODE_ROWS]):
        if fleet.node[n, node, NODE_PHASE] != GONE:
            fleet.node_counts[n, fleet.node[n, node, NODE_PHASE], fleet.node[n, node, GROUP]] += 1
