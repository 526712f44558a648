"""Which trend and which cycles a trace has: chosen by how well each day is told by the others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulator.arrays import Floats, Ints
from simulator.fitted import DAY_SECONDS, HOUR_SECONDS, WEEK_DAYS, CycleShape, read_table

_SLOTS_SECONDS = (60.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 7200.0, 14_400.0)
_MOST_SLOTS = 1440
_LEAST_TREND_DAYS = 14
_LEAST_T = 3.0
_LEAST_GAIN = 0.03
_LEAST_GAIN_OF_FEW_DAYS = 0.5
_FEW_DAYS = 3
_HIGHEST = 0.998


@dataclass(frozen=True, slots=True)
class _Tried:
    """A choice of cycles and its error: the mean square of root rates, day by day."""

    shape: CycleShape
    errors: Floats

    @property
    def handicap(self) -> float:
        """What a richer choice has to be better by, so that chance alone does not take it."""
        return 1.0 + _LEAST_GAIN * (len(self.shape.factors) > 1) + _LEAST_GAIN * (len(self.shape.hour) > 1)


def fit_trend(rate: Floats, bin_seconds: float) -> float:
    """Growth of the log-rate a day; 0 unless two weeks or more show one beyond their own wandering."""
    size = DAY_SECONDS / bin_seconds
    days = int(len(rate) / size)
    if days < _LEAST_TREND_DAYS:
        return 0.0
    edges = np.rint(size * np.arange(days + 1)).astype(int)
    totals = np.add.reduceat(rate[: edges[-1]], edges[:-1])
    if totals.min() <= 0:
        return 0.0
    weekdays = np.eye(WEEK_DAYS)[np.arange(days) % WEEK_DAYS]
    design = np.column_stack([np.arange(days), weekdays])
    logs = np.log(totals)
    found = np.linalg.lstsq(design, logs, rcond=None)[0]
    rest = logs - design @ found
    memory = min(max(float(rest[1:] @ rest[:-1] / max(float(rest @ rest), 1e-12)), 0.0), 0.95)
    effective = days * (1 - memory) / (1 + memory)
    error = float(rest.std()) / (np.arange(days).std() * np.sqrt(max(effective - 2, 1.0)))
    return float(found[0]) if abs(found[0]) > _LEAST_T * error else 0.0


def fit_cycles(rate: Floats, bin_seconds: float, first_weekday: int | None) -> CycleShape | None:
    """Daily and weekly shape of a rate with mean 1, None where days do not tell of each other.

    Candidates are tables of several slot widths, one for all days, one each for working days and
    weekends (where the weekend is, is found where it is not known), one a weekday, and factors over
    the hour. The one whose tables, made from the other days, are closest to each day is taken.
    """
    count = int(np.ceil(len(rate) * bin_seconds / DAY_SECONDS - 1e-9))
    whole = int(len(rate) * bin_seconds / DAY_SECONDS)
    if whole < 2:
        return None
    capped = np.minimum(rate, max(float(np.quantile(rate, _HIGHEST)), 1.0))
    times = bin_seconds * np.arange(len(rate))
    flat = _flat_errors(capped, times, count)[:whole]
    tried = [
        _try(capped, times, bin_seconds, slot, kinds, hour)
        for kinds in _kinds_of_day(whole, first_weekday)
        for slot in _slots(bin_seconds)
        for hour in _hours(bin_seconds, slot)
    ]
    best = min(tried, key=lambda one: float(one.errors[:whole].mean()) * one.handicap)
    gains = flat - best.errors[:whole]
    gain = float(gains.mean() / max(flat.mean(), 1e-12))
    if whole < _FEW_DAYS:
        return best.shape if gain > _LEAST_GAIN_OF_FEW_DAYS else None
    certain = float(gains.mean()) > 2 * float(gains.std(ddof=1)) / np.sqrt(whole)
    return best.shape if gain > _LEAST_GAIN and certain else None


def _slots(bin_seconds: float) -> list[float]:
    wide = [slot for slot in _SLOTS_SECONDS if slot > bin_seconds and DAY_SECONDS % slot == 0]
    fits = abs(DAY_SECONDS / bin_seconds - round(DAY_SECONDS / bin_seconds)) < 1e-6
    return ([bin_seconds] if fits and DAY_SECONDS / bin_seconds <= _MOST_SLOTS else []) + wide


def _hours(bin_seconds: float, slot_seconds: float) -> list[int]:
    """Into how many parts the hour may be cut: a bin each, where a slot spans it and bins fit."""
    parts = HOUR_SECONDS / bin_seconds
    possible = slot_seconds >= HOUR_SECONDS and parts >= 4 and abs(parts - round(parts)) < 1e-6
    return [1, round(parts)] if possible and parts <= 360 else [1]


def _kinds_of_day(days: int, first_weekday: int | None) -> list[tuple[int, ...]]:
    kinds = [(0,) * WEEK_DAYS]
    if days >= WEEK_DAYS:
        starts = range(WEEK_DAYS) if first_weekday is None else [(5 - first_weekday) % WEEK_DAYS]
        for start in starts:
            weekend = {start, (start + 1) % WEEK_DAYS}
            kinds.append(tuple(int(day in weekend) for day in range(WEEK_DAYS)))
    if days >= 3 * WEEK_DAYS:
        kinds.append(tuple(range(WEEK_DAYS)))
    return kinds


def _flat_errors(rate: Floats, times: NDArray[np.floating], days: int) -> Floats:
    """Each day's error if it is told by the mean of the others."""
    day = (times // DAY_SECONDS).astype(int)
    sums, counts = np.bincount(day, rate, days), np.bincount(day, minlength=days)
    others = (sums.sum() - sums) / np.maximum(counts.sum() - counts, 1)
    squares = (np.sqrt(rate) - np.sqrt(others)[day]) ** 2
    return np.asarray(np.bincount(day, squares, days) / np.maximum(counts, 1))


def _try(
    rate: Floats,
    times: NDArray[np.floating],
    bin_seconds: float,
    slot: float,
    kinds: tuple[int, ...],
    hour_parts: int,
) -> _Tried:
    day = (times // DAY_SECONDS).astype(int)
    days = int(day[-1]) + 1
    slots = int(np.ceil(DAY_SECONDS / slot - 1e-9))
    place = np.minimum(((times % DAY_SECONDS + bin_seconds / 2) // slot).astype(int), slots - 1)
    sums = np.bincount(day * slots + place, rate, days * slots).reshape(days, slots)
    counts = np.bincount(day * slots + place, minlength=days * slots).reshape(days, slots)
    kind = np.array(kinds)[np.arange(days) % WEEK_DAYS]
    hour, hour_place = _hour_table(rate, times, bin_seconds, hour_parts)
    errors = np.empty(days)
    edges = np.searchsorted(day, np.arange(days + 1))
    overall = float(rate.mean())
    for one in range(days):
        alike = (kind == kind[one]) & (np.arange(days) != one)
        row = _means(sums[alike].sum(axis=0), counts[alike].sum(axis=0), overall)
        part = slice(edges[one], edges[one + 1])
        told = read_table(row, slot, times[part], bin_seconds) * hour[hour_place[part]]
        errors[one] = np.mean((np.sqrt(rate[part]) - np.sqrt(told)) ** 2)
    tables = [
        _means(sums[kind == one].sum(axis=0), counts[kind == one].sum(axis=0), overall)
        for one in range(max(kinds) + 1)
    ]
    shape = CycleShape(
        slot_seconds=slot,
        kind_of_day=kinds,
        factors=tuple(tuple(_digits(table)) for table in tables),
        hour=tuple(_digits(hour)),
    )
    return _Tried(shape, errors)


def _hour_table(
    rate: Floats,
    times: NDArray[np.floating],
    bin_seconds: float,
    parts: int,
) -> tuple[Floats, Ints]:
    """Factors over the hour, relative to the mean, and each bin's place."""
    place = ((times % HOUR_SECONDS + bin_seconds / 2) * parts / HOUR_SECONDS).astype(int) % parts
    if parts == 1:
        return np.ones(1), place
    totals = np.bincount(place, rate, parts) / np.maximum(np.bincount(place, minlength=parts), 1)
    return np.asarray(totals / max(float(rate.mean()), 1e-12)), place


def _means(sums: Floats, counts: NDArray[np.integer], otherwise: float) -> Floats:
    return np.where(counts > 0, sums / np.maximum(counts, 1), otherwise)


def _digits(values: Floats) -> list[float]:
    return [float(f"{value:.4g}") for value in values]
