"""What is searched of each rule: every point is a policy, and means what it says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.registry import RULES, Spec, check_settings, make, parse_spec
from agents.space import Ground, Point, Range, Space
from envs.task import load_task
from experiments.run import make_context
from simulator.trace import Trace

SPACES = {name: rule.space for name, rule in RULES.items() if rule.space is not None}
HOURS = np.repeat([100.0, 100.0, 400.0, 800.0, 400.0, 100.0], 4)
"""Requests/s in each hour of a day."""


def ground(task: str = "web", start_seconds: float = 0.0, rates: Any = HOURS, **facts: Any) -> Ground:
    load = Trace(np.repeat(rates, 60) * 60.0, 60.0, start_seconds, name="day")
    context = make_context(load_task(task), None, 0, start_seconds)
    return Ground(replace(context, **facts), load)


def spec_of(space: Space, point: Point, on: Ground) -> str:
    return str(Spec(space.name, space.settings_at(point, on)))


@st.composite
def points(draw: st.DrawFn, space: Space) -> Point:
    return tuple(
        axis.rounded(draw(st.floats(axis.low, axis.high)))
        if isinstance(axis, Range)
        else draw(st.sampled_from(axis))
        for axis in space.axes.values()
    )


def test_all_rules_that_change_replicas_have_a_space() -> None:
    assert set(RULES) - set(SPACES) == {"vpa"}
    assert all(name == space.name for name, space in SPACES.items())


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("task", ["web", "shop3"])
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_every_point_is_a_policy_that_its_spec_makes_again(name: str, task: str, data: st.DataObject) -> None:
    space, on = SPACES[name], ground(task)
    point = data.draw(points(space))
    spec = spec_of(space, point, on)
    assert str(parse_spec(spec)) == spec
    assert check_settings(parse_spec(spec)) == check_settings(Spec(name, space.settings_at(point, on)))
    make(spec, on.context)
    if space.is_plain:
        assert space.label(point) == spec


@pytest.mark.parametrize("name", SPACES)
def test_without_a_point_it_is_the_rule_as_it_is(name: str) -> None:
    assert spec_of(SPACES[name], (), ground()) == SPACES[name].label(()) == name
    assert SPACES[name].neighbours(()) == []


@given(st.floats(0.01, 5), st.floats(0, 5), st.floats(0, 1))
def test_a_range_keeps_to_its_ends(low: float, width: float, share: float) -> None:
    axis = Range(low, low + width)
    rounded = axis.rounded(low + share * width)
    assert axis.low <= rounded <= axis.high
    assert rounded == pytest.approx(low + share * width, rel=0.01)


def test_neighbours_are_a_step_away_on_each_axis() -> None:
    space = Space("any", {"a": (1, 2, 3), "b": ("x", "y")})
    assert space.neighbours((1, "y")) == [(1, "x"), (1, "y"), (2, "x"), (2, "y")]
    assert len(space.neighbours((2, "x"))) == 6
    assert space.points == [(1, "x"), (1, "y"), (2, "x"), (2, "y"), (3, "x"), (3, "y")]


def test_a_fixed_count_is_a_multiple_of_the_need_at_the_peak() -> None:
    """800 requests/s at 80 a pod are ten pods."""
    at = {point: SPACES["fixed"].settings_at(point, ground())["replicas"] for point in SPACES["fixed"].points}
    assert at[(1.0,)] == 10
    assert at[(1.01,)] == 11
    assert (min(at.values()), max(at.values())) == (2, 20)


def test_kedas_target_is_a_share_of_what_a_pod_serves() -> None:
    found = SPACES["keda"].settings_at((0.6, 60, "gentle"), ground())
    assert found == {"target": 48.0, "window": 60, "scale_up": "gentle"}


def test_a_schedule_follows_the_day_and_is_early_where_it_rises() -> None:
    found = SPACES["schedule"].settings_at((0.5, 1.0, 4, 15), ground())
    assert found["lines"] == ["45 7 * * * = 10", "45 11 * * * = 20", "0 16 * * * = 10", "0 20 * * * = 3"]
    found = SPACES["schedule"].settings_at((0.5, 1.0, 8, 0), ground())
    assert found["lines"] == ["0 0 * * * = 3", "0 8 * * * = 20", "0 16 * * * = 10"]


def test_a_schedule_goes_by_the_traces_clock() -> None:
    """A day that begins at 4 o'clock: the same hours of the clock have the same load."""
    shifted = ground(start_seconds=3 * 86_400 + 4 * 3600.0, rates=np.roll(HOURS, -4))
    space = SPACES["schedule"]
    for point in space.points[::7]:
        assert space.settings_at(point, shifted) == space.settings_at(point, ground())
    policy = make(spec_of(space, (0.5, 1.0, 4, 0), shifted), shifted.context)
    task = load_task("web")
    seen = task.build(0, shifted.load).snapshot()
    for hours, count in ((0.0, 3), (3.9, 3), (4.1, 10), (8.1, 20), (16.1, 3)):
        wish = policy.decide(replace(seen, time_seconds=np.float64(3600 * hours)))
        assert wish.replicas.tolist() == [count], hours


def test_hours_without_load_get_what_all_of_it_needs_and_an_even_load_one_line() -> None:
    morning = ground(rates=HOURS[:8])
    assert SPACES["schedule"].settings_at((0.5, 1.0, 8, 0), morning)["lines"] == ["0 0 * * * = 3"]
    rising = ground(rates=np.array([100.0, 800.0]))
    lines = SPACES["schedule"].settings_at((0.5, 1.0, 1, 0), rising)["lines"]
    assert lines == ["0 0 * * * = 3", "0 1 * * * = 20"]


def test_a_step_scaling_policys_alarms_lie_apart() -> None:
    found = SPACES["step_scaling"].settings_at((0.65, 0.3, 20, 60), ground())
    made = check_settings(Spec("step_scaling", found)).model_dump()
    assert (made["high"], made["low"]) == (0.65, 0.35)
    assert [step["adjustment"] for step in made["scale_out"]["steps"]] == [20, 60]
