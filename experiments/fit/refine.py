"""The last word on slots: a few numbers around the formulas' best, tried on the request engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from envs.task import Task
from experiments.fit.record import Record
from experiments.fit.replay import replay
from experiments.fit.search import LATENCIES, Found, Seen, comparable
from experiments.fit.waiting import Candidate

_MOST_STEPS = 1500
_MOST_REQUESTS = 3e6
_STEPS_AROUND = (-2, -1, 0, 1, 2)
_SHARE = 0.08
_OWN_DEVIATION = 0.05
_SAMPLING_VARIANCE = 2.0


def refine(found: Found, record: Record, make: Callable[[Candidate], Task], seed: int) -> Candidate:
    """The slots whose replay of the record's busiest stretch is nearest; the formulas' where no other is nearer."""
    if found.most_slots is None:
        return found.best
    part = busiest(record)
    seen = _as_seen(part)
    if seen.count == 0:
        return found.best
    best = found.best
    step = max(1, round(_SHARE * best.slots_per_pod))
    tried = sorted({max(1, best.slots_per_pod + step * way) for way in _STEPS_AROUND})
    losses = {}
    for slots in tried:
        candidate = replace(best, slots_per_pod=slots)
        played = replay(make(candidate), part, seed, repeats=2).latencies
        losses[slots] = seen.loss_of({name: played[name] for name in seen.latencies})
    nearest = min(tried, key=lambda slots: (losses[slots], abs(slots - best.slots_per_pod)))
    is_plain = losses[nearest] < losses[best.slots_per_pod] * (1 - 2 / np.sqrt(seen.count))
    return replace(best, slots_per_pod=nearest) if is_plain else best


def busiest(record: Record) -> Record:
    """The stretch of the record whose pods have most to do, of a size that is played in a second or so."""
    per_step = float(record.answered.mean())
    length = int(min(len(record), _MOST_STEPS, max(_MOST_REQUESTS / max(per_step, 1e-9), 30)))
    per_pod = record.load_rps / np.maximum(record.serving, 1)
    sums = np.concatenate(([0.0], np.cumsum(per_pod**2)))
    begin = int(np.argmax(sums[length:] - sums[:-length]))
    return record.part(begin, begin + length)


def _as_seen(record: Record) -> Seen:
    """All comparable steps; the replay's own sampling counts as well."""
    rows = comparable(record)
    latencies = {name: np.where(rows, getattr(record, name), np.nan) for name in LATENCIES}
    latencies = {name: values for name, values in latencies.items() if np.isfinite(values).any()}
    deviations = np.sqrt(1.5 * _SAMPLING_VARIANCE / np.maximum(record.answered, 1) + _OWN_DEVIATION**2)
    return Seen(record.load_rps, record.serving, latencies, deviations)
