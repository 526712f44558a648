"""Calibration on costs and violations that are known, and recipes on a real trace's part."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from refused import refused_task

from agents.space import Space
from envs.task import Task, load_task
from experiments.calibrate import FRONT_BUDGETS, NEARLY_FEWEST, SPACES, Calibration, Search, calibrate
from experiments.recipes import SEED, check_policy, resolve, runs_of
from experiments.run import Outcome, Run
from experiments.sweep import Sweep
from experiments.tried import Tried, front, rank, thin
from simulator.errors import InputError
from simulator.trace import Trace, split_trace

TASK = load_task("web")
ON_REQUEST_ENGINE = refused_task()
HOUR = Trace(np.full(60, 60 * 100.0), 60.0, name="flat")
GRID = Space("keda", {"target": tuple(range(14)), "window": tuple(range(4))})
"""Of a rule without defaults, so that nothing is run beside."""


@dataclass
class FakeSweep:
    """Costs and violations by a formula of the grid's point, and how far the batch engine's are from them."""

    cost: Any
    violations: Any
    batch_cost: Any = None
    batch_violations: Any = None
    asked: list[str] = field(default_factory=list)

    def kept(self, _key: str, _work: Callable[[], Outcome]) -> Outcome:
        """The batch engine's."""
        cost, violations = self.batch_cost or self.cost, self.batch_violations or self.violations
        figures = np.array([(cost(*point), violations(*point)) for point in GRID.points])
        names = ("cost_usd", "slo_violation_ratio")
        return Outcome({}, dict(zip(names, figures.T, strict=True)) | {"late_by_day": figures[:, 1:].T})

    def outcomes(self, runs: list[Run], done: Callable[[Run], None]) -> list[Outcome]:
        rows = []
        for run in runs:
            self.asked.append(run.policy)
            done(run)
            pairs = (pair.partition("=")[2] for pair in run.policy.partition(":")[2].split(","))
            target, window = (int(value) for value in pairs)
            rows.append(
                {
                    "cost_usd": self.cost(target, window),
                    "slo_violation_ratio": self.violations(target, window),
                }
            )
        return [Outcome(row, {}) for row in rows]


@dataclass
class TableSweep:
    """Costs and violations by spec, the same on both engines."""

    cost: dict[str, float]
    late: dict[str, float]

    def kept(self, _key: str, _work: Callable[[], Outcome]) -> Outcome:
        """The batch engine's."""
        usd, late = (np.array(list(values.values())) for values in (self.cost, self.late))
        return Outcome({}, {"cost_usd": usd, "slo_violation_ratio": late, "late_by_day": late[np.newaxis]})

    def outcomes(self, runs: list[Run], _done: Callable[[Run], None]) -> list[Outcome]:
        rows = [
            {"cost_usd": self.cost[run.policy], "slo_violation_ratio": self.late[run.policy]} for run in runs
        ]
        return [Outcome(row, {}) for row in rows]


def search(
    sweep: FakeSweep | TableSweep,
    budget: float,
    front: int = 0,
    task: Task = ON_REQUEST_ENGINE,
    margin: float = 0.0,
    space: Space = GRID,
) -> Calibration:
    template = Run(task, HOUR, None, "calibrated-hpa", "calibrated-hpa", SEED)
    return calibrate(Search(template, space, budget, front, margin), cast("Sweep", sweep), lambda _: None)


def rank_of(sweep: FakeSweep, point: tuple[int, ...], limit: float) -> tuple[bool, float]:
    return rank(Tried("", sweep.cost(*point), sweep.violations(*point)), limit)[:2]


@given(st.integers(0, 12), st.floats(0.001, 0.05), st.floats(0.0, 2.0))
def test_no_neighbour_of_the_chosen_one_and_no_coarse_point_is_better(
    steep: int, budget: float, slope: float
) -> None:
    """Cost falls and violations rise with the target; the window costs and helps."""
    sweep = FakeSweep(
        cost=lambda target, window: 30 - target + 0.1 * window,
        violations=lambda target, window: 0.0005 * (1 + steep) * target + 0.001 * slope / (1 + window),
    )
    found = search(sweep, budget)
    (chosen,) = (point for point in product(range(14), range(4)) if GRID.label(point) == found.chosen.spec)
    for other in (*GRID.neighbours(chosen), *GRID.coarse):
        assert rank_of(sweep, other, found.limit) >= rank_of(sweep, chosen, found.limit)
    assert found.within_budget == (found.chosen.slo_violation_ratio <= budget)
    assert len(sweep.asked) == len(set(sweep.asked)) == len(found.tried), "nothing is run twice"


@given(
    st.integers(0, 12),
    st.floats(0.001, 0.05),
    st.floats(0.0, 2.0),
    st.floats(0.7, 1.4),
    st.floats(0.98, 1.02),
)
def test_what_the_batch_engine_finds_is_put_right_by_the_request_engine(
    steep: int, budget: float, slope: float, late: float, dear: float
) -> None:
    """Where the batch engine is off by a factor, no neighbour is truly better than what is chosen."""

    def cost(target: int, window: int) -> float:
        return 30 - target + 0.1 * window

    def violations(target: int, window: int) -> float:
        return 0.0005 * (1 + steep) * (1 + target) + 0.001 * slope / (1 + window)

    sweep = FakeSweep(
        cost,
        violations,
        lambda target, window: dear * cost(target, window),
        lambda target, window: late * violations(target, window),
    )
    found = search(sweep, budget, task=TASK)
    (chosen,) = (point for point in GRID.points if GRID.label(point) == found.chosen.spec)
    for other in GRID.neighbours(chosen):
        assert rank_of(sweep, other, found.limit) >= rank_of(sweep, chosen, found.limit)
    assert found.within_budget == (found.chosen.slo_violation_ratio <= budget)
    assert len(sweep.asked) == len(set(sweep.asked)) == len(found.tried), "nothing is run twice"
    assert [tried.spec for tried in found.batch] == [GRID.label(point) for point in sorted(GRID.points)]


def test_where_the_engines_agree_the_best_of_the_whole_grid_is_found_in_few_runs() -> None:
    """A far corner is best, which a climb from the coarse grid would miss."""
    sweep = FakeSweep(
        cost=lambda target, window: 5.0 if (target, window) == (12, 3) else 30 - target - 3 * (window == 0),
        violations=lambda target, window: 0.001 if (target, window) == (12, 3) else 0.001 * target,
    )
    found = search(sweep, 0.004, task=TASK)
    assert found.chosen.spec == "keda:target=12,window=3"
    assert found.batch
    assert len(found.tried) < 6
    assert search(sweep, 0.004).chosen.spec != found.chosen.spec


def test_clearly_dearer_or_clearly_worse_neighbours_are_not_run() -> None:
    """A target lower is 4 % dearer, a target higher 43 % over the budget."""
    sweep = FakeSweep(
        cost=lambda target, window: 30 - target, violations=lambda target, window: 0.001 * 1.5**target
    )
    found = search(sweep, 1.05 * 0.001 * 1.5**6, task=TASK)
    assert found.chosen.spec == "keda:target=6,window=0"
    assert sorted(sweep.asked) == ["keda:target=6,window=0", "keda:target=6,window=1"]


def test_with_a_front_the_request_engine_runs_it_from_end_to_end() -> None:
    sweep = FakeSweep(
        cost=lambda target, window: 30 - target, violations=lambda target, window: 0.0001 * 2**target
    )
    found = search(sweep, 0.0008, front=4, task=TASK)
    assert found.chosen.spec == "keda:target=3,window=0"
    curve = front(found.tried)
    assert curve[-1].slo_violation_ratio == 0.0001
    assert curve[0].slo_violation_ratio == 0.0064 <= FRONT_BUDGETS * 0.0008
    assert len(found.tried) < 9


def test_a_thin_front_is_even_in_the_logarithm_of_violations() -> None:
    curve = [Tried(str(place), place, 2.0**-place) for place in range(13)]
    assert [point.spec for point in thin(curve, 4)] == ["0", "4", "8", "12"]
    assert thin(curve, 20) == curve
    assert thin([], 4) == []


def test_where_nothing_keeps_the_budget_it_takes_the_cheapest_of_those_with_about_the_fewest_violations() -> (
    None
):
    sweep = FakeSweep(
        cost=lambda target, window: 30 - target, violations=lambda target, window: 0.1 + target / 290
    )
    found = search(sweep, 0.01, task=TASK)
    assert not found.within_budget
    assert found.limit == pytest.approx(NEARLY_FEWEST * 0.1)
    assert found.chosen.spec == "keda:target=2,window=0"


def test_a_margin_leaves_a_share_of_the_violations_that_can_be_avoided() -> None:
    """0.1 to 0.9 % in steps of 0.1 are within a budget of 0.95 %; half of the way to it is 0.525 %."""
    sweep = FakeSweep(
        cost=lambda target, window: 30 - target, violations=lambda target, window: 0.001 * (1 + target)
    )
    assert search(sweep, 0.0095, task=TASK).chosen.spec == "keda:target=8,window=0"
    found = search(sweep, 0.0095, task=TASK, margin=0.5)
    assert found.limit == pytest.approx(0.00525)
    assert found.chosen.spec == "keda:target=4,window=0"
    assert found.within_budget


@pytest.mark.parametrize(("budget", "chosen"), [(0.0058, "hpa:target=0.55"), (0.0112, "hpa:target=0.8")])
def test_defaults_that_keep_the_budget_need_no_margin(budget: float, chosen: str) -> None:
    """At 1.12 % they keep it, and what leaves the margin is dearer. At 0.58 % they break it."""
    space = Space("hpa", {"target": tuple(round(0.5 + place / 20, 2) for place in range(9))})
    cost = {space.label(point): 3 - point[0] for point in space.points}
    late = {space.label(point): 0.01 * (point[0] - 0.5) / 0.3 + 0.001 for point in space.points}
    found = search(TableSweep(cost, late), budget, task=TASK, margin=0.5, space=space)
    assert found.default is not None
    assert found.default.spec == "hpa:target=0.8"
    assert found.chosen.spec == chosen


def test_defaults_are_taken_where_nothing_is_better() -> None:
    """As where no more than the fewest pods are ever needed: all settings come to the same."""
    space = Space("hpa", {"target": (0.3, 0.5, 0.8, 0.9)})
    cost = {space.label(point): 1.0 for point in space.points}
    late = {space.label(point): 0.001 for point in space.points}
    found = search(TableSweep(cost, late), 0.01, task=TASK, space=space)
    assert found.chosen == found.default
    assert found.chosen.spec == "hpa:target=0.8"
    cheaper = search(TableSweep(cost | {"hpa:target=0.9": 0.9}, late), 0.01, task=TASK, space=space)
    assert cheaper.chosen.spec == "hpa:target=0.9"


def test_settings_without_a_measure_are_never_chosen() -> None:
    sweep = FakeSweep(
        cost=lambda target, window: 30 - target,
        violations=lambda target, window: float("nan") if target > 4 else 0.001,
    )
    assert search(sweep, 0.01).chosen == Tried("keda:target=4,window=0", 26, 0.001)


def test_the_hpa_space_is_the_published_one() -> None:
    space = SPACES["hpa"]
    assert [len(values) for values in space.axes.values()] == [14, 4, 2]
    assert "target from 0.3 to 0.95 in steps of 0.05; window" in str(space)
    assert "window in 0, 60, 300, 600; scale_up in default, gentle" in str(space)
    assert space.coarse == list(product((0.35, 0.5, 0.65, 0.8, 0.95), (0, 300), ("default",)))
    for point in space.coarse:
        check_policy(space.label(point), Run(TASK, HOUR, None, "", "", 0))


def test_calibrated_never_sees_the_judged_part_and_hindsight_sees_nothing_else(tmp_path: Path) -> None:
    calm_then_wild = np.concatenate([np.full(30, 60 * 60.0), 60 * 60.0 * (1 + np.arange(10) % 2 * 5)])
    split = split_trace(Trace(calm_then_wild, 60.0, name="two"), 1800.0, 600.0)
    template = Run(TASK, split.judged, split.history, "", "", 0)
    with Sweep(tmp_path) as sweep:
        before = resolve("calibrated-hpa", template, split, sweep, lambda _: None)
        other = split_trace(
            Trace(np.concatenate([calm_then_wild[:30], np.full(10, 9.0)]), 60.0, name="two"), 1800.0
        )
        again = resolve(
            "calibrated-hpa", Run(TASK, other.judged, other.history, "", "", 0), other, sweep, lambda _: None
        )
        after = resolve("hindsight-hpa", template, split, sweep, lambda _: None)
    assert before == again
    assert before.on == "the 30 min before the judged part, with a margin"
    assert before.calibration is not None
    assert after.calibration is not None
    assert before.calibration.chosen.slo_violation_ratio < after.calibration.chosen.slo_violation_ratio
    judged = runs_of(before, template, 3)
    assert [(run.policy, run.label, run.seed) for run in judged] == [
        (before.policy, "calibrated-hpa", seed) for seed in range(3)
    ]
    assert SEED not in {run.seed for run in judged}


@pytest.mark.parametrize("policy", ["calibrated-vpa", "hindsight-", "magic"])
def test_unknown_recipes_are_refused(policy: str) -> None:
    with pytest.raises(InputError, match="is unknown"):
        check_policy(policy, Run(TASK, HOUR, None, policy, policy, 0))
