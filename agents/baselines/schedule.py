"""Replicas by the clock: cron lines, each with the count that holds from then on.

Source: crontab(5) as Debian has it, by cronsim; as scheduled actions of AWS Application Auto Scaling, a line sets a
count at a moment and the last one holds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from heapq import merge
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
from cronsim import CronSim, CronSimError
from pydantic import Field, field_validator

from agents.policy import Context, Mask
from simulator.arrays import Floats, Ints
from simulator.errors import InputError
from simulator.plant import Desired, Snapshot
from simulator.settings import Settings

VARIED: Final = frozenset({"lines"})
"""Settings that the clusters of one Schedule may differ in."""
_AHEAD: Final = timedelta(days=1)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class ScheduleSettings(Settings):
    """Cron lines, the time zone they are in, and when the Plant's time 0 is."""

    lines: tuple[str, ...] = Field(
        min_length=1,
        max_length=1000,
        description="CRON = REPLICAS each, such as 0 8 * * 1-5 = 40, for every service.",
    )
    timezone: str = Field(
        default="UTC", description="Of the lines, and of start where it has none: Europe/Berlin."
    )
    start: datetime | None = Field(
        default=None,
        description="The date and time at which the Plant's clock is 0; if not given, 1970 began at second 0 of a real"
        " one's clock, and of the trace's that a simulated one bears.",
    )
    period: float = Field(default=15.0, ge=1, le=3600, description="Seconds between two decisions.")

    @field_validator("timezone")
    @classmethod
    def _known(cls, timezone: str) -> str:
        try:
            ZoneInfo(timezone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            msg = "only a time zone of the IANA's, such as Europe/Berlin, is allowed"
            raise ValueError(msg) from None
        return timezone

    @field_validator("lines")
    @classmethod
    def _readable(cls, lines: tuple[str, ...]) -> tuple[str, ...]:
        for line in lines:
            expression, replicas = _taken_apart(line)
            try:
                next(CronSim(expression, _EPOCH))
            except (CronSimError, StopIteration) as error:
                msg = f"{line!r}: {expression!r} is no cron expression that ever fires ({error})"
                raise ValueError(msg) from None
            if replicas > 100_000:
                msg = f"{line!r}: at most 100000 replicas are allowed"
                raise ValueError(msg)
        return lines

    @property
    def counts(self) -> tuple[int, ...]:
        """Replicas of each line."""
        return tuple(_taken_apart(line)[1] for line in self.lines)


def _taken_apart(line: str) -> tuple[str, int]:
    expression, equals, replicas = line.rpartition("=")
    if not equals or not replicas.strip().isdecimal():
        msg = f"{line!r} must be CRON = REPLICAS, such as 0 8 * * 1-5 = 40"
        raise ValueError(msg)
    return expression.strip(), int(replicas)


class Timetable:
    """Which line fired last, at any time; made as far as it has been asked for.

    Args:
        start_seconds: since 1970, at which the Plant's clock is 0 where the settings leave it open.
    """

    def __init__(self, settings: ScheduleSettings, start_seconds: float = 0.0) -> None:
        self._zone = ZoneInfo(settings.timezone)
        start = settings.start
        if start is not None:
            start_seconds = (start if start.tzinfo else start.replace(tzinfo=self._zone)).timestamp()
        self._start_seconds = start_seconds
        self._lines = [_taken_apart(line) for line in settings.lines]
        self._times, self._replicas = np.empty(0), np.empty(0, np.int64)
        self._until = -np.inf
        self._coming: Iterator[tuple[float, int]] = iter(())

    def at(self, time_seconds: Floats) -> Ints:
        """The count that holds at times of the Plant, int64 ``(...)``; of lines that fire together, the last one's."""
        seconds = np.asarray(time_seconds, np.float64) + self._start_seconds
        if not len(self._times) or seconds.min() < self._times[0]:
            self._begin(float(seconds.min()))
        if seconds.max() > self._until:
            self._extend(float(seconds.max()))
        found: Ints = self._replicas[np.searchsorted(self._times, seconds, side="right") - 1]
        return found

    def next_after(self, time_seconds: float) -> float:
        """When a line fires next after a time that has been asked for, on the Plant's clock."""
        place = np.searchsorted(self._times, time_seconds + self._start_seconds, side="right")
        return float(self._times[place] if place < len(self._times) else self._until) - self._start_seconds

    def _begin(self, seconds: float) -> None:
        """From when each line fired last before a time."""
        after = datetime.fromtimestamp(int(np.floor(seconds)) + 1, self._zone)
        last = sorted(
            (next(CronSim(expression, after, reverse=True)).timestamp(), place)
            for place, (expression, _) in enumerate(self._lines)
        )
        fired, place = last[-1]
        self._times, self._replicas = np.array([fired]), np.array([self._lines[place][1]])
        self._until = fired
        self._coming = merge(
            *(self._fires(place, after - timedelta(seconds=1)) for place in range(len(self._lines)))
        )

    def _fires(self, place: int, after: datetime) -> Iterator[tuple[float, int]]:
        for fired in CronSim(self._lines[place][0], after):
            yield fired.timestamp(), place

    def _extend(self, seconds: float) -> None:
        """So that times up to these seconds, and a day more, are known."""
        until = seconds + _AHEAD.total_seconds()
        found = []
        for fired, place in self._coming:
            found.append((fired, self._lines[place][1]))
            if fired > until:
                until = fired
                break
        self._times = np.append(self._times, [fired for fired, _ in found])
        self._replicas = np.append(self._replicas, [replicas for _, replicas in found]).astype(np.int64)
        self._until = until


class Schedule:
    """The count of the cron line that fired last, for every service.

    It reads no metric, so a missing one changes nothing.

    Args:
        settings: for all clusters, or of each of N, which differ in VARIED alone.
        start_seconds: since 1970, at which the Plant's clock is 0 where the settings leave it open.
    """

    def __init__(
        self, settings: ScheduleSettings | Sequence[ScheduleSettings], start_seconds: float = 0.0
    ) -> None:
        each = (settings,) if isinstance(settings, ScheduleSettings) else settings
        self.settings = each[0]
        made = {one.lines: Timetable(one, start_seconds) for one in each}
        self._timetables = list(made.values())
        self._rows = np.array([list(made).index(one.lines) for one in each])
        self._counts: Ints = np.empty(0, np.int64)
        self._since = self._until = np.nan

    @property
    def period_seconds(self) -> float:
        """Seconds between two decisions."""
        return self.settings.period

    def decide(self, snapshot: Snapshot) -> Desired:
        """What the schedule says of the Snapshot's time."""
        counts = self._at(np.asarray(snapshot.time_seconds, np.float64))
        replicas = np.broadcast_to(counts[..., np.newaxis], snapshot.wanted.shape).astype(np.int64)
        reason = f"scheduled: {int(counts)}" if snapshot.wanted.ndim == 1 else ""
        return Desired(replicas, reason)

    def reset(self, mask: Mask | None = None) -> None:
        """There is nothing to forget."""

    def _at(self, times: Floats) -> Ints:
        """The count of each cluster, int64 ``(...)``; looked up anew where any line has fired since."""
        first, last = float(times.min()), float(times.max())
        if self._counts.shape != times.shape or not self._since <= first <= last < self._until:
            of_each = np.stack([table.at(times) for table in self._timetables])
            rows = np.broadcast_to(self._rows, times.shape) if times.ndim else self._rows[0]
            self._counts = np.take_along_axis(of_each, rows[np.newaxis], axis=0)[0]
            self._since = last
            self._until = min(table.next_after(last) for table in self._timetables)
        return self._counts


def make_schedule(settings: ScheduleSettings | Sequence[ScheduleSettings], context: Context) -> Schedule:
    """A Schedule; bounds that differ among services are the Guard's.

    Raises:
        InputError: if no service may have as many replicas as a line says.
    """
    low, high = int(context.min_replicas.min()), int(context.max_replicas.max())
    for one in (settings,) if isinstance(settings, ScheduleSettings) else settings:
        for line, count in zip(one.lines, one.counts, strict=True):
            if not low <= count <= high:
                msg = f"policy schedule: lines has {line!r}; the task allows {low} to {high} replicas"
                raise InputError(msg)
    return Schedule(settings, context.start_seconds)
