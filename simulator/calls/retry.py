"""Retries: whether a call that was not answered is tried again, and after which wait.

Waits double from attempt to attempt up to a cap; jitter takes a random part off. A budget is a
bucket of tokens for all calls of an edge: each first attempt adds a part of one, each retry takes one.
Source: M. Brooker, Exponential backoff and jitter, AWS Architecture Blog, 2015; Finagle,
RetryBudget (20 % of the calls and 10 a second by default).
"""

from __future__ import annotations

import numpy as np

from simulator.compiled import inlined
from simulator.randomness import BACK_OFF, purpose_key, uniform


@inlined
def earn(edge, now):
    """A first attempt adds to the budget."""
    if edge.budget_burst < np.inf:
        _refill(edge, now)
        edge.tokens = min(edge.tokens + edge.budget_ratio, edge.budget_burst)


@inlined
def may_retry(edge, attempt, now):
    """Whether there is another attempt after this one (0 is the first); it is paid for if so."""
    if attempt + 1 >= edge.max_attempts:
        return False
    if edge.budget_burst < np.inf:
        _refill(edge, now)
        if edge.tokens < 1.0:
            return False
        edge.tokens -= 1.0
    return True


@inlined
def back_off_seconds(edge, attempt, key):
    """The wait before an attempt (1 is the first retry)."""
    wait = min(edge.back_off_seconds * 2.0 ** (attempt - 1), edge.back_off_cap_seconds)
    if edge.jitter > 0.0:
        wait *= 1.0 - edge.jitter * uniform(purpose_key(key, BACK_OFF), 0)
    return wait


@inlined
def _refill(edge, now):
    edge.tokens = min(edge.tokens + edge.budget_per_second * (now - edge.refilled), edge.budget_burst)
    edge.refilled = now
