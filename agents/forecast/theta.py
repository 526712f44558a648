"""The Theta method, on what is left when the seasons are taken off."""

from __future__ import annotations

from typing import Any

from agents.forecast.forecaster import Grid
from agents.forecast.mstl import Decomposed


def theta(grid: Grid) -> Decomposed:
    """Dynamic optimised Theta (Fiorucci et al., 2016)."""

    def make() -> Any:  # noqa: ANN401 - statsforecast has no common type
        from statsforecast.models import DynamicOptimizedTheta

        return DynamicOptimizedTheta(season_length=1)

    return Decomposed(grid, make)
