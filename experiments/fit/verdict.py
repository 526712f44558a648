"""How far the replay is from the record, and whether advice from the model is to be trusted."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from experiments.fit.autoscaler import relative
from experiments.fit.record import Record
from experiments.fit.search import comparable
from experiments.wording import duration, plain_number
from simulator.arrays import Floats

LIMITS = {"CPU": (0.10, 0.25), "p95": (0.20, 0.50), "replicas": (0.15, 0.50)}
"""Median and 90th percentile of the relative error that are still good enough, by quantity."""
STRETCH_RATIO = 1.5
"""A stretch in which recorded and replayed differ by this, in the middle of every few minutes, is unexplained."""
_STRETCH_SHARE = 0.02
_WINDOW = 7


@dataclass(frozen=True, slots=True)
class Error:
    """Relative errors of one quantity on one part.

    Attributes:
        quantity: a key of LIMITS.
        median: absolute relative error; NaN where nothing can be compared.
        p90: the same, 90th percentile.
        steps: how many were compared.
    """

    quantity: str
    median: float
    p90: float
    steps: int

    @property
    def is_large(self) -> bool:
        """Whether either is over its limit."""
        most_median, most_p90 = LIMITS[self.quantity]
        return self.median > most_median or self.p90 > most_p90

    @property
    def reason(self) -> str:
        """Why it is large, in words."""
        most_median, most_p90 = LIMITS[self.quantity]
        return (
            f"the error of {self.quantity} is {self.median:.0%} in the median and {self.p90:.0%} at the 90th "
            f"percentile (at most {most_median:.0%} and {most_p90:.0%})"
        )


def compare(quantity: str, played: Floats, recorded: Floats) -> Error:
    """The error of what was played against what was recorded, both ``(T,)``; NaN is left out."""
    errors = relative(played, recorded)
    known = errors[np.isfinite(errors)]
    if not known.size:
        return Error(quantity, np.nan, np.nan, 0)
    return Error(quantity, float(np.median(known)), float(np.percentile(known, 90)), known.size)


def judged_p95(record: Record) -> Floats:
    """The recorded p95 where it can be compared, NaN elsewhere."""
    return np.where(comparable(record), record.latency_p95_seconds, np.nan)


def unexplained(what: str, played: Floats, record: Record, recorded: Floats) -> str:
    """Where recorded and replayed differ for long, in words; empty where they do not.

    The longest run of steps whose running median of the ratio is beyond STRETCH_RATIO, if it is 2 % of the record.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        logs = np.log(recorded / played)
    known = np.flatnonzero(np.isfinite(logs))
    if len(known) < 2 * _WINDOW:
        return ""
    windows = np.lib.stride_tricks.sliding_window_view(logs[known], _WINDOW)
    middle = np.median(windows, axis=1)
    off = np.sign(middle) * (np.abs(middle) > np.log(STRETCH_RATIO))
    edges = np.flatnonzero(np.diff(np.concatenate(([0.0], off, [0.0]))))
    runs = [(end - begin, begin) for begin, end in pairwise(edges.tolist()) if off[begin]]
    if not runs:
        return ""
    length, begin = max(runs)
    if length < max(_WINDOW, _STRETCH_SHARE * len(known)):
        return ""
    first, last = known[begin + _WINDOW // 2], known[begin + length - 1 + _WINDOW // 2]
    start = record.start_seconds + first * record.step_seconds
    ratio = float(np.exp(np.median(logs[known[begin : begin + length + _WINDOW - 1]])))
    long = duration(float(last - first + 1) * record.step_seconds)
    return f"from {plain_number(start, 10)} s for {long} the recorded {what} is {ratio:.3g} times the model's"
