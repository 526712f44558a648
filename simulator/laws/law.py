"""The service-time laws together: one type for settings, one compiled draw."""

from __future__ import annotations

from typing import Annotated

import numba
from pydantic import Field

from simulator.laws import exponential
from simulator.laws.exponential import ExponentialLaw

ServiceTimeLaw = Annotated[ExponentialLaw, Field(discriminator="law")]


@numba.njit(cache=True, nogil=True, forceinline=True)
def draw_seconds(code, values, at, key):
    """The service time that a key has by the law of this code, whose parameters begin at ``values[at]``."""
    return exponential.draw(values, at, key)
