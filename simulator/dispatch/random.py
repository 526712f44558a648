"""Random: any pod, with a queue of its own."""

from __future__ import annotations

import numpy as np

from simulator.compiled import inlined
from simulator.randomness import DISPATCH, purpose_key, uniform

CODE = 2


@inlined
def pick(tables, service, key):
    """A pod by the call's key."""
    share = uniform(purpose_key(key, DISPATCH), 0)
    return tables.ready[service, np.int64(share * tables.services[service].ready)]
