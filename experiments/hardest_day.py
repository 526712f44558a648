"""The hardest day of a long part, the only one of which every request is simulated.

A week of requests takes a minute a run. Of the other days the batch engine's figures are taken.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from experiments.parts import DAY_SECONDS
from experiments.run import Run
from simulator.arrays import Floats

_ROUNDING_SECONDS = 1e-6


def can_be_cut(spec: Run) -> bool:
    """Whether a run is of more than a day, and no fault has a time, which a day by itself would move."""
    is_long = spec.judged.duration_seconds > DAY_SECONDS + _ROUNDING_SECONDS
    return is_long and all(fault.at_seconds is None for fault in spec.task.scenario.faults)


def hardest_day(spec: Run, late_by_day: Floats) -> Run:
    """The same run of the day with most violations, and of those with as many the one with most requests.

    Args:
        late_by_day: float64 ``(D,)``; violations in each day of the part, the last not whole.
    """
    part, days = spec.judged, len(late_by_day)
    of_bin = (np.arange(len(part.requests)) * part.bin_seconds / DAY_SECONDS).astype(np.int64)
    requests = np.bincount(of_bin, part.requests, minlength=days)[:days]
    hardest = float(np.lexsort((requests, late_by_day))[-1])
    before = min(hardest * DAY_SECONDS, part.duration_seconds - DAY_SECONDS)
    day = part.slice(part.start_seconds + before, DAY_SECONDS)
    history = part.slice(part.start_seconds, before).after(spec.history) if before else spec.history
    return replace(spec, judged=day, history=history)


def exchange(whole: float, day: float, truth: float, share: float = 1.0) -> float:
    """A measure of a whole part, with the request engine's of a day in place of the batch engine's.

    Args:
        whole: the part's on the batch engine.
        day: the day's on the batch engine.
        truth: the day's on the request engine.
        share: what the day counts in the part's: 1 in a sum, its weight in a mean.
    """
    return max(whole + share * (truth - day), 0.0)
