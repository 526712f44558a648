"""The part of a trace that a command is about, refused where it is more than can be simulated."""

from __future__ import annotations

import math

from simulator.errors import InputError
from simulator.trace import Split, Trace, split_trace

MOST_REQUESTS = 2e9
"""More than this in one run is refused: it would take hours."""
DAY_SECONDS = 86_400.0
CALIBRATION_SECONDS = 3 * DAY_SECONDS
"""Calibration runs on at most so much of what lies before the judged part."""


def split_part(
    trace: Trace, start_seconds: float | None, duration_seconds: float | None, mean_rps: float | None
) -> Split:
    """History and judged part, as ``split_trace`` cuts them.

    Raises:
        InputError: if the part is outside the trace or there is too much to simulate.
    """
    check_mean(mean_rps)
    split = split_trace(trace, start_seconds, duration_seconds, mean_rps)
    check_requests(split.judged, "in the judged part")
    if split.history is not None:
        check_requests(calibration_part(split.history), "before the judged part")
    return split


def calibration_part(history: Trace) -> Trace:
    """The last three days of what lies before the judged part."""
    duration = min(CALIBRATION_SECONDS, history.duration_seconds)
    return history.slice(history.end_seconds - duration, duration)


def check_mean(mean_rps: float | None) -> None:
    """Refuse a mean that is no finite number.

    Raises:
        InputError: naming it.
    """
    if mean_rps is not None and not math.isfinite(mean_rps):
        msg = f"--mean-rps {mean_rps:g}: must be a finite number of requests/s"
        raise InputError(msg)


def check_requests(trace: Trace, where: str) -> None:
    """Refuse more requests than a run can take, and counts that are no numbers.

    Raises:
        InputError: saying how many there are, where, and what helps.
    """
    requests = float(trace.requests.sum())
    if not requests <= MOST_REQUESTS:
        msg = (
            f"{trace.name}: {requests:.3g} requests {where}; at most {MOST_REQUESTS:g} are simulated: "
            "use a lower --mean-rps or a shorter --duration"
        )
        raise InputError(msg)
