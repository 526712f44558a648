"""What calibration's margin is for: settings that were picked on three days are judged on the day after them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from envs.task import load_task
from experiments.calibrate import SPACES, Search
from experiments.parts import CALIBRATION_SECONDS, DAY_SECONDS
from experiments.recipes import MARGIN, SEED
from experiments.run import Run
from experiments.trials import Trial, try_together
from experiments.tried import Tried, rank
from simulator.trace import Trace, read_trace

TASK = load_task("web")
SPACE = SPACES["hpa"]
BUDGET = 0.01
SEEDS = (0,)
MEAN_RPS = 200.0
LONGEST_BIN_SECONDS = 1800.0
LOSSES = 0.1
"""At most on so many of the traces calibrated settings may lose to the defaults on a day that nobody has seen."""
CLEARLY_DEARER, CLEARLY_MORE = 1.02, 1.1


def tried_on(part: Trace, margin: float) -> tuple[Search, list[Tried]]:
    search = Search(Run(TASK, part, None, "hpa", "hpa", SEED), SPACE, BUDGET, margin=margin)
    specs = tuple(search.spec(point) for point in SPACE.points)
    found = try_together(Trial(search.template, specs, SEEDS))
    figures = zip(specs, found.cost_usd, found.slo_violation_ratio, SPACE.points, strict=True)
    return search, [Tried(*one) for one in figures]


def loses(one: Tried, other: Tried) -> bool:
    """Worse by more than chance: over the budget where the other is not; or dearer; or, if both are, more so."""
    over = rank(one, BUDGET)[0]
    if over != rank(other, BUDGET)[0]:
        return over
    if over:
        return one.slo_violation_ratio > CLEARLY_MORE * other.slo_violation_ratio
    return one.cost_usd > CLEARLY_DEARER * other.cost_usd


@dataclass(frozen=True)
class Day:
    """What settings that were picked on the three days before come to on the last one, and what could be had."""

    trace: str
    chosen: Tried
    default: Tried
    fewest: float


def last_day(name: str, trace: Trace) -> Day:
    part = trace.slice(trace.end_seconds - DAY_SECONDS - CALIBRATION_SECONDS, CALIBRATION_SECONDS)
    last = trace.slice(trace.end_seconds - DAY_SECONDS, DAY_SECONDS)
    factor = MEAN_RPS / part.mean_rps
    _, judged = tried_on(last.scale(factor), 0.0)
    met = {one.point: one for one in judged}
    search, found = tried_on(part.scale(factor), MARGIN)
    chosen = search.choose(found, search.limit(found))
    assert search.default is not None
    fewest = min(one.slo_violation_ratio for one in judged)
    return Day(name, met[chosen.point], met[search.default], fewest)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_settings_with_a_margin_hold_on_the_day_after_and_seldom_lose_to_the_defaults(
    traces_dir: Path,
) -> None:
    """On the batch engine, the last day of every trace that has three before it."""
    known = json.loads((traces_dir / "MANIFEST.json").read_text(encoding="utf-8"))["traces"]
    long = [
        entry
        for entry in known
        if entry["kind"] == "request_rate"
        and entry["bin_seconds"] <= LONGEST_BIN_SECONDS
        and entry["duration_s"] >= DAY_SECONDS + CALIBRATION_SECONDS
    ]
    days = [last_day(entry["name"], read_trace(traces_dir / entry["file"])) for entry in long]
    assert days, "no trace has four days"
    lost = [day.trace for day in days if loses(day.chosen, day.default)]
    possible = [day for day in days if day.fewest <= BUDGET]
    broken = [day.trace for day in possible if day.chosen.slo_violation_ratio > BUDGET]
    by_default = [day.trace for day in possible if day.default.slo_violation_ratio > BUDGET]
    print(f"of {len(days)} days it loses on {lost}")
    print(f"of {len(possible)} that can keep the budget, {broken} break it; with the defaults {by_default}")
    assert len(lost) <= LOSSES * len(days), lost
    assert len(broken) <= len(by_default), broken
