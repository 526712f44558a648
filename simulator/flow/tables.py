"""What the batch engine keeps of its clusters: arrays with the clusters first.

Axes: N clusters, S services, M control steps that a start-up may take, K parts of a step, Q readings kept,
R parts of a step that a percentile is taken over, H parts that ready pods are remembered for, L service-time laws,
X the grid of their tables, P loads.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulator.arrays import Floats, Ints

OFFERED, BUSY, CAPACITY, READY, WAITING, LATENCY = range(6)
"""What a reading holds: calls, busy slot-seconds and slot-seconds of ready pods since the beginning, then ready
pods, waiting calls and the 95th percentile of latency now."""
READING = 6
LEFT, DONE, MARK, SPREAD, STRETCH = range(5)
"""What is known of pods that were created together: those left when they were last counted anew, those of them that are
ready by the end of the last step begun, the share that was ready when they were counted, where between two whole
numbers their count turns, and how much longer than usual they take to start."""


class Clock(NamedTuple):
    """How time is cut; the same for all clusters.

    Attributes:
        period_seconds: of a control step.
        parts: K.
        scrape_seconds: between two readings.
        window: scrapes that a value is averaged over.
        noise: relative standard deviation of a value that is shown.
        gap_probability: that a reading is lost.
        stale_seconds: an older value is not shown, lag not counted.
        by_call: whether one queue is looked at call by call.
    """

    period_seconds: float
    parts: int
    scrape_seconds: float
    window: int
    noise: float
    gap_probability: float
    stale_seconds: float
    by_call: bool


class Loads(NamedTuple):
    """Loads that clusters may have.

    Attributes:
        expected: float64 ``(P, B + 1)``; requests expected since the beginning, at the edges of bins.
        bin_seconds: of a bin.
        dispersion: squared coefficient of variation of the time between requests.
        levels: float64 ``(L,)``; factors of the rate in each state of a chain, of length 0 where there is none.
        sojourn_seconds: float64 ``(L,)``; mean time in each state.
        stationary: float64 ``(L,)``; probabilities of each state and those before it.
        jumps: float64 ``(L, L)``; row i: probabilities to jump from state i to each state and those before it.
    """

    expected: Floats
    bin_seconds: float
    dispersion: float
    levels: Floats
    sojourn_seconds: Floats
    stationary: Floats
    jumps: Floats


class Laws(NamedTuple):
    """Service-time laws in units of their means.

    Attributes:
        survival: float64 ``(L, X)``; see ``simulator.flow.survival``.
        p95: float64 ``(L,)``.
    """

    survival: Floats
    p95: Floats


class World(NamedTuple):
    """What each cluster is; it stays the same for an episode.

    Attributes:
        key: uint64 ``(N,)``; all of an episode's draws are functions of it.
        mean_seconds: float64 ``(N, S)``; of a service time.
        scv: float64 ``(N, S)``; its squared coefficient of variation.
        law: int64 ``(N, S)``.
        slots: float64 ``(N, S)``; of a pod: work that makes its CPU usage its request, a second.
        usd_per_second: float64 ``(N, S)``; of a pod.
        drain_seconds: float64 ``(N, S)``; from being told to go until gone.
        started: float32 ``(N, M K, S)``; share of pods that are ready in the middle of each part after their creation.
        slo_seconds: float64 ``(N,)``.
        lag_seconds: float64 ``(N,)``; from a reading until it is seen.
        first_scrape_seconds: float64 ``(N,)``.
        load: int64 ``(N,)``.
        load_begin_seconds: float64 ``(N,)``; where in the load an episode begins.
        load_scale: float64 ``(N,)``.
        hazard: float64 ``(N,)``; factor of the rates at which faults come.
        starts: float64 ``(N,)``; factor of how long nodes, pulls and pods take to start.
        price: float64 ``(N,)``; factor of what nodes cost.
    """

    key: NDArray[np.uint64]
    mean_seconds: Floats
    scv: Floats
    law: Ints
    slots: Floats
    usd_per_second: Floats
    drain_seconds: Floats
    started: NDArray[np.float32]
    slo_seconds: Floats
    lag_seconds: Floats
    first_scrape_seconds: Floats
    load: Ints
    load_begin_seconds: Floats
    load_scale: Floats
    hazard: Floats
    starts: Floats
    price: Floats


class State(NamedTuple):
    """Where each cluster stands.

    Attributes:
        step: int64 ``(N,)``; control steps since an episode's beginning.
        expected: float64 ``(N, K + 1)``; requests from a load's beginning to the edges of a step's parts.
        wanted: int64 ``(N, S)``.
        applied: int64 ``(N, S)``; wanted in the step before.
        ready: int64 ``(N, S)``.
        starting: int64 ``(N, S)``.
        work: float64 ``(N, S)``; slot-seconds, the state of the reflected process.
        backlog: float64 ``(N, S)``; slot-seconds of it that wait.
        owed: float64 ``(N, S)``; slot-seconds, at most 0, that noise took away where none were worked.
        dark: int64 ``(N, S)``; parts since a pod was ready last, where a queue is looked at call by call.
        cohorts: float32 ``(N, M, S, 5)``; pods that start, by the step in which they were created.
        totals: float64 ``(N, S, 3)``; OFFERED, BUSY and CAPACITY.
        readings: float64 ``(N, Q, S, READING)``.
        waits: float64 ``(N, S, R)``; waiting time at the end of the last parts.
        counts: float64 ``(N, S, R)``; calls offered in them.
        history: int32 ``(N, H, S)``; pods ready in the last parts, and in those to come of a step that has begun.
        level: int64 ``(N,)``; state of the chain that the load's rate goes with.
        level_end: float64 ``(N,)``; when it jumps, seconds since the episode's beginning.
        level_number: int64 ``(N,)``; jumps so far.
        fault_begin: float64 ``(N, J)``; when a fault began or will.
        fault_number: int64 ``(N, J)``; how often it has been there.
        killed: int64 ``(N, S)``; pods in this step.
        cpu_share: float64 ``(N, S)``; what a pod has of its CPU.
        pace: float64 ``(N, S)``; how fast the ready pods are on average, 1 where all are warm.
        delay_seconds: float64 ``(N, S)``; added to each answer.
        start_factor: float64 ``(N, S)``; of start-ups that begin.
        refusal: float64 ``(N,)``; probability that what is asked for is refused.
        is_out: bool ``(N,)``; whether there are no metrics.
        frozen_seconds: float64 ``(N,)``; when the newest metrics that can be seen were measured, inf if just now.
    """

    step: Ints
    expected: Floats
    wanted: Ints
    applied: Ints
    ready: Ints
    starting: Ints
    work: Floats
    backlog: Floats
    owed: Floats
    dark: Ints
    cohorts: NDArray[np.float32]
    totals: Floats
    readings: Floats
    waits: Floats
    counts: Floats
    history: NDArray[np.int32]
    level: Ints
    level_end: Floats
    level_number: Ints
    fault_begin: Floats
    fault_number: Ints
    killed: Ints
    cpu_share: Floats
    pace: Floats
    delay_seconds: Floats
    start_factor: Floats
    refusal: Floats
    is_out: NDArray[np.bool_]
    frozen_seconds: Floats


class Happened(NamedTuple):
    """What happened in the last step.

    Attributes:
        requests: int64 ``(N,)``; of clients.
        offered: int64 ``(N, S)``; calls.
        dropped: float64 ``(N, S)``; calls turned away.
        started: int64 ``(N, S)``; pods created.
        late: float64 ``(N,)``; requests expected to pass the SLO.
        busy_seconds: float64 ``(N, S)``; busy slot-seconds.
        capacity_seconds: float64 ``(N, S)``; slot-seconds of ready pods.
        waiting_seconds: float64 ``(N, S)``; integral over time of the number of waiting calls.
        pod_seconds: float64 ``(N, S)``.
        usd: float64 ``(N, S)``; what pods cost.
        node_usd: float64 ``(N, G)``; what nodes cost.
        node_seconds: float64 ``(N, G)``.
        launched: int64 ``(N, G)``; nodes.
    """

    requests: Ints
    offered: Ints
    dropped: Floats
    started: Ints
    late: Floats
    busy_seconds: Floats
    capacity_seconds: Floats
    waiting_seconds: Floats
    pod_seconds: Floats
    usd: Floats
    node_usd: Floats
    node_seconds: Floats
    launched: Ints


class Seen(NamedTuple):
    """What is shown now: float64 ``(N, S)``, NaN where it is missing; the age ``(N, S)``, inf."""

    cpu: Floats
    rate: Floats
    latency_p95: Floats
    queue: Floats
    age_seconds: Floats


class Trusted(NamedTuple):
    """Pods as the HPA sorts them, int64 ``(N, S)``.

    Attributes:
        counted: ready since before the newest window.
        unready: not ready, or not for that long.
        missing: not running yet at the newest reading.
        usage_milli: of all counted ones.
    """

    counted: Ints
    unready: Ints
    missing: Ints
    usage_milli: Ints


def empty_world(shape: tuple[int, int], ages: int) -> World:
    """For so many clusters and services, and ages of pods that start."""
    count, services = shape
    return World(
        key=np.zeros(count, np.uint64),
        mean_seconds=np.ones(shape),
        scv=np.ones(shape),
        law=np.zeros(shape, np.int64),
        slots=np.ones(shape),
        usd_per_second=np.zeros(shape),
        drain_seconds=np.zeros(shape),
        started=np.ones((count, ages, services), np.float32),
        slo_seconds=np.ones(count),
        lag_seconds=np.zeros(count),
        first_scrape_seconds=np.zeros(count),
        load=np.zeros(count, np.int64),
        load_begin_seconds=np.zeros(count),
        load_scale=np.ones(count),
        hazard=np.ones(count),
        starts=np.ones(count),
        price=np.ones(count),
    )


def empty_state(
    shape: tuple[int, int], parts: int, steps: int, points: int, kept: int, remembered: int, faults: int
) -> State:
    """For so many clusters and services, and so long axes K, M, R, Q, H, and faults."""
    count, services = shape
    return State(
        step=np.zeros(count, np.int64),
        expected=np.zeros((count, parts + 1)),
        wanted=np.zeros(shape, np.int64),
        applied=np.zeros(shape, np.int64),
        ready=np.zeros(shape, np.int64),
        starting=np.zeros(shape, np.int64),
        work=np.zeros(shape),
        backlog=np.zeros(shape),
        owed=np.zeros(shape),
        dark=np.zeros(shape, np.int64),
        cohorts=np.zeros((count, steps, services, STRETCH + 1), np.float32),
        totals=np.zeros((*shape, 3)),
        readings=np.full((count, kept, services, READING), np.nan),
        waits=np.zeros((*shape, points)),
        counts=np.zeros((*shape, points)),
        history=np.zeros((count, remembered, services), np.int32),
        level=np.zeros(count, np.int64),
        level_end=np.zeros(count),
        level_number=np.zeros(count, np.int64),
        fault_begin=np.zeros((count, faults)),
        fault_number=np.zeros((count, faults), np.int64),
        killed=np.zeros(shape, np.int64),
        cpu_share=np.ones(shape),
        pace=np.ones(shape),
        delay_seconds=np.zeros(shape),
        start_factor=np.ones(shape),
        refusal=np.zeros(count),
        is_out=np.zeros(count, np.bool_),
        frozen_seconds=np.full(count, np.inf),
    )


def empty_happened(shape: tuple[int, int], groups: int) -> Happened:
    """For so many clusters and services, and node groups."""
    count, of_groups = shape[0], (shape[0], groups)
    return Happened(
        requests=np.zeros(count, np.int64),
        offered=np.zeros(shape, np.int64),
        dropped=np.zeros(shape),
        started=np.zeros(shape, np.int64),
        late=np.zeros(count),
        busy_seconds=np.zeros(shape),
        capacity_seconds=np.zeros(shape),
        waiting_seconds=np.zeros(shape),
        pod_seconds=np.zeros(shape),
        usd=np.zeros(shape),
        node_usd=np.zeros(of_groups),
        node_seconds=np.zeros(of_groups),
        launched=np.zeros(of_groups, np.int64),
    )
