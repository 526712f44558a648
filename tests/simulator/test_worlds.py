"""Whole worlds by chance: conservation and order, whatever breaks and whatever is asked for."""

from __future__ import annotations

from random import Random
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_cluster import content
from witness import Witness
from worlds import World, draw_world

from simulator.events import What
from simulator.plant import Desired, Interval, Snapshot

WORLDS = 10_000
EXACT = (
    "offered",
    "started",
    "served",
    "dropped",
    "timed_out",
    "failed",
    "retried",
    "refused",
    "pods_started",
)


def run(witness: Witness, *, pieces: int = 1) -> list[Interval | Snapshot]:
    """Run a world's script; each step at once, or in so many pieces."""
    cluster = witness.build()
    told: list[Interval | Snapshot] = []
    asked: Desired | None = None
    for step in witness.world.steps:
        asked = step.desired or asked
        if asked is not None:
            try:
                cluster.apply(asked)
                asked = None
            except OSError:
                pass
        for _ in range(pieces):
            interval = cluster.advance(step.seconds / pieces)
            witness.check_interval(interval)
            told.append(interval)
        told.append(cluster.snapshot())
        witness.check_snapshot(told[-1])
    return told


def check(number: int) -> None:
    try:
        run(Witness(draw_world(Random(number))))
    except Exception as error:
        error.add_note(f"world {number}")
        raise


@settings(max_examples=100, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.randoms(use_true_random=False))
def test_what_must_hold_holds_in_small_worlds(random: Random) -> None:
    run(Witness(draw_world(random)))


@pytest.mark.parametrize("first", range(0, 200, 50))
def test_what_must_hold_holds_in_worlds(first: int) -> None:
    for number in range(first, first + 50):
        check(number)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_what_must_hold_holds_in_many_worlds() -> None:
    for number in range(1000, 1000 + WORLDS):
        check(number)


@pytest.mark.parametrize("first", range(0, 60, 20))
def test_the_same_seed_gives_the_same_bytes(first: int) -> None:
    for number in range(first, first + 20):
        one, two = (Witness(draw_world(Random(number)), looks_inside=False) for _ in range(2))
        assert [content(each) for each in run(one)] == [content(each) for each in run(two)], number
        assert one.events == two.events, number


@pytest.mark.parametrize("first", range(0, 60, 20))
def test_how_time_is_cut_changes_nothing(first: int) -> None:
    for number in range(first, first + 20):
        whole, cut = (Witness(draw_world(Random(number)), looks_inside=False) for _ in range(2))
        at_once, in_pieces = run(whole), run(cut, pieces=4)
        assert events(whole) == events(cut), number
        assert_alike(totals(at_once), totals(in_pieces))
        for one, two in zip(snapshots(at_once), snapshots(in_pieces), strict=True):
            assert one.ready.tolist() == two.ready.tolist()
            np.testing.assert_allclose(one.cpu.value, two.cpu.value, rtol=1e-6, atol=1e-9)
            np.testing.assert_allclose(one.rate.value, two.rate.value, rtol=1e-6, atol=1e-9)


def events(witness: Witness) -> list[Any]:
    """Without nodes a drained pod is gone when somebody looks: that may differ."""
    left_out = set() if witness.groups else {"pod gone"}
    return [event for event in witness.events if event.what not in left_out]


def snapshots(told: list[Interval | Snapshot]) -> list[Snapshot]:
    return [each for each in told if isinstance(each, Snapshot)]


def totals(told: list[Interval | Snapshot]) -> dict[str, np.ndarray]:
    intervals = [each for each in told if isinstance(each, Interval)]
    names = (*EXACT, "busy_slot_seconds", "cpu_seconds", "pod_seconds", "serving_slot_seconds", "total_usd")
    return {name: np.sum([getattr(each, name) for each in intervals], axis=0) for name in names}


def assert_alike(one: dict[str, np.ndarray], two: dict[str, np.ndarray]) -> None:
    for name, value in one.items():
        if name in EXACT:
            assert value.tolist() == two[name].tolist(), name
        else:
            np.testing.assert_allclose(value, two[name], rtol=1e-6, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("first", range(0, 60, 20))
def test_what_is_asked_for_comes_where_nothing_hinders(first: int) -> None:
    for number in range(first, first + 20):
        witness = Witness(draw_world(Random(number), calm=True), looks_inside=False)
        told = snapshots(run(witness))
        assert any((each.ready == each.wanted).all() and not each.starting.any() for each in told[-12:]), (
            number
        )


def test_everything_that_can_happen_happens_in_them() -> None:
    happened = set()
    for number in range(100):
        witness = Witness(draw_world(Random(number)), looks_inside=False)
        run(witness)
        happened |= {event.what for event in witness.events}
    assert happened == set(get_args(What))


def test_a_world_with_nodes_and_one_without_are_among_them() -> None:
    worlds: list[World] = [draw_world(Random(number)) for number in range(100)]
    kinds = {fault.kind for world in worlds for fault in world.scenario.faults}
    assert len(kinds) == 14
    assert {world.scenario.cluster is None for world in worlds} == {True, False}
    assert {len(world.scenario.system.services) for world in worlds} == {1, 2, 3}
