"""ARIMA, on what is left when the seasons are taken off."""

from __future__ import annotations

from typing import Any

from agents.forecast.forecaster import Grid
from agents.forecast.mstl import Decomposed


def arima(grid: Grid) -> Decomposed:
    """ARIMA of the orders that a stepwise search finds (Hyndman and Khandakar, 2008)."""

    def make() -> Any:  # noqa: ANN401 - statsforecast has no common type
        from statsforecast.models import AutoARIMA

        return AutoARIMA(season_length=1, seasonal=False)

    return Decomposed(grid, make)
