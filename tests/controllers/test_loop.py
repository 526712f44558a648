from __future__ import annotations

import numpy as np
from fakes import FakeClock, FakePlant

from agents.policy import Context
from agents.registry import make
from controllers.loop import Loop, Record
from envs.guard import Guard, GuardSettings

CONTEXT = Context(("web",), np.array([2]), np.array([10]))


def drive(plant: FakePlant, ticks: int, *, acting: bool = True) -> list[Record]:
    records: list[Record] = []
    guard = Guard(GuardSettings(min_replicas=(2,), max_replicas=(10,)))
    policy = make("hpa:target=0.5", CONTEXT)
    Loop(plant, policy, guard, FakeClock(plant, ticks), records.append, acting=acting).run()
    return records


def test_it_scales_within_the_bounds_and_says_why() -> None:
    plant = FakePlant(replicas=4, cpu=1.0)
    records = drive(plant, 3)
    assert plant.applied == [8, 10]
    assert [record.outcome for record in records] == ["applied", "applied", "unchanged"]
    assert "100%" in records[0].reason


def test_a_plant_that_cannot_be_read_is_left_alone_and_looked_at_again() -> None:
    plant = FakePlant(replicas=4, cpu=1.0)
    plant.errors["snapshot"] = [ConnectionError("no route"), ConnectionError("no route")]
    records = drive(plant, 3)
    assert [record.outcome for record in records] == ["unreadable", "unreadable", "applied"]
    assert "no route" in records[0].reason
    assert plant.applied == [8]


def test_a_refused_change_is_tried_again_on_a_fresh_look() -> None:
    plant = FakePlant(replicas=4, cpu=1.0)
    plant.errors["apply"] = [OSError("409 conflict")]
    records = drive(plant, 2)
    assert [record.outcome for record in records] == ["refused", "applied"]
    assert "409 conflict" in records[0].reason
    assert plant.applied == [8]


def test_missing_metrics_hold() -> None:
    plant = FakePlant(replicas=4, cpu=np.nan)
    assert {record.outcome for record in drive(plant, 5)} == {"unchanged"}
    assert plant.applied == []


def test_a_dry_run_decides_and_does_nothing() -> None:
    plant = FakePlant(replicas=4, cpu=1.0)
    records = drive(plant, 2, acting=False)
    assert [record.outcome for record in records] == ["dry-run", "dry-run"]
    assert records[0].decision is not None
    assert records[0].decision.allowed.replicas.tolist() == [8]
    assert plant.applied == []
