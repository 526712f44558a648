"""Load shedding: a service turns requests away while its oldest waiting request has waited too long.

Source: K. Nichols and V. Jacobson, Controlling queue delay, 2012 (delay, not length, says that a
queue stands); Google, Site Reliability Engineering, 2016, ch. 21 (criticality).
"""

from __future__ import annotations

import numpy as np

from simulator.compiled import inlined


@inlined
def sheds(tables, owner, service, row, now):
    """Whether a call that would wait in an owner's queues is turned away."""
    station = tables.services[service]
    if station.shed_seconds == np.inf or tables.calls[row].priority < station.shed_spares:
        return False
    for priority in range(tables.clock[0].priorities):
        queue = tables.queues[owner, priority]
        if queue.length > 0 and now - tables.calls[queue.head].arrived > station.shed_seconds:
            return True
    return False
