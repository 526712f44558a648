"""The node autoscaler's loop in compiled code: the rules of ``simulator.node_autoscaler``."""

from __future__ import annotations

import numpy as np

from simulator.compiled import called, inlined
from simulator.flow.chance import draw
from simulator.flow.fleet import (
    GROUP,
    IN_USE,
    LAST_ADD,
    LAUNCHED,
    LEAST_NODES,
    LEAST_WASTE,
    MOST_PODS,
    NODE,
    NODE_PHASE,
    NODE_ROWS,
    POD_ROWS,
    PRICE,
    RANDOM,
    REMOVED,
    REMOVED_EMPTY,
    REMOVED_FULL,
    RESTS_UNTIL,
    SERVICE,
    TURN,
    UNANSWERED,
    UNNEEDED,
    WITHOUT_NODE,
)
from simulator.flow.nodes import drain_node, launch
from simulator.nodes import BOOTING, CPU, DRAINING, GPUS, MEMORY, READY
from simulator.prices import SECONDS_PER_HOUR


@called
def scan(site, world, fleet, sheet, happened, n, now):
    """One look at what groups should hold, at pods that wait, and at nodes that are not needed."""
    _hold(site, world, fleet, happened, n, now)
    if not site.scales:
        return
    is_coming = _scale_up(site, world, fleet, sheet, happened, n, now)
    needless = _watch(site, world, fleet, sheet, n, now)
    if not is_coming and now - fleet.cluster_when[n, LAST_ADD] >= site.after_add_seconds:
        _scale_down(site, world, fleet, sheet, happened, n, needless, now)


@inlined
def _count(fleet, n, group, last_phase):
    """Nodes of a group in phases up to the last, those that were asked for and not answered among them."""
    count = fleet.group[n, group, UNANSWERED] if last_phase != READY else 0
    for node in range(fleet.cluster[n, NODE_ROWS]):
        count += fleet.node[n, node, GROUP] == group and fleet.node[n, node, NODE_PHASE] <= last_phase
    return count


@inlined
def _hold(site, world, fleet, happened, n, now):
    """Launch what is missing of the nodes that groups hold, but for groups that rest."""
    for group in range(len(site.zone)):
        if not site.scales or site.fewest[group] == 0 or fleet.group_when[n, group, RESTS_UNTIL] > now:
            continue
        missing = site.fewest[group] - _count(fleet, n, group, READY) - fleet.group[n, group, UNANSWERED]
        for _ in range(missing):
            launch(site, world, fleet, happened, n, group, now)


@inlined
def _times(room, request):
    """How often a request fits into a room."""
    most = 2**40
    for r in range(len(request)):
        if request[r] > 0:
            most = min(most, room[r] // request[r])
    return max(most, 0)


@inlined
def _fill(room, request, pods):
    """Put as many pods as fit into a room: how many."""
    put = min(_times(room, request), pods)
    for r in range(len(request)):
        room[r] -= put * request[r]
    return put


@called
def _scale_up(site, world, fleet, sheet, happened, n, now):
    """Launch nodes of one group for pods that wait and have no node on its way; whether some pod has one then."""
    services = len(sheet.demand)
    waiting = 0
    for s in range(services):
        sheet.demand[s] = fleet.service[n, s, WITHOUT_NODE]
        waiting += sheet.demand[s]
    if waiting == 0:
        return False
    _take_turns(fleet, sheet, n)
    _take_coming(site, fleet, sheet, n)
    demands = 0
    for s in range(services):
        demands += sheet.demand[s]
    best = _expand(site, world, fleet, sheet, n, now) if demands > 0 else -1
    if best >= 0:
        for _ in range(sheet.nodes[best]):
            launch(site, world, fleet, happened, n, best, now)
    return best >= 0 or demands < waiting


@inlined
def _take_turns(fleet, sheet, n):
    """Services in the order in which their pods began to wait."""
    for s in range(len(sheet.turn)):
        place = s
        while place > 0 and fleet.service[n, sheet.turn[place - 1], TURN] > fleet.service[n, s, TURN]:
            sheet.turn[place] = sheet.turn[place - 1]
            place -= 1
        sheet.turn[place] = s


@inlined
def _take_coming(site, fleet, sheet, n):
    """Take from the demand what nodes that boot have room for."""
    for node in range(fleet.cluster[n, NODE_ROWS]):
        if fleet.node[n, node, NODE_PHASE] == BOOTING:
            _take(site, sheet, fleet.node[n, node, GROUP])
    for group in range(len(site.zone)):
        for _ in range(fleet.group[n, group, UNANSWERED]):
            _take(site, sheet, group)


@inlined
def _take(site, sheet, group):
    room = sheet.room[0]
    for r in range(len(room)):
        room[r] = site.allocatable[group, r]
    for s in sheet.turn:
        if site.allowed[s, group] and sheet.demand[s] > 0:
            sheet.demand[s] -= _fill(room, site.request[s], sheet.demand[s])


@called
def _expand(site, world, fleet, sheet, n, now):
    """The group that gets nodes, -1 where none can help: see ``simulator.node_autoscaler.expand``."""
    best, ties = np.nan, 0
    for group in range(len(site.zone)):
        room = site.most[group] - _count(fleet, n, group, DRAINING)
        sheet.score[group] = np.nan
        if room <= 0 or fleet.group_when[n, group, RESTS_UNTIL] > now:
            continue
        _estimate(site, sheet, group, room)
        if sheet.placed[group] == 0:
            continue
        score = sheet.score[group]
        if np.isnan(score):
            continue
        if np.isnan(best) or score < best:
            best, ties = score, 1
        elif score == best:
            ties += 1
    if ties == 0:
        return -1
    chosen = np.int64(draw(world, fleet, n) * ties) if ties > 1 else 0
    for group in range(len(site.zone)):
        if sheet.score[group] == best:
            if chosen == 0:
                return group
            chosen -= 1
    return -1


@inlined
def _sort_by_size(site, sheet, group):
    """Services by the size of their pods over a group's nodes, the largest first."""
    for place in range(len(sheet.by_size)):
        s, before = sheet.turn[place], place
        size = _size(site, s, group)
        while before > 0 and _size(site, sheet.by_size[before - 1], group) < size:
            sheet.by_size[before] = sheet.by_size[before - 1]
            before -= 1
        sheet.by_size[before] = s


@inlined
def _size(site, s, group):
    have = site.allocatable[group]
    return site.request[s, CPU] / have[CPU] + site.request[s, MEMORY] / have[MEMORY]


@inlined
def _estimate(site, sheet, group, most):
    """Nodes of a group that pods would get, first fit, the largest first; how many pods, and the option's score."""
    _sort_by_size(site, sheet, group)
    nodes, placed, cpu, memory = 0, 0, 0, 0
    most = min(most, len(sheet.room))
    for place in range(len(sheet.by_size)):
        s = sheet.by_size[place]
        left = sheet.demand[s] if site.allowed[s, group] else 0
        if left == 0 or _times(site.allocatable[group], site.request[s]) == 0:
            continue
        for node in range(nodes):
            left -= _fill(sheet.room[node], site.request[s], left)
        while left > 0 and nodes < most:
            for r in range(site.allocatable.shape[1]):
                sheet.room[nodes, r] = site.allocatable[group, r]
            left -= _fill(sheet.room[nodes], site.request[s], left)
            nodes += 1
        taken = sheet.demand[s] - left
        placed += taken
        cpu += taken * site.request[s, CPU]
        memory += taken * site.request[s, MEMORY]
    sheet.nodes[group], sheet.placed[group] = nodes, placed
    if placed == 0:
        return
    score = 0.0 if site.expander == RANDOM else -np.float64(site.priority[group])
    if site.expander == LEAST_WASTE:
        room = nodes * site.allocatable[group, CPU], nodes * site.allocatable[group, MEMORY]
        score = (room[0] - cpu) / room[0] + (room[1] - memory) / room[1]
    elif site.expander == MOST_PODS:
        score = -np.float64(placed)
    elif site.expander == LEAST_NODES:
        score = np.float64(nodes)
    elif site.expander == PRICE:
        score = site.usd_per_second[group] * SECONDS_PER_HOUR * nodes / placed
    sheet.score[group] = score


@inlined
def _utilization(site, fleet, n, node):
    """The larger of CPU and memory requested over allocatable; of GPUs alone where a node has some."""
    have, asked = site.allocatable[fleet.node[n, node, GROUP]], fleet.requested[n, node]
    if have[GPUS] > 0:
        return asked[GPUS] / have[GPUS]
    return max(asked[CPU] / max(have[CPU], 1), asked[MEMORY] / max(have[MEMORY], 1))


@called
def _watch(site, world, fleet, sheet, n, now):
    """Note since when nodes have not been needed: how many there are, the least used first in ``sheet.order``."""
    count = _sort_candidates(site, fleet, sheet, n)
    found = looked_at = 0
    if count > 0:
        _look_for_room(site, fleet, sheet, n)
    for place in range(count):
        node = sheet.order[place]
        pods = _pods_on(fleet, n, node)
        looked_at += pods > 0
        if looked_at > site.candidates:
            break
        saved = site.usd_per_second[fleet.node[n, node, GROUP]] * world.price[n] * site.payback_seconds
        if pods > 0 and site.payback_seconds > 0.0 and saved <= site.usd_per_moved_pod * pods:
            continue
        if _moves(site, fleet, sheet, n, node):
            sheet.order[found] = node
            found += 1
    for node in range(fleet.cluster[n, NODE_ROWS]):
        if fleet.node[n, node, NODE_PHASE] == READY:
            is_found = False
            for place in range(found):
                is_found |= sheet.order[place] == node
            since = fleet.node_when[n, node, UNNEEDED]
            fleet.node_when[n, node, UNNEEDED] = (now if since == np.inf else since) if is_found else np.inf
    return found


@inlined
def _sort_candidates(site, fleet, sheet, n):
    """Nodes that are little used, the least first: how many."""
    count = 0
    for node in range(fleet.cluster[n, NODE_ROWS]):
        if fleet.node[n, node, NODE_PHASE] != READY:
            continue
        if site.payback_seconds == 0.0 and _utilization(site, fleet, n, node) >= site.utilization_threshold:
            continue
        place = count
        while place > 0 and _is_less_used(fleet, n, node, sheet.order[place - 1]):
            sheet.order[place] = sheet.order[place - 1]
            place -= 1
        sheet.order[place] = node
        count += 1
    return count


@inlined
def _is_less_used(fleet, n, node, other):
    for r in (CPU, MEMORY):
        if fleet.requested[n, node, r] != fleet.requested[n, other, r]:
            return fleet.requested[n, node, r] < fleet.requested[n, other, r]
    return fleet.node_when[n, node, LAUNCHED] >= fleet.node_when[n, other, LAUNCHED]


@inlined
def _look_for_room(site, fleet, sheet, n):
    for node in range(fleet.cluster[n, NODE_ROWS]):
        for r in range(site.allocatable.shape[1]):
            free = site.allocatable[fleet.node[n, node, GROUP], r] - fleet.requested[n, node, r]
            sheet.room[node, r] = free if fleet.node[n, node, NODE_PHASE] == READY else -1


@inlined
def _pods_on(fleet, n, node):
    count = 0
    for s in range(fleet.on_node.shape[2]):
        count += fleet.on_node[n, node, s]
    return count


@inlined
def _services_on(fleet, sheet, n, node):
    """How many services have pods on a node; ``sheet.turn`` begins with them, in the order of the pods' rows."""
    found = 0
    for row in range(fleet.cluster[n, POD_ROWS]):
        if fleet.pod[n, row, NODE] != node:
            continue
        is_new = True
        for place in range(found):
            is_new &= sheet.turn[place] != fleet.pod[n, row, SERVICE]
        if is_new:
            sheet.turn[found] = fleet.pod[n, row, SERVICE]
            found += 1
    return found


@inlined
def _moves(site, fleet, sheet, n, empty):
    """Whether the pods of a node fit on the others; if so, their room there is taken and the node has none."""
    services, fits = _services_on(fleet, sheet, n, empty), True
    for place in range(services):
        s = sheet.turn[place]
        left = fleet.on_node[n, empty, s]
        for node in range(fleet.cluster[n, NODE_ROWS]):
            sheet.taken[place, node] = 0
            if left > 0 and node != empty and site.allowed[s, fleet.node[n, node, GROUP]]:
                sheet.taken[place, node] = _fill(sheet.room[node], site.request[s], left)
                left -= sheet.taken[place, node]
        fits &= left == 0
    for r in range(site.allocatable.shape[1]):
        if fits:
            sheet.room[empty, r] = -1
        for place in range(0 if fits else services):
            for node in range(fleet.cluster[n, NODE_ROWS]):
                sheet.room[node, r] += sheet.taken[place, node] * site.request[sheet.turn[place], r]
    return fits


@called
def _scale_down(site, world, fleet, sheet, happened, n, needless, now):
    """Remove nodes that have not been needed for long: empty ones together, others one by one."""
    removals = drains = 0
    for node in range(fleet.cluster[n, NODE_ROWS]):
        removals += fleet.node[n, node, REMOVED] != IN_USE
        drains += fleet.node[n, node, REMOVED] == REMOVED_FULL
    for place in range(needless):
        node = sheet.order[place]
        group = fleet.node[n, node, GROUP]
        is_full = _pods_on(fleet, n, node) > 0
        if removals >= site.max_removed_at_once or (is_full and drains >= site.max_drains_at_once):
            continue
        too_soon = now - fleet.node_when[n, node, UNNEEDED] < site.unneeded_seconds
        if too_soon or _count(fleet, n, group, READY) <= site.fewest[group]:
            continue
        removals += 1
        drains += is_full
        fleet.node[n, node, REMOVED] = REMOVED_FULL if is_full else REMOVED_EMPTY
        drain_node(site, world, fleet, happened, n, node, now)
