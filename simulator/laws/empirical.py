"""Times that were measured, drawn by their weights from an alias table.

Source: M. Vose, A linear algorithm for generating random numbers with a given distribution, 1991.
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from simulator.arrays import Floats
from simulator.settings import Settings

CODE = 6


class EmpiricalLaw(Settings):
    """Service times drawn from measured ones."""

    law: Literal["empirical"] = "empirical"
    values_seconds: tuple[Annotated[float, Field(gt=0, le=3600)], ...] = Field(
        min_length=1, max_length=100_000, description="Measured service times, seconds."
    )
    weights: tuple[Annotated[float, Field(ge=0)], ...] | None = Field(
        default=None,
        description="How often each of them is drawn, relative to the others; equally if not given.",
    )

    @model_validator(mode="after")
    def _weighted(self) -> EmpiricalLaw:
        if self.weights is None:
            return self
        if len(self.weights) != len(self.values_seconds):
            msg = (
                f"weights ({len(self.weights)} of them) must be as many as values_seconds "
                f"({len(self.values_seconds)})"
            )
            raise ValueError(msg)
        if not any(self.weights):
            msg = "weights are all 0: at least one must be above 0"
            raise ValueError(msg)
        return self

    @property
    def mean_seconds(self) -> float:
        """Mean service time, seconds."""
        values, weights = self._weighted_values()
        return float(np.average(values, weights=weights))

    @property
    def scv(self) -> float:
        """Squared coefficient of variation."""
        values, weights = self._weighted_values()
        relative = values / np.average(values, weights=weights) - 1
        return float(np.average(relative**2, weights=weights))

    @property
    def code(self) -> int:
        """Which compiled draw is this law's."""
        return CODE

    def parameters(self) -> tuple[float, ...]:
        """What the compiled draw reads: n, then n times (threshold, value below it, value above it)."""
        values, weights = self._weighted_values()
        table = np.column_stack(_alias(values, weights))
        return float(len(values)), *table.ravel().tolist()

    def survival(self, seconds: Floats) -> Floats:
        """The probability to exceed each time: float64 of the same shape."""
        values, weights = self._weighted_values()
        order = np.argsort(values)
        above = np.append(np.cumsum(weights[order][::-1])[::-1], 0.0) / weights.sum()
        return np.asarray(above[np.searchsorted(values[order], seconds, side="right")])

    def _weighted_values(self) -> tuple[Floats, Floats]:
        """The times that may be drawn, and their weights, of which the largest is 1."""
        values = np.array(self.values_seconds)
        weights = np.ones(len(values)) if self.weights is None else np.array(self.weights)
        weights = weights / weights.max()
        drawn = weights > 0
        return values[drawn], weights[drawn]


def _alias(values: Floats, weights: Floats) -> tuple[Floats, Floats, Floats]:
    """Vose's table: a place's own value up to its threshold in [0, 1], another's above it."""
    shares = (weights * (len(weights) / weights.sum())).tolist()
    others = list(range(len(shares)))
    poor = [place for place, share in enumerate(shares) if share < 1]
    rich = [place for place, share in enumerate(shares) if share >= 1]
    while poor and rich:
        taker, giver = poor.pop(), rich[-1]
        others[taker] = giver
        shares[giver] = (shares[giver] + shares[taker]) - 1
        if shares[giver] < 1:
            poor.append(rich.pop())
    for place in (*poor, *rich):  # 1 but for rounding
        shares[place] = 1.0
    return np.array(shares), values, values[others]
