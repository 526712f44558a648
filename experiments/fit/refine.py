"""The last word on slots, mean and spread: what the formulas found, moved until its replay is nearest.

Every candidate meets the same arrivals and, request by request, the same luck, so that replays differ by their
parameters alone and a slope can be taken between two of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from envs.task import Task
from experiments.fit.record import Record
from experiments.fit.replay import replay
from experiments.fit.search import EVIDENCE, HUBER, LATENCIES, Found, Seen, comparable
from experiments.fit.waiting import MEAN, Candidate, Shape
from simulator.arrays import Floats

_MOST_STEPS = 1500
_MOST_REQUESTS = 3e6
_SHARE = 0.08
_OWN_DEVIATION = 0.05
_SAMPLING_VARIANCE = 2.0
_STEP = 0.1
_MOST_MOVE = 0.25
_ROUNDS = 2
_RIDGE = 1e-3
_LEAST_SCV, _MOST_SCV = 0.01, 20.0


def refine(found: Found, record: Record, make: Callable[[Candidate], Task], seed: int) -> Found:
    """The candidate whose replay of the record's busiest stretch is nearest.

    First mean and spread are moved, at the formulas' slots; then slots, as long as more or fewer are plainly nearer.
    """
    part = busiest(record)
    seen = _as_seen(part)
    if not seen.count:
        return found
    trial = _Trial(seen, part, make, seed)
    best = _move(found.best, trial, spread=found.shape_is_seen)
    if found.most_slots is not None:
        best = _step_slots(best, trial)
    low = min(found.fewest_slots, best.slots_per_pod)
    high = None if found.most_slots is None else max(found.most_slots, best.slots_per_pod)
    return replace(found, best=best, fewest_slots=low, most_slots=high)


@dataclass(frozen=True, slots=True)
class _Trial:
    """Where candidates are replayed and compared."""

    seen: Seen
    part: Record
    make: Callable[[Candidate], Task]
    seed: int

    def residuals(self, candidate: Candidate) -> Floats:
        """Logarithms of replayed over recorded latencies, over their deviations; 0 where unknown."""
        played = replay(self.make(candidate), self.part, self.seed, repeats=1).latencies
        found = []
        for name, recorded in self.seen.latencies.items():
            with np.errstate(invalid="ignore", divide="ignore"):
                found.append(np.log(played[name] / recorded) / self.seen.deviations[name])
        return np.nan_to_num(np.concatenate(found), nan=0.0, posinf=0.0, neginf=0.0)

    def loss(self, residuals: Floats) -> float:
        """Huber's."""
        off = np.abs(residuals)
        return float(np.where(off <= HUBER, off**2 / 2, HUBER * (off - HUBER / 2)).sum())


def _move(best: Candidate, trial: _Trial, *, spread: bool) -> Candidate:
    """Mean and, where it is seen, spread by Gauss and Newton's steps; only such as bring the replay nearer."""
    residuals = trial.residuals(best)
    for _ in range(_ROUNDS):
        slopes = [(trial.residuals(_moved(best, _STEP, 0.0)) - residuals) / _STEP]
        if spread:
            slopes.append((trial.residuals(_moved(best, 0.0, 2 * _STEP)) - residuals) / (2 * _STEP))
        weights = np.sqrt(np.minimum(1.0, HUBER / np.maximum(np.abs(residuals), 1e-9)))
        columns = np.column_stack(slopes) * weights[:, np.newaxis]
        normal = columns.T @ columns
        normal += _RIDGE * np.trace(normal) * np.eye(len(normal))
        step = np.clip(-np.linalg.solve(normal, columns.T @ (weights * residuals)), -_MOST_MOVE, _MOST_MOVE)
        candidate = _moved(best, *(step if spread else (step[0], 0.0)))
        after = trial.residuals(candidate)
        if not trial.loss(after) < trial.loss(residuals):
            break
        best, residuals = candidate, after
    return best


def _moved(candidate: Candidate, mean: float, scv: float) -> Candidate:
    """With the logarithms of mean and scv changed by so much."""
    spread = float(np.clip(candidate.shape.scv * np.exp(scv), _LEAST_SCV, _MOST_SCV))
    shape = Shape(candidate.shape.family, spread)
    return replace(candidate, mean_seconds=candidate.mean_seconds * float(np.exp(mean)), shape=shape)


def _step_slots(best: Candidate, trial: _Trial) -> Candidate:
    """More or fewer slots as long as that is plainly nearer."""
    loss = trial.loss(trial.residuals(best))
    for way in (-1, 1):
        while True:
            step = max(1, round(_SHARE * best.slots_per_pod))
            if best.slots_per_pod + way * step < 1:
                break
            near = replace(best, slots_per_pod=best.slots_per_pod + way * step)
            after = trial.loss(trial.residuals(near))
            if not loss - after > EVIDENCE * after / trial.seen.count:
                break
            best, loss = near, after
    return best


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
    sampling = 2 * _SAMPLING_VARIANCE / np.maximum(record.answered, 1)
    own = {name: _OWN_DEVIATION / (2 if name == MEAN else 1) for name in latencies}
    deviations = {name: np.sqrt(sampling + own[name] ** 2) for name in latencies}
    return Seen(record.load_rps, record.serving, latencies, deviations)
