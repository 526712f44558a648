"""The schedule: cron lines against a plain look at the calendar, time zones, and the Plant's clock."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from fakes import FakePlant
from pydantic import ValidationError

from agents.baselines.schedule import ScheduleSettings, Timetable, make_schedule
from agents.policy import Context
from agents.registry import make
from simulator.errors import InputError

CONTEXT = Context(("web",), np.array([2]), np.array([100]))
OFFICE = ("0 8 * * 1-5 = 40", "30 18 * * 1-5 = 10", "0 0 * * 6 = 5")
MONDAY = datetime(2024, 1, 1, tzinfo=UTC)
HOUR = 3600.0


def test_the_last_line_that_fired_holds() -> None:
    timetable = Timetable(ScheduleSettings(lines=OFFICE, start=MONDAY))
    hours = [0, 7.99, 8, 18.49, 18.5, 24, 32, 5 * 24 - 1, 5 * 24, 6 * 24, 7 * 24 + 7, 7 * 24 + 8]
    assert timetable.at(HOUR * np.array(hours)).tolist() == [5, 5, 40, 40, 10, 10, 40, 10, 5, 5, 5, 40]
    assert timetable.at(np.array(0.0)).tolist() == 5


def test_any_order_of_times_gives_the_same() -> None:
    settings = ScheduleSettings(lines=OFFICE, start=MONDAY)
    times = np.random.default_rng(0).uniform(-60, 60, (50, 2)) * 24 * HOUR
    together = Timetable(settings).at(times)
    backwards = Timetable(settings)
    assert [[int(backwards.at(one)) for one in row] for row in times[::-1]][::-1] == together.tolist()
    for found, seconds in zip(together.ravel(), times.ravel(), strict=True):
        now = MONDAY + timedelta(seconds=float(seconds))
        assert found == calendar(now), now


def calendar(now: datetime) -> int:
    """OFFICE, by hand."""
    if now.weekday() >= 5 or (now.weekday() == 0 and now.hour < 8):
        return 5
    return 40 if 8 <= now.hour + now.minute / 60 < 18.5 else 10


def test_lines_that_fire_together_go_by_their_order() -> None:
    lines = ("* * * * * = 3", "*/2 * * * * = 4", "*/2 * * * * = 5")
    timetable = Timetable(ScheduleSettings(lines=lines, start=MONDAY))
    assert timetable.at(60.0 * np.arange(5)).tolist() == [5, 3, 5, 3, 5]


def test_hours_are_those_of_the_time_zone_also_when_clocks_change() -> None:
    """Clocks in Berlin went forward on 2024-03-31: 8 o'clock is 7:00 UTC before and 6:00 UTC after."""
    settings = ScheduleSettings(lines=("0 8 * * * = 40", "0 20 * * * = 10"), timezone="Europe/Berlin")
    timetable = Timetable(settings)
    for day, hour in ((30, 7), (31, 6)):
        eight = datetime(2024, 3, day, hour, tzinfo=UTC).timestamp()
        assert timetable.at(np.array([eight - 1, eight])).tolist() == [10, 40]


def test_the_clock_of_a_real_plant_is_the_default() -> None:
    policy = make_schedule(ScheduleSettings(lines=OFFICE), CONTEXT)
    plant = FakePlant()
    plant.now = datetime(2024, 1, 3, 12, tzinfo=UTC).timestamp()
    desired = policy.decide(plant.snapshot())
    assert desired.replicas.tolist() == [40]
    assert desired.reason == "scheduled: 40"


def test_a_start_without_a_zone_is_in_that_of_the_lines() -> None:
    settings = ScheduleSettings(
        lines=("0 8 * * * = 40", "0 20 * * * = 10"),
        timezone="America/New_York",
        start=datetime(2024, 1, 1, 7, 59, 59),  # noqa: DTZ001 - what is tested
    )
    assert Timetable(settings).at(np.array([0.0, 1.0])).tolist() == [10, 40]
    zone = ZoneInfo("America/New_York")
    assert Timetable(settings.model_copy(update={"start": datetime(2024, 1, 1, 8, tzinfo=zone)})).at(
        np.array(0.0)
    ) == np.array(40)


def test_every_service_of_every_cluster() -> None:
    policy = make_schedule([ScheduleSettings(lines=OFFICE, start=MONDAY)] * 2, CONTEXT)
    shown = dataclasses.replace(
        FakePlant().snapshot(), time_seconds=HOUR * np.array([9.0, 20.0]), wanted=np.ones((2, 3), np.int64)
    )
    desired = policy.decide(shown)
    assert desired.replicas.tolist() == [[40] * 3, [10] * 3]
    assert desired.replicas.dtype == np.int64
    assert policy.decide(shown).reason == ""


def test_a_spec_on_a_command_line() -> None:
    spec = "schedule:lines=['0 8 * * 1,3 = 40', '0 20 * * * = 10'],start=2024-01-01T07:00:00,timezone=Europe/Berlin"
    policy, plant = make(spec, CONTEXT), FakePlant()
    found = []
    for plant.now in (0.0, HOUR, 13 * HOUR, 25 * HOUR, 49 * HOUR):
        found.append(int(policy.decide(plant.snapshot()).replicas[0]))
    assert found == [10, 40, 10, 10, 40]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"lines": ["0 8 * * *"]}, "'0 8 \\* \\* \\*' must be CRON = REPLICAS"),
        ({"lines": ["0 8 * * * = many"]}, "must be CRON = REPLICAS"),
        ({"lines": ["0 8 * * = 4"]}, "'0 8 \\* \\*' is no cron expression that ever fires"),
        ({"lines": ["0 0 30 2 * = 4"]}, "is no cron expression that ever fires"),
        ({"lines": ["0 0 * * * = 1000000"]}, "at most 100000 replicas"),
        ({"lines": []}, "at least 1 item"),
        ({"lines": ["0 0 * * * = 4"], "timezone": "Mars/Base"}, "only a time zone of the IANA's"),
        ({"lines": ["0 0 * * * = 4"], "timezone": "../etc/passwd"}, "only a time zone of the IANA's"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        ScheduleSettings.model_validate(settings)


def test_what_the_task_can_never_give_is_refused() -> None:
    with pytest.raises(InputError, match="lines has '0 0 \\* \\* 6 = 1'; the task allows 2 to 100 replicas"):
        make_schedule(ScheduleSettings(lines=(*OFFICE[:2], "0 0 * * 6 = 1")), CONTEXT)
