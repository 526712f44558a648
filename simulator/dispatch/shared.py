"""One queue for all pods of a service: the slot that has been idle longest takes the next request."""

from __future__ import annotations

from simulator.compiled import inlined
from simulator.kernel.lists import take_idle
from simulator.kernel.tables import NONE

CODE = 0


@inlined
def pick(tables, service, row):
    """The pod with a slot for the call, which is taken; NONE where all slots are busy."""
    slot = take_idle(tables, service)
    tables.calls[row].slot = slot
    if slot == NONE:
        return NONE
    return tables.slots[slot].pod
