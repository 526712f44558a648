"""The simulated control plane beside a real one: the same counts over time, the same nodes, the same victims.

The scheduler scores by requests alone, as the simulator does. Nodes are of such sizes that no two have the same
score when a pod comes: Kubernetes draws among equal ones. A pod's times are whole seconds in Kubernetes, and
from 1.22 on it tells apart only powers of two of how long a pod has been ready, with ties by chance; older versions
and the simulator compare the times themselves.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest
from beside_kubernetes import STATES, Act, Course, Kind, Life, RealWorld, World, simulate
from control_plane.cluster import ControlPlane

from simulator.arrays import Floats
from simulator.pods import NO_NODE, PENDING, READY, STARTING, Pods
from simulator.scheduler import score

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
Play = tuple[Course, Course]
PHASES = {"created": PENDING, "bound": PENDING, "running": STARTING, "ready": READY}
TRIES = 3
SURGE_SHARE = UNAVAILABLE_SHARE = 0.25


@dataclass(frozen=True)
class Script:
    """A world, what is done in it, and for how long it is watched.

    Attributes:
        steps: of a roll-out, each of which waits for the pods of the one before.
    """

    world: World
    acts: tuple[Act, ...]
    seconds: float
    steps: int = 1


WEB = Kind("web", 380, 1100)
FIVE = ((1400, 4090, 60), (5200, 8760, 60), (5700, 24400, 60), (7700, 30750, 60), (2200, 8040, 60))
DENSE = Kind("web", 650, 470)
FIVE_DENSE = ((4600, 2820, 60), (5800, 4210, 60), (9000, 6350, 60), (4300, 3650, 60), (15600, 10380, 60))
SMALL = Kind("web", 610, 1070)
BIG = Kind("big", 3000, 6000)
THREE = ((1800, 5020, 60), (4200, 7220, 60), (4000, 10190, 60))


def to(replicas: int, at_seconds: float, kind: str = "web") -> Act:
    return Act(at_seconds, kind, replicas)


SCRIPTS = {
    "spread": Script(
        World((WEB,), FIVE),
        (to(1, 0), to(10, 2), to(40, 4), to(25, 8), to(12, 10), to(3, 12)),
        14,
    ),
    "filled": Script(
        World((DENSE,), FIVE_DENSE, packing="most_allocated"),
        (to(1, 0), to(10, 2), to(40, 4), to(27, 8), to(19, 10), to(12, 12), to(10, 14)),
        16,
    ),
    "more than fits": Script(
        World((SMALL, BIG), THREE),
        (to(1, 0, "big"), to(16, 2), to(0, 7, "big"), to(13, 11)),
        13,
    ),
    "each of its own age": Script(
        World((WEB,), FIVE, start_seconds=1.0),
        (*(to(n + 1, n) for n in range(8)), *(to(7 - n, 9 + n) for n in range(7))),
        17,
    ),
    "all phases": Script(
        World((SMALL,), THREE, start_seconds=5.0),
        (to(6, 0), to(10, 6), to(17, 9), to(15, 9.5), to(14, 10), to(7, 10.5), to(4, 14)),
        15.5,
    ),
    "one that is pending, by itself": Script(
        World((WEB,), FIVE, start_seconds=5.0), (to(6, 0), to(7, 4), to(6, 4.5)), 7
    ),
    "zones": Script(
        World((WEB,), FIVE, ("a", "a", "b", "c", "c")),
        (to(4, 0), to(23, 3), to(9, 7), to(14, 9)),
        13,
    ),
    "a node is drained": Script(
        World((WEB,), FIVE), (to(12, 0), Act(4, drained=3), to(16, 8), to(5, 12)), 14
    ),
    "roll-out": Script(
        World((WEB,), FIVE, start_seconds=1.0), (to(10, 0), Act(3, "web", milli=300)), 10, steps=2
    ),
    "roll-out of what starts": Script(
        World((WEB,), FIVE), (to(6, 0), to(12, 4), Act(4.5, "web", milli=300)), 13, steps=2
    ),
}


TOGETHER = (
    ("spread",),
    ("filled",),
    ("more than fits",),
    ("each of its own age", "all phases", "one that is pending, by itself", "zones"),
    ("a node is drained", "roll-out", "roll-out of what starts"),
)
"""Most of a script is waiting. Those that make much work stand alone, and so does that in which pods wait for room:
each pod that goes anywhere makes the scheduler try them again, and then they wait for a second at least."""


@pytest.mark.parametrize("names", TOGETHER, ids=", ".join)
def test_both_go_the_same_way(names: tuple[str, ...], controllers: ControlPlane) -> None:
    with ThreadPoolExecutor(len(names)) as pool:
        for _ in pool.map(partial(agree, controllers), names):
            pass


def agree(controllers: ControlPlane, name: str) -> None:
    """Perform a script until the two agree in a performance in which the real one was prompt; the last try need not be.

    What stands still for a moment on a busy machine is late once; what is simulated wrongly is wrong each time.
    """
    script = SCRIPTS[name]
    for tries_left in reversed(range(TRIES)):
        real, simulated = perform(controllers, script)
        try:
            compare(script, real, simulated, ages_tell=controllers.version < (1, 22))
        except AssertionError as error:
            if not tries_left:
                error.add_note(f"script: {name}")
                raise
        else:
            if script.steps > 1 or was_prompt(real, simulated):
                return


def perform(controllers: ControlPlane, script: Script) -> Play:
    with RealWorld(controllers, controllers.create_namespace(), script.world) as world:
        real = world.play(script.acts, script.seconds)
    return real, simulate(script.world, real.acts, script.seconds)


def compare(script: Script, real: Course, simulated: Course, *, ages_tell: bool) -> None:
    for kind in script.world.kinds:
        assert_counts_agree(kind.name, real, simulated, script)
        if any(act.milli for act in script.acts):
            assert_within_bounds(kind.name, simulated)
            continue
        assert [life.node for life in simulated.of(kind.name)] == [life.node for life in real.of(kind.name)]
        if not ages_tell:
            continue
        for now, then in victims_of(kind.name, real):
            assert then == by_rule(kind.name, real, now, len(then))
        if was_prompt(real, simulated):
            assert cohorts_of_victims(kind.name, simulated) == cohorts_of_victims(kind.name, real)
    if not any(act.milli for act in script.acts):
        assert_best_nodes(script.world, real)


def assert_counts_agree(kind: str, real: Course, simulated: Course, script: Script) -> None:
    """As many pods have come into each state within a second, and what is counted was counted there within a second.

    A busy machine needs more: what the API takes for a change, twice for each pod, one after the other.
    """
    replicas = [act.replicas for act in real.acts if act.replicas is not None]
    tolerance = script.steps * max(1.0, 2 * real.latency_seconds * max(replicas))
    for state in STATES:
        ours, theirs = entered(simulated, kind, state), entered(real, kind, state)
        assert len(ours) == len(theirs), (kind, state)
        assert np.abs(ours - theirs).max(initial=0.0) <= tolerance, (kind, state, ours, theirs)
    for state, moment in itertools.product(STATES[:-1], changes(simulated, kind)):
        stays = [(getattr(life, state), life.left(state)) for life in real.of(kind)]
        surely = sum(begin + tolerance <= moment < end - tolerance for begin, end in stays)
        perhaps = sum(begin - tolerance <= moment < end + tolerance for begin, end in stays)
        counted = simulated.count(kind, state, moment)
        assert surely <= counted <= perhaps, (kind, state, moment, counted, stays)


def entered(course: Course, kind: str, state: str) -> Floats:
    """When pods of a kind came into a state, in order."""
    times = np.sort([getattr(life, state) for life in course.of(kind)])
    return np.asarray(times[np.isfinite(times)])


def changes(course: Course, kind: str) -> list[float]:
    """When anything became of pods of a kind."""
    times = np.concatenate([entered(course, kind, state) for state in STATES])
    return np.unique(times).tolist()


def victims_of(kind: str, course: Course) -> list[tuple[float, list[tuple[float, ...]]]]:
    """When pods were told to go because fewer were wanted, and what they were by what a ReplicaSet looks at."""
    found = []
    for act, end in spans(kind, course):
        rows = [row for row, life in enumerate(course.of(kind)) if act.at_seconds <= life.told < end]
        if rows and act.drained is None:
            found.append((act.at_seconds, sorted(keys(kind, course, act.at_seconds, rows))))
    return found


def spans(kind: str, course: Course) -> list[tuple[Act, float]]:
    """What was done that a kind's pods may go for, and when the next thing was done."""
    acts = [act for act in course.acts if act.kind in {kind, ""}]
    ends = [act.at_seconds for act in acts[1:]] + [np.inf]
    return list(zip(acts, ends, strict=True))


def pods_at(kind: str, course: Course, now: float) -> Pods:
    """The pods as they were, for the simulator's rule; rows are places in the order of creation."""
    lives = course.of(kind)
    pods = Pods(np.array([100]), np.array([100]))
    for life in lives:
        row = pods.add(0, life.created_stamp, 100, 100)
        state = life.state(now)
        if state not in PHASES:
            continue
        pods.phase[row] = PHASES[state]
        pods.node[row] = NO_NODE if state == "created" else life.node
        pods.ready[row] = life.ready_stamp if state == "ready" else np.inf
    absent = [row for row, life in enumerate(lives) if life.state(now) not in PHASES]
    pods.service[absent] = -1
    return pods


def keys(kind: str, course: Course, now: float, rows: Sequence[int]) -> list[tuple[float, ...]]:
    """Node or none, phase, neighbours of the same kind, whole seconds since it was ready and since it was created."""
    pods = pods_at(kind, course, now)
    together = Counter(pods.node[pods.service == 0].tolist())
    return [
        (
            float(pods.node[row] != NO_NODE),
            float(pods.phase[row]),
            float(together[pods.node[row]]),
            float(pods.ready[row]),
            float(pods.created[row]),
        )
        for row in rows
    ]


def by_rule(kind: str, course: Course, now: float, count: int) -> list[tuple[float, ...]]:
    """What the simulator would remove from the pods that there were."""
    return sorted(keys(kind, course, now, pods_at(kind, course, now).to_remove(0, count)))


def was_prompt(real: Course, simulated: Course) -> bool:
    """Whether what belongs together happened within the same second of the clock and before the next thing was done.

    If not, the machine was too slow for what the script wants to show.
    """
    seconds: dict[tuple[str, float], set[float]] = {}
    for kind in {life.kind for life in simulated.lives}:
        if len(real.of(kind)) != len(simulated.of(kind)):
            return False
        for theirs, ours in zip(real.of(kind), simulated.of(kind), strict=True):
            seconds.setdefault(("created", ours.created), set()).add(theirs.created_stamp)
            if max(ours.ready, theirs.ready) < math.inf:
                seconds.setdefault(("ready", ours.ready), set()).add(theirs.ready_stamp)
            if real.acts_before(theirs.created) != simulated.acts_before(ours.created):
                return False
    return all(len(each) == 1 for each in seconds.values())


def cohorts_of_victims(kind: str, course: Course) -> list[Counter[tuple[int, int]]]:
    """Each time that pods went: after which act they had been created, and their nodes."""
    lives = course.of(kind)
    return [
        Counter(
            (course.acts_before(life.created), life.node)
            for life in lives
            if act.at_seconds <= life.told < end
        )
        for act, end in spans(kind, course)
    ]


def assert_best_nodes(world: World, course: Course) -> None:
    """Each pod went where the simulator's score was best, and nowhere else was it as good."""
    capacity = np.array(world.nodes)
    requests = {kind.name: np.array([kind.milli, kind.mib, 1]) for kind in world.kinds}
    drained = [(act.drained, act.at_seconds) for act in course.acts if act.drained is not None]
    placed: list[Life] = []
    zones = world.zone_of_nodes
    order = [(life.bound if life.bound > life.created + 0.5 else life.created, life) for life in course.lives]
    for when, life in sorted((pair for pair in order if pair[1].node >= 0), key=lambda pair: pair[0]):
        used = np.zeros_like(capacity)
        for other in placed:
            if other.gone > when:
                used[other.node] += requests[other.kind]
        used += requests[life.kind]
        scores = np.where((used <= capacity).all(axis=1), score(capacity, used, world.packing), -1)
        scores[[node for node, since in drained if since <= when]] = -1
        mates = [other for other in placed if other.kind == life.kind and other.told > when]
        mates_by_zone = Counter(zones[other.node] for other in mates)
        fewest = min(mates_by_zone[zone] for zone in zones)
        scores[[node for node, zone in enumerate(zones) if mates_by_zone[zone] > fewest]] = -1
        assert np.flatnonzero(scores == scores.max()).tolist() == [life.node]
        placed.append(life)


def assert_within_bounds(kind: str, course: Course) -> None:
    """During a roll-out never too many pods and, once there were enough, never too few that are ready."""
    rolled = next(act.at_seconds for act in course.acts if act.milli is not None)
    enough = False
    for moment in changes(course, kind):
        wanted = [act.replicas or 0 for act in course.acts if act.at_seconds <= moment and act.replicas][-1]
        if moment < rolled:
            continue
        counts = {state: course.count(kind, state, moment) for state in PHASES}
        assert sum(counts.values()) <= wanted + math.ceil(SURGE_SHARE * wanted)
        fewest = wanted - math.floor(UNAVAILABLE_SHARE * wanted)
        enough |= counts["ready"] >= fewest
        assert counts["ready"] >= fewest or not enough
