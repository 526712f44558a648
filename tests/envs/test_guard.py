"""The guard: what passes, what is clipped, what is remembered."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from envs.guard import Guard, GuardSettings
from simulator.arrays import Ints
from simulator.plant import Desired, Metric, Snapshot


def look(wanted: Ints | list[int], seconds: float = 0.0) -> Snapshot:
    counts = np.array(wanted, dtype=np.int64)
    missing = Metric.missing(counts.shape)
    time_seconds = np.full(counts.shape[:-1], seconds)
    return Snapshot(time_seconds, counts, 0 * counts, counts, 0 * counts, missing, missing, missing, missing)


def guard_of(**settings: object) -> Guard:
    return Guard(GuardSettings.model_validate({"min_replicas": [2], "max_replicas": [20]} | settings))


def asked(guard: Guard, wanted: int, wish: int, seconds: float = 0.0) -> int:
    return int(guard.allow(look([wanted], seconds), Desired(np.array([wish]))).replicas[0])


@pytest.mark.parametrize(
    ("wish", "allowed"), [(0, 2), (1, 2), (2, 2), (11, 11), (20, 20), (21, 20), (999, 20)]
)
@pytest.mark.parametrize("wanted", [0, 2, 7, 20, 50])
def test_min_and_max_are_all_that_acts_by_default(wanted: int, wish: int, allowed: int) -> None:
    guard = guard_of()
    assert [asked(guard, wanted, wish, seconds) for seconds in (0.0, 0.0, 1.0)] == [allowed] * 3
    low, high = guard.limits(look([wanted]))
    assert (low.tolist(), high.tolist()) == ([2], [20])


def test_the_reason_stays_and_the_wish_is_not_touched() -> None:
    wish = Desired(np.array([99]), "because")
    allowed = guard_of().allow(look([4]), wish)
    assert (allowed.reason, allowed.replicas.tolist(), wish.replicas.tolist()) == ("because", [20], [99])
    assert allowed.replicas.dtype == np.int64


def test_step_limits() -> None:
    guard = guard_of(max_step_up=3, max_step_down=2)
    assert [asked(guard, 10, wish) for wish in (1, 8, 9, 13, 14, 20)] == [8, 8, 9, 13, 13, 13]
    assert asked(guard, 0, 20) == 3
    assert asked(guard, 0, 0) == 2, "the bounds are stronger than a step"
    assert asked(guard, 40, 0) == 20, "the bounds are stronger than a step"


def test_cooldown_holds_after_a_change_and_only_after_one() -> None:
    guard = guard_of(cooldown_seconds=60)
    assert asked(guard, 4, 4, 0.0) == 4
    assert asked(guard, 4, 6, 15.0) == 6, "to hold starts no cool-down"
    assert [asked(guard, 6, 9, seconds) for seconds in (30.0, 60.0, 74.9)] == [6, 6, 6]
    assert asked(guard, 6, 9, 75.0) == 9
    assert asked(guard, 9, 2, 134.9) == 9
    assert asked(guard, 9, 2, 135.0) == 2


def test_a_change_that_the_plant_refused_starts_no_cooldown() -> None:
    guard = guard_of(cooldown_seconds=60)
    assert asked(guard, 4, 6, 0.0) == 6
    assert asked(guard, 4, 7, 15.0) == 7, "still 4: the first was refused"
    assert asked(guard, 7, 9, 30.0) == 7
    assert asked(guard, 7, 9, 75.0) == 9


def test_cooldown_yields_to_the_bounds() -> None:
    guard = guard_of(cooldown_seconds=60)
    assert asked(guard, 4, 6, 0.0) == 6
    assert asked(guard, 40, 30, 15.0) == 20
    assert asked(guard, 1, 1, 30.0) == 2


def test_stabilisation_scales_down_to_the_highest_wish_of_the_window() -> None:
    guard = guard_of(stabilization_seconds=60)
    assert asked(guard, 10, 9, 0.0) == 9
    assert asked(guard, 9, 5, 15.0) == 9
    assert asked(guard, 9, 7, 30.0) == 9
    assert asked(guard, 9, 3, 59.9) == 9
    assert asked(guard, 9, 3, 60.0) == 7, "the wish for 9 is as old as the window"
    assert asked(guard, 7, 3, 90.0) == 3
    assert asked(guard, 3, 12, 105.0) == 12, "up at once"
    assert asked(guard, 5, 2, 120.0) == 5, "a higher wish never scales up later"


def test_freeze_changes_nothing_but_what_the_bounds_force() -> None:
    guard = guard_of(frozen=True)
    assert [asked(guard, wanted, 9) for wanted in (2, 5, 20, 1, 33)] == [2, 5, 20, 2, 20]


@pytest.mark.parametrize("settings", [{"cooldown_seconds": 60}, {"stabilization_seconds": 60}])
def test_reset_forgets_everything(settings: dict[str, float]) -> None:
    guard = guard_of(**settings)
    assert asked(guard, 4, 9, 0.0) == 9
    assert asked(guard, 9, 3, 15.0) == 9
    guard.reset()
    assert asked(guard, 9, 3, 15.0) == 3


@pytest.mark.parametrize(
    "settings",
    [
        {"cooldown_seconds": 60},
        {"stabilization_seconds": 60},
        {"cooldown_seconds": 60, "stabilization_seconds": 60},
    ],
)
def test_reset_with_a_mask_forgets_there_alone(settings: dict[str, float]) -> None:
    guard = guard_of(**settings)
    guard.allow(look([[4], [4], [4]]), Desired(np.array([[9], [9], [9]])))
    guard.reset(np.array([False, True, False]))
    allowed = guard.allow(look([[9], [9], [9]], 15.0), Desired(np.array([[3], [3], [3]])))
    assert allowed.replicas.tolist() == [[9], [3], [9]]


def test_reset_with_a_mask_before_anything_was_asked() -> None:
    guard = guard_of(cooldown_seconds=60, stabilization_seconds=60)
    guard.reset(np.array([True]))
    assert asked(guard, 4, 9) == 9


SETTINGS = st.fixed_dictionaries(
    {
        "bounds": st.tuples(
            *[st.tuples(st.integers(0, 9), st.integers(0, 30)).map(lambda b: (b[0], b[0] + b[1]))] * 2
        ),
        "max_step_up": st.none() | st.integers(1, 5),
        "max_step_down": st.none() | st.integers(1, 5),
        "cooldown_seconds": st.sampled_from([0.0, 20.0, 45.0]),
        "stabilization_seconds": st.sampled_from([0.0, 20.0, 45.0]),
        "frozen": st.sampled_from([False, False, False, True]),
    }
).map(
    lambda drawn: GuardSettings.model_validate(
        {key: value for key, value in drawn.items() if key != "bounds"}
        | {"min_replicas": [b[0] for b in drawn["bounds"]], "max_replicas": [b[1] for b in drawn["bounds"]]}
    )
)
COUNTS = st.lists(st.lists(st.integers(0, 50), min_size=2, max_size=2), min_size=3, max_size=3)
WISHES = st.lists(st.tuples(COUNTS, st.lists(st.booleans(), min_size=3, max_size=3)), min_size=1, max_size=8)


@given(SETTINGS, COUNTS, WISHES)
def test_limits_agree_with_allow_and_many_clusters_with_single_ones(
    settings: GuardSettings, start: list[list[int]], story: list[tuple[list[list[int]], list[bool]]]
) -> None:
    together, alone = Guard(settings), [Guard(settings) for _ in range(3)]
    wanted = np.array(start, dtype=np.int64)
    for step, (wishes, resets) in enumerate(story):
        seconds = 15.0 * step
        if any(resets):
            together.reset(np.array(resets))
            for guard, forget in zip(alone, resets, strict=True):
                if forget:
                    guard.reset()
        snapshot, wish = look(wanted, seconds), np.array(wishes, dtype=np.int64)
        low, high = together.limits(snapshot)
        assert low.shape == high.shape == wanted.shape
        assert (low <= high).all()
        assert (low >= settings.min_replicas).all()
        assert (high <= settings.max_replicas).all()
        before = dataclasses.replace(snapshot, wanted=wanted.copy())
        allowed = together.allow(snapshot, Desired(wish)).replicas
        assert np.array_equal(allowed, np.clip(wish, low, high))
        assert np.array_equal(snapshot.wanted, before.wanted)
        assert np.array_equal(wish, wishes)
        for index, guard in enumerate(alone):
            single = guard.allow(look(wanted[index], seconds), Desired(wish[index])).replicas
            assert np.array_equal(single, allowed[index])
        wanted = allowed


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (
            {"min_replicas": [5], "max_replicas": [4]},
            "min_replicas (5) must be at least 0 and at most max_replicas (4)",
        ),
        ({"min_replicas": [-1]}, "min_replicas (-1) must be at least 0"),
        ({"min_replicas": [1, 1]}, "must name the same services"),
        ({"max_step_up": 0}, "max_step_up"),
        ({"max_step_down": 0}, "max_step_down"),
        ({"cooldown_seconds": -1}, "cooldown_seconds"),
        ({"stabilization_seconds": -1}, "stabilization_seconds"),
        ({"min": [1]}, "min\n"),
    ],
)
def test_wrong_settings_are_refused(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        guard_of(**wrong)
    assert said in str(caught.value)
