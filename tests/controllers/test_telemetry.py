"""The controller's journal, metrics and health."""

from __future__ import annotations

import io
import json
import logging
import re

import httpx
import numpy as np
import pytest
from fakes import FakeClock, FakePlant

from agents.policy import Context
from agents.registry import make
from controllers.loop import Loop, Record
from controllers.telemetry import Journal, Server, Telemetry
from envs.guard import Guard, GuardSettings

GUARD = GuardSettings(min_replicas=(2,), max_replicas=(10,))


def records_of(plant: FakePlant, ticks: int = 3) -> list[Record]:
    records: list[Record] = []
    policy = make("hpa:target=0.5", Context(("web",), np.array([1]), np.array([100])))
    Loop(plant, policy, Guard(GUARD), FakeClock(plant, ticks), records.append).run()
    return records


def exposed(telemetry: Telemetry) -> dict[str, float]:
    with Server(telemetry, "127.0.0.1", 0) as server:
        text = httpx.get(f"http://127.0.0.1:{server.port}/metrics").text
    return {
        line.rpartition(" ")[0]: float(line.rpartition(" ")[2])
        for line in text.splitlines()
        if line[0] != "#"
    }


def test_the_metrics_are_what_the_records_say() -> None:
    plant = FakePlant(replicas=4, cpu=1.0)
    plant.errors["apply"] = [OSError("conflict")]
    telemetry = Telemetry(("web",), 15.0, lambda: plant.now)
    records = records_of(plant)
    for record in records:
        telemetry.observe(record)
    assert [record.outcome for record in records] == ["refused", "applied", "applied"]
    found = exposed(telemetry)
    assert found['setpoint_decisions_total{outcome="applied"}'] == 2
    assert found['setpoint_decisions_total{outcome="refused"}'] == 1
    assert found['setpoint_decisions_total{outcome="unreadable"}'] == 0
    assert found['setpoint_replicas_wished{service="web"}'] == 16
    assert found['setpoint_replicas_allowed{service="web"}'] == 10
    assert found['setpoint_replicas_wanted{service="web"}'] == 8
    assert found['setpoint_metric_age_seconds{metric="cpu",service="web"}'] == 15
    assert found["setpoint_last_tick_timestamp_seconds"] == 30


def test_a_missing_metric_has_an_infinite_age_and_an_unreadable_plant_keeps_the_last_counts() -> None:
    plant = FakePlant(replicas=4, cpu=np.nan)
    telemetry = Telemetry(("web",), 15.0, lambda: plant.now)
    telemetry.observe(records_of(plant, 1)[0])
    plant.errors["snapshot"] = [OSError("down")]
    telemetry.observe(records_of(plant, 1)[0])
    found = exposed(telemetry)
    assert found['setpoint_metric_age_seconds{metric="cpu",service="web"}'] == np.inf
    assert found['setpoint_replicas_ready{service="web"}'] == 4
    assert found['setpoint_decisions_total{outcome="unreadable"}'] == 1


def test_health_is_a_tick_within_four_periods() -> None:
    now = [0.0]
    telemetry = Telemetry(("web",), 15.0, lambda: now[0])
    with Server(telemetry, "127.0.0.1", 0) as server:

        def health() -> tuple[int, str]:
            answer = httpx.get(f"http://127.0.0.1:{server.port}/healthz")
            return answer.status_code, answer.text

        assert health() == (200, "ok\n")
        now[0] = 60.0
        assert health() == (200, "ok\n")
        now[0] = 73.0
        assert health() == (503, "no tick for 13 s too long\n")
        telemetry.observe(Record(73.0, "unreadable", "the API server is down", None))
        assert health() == (200, "ok\n"), "a restart would not help"
        assert httpx.get(f"http://127.0.0.1:{server.port}/").status_code == 404


def test_a_port_that_is_taken_is_an_error() -> None:
    telemetry = Telemetry(("web",), 15.0, lambda: 0.0)
    with Server(telemetry, "127.0.0.1", 0) as server, pytest.raises(OSError, match="in use"):
        Server(telemetry, "127.0.0.1", server.port)


def test_the_journal_is_a_json_line_and_a_readable_one_each(caplog: pytest.LogCaptureFixture) -> None:
    plant, file = FakePlant(replicas=4, cpu=1.0), io.StringIO()
    plant.errors["snapshot"] = [OSError("down")]
    records = records_of(plant, 2)
    with caplog.at_level(logging.INFO, "setpoint.decisions"):
        for record in records:
            Journal(file)(record)
    lines = [json.loads(line) for line in file.getvalue().splitlines()]
    assert lines == [record.to_json() for record in records]
    assert caplog.messages[0] == "unreadable: hold: the plant cannot be read: down"
    assert re.match(
        r"applied: 4 wanted, 4 ready -> 8; cpu 100% of request, target 50% -> 8", caplog.messages[1]
    )
