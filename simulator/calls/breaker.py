"""Circuit breakers: after too many failures among the last calls, calls fail at once for a while.

Then a few trial calls decide whether it closes again. One breaker guards all calls of an edge.
Source: M. Nygard, Release It!, 2nd ed. 2018; defaults of Resilience4j (count-based window).
"""

from __future__ import annotations

from simulator.compiled import inlined

CLOSED, OPEN, HALF_OPEN = range(3)


@inlined
def refuses(edge, now):
    """Whether a call is stopped; a call that is let through on trial is counted."""
    if edge.breaker_calls == 0 or edge.breaker_mode == CLOSED:
        return False
    waited_out = now >= edge.breaker_since + edge.breaker_open_seconds
    if waited_out and (edge.breaker_mode == OPEN or edge.trials_issued >= edge.breaker_trials):
        _turn(edge, HALF_OPEN, now)
    if edge.breaker_mode == OPEN or edge.trials_issued >= edge.breaker_trials:
        return True
    edge.trials_issued += 1
    return False


@inlined
def record(edge, window, issued, failed, now):
    """Take in how a call ended; ``window`` holds the edge's last outcomes.

    Calls issued before the breaker last turned say nothing of how it is now.
    """
    if edge.breaker_calls == 0 or edge.breaker_mode == OPEN or issued < edge.breaker_since:
        return
    if edge.breaker_mode == HALF_OPEN:
        edge.trials_done += 1
        edge.trials_failed += failed
        if edge.trials_done >= edge.breaker_trials:
            bad = edge.trials_failed >= edge.breaker_ratio * edge.trials_done
            _turn(edge, OPEN if bad else CLOSED, now)
        return
    if edge.window_filled == edge.breaker_calls:
        edge.window_failures -= window[edge.window_at]
    else:
        edge.window_filled += 1
    window[edge.window_at] = failed
    edge.window_failures += failed
    edge.window_at = (edge.window_at + 1) % edge.breaker_calls
    full = edge.window_filled == edge.breaker_calls
    if full and edge.window_failures >= edge.breaker_ratio * edge.breaker_calls:
        _turn(edge, OPEN, now)


@inlined
def _turn(edge, mode, now):
    edge.breaker_mode = mode
    edge.breaker_since = now
    edge.window_at = edge.window_filled = edge.window_failures = 0
    edge.trials_issued = edge.trials_done = edge.trials_failed = 0
