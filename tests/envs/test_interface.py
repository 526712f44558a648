"""The Interface: what must agree, its fingerprint, and how a difference is told."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest

import envs.interface
from envs.interface import Interface
from envs.observer import FEATURES
from envs.task import load_task
from simulator.errors import InputError

INTERFACE = load_task("web").interface


def changed(path: str, value: object) -> Interface:
    content = INTERFACE.model_dump(mode="json")
    place: Any = content
    *parents, last = path.split(".")
    for parent in parents:
        place = place[parent]
    assert place[last] != value
    place[last] = value
    return Interface.model_validate(content)


FACTS = [
    ("services", ["api"]),
    ("observer.capacity_rps", [81.0]),
    ("observer.slots_per_pod", [5]),
    ("observer.slo_seconds", 0.25),
    ("observer.period_seconds", 30.0),
    ("actions.changes", [-0.5, 0.0, 0.5]),
    ("guard.max_step_up", 3),
    ("guard.max_step_down", 3),
    ("guard.cooldown_seconds", 30.0),
    ("guard.stabilization_seconds", 60.0),
    ("guard.frozen", True),
    ("period_seconds", 30.0),
]
BOUNDS = [("guard.min_replicas", [3]), ("guard.max_replicas", [30])]


def leaves(content: object, path: str = "") -> list[str]:
    if isinstance(content, dict):
        return [leaf for key, part in content.items() for leaf in leaves(part, f"{path}.{key}".lstrip("."))]
    return [path]


def test_the_cases_below_name_every_field() -> None:
    assert sorted(leaves(INTERFACE.model_dump(mode="json"))) == sorted(path for path, _ in FACTS + BOUNDS)


@pytest.mark.parametrize(("path", "value"), FACTS)
def test_every_fact_changes_the_fingerprint_and_is_told(path: str, value: object) -> None:
    other = changed(path, value)
    assert other.fingerprint() != INTERFACE.fingerprint()
    told = INTERFACE.mismatch(json.loads(json.dumps(other.facts())))
    ours = json.loads(json.dumps(INTERFACE.facts()))[path]
    assert told == f"{path} is {value} there and {ours} here"


@pytest.mark.parametrize(("path", "value"), BOUNDS)
def test_bounds_are_no_facts(path: str, value: object) -> None:
    other = changed(path, value)
    assert other != INTERFACE
    assert other.fingerprint() == INTERFACE.fingerprint()
    assert INTERFACE.mismatch(json.loads(json.dumps(other.facts()))) == ""
    assert path not in INTERFACE.facts()


@pytest.mark.parametrize(
    ("name", "value"), [("name", "other"), ("unit", "other"), ("scale", 7.0), ("low", -3.0), ("high", 11.0)]
)
def test_every_part_of_a_feature_is_a_fact(name: str, value: object, monkeypatch: pytest.MonkeyPatch) -> None:
    before, facts = INTERFACE.fingerprint(), json.loads(json.dumps(INTERFACE.facts()))
    features = (*FEATURES[:-1], dataclasses.replace(FEATURES[-1], **{name: value}))  # type: ignore[arg-type]
    monkeypatch.setattr(envs.interface, "FEATURES", features)
    assert INTERFACE.fingerprint() != before
    assert INTERFACE.mismatch(facts).startswith("observer.features is ")


def test_order_of_features_version_and_actor_are_in_the_fingerprint(monkeypatch: pytest.MonkeyPatch) -> None:
    prints = {INTERFACE.fingerprint(), INTERFACE.fingerprint("one"), INTERFACE.fingerprint("two")}
    monkeypatch.setattr(envs.interface, "FEATURES", FEATURES[::-1])
    prints.add(INTERFACE.fingerprint())
    monkeypatch.undo()
    monkeypatch.setattr(envs.interface, "VERSION", 999)
    prints.add(INTERFACE.fingerprint())
    assert len(prints) == 5
    assert all(len(print_) == 64 and set(print_) <= set("0123456789abcdef") for print_ in prints)


def test_the_same_interface_made_twice_has_one_fingerprint() -> None:
    again = Interface.model_validate(json.loads(INTERFACE.model_dump_json()))
    assert again == INTERFACE
    assert again.fingerprint("actor") == INTERFACE.fingerprint("actor")
    assert INTERFACE.mismatch(json.loads(json.dumps(again.facts()))) == ""


def test_several_differences_and_missing_facts_are_all_told() -> None:
    facts = json.loads(json.dumps(INTERFACE.facts()))
    del facts["period_seconds"]
    facts |= {"services": ["api"], "colour": "blue"}
    told = INTERFACE.mismatch(facts).split("; ")
    assert sorted(told) == [
        "colour is blue there and None here",
        "period_seconds is None there and 15.0 here",
        "services is ['api'] there and ['web'] here",
    ]


def test_tightened_changes_bounds_alone() -> None:
    tight = INTERFACE.tightened(np.array([3]), np.array([9]))
    assert (tight.guard.min_replicas, tight.guard.max_replicas) == ((3,), (9,))
    assert tight.fingerprint() == INTERFACE.fingerprint()
    assert tight.tightened(np.array([3]), np.array([9])) == tight


@pytest.mark.parametrize("bounds", [(10, 9), (1, 9), (3, 201)])
def test_bounds_outside_the_trained_ones_are_refused(bounds: tuple[int, int]) -> None:
    low, high = bounds
    with pytest.raises(InputError, match=f"web: bounds {low} to {high} must be within 2 to 200"):
        INTERFACE.tightened(np.array([low]), np.array([high]))


def test_it_makes_fresh_parts() -> None:
    assert INTERFACE.new_guard() is not INTERFACE.new_guard()
    assert INTERFACE.new_observer() is not INTERFACE.new_observer()
    assert INTERFACE.new_guard().settings == INTERFACE.guard
    assert INTERFACE.new_observer().settings == INTERFACE.observer
