"""Power of two choices: of two random pods the one that has fewer requests, with a queue of its own.

Source: M. Mitzenmacher, The power of two choices in randomized load balancing, 2001; Envoy's
LEAST_REQUEST rule.
"""

from __future__ import annotations

import numpy as np

from simulator.compiled import inlined
from simulator.randomness import DISPATCH, purpose_key, uniform

CODE = 4


@inlined
def pick(tables, service, key):
    """The better of two pods that the call's key draws without replacement; the first if equal."""
    count = tables.services[service].ready
    draw = purpose_key(key, DISPATCH)
    first = np.int64(uniform(draw, 0) * count)
    one = tables.ready[service, first]
    if count == 1:
        return one
    second = np.int64(uniform(draw, 1) * (count - 1))
    second += second >= first
    other = tables.ready[service, second]
    left, right = tables.pods[one], tables.pods[other]
    return other if right.busy + right.waiting < left.busy + left.waiting else one
