"""What becomes of pods and nodes in a step: the first ones, what faults take, and all that comes and goes."""

from __future__ import annotations

import numpy as np

from simulator.compiled import called, inlined, kernel
from simulator.flow.beginning import begin_step, clear_step
from simulator.flow.chance import draw
from simulator.flow.faults import ALL, NODE_LOSS, STOCK_OUT, STUCK_PULL, begin_faults, wait_seconds
from simulator.flow.fleet import (
    BACK_OFF,
    COUNTED,
    FAILS,
    GOOD,
    GROUP,
    LAST_ADD,
    NO_NODE,
    NO_POD,
    NODE_PHASE,
    NODE_ROWS,
    PHASE,
    POD_ROWS,
    READY_AT,
    READY_POD,
    RESTS_UNTIL,
    SCANS,
    UNANSWERED,
    UNTIL,
)
from simulator.flow.memory import look_at_memory
from simulator.flow.node_scaling import scan
from simulator.flow.nodes import (
    add_node,
    bind_pods,
    choose_node,
    go,
    hear_refusal,
    move_on,
    next_answer,
    next_node,
    node_due,
    pay_nodes,
    register,
    show_nodes,
)
from simulator.flow.pods import (
    add_pod,
    end_pod,
    kill_pods,
    make_ready,
    next_pod,
    put_ready,
)
from simulator.flow.pulls import hold_pulls, settle_pulls
from simulator.flow.releases import create_missing, next_ready, release, remove_needless
from simulator.flow.shown import count_delays, count_errors, count_pods, share_cpu, show_pods
from simulator.flow.waking import forget_traffic, keep_awake, look
from simulator.nodes import GONE, READY


@kernel
def begin_fleets(hazards, site, waking, world, state, fleet, happened, which):
    """Begin an episode of each of these clusters, int64 ``(n,)``, whose pods are wanted and drawn by now.

    Faults that are there from the beginning come anew: what they take is there only now.
    """
    for place in range(len(which)):
        begin_faults(hazards, world, state, which[place])
        forget_traffic(waking, state, which[place])
        _begin_fleet(site, world, state, fleet, happened, which[place])


@inlined
def _begin_fleet(site, world, state, fleet, happened, n):
    """The pods that are wanted, ready on nodes that are; those for which there is no room wait for nodes."""
    _forget(fleet, n)
    for group in range(len(site.zone)):
        happened.launched[n, group] = 0
        for _ in range(site.first[group] if site.first[group] > 0 else site.fewest[group]):
            register(site, world, fleet, n, add_node(fleet, happened, n, group, 0.0), 0.0)
    for s in range(state.wanted.shape[1]):
        missing = state.wanted[n, s]
        while missing > 0:
            node = _first_node(site, world, fleet, happened, n, s) if site.has_nodes else NO_NODE
            if site.has_nodes and node == NO_NODE:
                break
            put_ready(site, fleet, n, s, node)
            missing -= 1
        state.ready[n, s] = state.wanted[n, s] - missing
        for _ in range(missing):
            add_pod(fleet, n, s, 0.0)
        for place in range(state.history.shape[1]):
            state.history[n, place, s] = state.ready[n, s]
    show_pods(state, fleet, n)
    show_nodes(fleet, n)


@called
def _forget(fleet, n):
    """Nothing is there."""
    for row in range(fleet.cluster[n, POD_ROWS]):
        fleet.pod[n, row, PHASE] = NO_POD
    for column in range(fleet.cluster.shape[1]):
        fleet.cluster[n, column] = 0
    fleet.cluster_when[n, COUNTED] = 0.0
    fleet.cluster_when[n, LAST_ADD] = -np.inf
    for node in range(fleet.node.shape[1]):
        fleet.node[n, node, NODE_PHASE] = GONE
    for s in range(fleet.service.shape[1]):
        for column in range(fleet.service.shape[2]):
            fleet.service[n, s, column] = 0
        for zone in range(fleet.by_zone.shape[2]):
            fleet.by_zone[n, s, zone] = 0
        fleet.held_until[n, s] = 0.0
        if len(fleet.release):
            fleet.release[n, s] = GOOD
    for group in range(fleet.group.shape[1]):
        fleet.group[n, group, UNANSWERED] = 0
        fleet.group_when[n, group, RESTS_UNTIL] = fleet.group_when[n, group, BACK_OFF] = 0.0
        fleet.group[n, group, FAILS] = 0
    for j in range(fleet.hit.shape[1]):
        fleet.hit[n, j] = -1


@called
def _first_node(site, world, fleet, happened, n, s):
    """A node with room for a pod, a new one if need be; NO_NODE where none may be added."""
    node = choose_node(site, fleet, n, s)
    if node != NO_NODE:
        return node
    best = -1
    for group in range(len(site.zone)):
        if not site.allowed[s, group] or site.first[group] >= 0:
            continue
        count = 0
        for row in range(fleet.cluster[n, NODE_ROWS]):
            count += fleet.node[n, row, GROUP] == group and fleet.node[n, row, NODE_PHASE] != GONE
        has_room = count < site.most[group]
        for r in range(site.request.shape[1]):
            has_room &= site.request[s, r] <= site.allocatable[group, r]
        if has_room and (
            best < 0 or fleet.by_zone[n, s, site.zone[group]] < fleet.by_zone[n, s, site.zone[best]]
        ):
            best = group
    if best < 0:
        return NO_NODE
    node = add_node(fleet, happened, n, best, 0.0)
    register(site, world, fleet, n, node, 0.0)
    return node


@inlined
def _lose_nodes(site, hazards, clock, world, state, fleet, happened, n):
    """Let faults take nodes, and keep groups from getting some, at a step's beginning."""
    begin = state.step[n] * clock.period_seconds
    middle = begin + 0.5 * clock.period_seconds
    for group in range(len(site.zone)):
        fleet.group[n, group, FAILS] = 0
    for j in range(len(hazards.kind)):
        if hazards.kind[j] == NODE_LOSS:
            while state.fault_begin[n, j] <= middle:
                for _ in range(np.int64(hazards.amount[j])):
                    _lose_one(site, world, fleet, happened, n, begin)
                state.fault_number[n, j] += 1
                state.fault_begin[n, j] += wait_seconds(hazards, world, state, n, j)
        elif NODE_LOSS < hazards.kind[j] <= STOCK_OUT and state.fault_begin[n, j] <= middle:
            is_new = fleet.hit[n, j] != state.fault_number[n, j]
            fleet.hit[n, j] = state.fault_number[n, j]
            for node in range(fleet.cluster[n, NODE_ROWS]):
                takes = is_new and hazards.kind[j] != STOCK_OUT and fleet.node[n, node, NODE_PHASE] != GONE
                if takes and hazards.groups[j, fleet.node[n, node, GROUP]]:
                    go(site, world, fleet, happened, n, node, begin)
            for group in range(len(site.zone)):
                goes_on = middle < state.fault_begin[n, j] + hazards.duration_seconds[j]
                fleet.group[n, group, FAILS] |= goes_on and hazards.groups[j, group]


@inlined
def _hold_pulls(site, hazards, clock, state, fleet, n):
    """Let faults hold up pulls for a step, from its beginning."""
    begin = state.step[n] * clock.period_seconds
    middle, holds = begin + 0.5 * clock.period_seconds, False
    for j in range(len(hazards.kind)):
        fault = state.fault_begin[n, j]
        if hazards.kind[j] == STUCK_PULL and fault <= middle < fault + hazards.duration_seconds[j]:
            holds = True
            for s in range(state.wanted.shape[1]):
                if hazards.service[j] in (ALL, s):
                    fleet.held_until[n, s] = begin + clock.period_seconds
    if holds:
        hold_pulls(fleet, n, begin)


@called
def _lose_one(site, world, fleet, happened, n, now):
    """A ready node dies, drawn by chance."""
    ready = 0
    for node in range(fleet.cluster[n, NODE_ROWS]):
        ready += fleet.node[n, node, NODE_PHASE] == READY
    chosen = np.int64(draw(world, fleet, n) * ready)
    for node in range(fleet.cluster[n, NODE_ROWS]):
        if fleet.node[n, node, NODE_PHASE] == READY:
            if chosen == 0:
                go(site, world, fleet, happened, n, node, now)
                return
            chosen -= 1


@inlined
def _change_pods(site, clock, world, state, fleet, happened, n):
    """Kill what faults kill, and create and remove what is wanted, at a step's beginning."""
    now = state.step[n] * clock.period_seconds
    for s in range(state.wanted.shape[1]):
        if state.killed[n, s] > 0:
            kill_pods(site, world, fleet, happened, n, s, state.killed[n, s], now)
    if not len(fleet.release):
        create_missing(site, world, state, fleet, happened, n, now)
        remove_needless(site, world, state, fleet, happened, n, now)


@inlined
def _replace(site, world, state, fleet, happened, n, now):
    """Create what is missing, give nodes to pods that wait, and remove what is too much, until nothing more can be."""
    while True:
        created = create_missing(site, world, state, fleet, happened, n, now)
        settle_pulls(site, world, fleet, n, now)
        bind_pods(site, world, state, fleet, n, now)
        removed = remove_needless(site, world, state, fleet, happened, n, now)
        if not removed and not (created and len(fleet.release)):
            return


@called
def _go_on(site, world, state, fleet, happened, n, now, end):
    """Let all pods, nodes and groups move on that are due before a time, one after the other; when the last one did."""
    while True:
        pod, node, group = next_pod(fleet, n, end), NO_NODE, NO_NODE
        due = fleet.pod_when[n, pod, UNTIL] if pod != NO_NODE else end
        if site.has_nodes:
            node = next_node(fleet, n, due)
            due = node_due(fleet, n, node) if node != NO_NODE else due
            group = next_answer(fleet, n, due)
        ready = next_ready(fleet, n, due) if len(fleet.release) else NO_NODE
        if ready != NO_NODE:
            due = fleet.pod_when[n, ready, READY_AT]
        elif group != NO_NODE:
            hear_refusal(site, fleet, n, group)
            continue
        if due >= end:
            return now
        now = max(now, due)
        if ready != NO_NODE:
            fleet.pod[n, ready, PHASE] = READY_POD
        elif node != NO_NODE:
            move_on(site, world, fleet, happened, n, node, due)
        else:
            end_pod(site, world, fleet, happened, n, pod, due)
        _replace(site, world, state, fleet, happened, n, now)


@inlined
def _live_part(site, hazards, world, state, fleet, sheet, happened, n, begin, span, step):
    """Let all that is due in a part of a step come and go, and count what is there in the middle of it.

    Args:
        step: whether a control step begins, and its middle.
    """
    now, end = begin, begin + span
    begins = step[0]
    while True:
        scan_at = site.scan_seconds * (fleet.cluster[n, SCANS] + 1) if site.has_nodes else np.inf
        _replace(site, world, state, fleet, happened, n, now)
        if begins and len(fleet.release):
            begins = False
            if release(hazards, state, fleet, n, step[1]):
                continue
        now = _go_on(site, world, state, fleet, happened, n, now, min(scan_at, end))
        make_ready(fleet, n, min(scan_at, end))
        if scan_at >= end:
            break
        now = scan_at
        fleet.cluster[n, SCANS] += 1
        scan(site, world, fleet, sheet, happened, n, now)
    if site.has_nodes:
        pay_nodes(site, world, fleet, happened, n, end)
    count_pods(site, world, state, fleet, happened, n, begin, span)


@called
def _begin_step(clock, hazards, site, waking, world, state, fleet, happened, n):
    """Let faults take pods and nodes, and ask for what is wanted, at a step's beginning."""
    for group in range(len(site.zone)):
        happened.node_usd[n, group] = happened.node_seconds[n, group] = 0.0
        if state.step[n] > 0:
            happened.launched[n, group] = 0
    clear_step(happened, n)
    _lose_nodes(site, hazards, clock, world, state, fleet, happened, n)
    for s in range(state.wanted.shape[1] if len(waking.asked) else 0):
        state.wanted[n, s] = waking.asked[n, s]
    _hold_pulls(site, hazards, clock, state, fleet, n)
    begin_step(clock, hazards, world, state, n)
    for s in range(state.wanted.shape[1] if len(hazards.kind) else 0):
        fleet.cpu_share[n, s] = state.cpu_share[n, s]
    if len(waking.asked):
        for s in range(state.wanted.shape[1]):
            waking.asked[n, s] = state.wanted[n, s]
        keep_awake(waking, state, n, state.step[n] * clock.period_seconds)
    _change_pods(site, clock, world, state, fleet, happened, n)


@kernel
def live(begin, end, parts, clock, hazards, site, waking, world, state, fleet, sheet, shifts, happened):
    """Let pods and nodes of clusters ``begin`` to ``end`` live through parts of a control step.

    Args:
        parts: the first one, with which the step begins if it is 0, and the end.
    """
    span = clock.period_seconds / clock.parts
    for n in range(begin, end):
        if parts[0] == 0:
            _begin_step(clock, hazards, site, waking, world, state, fleet, happened, n)
        for part in range(parts[0], parts[1]):
            now = (state.step[n] * clock.parts + part) * span
            if len(waking.asked):
                look(waking, world, state, n, now, span)
            if len(site.memory):
                look_at_memory(site, hazards, clock, world, state, fleet, n, now, span)
            step = part == 0, (state.step[n] + 0.5) * clock.period_seconds
            _live_part(site, hazards, world, state, fleet, sheet, happened, n, now, span, step)
            for s in range(state.wanted.shape[1]):
                shifts.ready[n, part, s] = state.ready[n, s]
                shifts.pace[n, part, s] = state.pace[n, s]
            if len(shifts.cpu_share):
                share_cpu(site, fleet, shifts.cpu_share[n, part], n, now + 0.5 * span)
            if len(shifts.delay):
                count_delays(site, fleet, shifts.delay[n, part], n, now + 0.5 * span)
            if len(shifts.failing):
                count_errors(site, fleet, shifts.failing[n, part], n, now + 0.5 * span)
        if parts[1] == clock.parts:
            show_pods(state, fleet, n)
            show_nodes(fleet, n)
