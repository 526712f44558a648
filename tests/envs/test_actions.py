"""The action table: what an action asks for, and which ones the guard leaves alone."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from envs.actions import ActionMap
from envs.guard import Guard, GuardSettings
from simulator.arrays import Ints
from simulator.plant import Desired, Metric, Snapshot


def look(wanted: Ints | list[int], seconds: float = 0.0) -> Snapshot:
    counts = np.array(wanted, dtype=np.int64)
    known, missing = Metric(0.5 * np.ones(counts.shape), np.zeros(counts.shape)), Metric.missing(counts.shape)
    time_seconds = np.full(counts.shape[:-1], seconds)
    return Snapshot(time_seconds, counts, 0 * counts, counts, 0 * counts, known, known, missing, missing)


ACTIONS = ActionMap()
CHANGES = st.lists(
    st.sampled_from([-1.0, -0.6, -0.5, -0.3, -0.01, 0.01, 0.3, 0.5, 1.0, 2.5]), min_size=1, unique=True
).map(lambda changes: ActionMap(changes=tuple(sorted([0.0, *changes]))))


@pytest.mark.parametrize(
    ("wanted", "asked"),
    [
        (10, [5, 8, 9, 9, 10, 11, 11, 12, 15, 20]),
        (1, [0, 0, 0, 0, 1, 2, 2, 2, 2, 2]),
        (0, [0, 0, 0, 0, 0, 1, 1, 1, 1, 1]),
        (200, [100, 150, 180, 198, 200, 202, 220, 250, 300, 400]),
    ],
)
def test_the_default_table(wanted: int, asked: list[int]) -> None:
    found = [ACTIONS.desired(np.array([action]), look([wanted])).replicas for action in range(10)]
    assert [replicas.tolist() for replicas in found] == [[count] for count in asked]
    assert {replicas.dtype for replicas in found} == {np.dtype(np.int64)}


def test_hold_changes_nothing() -> None:
    assert ACTIONS.changes[ACTIONS.hold] == 0
    wanted = np.arange(300).reshape(100, 3)
    held = ACTIONS.desired(np.full(wanted.shape, ACTIONS.hold), look(wanted))
    assert np.array_equal(held.replicas, wanted)


@given(CHANGES)
def test_every_action_is_monotone_and_does_what_its_sign_says(actions: ActionMap) -> None:
    wanted = np.arange(1, 400)[:, np.newaxis]
    columns = [
        actions.desired(np.full_like(wanted, action), look(wanted)).replicas
        for action in range(len(actions.changes))
    ]
    table = np.concatenate(columns, axis=1)
    assert (np.diff(table, axis=0) >= 0).all(), "more wanted gives no fewer"
    assert (np.diff(table, axis=1) >= 0).all(), "a higher action gives no fewer"
    assert np.array_equal(np.sign(table - wanted), np.broadcast_to(np.sign(actions.changes), table.shape))
    assert (np.abs(table - wanted) <= np.maximum(np.abs(actions.changes) * wanted + 0.5, 1)).all()


@given(
    CHANGES,
    st.tuples(st.integers(0, 6), st.integers(0, 60)),
    st.none() | st.integers(1, 4),
    st.sampled_from([0.0, 30.0]),
    st.sampled_from([0.0, 30.0]),
    st.lists(st.integers(0, 70), min_size=4, max_size=4),
)
def test_the_mask_is_what_the_guard_leaves_unchanged(
    actions: ActionMap,
    bounds: tuple[int, int],
    step: int | None,
    cooldown: float,
    window: float,
    counts: list[int],
) -> None:
    settings = GuardSettings(
        min_replicas=(bounds[0],) * 2,
        max_replicas=(sum(bounds),) * 2,
        max_step_up=step,
        cooldown_seconds=cooldown,
        stabilization_seconds=window,
    )
    before, now = look(np.array(counts).reshape(2, 2)), look(np.array(counts[::-1]).reshape(2, 2), 15.0)

    def guard_that_remembers() -> Guard:
        guard = Guard(settings)
        guard.allow(before, Desired(before.wanted + np.array([[0, 1], [2, 0]])))
        return guard

    mask = actions.mask(now, guard_that_remembers())
    assert mask.shape == (2, 2, len(actions.changes))
    for action in range(len(actions.changes)):
        wish = actions.desired(np.full((2, 2), action), now)
        passes = guard_that_remembers().allow(now, wish).replicas == wish.replicas
        expected = passes | (action == actions.hold)
        assert np.array_equal(mask[..., action], expected)


@pytest.mark.parametrize("name", ["cpu", "rate"])
def test_where_a_metric_is_missing_every_action_holds(name: str) -> None:
    wanted = np.full((2, 2), 10)
    value = np.array([[0.5, np.nan], [0.5, 0.5]])
    seen = dataclasses.replace(look(wanted), **{name: Metric(value, np.zeros((2, 2)))})
    guard = Guard(GuardSettings(min_replicas=(1, 1), max_replicas=(90, 90)))
    mask = ACTIONS.mask(seen, guard)
    assert mask.sum(axis=-1).tolist() == [[10, 1], [10, 10]]
    assert mask[0, 1, ACTIONS.hold]
    for action in range(len(ACTIONS.changes)):
        asked = ACTIONS.desired(np.full((2, 2), action), seen).replicas
        assert asked[0, 1] == 10
        assert (asked[1] == asked[0, 0]).all()


def test_a_service_without_ready_pods_can_be_scaled_up_again() -> None:
    seen = dataclasses.replace(
        look([0]),
        ready=np.array([0]),
        cpu=Metric.missing((1,)),
        rate=Metric(np.array([20.0]), np.array([15.0])),
    )
    assert ACTIONS.desired(np.array([9]), seen).replicas.tolist() == [1]
    assert ACTIONS.mask(seen, Guard(GuardSettings(min_replicas=(0,), max_replicas=(9,))))[0, 9]


def test_hold_may_always_be_taken() -> None:
    guard = Guard(GuardSettings(min_replicas=(5,), max_replicas=(6,)))
    mask = ACTIONS.mask(look([50]), guard)
    assert np.flatnonzero(mask[0]).tolist() == [ACTIONS.hold]


def test_many_clusters_equal_single_ones() -> None:
    rng = np.random.default_rng(5)
    wanted, chosen = rng.integers(0, 90, (6, 4, 2)), rng.integers(0, 10, (6, 4, 2))
    guard = Guard(GuardSettings(min_replicas=(2, 3), max_replicas=(80, 60), max_step_down=9))
    together, mask = ACTIONS.desired(chosen, look(wanted)).replicas, ACTIONS.mask(look(wanted), guard)
    for place in itertools.product(range(6), range(4)):
        assert np.array_equal(ACTIONS.desired(chosen[place], look(wanted[place])).replicas, together[place])
        assert np.array_equal(ACTIONS.mask(look(wanted[place]), guard), mask[place])


@pytest.mark.parametrize(
    "changes", [(0.1, 0.0), (0.0,), (-0.1, 0.1), (-1.5, 0.0), (0.0, 0.0, 1.0), (0.0, np.nan)]
)
def test_wrong_tables_are_refused(changes: tuple[float, ...]) -> None:
    with pytest.raises(ValidationError, match="changes"):
        ActionMap(changes=changes)
