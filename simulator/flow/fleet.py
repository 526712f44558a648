"""Pods and nodes one by one, for clusters whose pods need nodes, or where it matters how old a pod is.

Axes beside those of ``simulator.flow.tables``: P rows for pods, K rows for nodes, G node groups, R resources, Z zones.
A new pod gets the first row that is free, and so does a node.
"""

from __future__ import annotations

import math
from typing import NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from simulator.arrays import Floats, Ints
from simulator.cluster_settings import Packing
from simulator.flow.needs import bursts, has_releases, is_delayed, leaks
from simulator.node_autoscaler import Expander, NodeAutoscaler
from simulator.nodes import GONE, MIB_PER_GIB, PODS
from simulator.prices import SECONDS_PER_HOUR
from simulator.scenario import Scenario

WAITING, STARTING, READY_POD, LOST, DRAINING_POD, NO_POD = range(6)
"""Phases of a pod: no node; on its way; takes requests; its node died unnoticed; told to go; no more."""
NO_NODE = -1
IN_USE, REMOVED_EMPTY, REMOVED_FULL = range(3)
"""Whether the node autoscaler removes a node."""
LEAST_ALLOCATED, MOST_ALLOCATED = range(2)
LEAST_WASTE, MOST_PODS, LEAST_NODES, PRICE, PRIORITY, RANDOM = range(6)

DRAWN, POD_ROWS, FIRST_FREE, NODE_ROWS, SCANS, TURNS, DISTURBED = range(7)
"""Of a cluster: random numbers taken, rows that pods are within, the first that may be free, rows that nodes are
within, looks of the autoscaler, turns given to services whose pods wait,
whether pods have left pulls."""
COUNTED, LAST_ADD = range(2)
"""Of a cluster: up to when costs are counted, and when a node was launched last."""
WITHOUT_NODE, ALIVE, SHOWN_READY, SHOWN_DRAINING, BLOCKED, TURN = range(6)
"""Of a service: pods that wait, replicas (all that were not told to go), and those that are shown as ready (lost ones
among them) or draining; whether no node has room for one of them; and the turn of those that wait."""
SERVICE, NODE, PHASE, RELEASE, PULL, RESTARTS = range(6)
GOOD = 0
"""Release of pods that are as they should be."""
CREATED, STARTED, READY_AT, UNTIL, CRASHED, LEAKED, TURN_AT = range(7)
"""Of a pod: when it was created, runs, takes requests, is gone (or its loss noticed); inf where that is not known;
was killed for its memory, -inf if never; and how much it has leaked since, GiB;
and when its turn to pull its image is."""
GROUP, NODE_PHASE, GIVEN_UP, REMOVED, MATES, LEFT = range(6)
"""Of a node: its phase as in ``simulator.nodes``; whether its launch takes too long; IN_USE to REMOVED_FULL; how many
replicas of the service it has whose pods are being removed; whether one has left its pulls."""
LAUNCHED, REGISTERED, LEAVES, PAID, UNNEEDED, PULLED = range(6)
"""Of a node: when it was launched; takes pods or is given up; is gone or, while it is ready, warned that it will be;
up to when it is paid for; since when it has not been needed, inf while it is; when all pulls are done."""
UNANSWERED, FAILS = range(2)
"""Of a node group: launches that will be refused, and whether a fault keeps it from getting nodes."""
ANSWER, RESTS_UNTIL, BACK_OFF = range(3)


class Site(NamedTuple):
    """What pods run on, and when it comes and goes; the same for all clusters.

    Attributes:
        has_nodes: whether pods need nodes.
        allocatable: int64 ``(G, R)``; what pods may request of a new node.
        usd_per_second: float64 ``(G,)``; of a node.
        boot: float64 ``(G, 2)``; median, and standard deviation of its logarithm.
        shutdown_seconds: float64 ``(G,)``.
        latency_seconds: float64 ``(G,)``; added to each answer of a pod there; of length 0 where none has any.
        zone: int64 ``(G,)``.
        zones: Z.
        interruptions_per_second: float64 ``(G,)``; of a spot node.
        notice_seconds: float64 ``(G,)``.
        stock_out: float64 ``(G,)``; probability that a launch is refused.
        fewest: int64 ``(G,)``; nodes.
        most: int64 ``(G,)``; nodes.
        first: int64 ``(G,)``; nodes at the start, -1 for as many as the first pods need.
        priority: int64 ``(G,)``.
        allowed: bool ``(S, G)``; whether pods of a service may run there.
        request: int64 ``(S, R)``; of a pod.
        image: float64 ``(S, 2)``; as ``boot``; a median of 0 where nothing is pulled.
        burst: float64 ``(S,)``; CPU that a pod may use over what it requests; of length 0 where none may use more.
        start_up: float64 ``(S, 2)``; as ``boot``.
        pending_share: float64 ``(S,)``; of a start-up that a pod does not run yet.
        warm_seconds: float64 ``(S,)``; from ready until as fast as it gets.
        cold_speed: float64 ``(S,)``; until then.
        burn: float64 ``(S,)``; share of its request of CPU that a pod uses while it starts.
        drain_grace_seconds: float64 ``(S,)``.
        memory: float64 ``(S, 2)``; what a pod uses and what it may, GiB; of length 0 where none leaks.
        surge: float64 ``(S,)``; pods above the wanted while they are replaced, a share.
        unavailable: float64 ``(S,)``; ready pods below the wanted then, a share.
        errors: float64 ``(J,)``; share of the calls to a bad release's pods that fail.
        slowness: float64 ``(J,)``; times the CPU that calls need there.
        packing: LEAST_ALLOCATED or MOST_ALLOCATED.
        detection_seconds: from a node's death until its pods are replaced.
        node_minimum_seconds: a node costs at least so long.
        pod_minimum_seconds: a pod costs at least so long.
        scales: whether nodes come and go by themselves.
        scan_seconds: and all below as in ``NodeAutoscaler``.
        payback_seconds: 0 without consolidation.
    """

    has_nodes: bool
    allocatable: Ints
    usd_per_second: Floats
    boot: Floats
    shutdown_seconds: Floats
    latency_seconds: Floats
    zone: Ints
    zones: int
    interruptions_per_second: Floats
    notice_seconds: Floats
    stock_out: Floats
    fewest: Ints
    most: Ints
    first: Ints
    priority: Ints
    allowed: NDArray[np.bool_]
    request: Ints
    image: Floats
    burst: Floats
    start_up: Floats
    pending_share: Floats
    warm_seconds: Floats
    cold_speed: Floats
    burn: Floats
    drain_grace_seconds: Floats
    memory: Floats
    surge: Floats
    unavailable: Floats
    errors: Floats
    slowness: Floats
    packing: int
    detection_seconds: float
    node_minimum_seconds: float
    pod_minimum_seconds: float
    scales: bool
    scan_seconds: float
    expander: int
    unneeded_seconds: float
    after_add_seconds: float
    utilization_threshold: float
    max_provision_seconds: float
    back_off_seconds: float
    back_off_cap_seconds: float
    max_removed_at_once: int
    max_drains_at_once: int
    candidates: int
    usd_per_moved_pod: float
    payback_seconds: float


class Fleet(NamedTuple):
    """The pods and nodes of each cluster; last axes are columns, and times are seconds since the episode's beginning.

    Attributes:
        cluster: int64 ``(N, 7)``; DRAWN to DISTURBED.
        cluster_when: float64 ``(N, 2)``; COUNTED and LAST_ADD.
        service: int64 ``(N, S, 6)``; WITHOUT_NODE to TURN.
        by_zone: int64 ``(N, S, Z)``; replicas that have a node.
        pod: int64 ``(N, P, 6)``; SERVICE to RESTARTS; PULL is the number that a pull is drawn with, in the order
            of turns, and 0 without.
        pod_when: float64 ``(N, P, 7)``; CREATED to TURN_AT.
        node: int64 ``(N, K, 6)``; GROUP to LEFT.
        node_when: float64 ``(N, K, 6)``; LAUNCHED to PULLED.
        requested: int64 ``(N, K, R)``.
        on_node: int64 ``(N, K, S)``; pods.
        image: float64 ``(N, K, V S)``; when the images of V versions are there, S of each.
        release: int64 ``(N, S)``; what new pods run, GOOD or a bad release and J times its coming; of no clusters where
            none is bad.
        held_until: float64 ``(N, S)``; when a service's pulls go on that stand still.
        group: int64 ``(N, G, 2)``; UNANSWERED and FAILS.
        group_when: float64 ``(N, G, 3)``; ANSWER to BACK_OFF.
        node_counts: int64 ``(N, 3, G)``; nodes that boot, are ready, drain.
        cpu_share: float64 ``(N, S)``; what faults leave of pods' CPU in this step.
        hit: int64 ``(N, J)``; the last coming of a fault that has taken nodes or released something.
    """

    cluster: Ints
    cluster_when: Floats
    service: Ints
    by_zone: Ints
    pod: Ints
    pod_when: Floats
    node: Ints
    node_when: Floats
    requested: Ints
    on_node: Ints
    image: Floats
    release: Ints
    held_until: Floats
    group: Ints
    group_when: Floats
    node_counts: Ints
    cpu_share: Floats
    hit: Ints


class Sheet(NamedTuple):
    """Paper to reckon on; of one thread.

    Attributes:
        room: int64 ``(K, R)``; left on nodes.
        order: int64 ``(K,)``; of nodes.
        taken: int64 ``(S, K)``; pods put on nodes.
        demand: int64 ``(S,)``; pods.
        turn: int64 ``(S,)``; services in the order in which their pods are taken.
        by_size: int64 ``(S,)``; services, the largest pods first.
        nodes: int64 ``(G,)``; that a group would get.
        placed: int64 ``(G,)``; pods that would get a place there.
        score: float64 ``(G,)``; the lower the better, NaN where it is no option.
    """

    room: Ints
    order: Ints
    taken: Ints
    demand: Ints
    turn: Ints
    by_size: Ints
    nodes: Ints
    placed: Ints
    score: Floats


def site_of(scenario: Scenario) -> Site:
    """What the pods of a Scenario run on."""
    services = scenario.system.services
    cluster = scenario.cluster
    groups = cluster.groups if cluster else ()
    rules = (cluster.autoscaler if cluster else None) or NodeAutoscaler()
    consolidation = rules.consolidation
    zones = sorted({(group.region, group.zone) for group in groups})
    spots = [group.spot for group in groups]
    images = [service.image if groups else None for service in services]
    warm_ups = [service.warm_up for service in services]
    return Site(
        has_nodes=bool(groups),
        allocatable=np.array([group.allocatable for group in groups], np.int64).reshape(-1, PODS + 1),
        usd_per_second=np.array([group.usd_per_second for group in groups]),
        boot=np.array([(group.boot.p50_seconds, group.boot.sigma) for group in groups]).reshape(-1, 2),
        shutdown_seconds=np.array([group.shutdown_seconds for group in groups]),
        latency_seconds=np.array([group.latency_seconds for group in groups if is_delayed(scenario)]),
        zone=np.array([zones.index((group.region, group.zone)) for group in groups], np.int64),
        zones=max(len(zones), 1),
        interruptions_per_second=np.array(
            [spot.interruptions_per_hour / SECONDS_PER_HOUR if spot else 0.0 for spot in spots]
        ),
        notice_seconds=np.array([spot.notice_seconds if spot else 0.0 for spot in spots]),
        stock_out=np.array([group.stock_out_probability for group in groups]),
        fewest=np.array([group.min_nodes for group in groups], np.int64),
        most=np.array([group.max_nodes for group in groups], np.int64),
        first=np.array(
            [-1 if group.initial_nodes is None else group.initial_nodes for group in groups], np.int64
        ),
        priority=np.array([group.priority for group in groups], np.int64),
        allowed=np.array(
            [[each.region in {None, group.region} for group in groups] for each in services], np.bool_
        ).reshape(len(services), -1),
        request=np.array(
            [
                (
                    round(1000 * each.vcpu_per_pod),
                    round(MIB_PER_GIB * each.memory.request_gib),
                    each.gpus_per_pod,
                    1,
                )
                for each in services
            ],
            np.int64,
        ),
        image=np.array([(image.p50_seconds, image.sigma) if image else (0.0, 0.0) for image in images]),
        burst=np.array([each.most_vcpu / each.vcpu_per_pod for each in services if bursts(scenario)]),
        start_up=np.array([(each.start_up.p50_seconds, each.start_up.sigma) for each in services]),
        pending_share=np.array(
            [
                0.0 if image else each.start_up.pending_share
                for each, image in zip(services, images, strict=True)
            ]
        ),
        warm_seconds=np.array([warm.seconds if warm else 0.0 for warm in warm_ups]),
        cold_speed=np.array([warm.speed if warm else 1.0 for warm in warm_ups]),
        burn=np.array([each.start_cpu_share * each.most_vcpu / each.vcpu_per_pod for each in services]),
        drain_grace_seconds=np.array([each.drain_grace_seconds for each in services]),
        memory=np.array(
            [(each.memory.base_gib, each.memory.most_gib) for each in services if leaks(scenario)]
        ).reshape(-1, 2),
        surge=np.array([each.roll_out.max_surge for each in services]),
        unavailable=np.array([each.roll_out.max_unavailable for each in services]),
        errors=np.array([getattr(fault, "error_probability", 0.0) for fault in scenario.faults]),
        slowness=np.array([getattr(fault, "slowness", 1.0) for fault in scenario.faults]),
        packing=get_args(Packing).index(cluster.packing) if cluster else LEAST_ALLOCATED,
        detection_seconds=cluster.detection_seconds if cluster else 0.0,
        node_minimum_seconds=cluster.minimum_billed_seconds if cluster else 0.0,
        pod_minimum_seconds=scenario.prices.minimum_billed_seconds if scenario.prices else 0.0,
        scales=cluster is not None and cluster.autoscaler is not None,
        scan_seconds=rules.scan_seconds,
        expander=get_args(Expander).index(rules.expander),
        unneeded_seconds=rules.unneeded_seconds,
        after_add_seconds=rules.after_add_seconds,
        utilization_threshold=rules.utilization_threshold,
        max_provision_seconds=rules.max_provision_seconds if cluster and cluster.autoscaler else math.inf,
        back_off_seconds=rules.back_off_seconds,
        back_off_cap_seconds=rules.back_off_cap_seconds,
        max_removed_at_once=rules.max_removed_at_once,
        max_drains_at_once=rules.max_drains_at_once,
        candidates=rules.candidates,
        usd_per_moved_pod=consolidation.usd_per_moved_pod if consolidation else 0.0,
        payback_seconds=consolidation.payback_seconds if consolidation else 0.0,
    )


def make_fleet(scenario: Scenario, site: Site, count: int) -> Fleet:
    """For so many clusters, with nothing in it; rows for all pods twice, since those that go take some, too."""
    services, groups = scenario.system.services, scenario.cluster.groups if scenario.cluster else ()
    nodes, faults = sum(group.max_nodes + group.min_nodes for group in groups), len(scenario.faults)
    releases = has_releases(scenario)
    rows = [2.0 + (service.roll_out.max_surge if releases else 0.0) for service in services]
    pods = sum(math.ceil(row * service.max_replicas) for row, service in zip(rows, services, strict=True))
    a_service, a_pod, a_node, a_group = (
        (count, len(services)),
        (count, pods),
        (count, nodes),
        (count, len(groups)),
    )
    fleet = Fleet(
        cluster=np.zeros((count, 7), np.int64),
        cluster_when=np.zeros((count, 2)),
        service=np.zeros((*a_service, 6), np.int64),
        by_zone=np.zeros((*a_service, site.zones), np.int64),
        pod=np.zeros((*a_pod, 6), np.int64),
        pod_when=np.zeros((*a_pod, 7)),
        node=np.zeros((*a_node, 6), np.int64),
        node_when=np.zeros((*a_node, 6)),
        requested=np.zeros((*a_node, PODS + 1), np.int64),
        on_node=np.zeros((*a_node, len(services)), np.int64),
        image=np.zeros((*a_node, len(services) * (1 + faults if releases else 1))),
        release=np.zeros((count if releases else 0, len(services)), np.int64),
        held_until=np.zeros(a_service),
        group=np.zeros((*a_group, 2), np.int64),
        group_when=np.zeros((*a_group, 3)),
        node_counts=np.zeros((count, 3, len(groups)), np.int64),
        cpu_share=np.ones(a_service),
        hit=np.zeros((count, faults), np.int64),
    )
    fleet.node[:, :, NODE_PHASE] = GONE
    fleet.pod[:, :, PHASE] = NO_POD
    return fleet


def empty_sheet(site: Site, fleet: Fleet) -> Sheet:
    """For one thread."""
    nodes, services, groups = fleet.node.shape[1], fleet.service.shape[1], len(site.zone)
    return Sheet(
        room=np.zeros((nodes, PODS + 1), np.int64),
        order=np.zeros(nodes, np.int64),
        taken=np.zeros((services, nodes), np.int64),
        demand=np.zeros(services, np.int64),
        turn=np.zeros(services, np.int64),
        by_size=np.zeros(services, np.int64),
        nodes=np.zeros(groups, np.int64),
        placed=np.zeros(groups, np.int64),
        score=np.zeros(groups),
    )
