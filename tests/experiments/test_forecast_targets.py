"""The default forecaster on the last weeks of real traces, against what docs/forecast.md says of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from agents.forecast.backtest import roll
from agents.forecast.registry import DEFAULT, REFERENCE, make
from experiments.forecast_backtest import Question, make_plan, rows_of

SEASONAL_FROM = 0.45
"""Autocorrelation at a day or a week from which a trace counts as seasonal."""
_GROWING = "wc98_to_jun20"
"""Its judged part, with the matches, has over ten times the requests of its history."""


def seasonal(folder: Path) -> dict[str, Path]:
    found = {}
    for entry in json.loads((folder / "MANIFEST.json").read_text())["traces"]:
        stats = entry.get("stats", {})
        likeness = max(stats.get("acf_24h") or 0, stats.get("acf_7d") or 0)
        if entry["kind"] == "request_rate" and likeness >= SEASONAL_FROM:
            found[entry["name"]] = folder / entry["file"]
    return found


@pytest.mark.slow
def test_on_seasonal_traces_it_reaches_the_targets(traces_dir: Path) -> None:
    covered, right = [], []
    for name, path in seasonal(traces_dir).items():
        plan = make_plan(Question(path, ("5m", "30m"), (), None, None, None, 0))
        assert plan.names == (REFERENCE, DEFAULT)
        found = {one: roll(plan.backtest, make(one, plan.grid), lambda: 0.0) for one in plan.names}
        for row in rows_of(plan, found):
            if row.forecaster == DEFAULT:
                assert row.against_naive < 1
                assert row.accuracy.mase < 1 or name == _GROWING
                covered.append(row.accuracy.coverage)
        right.append(rows_of(plan, found)[1].accuracy.right)
    assert len(right) >= 10
    assert 0.87 <= np.median(covered) <= 0.93
    assert np.median(right) > 0.9
