from __future__ import annotations

import dataclasses
import json
import threading
import time

import numpy as np
import pytest
from fakes import FakeClock, FakePlant

from agents.policy import Context
from agents.registry import make
from controllers.clock import WallClock
from controllers.loop import Loop, Record
from envs.guard import Guard, GuardSettings
from simulator.plant import Metric, Snapshot

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


def test_an_unreadable_plant_gives_a_record_without_a_decision() -> None:
    plant = FakePlant(replicas=4, cpu=1.0)
    plant.errors["snapshot"] = [TimeoutError("slow")]
    records = drive(plant, 2)
    assert records[0].decision is None
    assert json.loads(json.dumps(records[0].to_json(), allow_nan=False)) == {
        "time_seconds": 0.0,
        "outcome": "unreadable",
        "reason": "hold: the plant cannot be read: slow",
    }
    assert [record.time_seconds for record in records] == [0.0, 15.0]


def test_a_refused_change_is_decided_anew_from_what_the_plant_then_shows() -> None:
    plant = FakePlant(replicas=4, cpu=1.0)
    plant.errors["apply"] = [OSError("quota")]
    records: list[Record] = []

    def journal(record: Record) -> None:
        records.append(record)
        plant.replicas, plant.cpu = 6, 0.5

    guard = Guard(GuardSettings(min_replicas=(2,), max_replicas=(10,)))
    Loop(plant, make("hpa:target=0.5", CONTEXT), guard, FakeClock(plant, 2), journal).run()
    assert [record.outcome for record in records] == ["refused", "unchanged"]
    assert records[0].reason.endswith("; the plant refused: quota")
    assert plant.applied == []
    assert records[1].decision is not None
    assert records[1].decision.snapshot.wanted.tolist() == [6]


def test_what_is_no_fault_of_the_plant_is_not_swallowed() -> None:
    class Broken(FakePlant):
        def snapshot(self) -> Snapshot:
            raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        drive(Broken(), 1)


@pytest.mark.parametrize(
    ("replicas", "cpu", "applied"), [(40, 0.5, [10]), (1, 0.5, [2]), (9, 5.0, [10]), (3, 0.0, [])]
)
def test_the_guards_bounds_hold_whatever_the_policy_says(
    replicas: int, cpu: float, applied: list[int]
) -> None:
    plant = FakePlant(replicas=replicas, cpu=cpu)
    drive(plant, 3)
    assert plant.applied == applied


def test_a_dry_run_says_what_acting_would_do_and_dry_records_are_json() -> None:
    dry, wet = (drive(FakePlant(replicas=4, cpu=1.0), 1, acting=acting) for acting in (False, True))
    assert dry[0].reason == wet[0].reason
    told = [json.loads(json.dumps(record.to_json(), allow_nan=False)) for record in (*dry, *wet)]
    assert [one.pop("outcome") for one in told] == ["dry-run", "applied"]
    assert told[0] == told[1]


def test_a_record_tells_what_was_seen_wished_and_allowed() -> None:
    (record,) = drive(FakePlant(replicas=8, cpu=1.0, rate=np.nan), 1)
    told = json.loads(json.dumps(record.to_json(), allow_nan=False))
    assert told["seen"] == {
        "wanted": [8],
        "starting": [0],
        "ready": [8],
        "draining": [0],
        "cpu": [{"value": 1.0, "age_seconds": 15.0}],
        "rate": [{"value": None, "age_seconds": None}],
        "latency_p95": [{"value": 0.1, "age_seconds": 15.0}],
        "queue": [{"value": 0.0, "age_seconds": 15.0}],
    }
    assert (told["wish"], told["allowed"], told["outcome"]) == ([10], [10], "applied")
    assert told["reason"] == record.reason


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_no_number_that_json_lacks_gets_into_a_record(value: float) -> None:
    """A histogram's quantile may be infinite."""

    class Odd(FakePlant):
        def snapshot(self) -> Snapshot:
            metric = Metric(np.array([value]), np.array([value]))
            return dataclasses.replace(super().snapshot(), latency_p95=metric)

    (record,) = drive(Odd(), 1)
    told = json.loads(json.dumps(record.to_json(), allow_nan=False))
    assert told["seen"]["latency_p95"] == [{"value": None, "age_seconds": None}]


def test_the_journal_hears_before_the_wait_and_the_clock_ends_the_loop() -> None:
    plant, heard = FakePlant(), []
    policy = make("fixed:replicas=4,period=60", CONTEXT)
    guard = Guard(GuardSettings(min_replicas=(2,), max_replicas=(10,)))
    Loop(
        plant,
        policy,
        guard,
        FakeClock(plant, 3),
        lambda record: heard.append((record.time_seconds, plant.now)),
    ).run()
    assert heard == [(0.0, 0.0), (60.0, 60.0), (120.0, 120.0)]


def test_the_wall_clock_stops_at_once_and_stays_stopped() -> None:
    clock = WallClock()
    assert clock.wait(0.0)
    before = time.time()
    assert before <= clock.now_seconds() <= time.time()
    stopper = threading.Timer(0.01, clock.stop)
    stopper.start()
    assert not clock.wait(3600.0)
    assert not clock.wait(3600.0)
    stopper.join()


def test_a_service_that_another_hand_scaled_to_0_is_left_alone() -> None:
    plant = FakePlant(replicas=0, cpu=np.nan)
    (record,) = drive(plant, 1)
    assert (record.outcome, record.reason) == (
        "unchanged",
        "0 replicas: paused by another hand, as for the HPA",
    )
    assert plant.applied == []
