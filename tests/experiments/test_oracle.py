"""The oracle on the request engine: its model is the engine's, and no rule is cheaper at as few violations."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from envs.task import load_task
from experiments.commands import Part, rehearse
from experiments.evaluate import Question, evaluate
from experiments.oracle import MOST_RATIO, ORACLE, Oracle, why_not
from experiments.oracle_model import make_model
from experiments.planned import PERIOD_SECONDS, Planned, Schedule
from experiments.recipes import check_policy, resolve
from experiments.run import Run, execute, with_policy
from experiments.sweep import Sweep
from simulator.errors import InputError
from simulator.faults import PodKill
from simulator.trace import Split, Trace

TASK = load_task("web")
MINUTES = 40
WAVES = Trace(
    60 * (150 + 110 * np.sin(np.arange(MINUTES) / 5) + 200 * (np.arange(MINUTES) == 25)), 60.0, name="waves"
)
BUDGET = TASK.objective.violation_budget
TEMPLATE = Run(TASK, WAVES, None, ORACLE, ORACLE, 0)
RULES = tuple(
    f"hpa:target={target},window={window}" for target in (0.4, 0.6, 0.8, 0.95) for window in (0, 300)
)


def never(_: str) -> None:
    """Nobody is told."""


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    return Sweep(tmp_path_factory.mktemp("runs"), 1)


@pytest.fixture(scope="module")
def oracle(sweep: Sweep) -> Oracle:
    return Oracle(TEMPLATE, sweep, never)


@pytest.mark.parametrize("replicas", [2, 3, 4, 5, 8])
def test_the_model_of_fixed_replicas_is_what_the_engine_does(replicas: int) -> None:
    """From an overload that is never worked off to no wait at all."""
    outcome = execute(with_policy(TEMPLATE, f"fixed:replicas={replicas}", "fixed"))
    model, requests, unavoidable = make_model(TASK, WAVES, 0)
    model = replace(model, first=max(model.first, replicas))
    cost, late = model.follow(np.full(len(model.hold_usd), replicas))
    first = int(TASK.build(0, WAVES).snapshot().wanted[0])
    starts = max(replicas - first, 0) * model.start_usd
    assert requests == round(float((outcome.timeline["rate_rps"] * PERIOD_SECONDS).sum()))
    assert cost == pytest.approx(outcome.row["cost_usd"], rel=0.01, abs=starts)
    truth = outcome.row["slo_violation_ratio"]
    assert late / requests == pytest.approx(truth, rel=0.15, abs=0.002)
    assert unavoidable / requests <= min(truth, late / requests)


def test_a_schedule_costs_what_the_model_says_and_keeps_the_budget(oracle: Oracle) -> None:
    oracle.run_within([(0, BUDGET)])
    run = oracle.chosen(0, BUDGET)
    row = execute(run).row
    assert row["slo_violation_ratio"] <= BUDGET
    bound = oracle.bound_usd(0, BUDGET)
    assert bound * 0.995 <= row["cost_usd"] <= bound * 1.03


def test_no_rule_is_cheaper_at_as_few_violations(oracle: Oracle, sweep: Sweep) -> None:
    runs = [with_policy(TEMPLATE, rule, rule) for rule in RULES]
    rows = [outcome.row for outcome in sweep.outcomes(runs)]
    rows = [row for row in rows if row["slo_violation_ratio"] <= MOST_RATIO]
    assert len(rows) > 5
    oracle.run_within([(0, row["slo_violation_ratio"]) for row in rows])
    regrets = [oracle.regret(0, row["slo_violation_ratio"], row["cost_usd"]) for row in rows]
    assert min(regrets) > 0, dict(zip(RULES, regrets, strict=True))
    assert max(row["slo_violation_ratio"] for row in rows) > 4 * min(
        row["slo_violation_ratio"] for row in rows
    )


def test_more_violations_never_cost_more(oracle: Oracle) -> None:
    oracle.run_within([(0, BUDGET)])
    oracle.front(0, BUDGET)
    levels = np.geomspace(0.0055, 0.25, 40)
    costs = [1 / (oracle.regret(0, level, 1.0) + 1) for level in levels]
    known = [cost for cost in costs if not math.isnan(cost)]
    assert len(known) > 20
    assert all(later <= before + 1e-12 for before, later in pairwise(known))
    bounds = [oracle.bound_usd(0, level) for level in levels]
    assert all(later <= before + 1e-12 for before, later in pairwise(bounds))


def test_a_policy_with_pods_to_spare_is_held_against_the_oracle_too(oracle: Oracle) -> None:
    row = execute(with_policy(TEMPLATE, "fixed:replicas=60", "fixed")).row
    oracle.run_within([(0, row["slo_violation_ratio"])])
    assert oracle.regret(0, row["slo_violation_ratio"], row["cost_usd"]) > 1


def test_where_the_oracle_has_no_run_with_so_few_violations_there_is_no_regret(oracle: Oracle) -> None:
    oracle.run_within([(0, BUDGET)])
    assert math.isnan(oracle.regret(0, 0.0, 1.0))
    assert math.isnan(oracle.regret(0, 0.3, 1.0))
    assert oracle.regret(0, 0.2, 1.0) > 0


def test_a_table_has_the_oracle_and_every_regret(tmp_path: Path) -> None:
    question = Question(TASK, WAVES, ("fixed:replicas=12",), seeds=2)
    findings = evaluate(question, tmp_path, 1, never)
    regret = findings.table.set_index("policy")["regret_to_oracle"]
    assert set(regret.index) == {"fixed:replicas=12", "calibrated-hpa", ORACLE}
    assert (regret[ORACLE] == 0).all()
    assert (regret["fixed:replicas=12"] > 0.5).all()
    assert (regret["calibrated-hpa"] > 0).all()
    assert len(findings.bounds_usd) == 2
    assert len(findings.oracle_points) > 3
    assert (tmp_path / "plane.png").read_bytes().startswith(b"\x89PNG")
    assert "with the future known" in (tmp_path / "report.html").read_text()
    without = evaluate(replace(question, oracle=False), tmp_path, 1, never)
    assert set(without.table["policy"]) == {"fixed:replicas=12", "calibrated-hpa"}
    assert without.table["regret_to_oracle"].isna().all()


def test_the_recipe_gives_the_schedule_of_its_seed(sweep: Sweep) -> None:
    found = resolve(ORACLE, replace(TEMPLATE, seed=1), Split(None, WAVES, 1.0, coarse=False), sweep, never)
    assert found.schedule is not None
    assert len(found.schedule.wanted) == MINUTES * 60 / PERIOD_SECONDS
    row = execute(replace(TEMPLATE, seed=1, schedule=found.schedule)).row
    assert row["slo_violation_ratio"] <= BUDGET
    assert '"schedule_sha256"' in row["policy_settings"]


def test_a_schedule_is_played_by_the_clock_and_its_last_entry_stays() -> None:
    policy = Planned(Schedule((3, 5, 4), 15.0, 1e-5))
    snapshot = TASK.build(0, WAVES).snapshot()
    wanted = [
        int(policy.decide(replace(snapshot, time_seconds=np.array(seconds))).replicas[0])
        for seconds in (0.0, 14.9, 15.0, 30.0, 45.0, 1e6)
    ]
    assert wanted == [3, 3, 5, 4, 4, 4]


@pytest.mark.parametrize(
    ("task", "why"),
    [
        ("shop3", "it plans for one service behind one queue, and this task has more"),
        ("spot-fleet", "it does not plan for nodes"),
        ("scale-to-zero", "waking from zero"),
    ],
)
def test_what_it_cannot_plan_for_is_refused_by_name(task: str, why: str) -> None:
    with pytest.raises(InputError) as error:
        check_policy(ORACLE, replace(TEMPLATE, task=load_task(task)))
    assert str(error.value).startswith("policy oracle: ")
    assert why in str(error.value)
    assert str(error.value).endswith(f"(task {task}); leave it out")


def test_the_control_loop_cannot_rehearse_the_future() -> None:
    with pytest.raises(InputError, match="policy oracle: it knows the future, so no control loop can run it"):
        rehearse(Part("web", None, None, None, None), ORACLE, 0, None)


def test_a_table_without_the_oracle_says_why(tmp_path: Path) -> None:
    task = TASK.model_copy(update={"scenario": TASK.scenario.with_faults([PodKill(per_hour=1)])})
    findings = evaluate(Question(task, WAVES, ("fixed:replicas=12",), seeds=1), tmp_path, 1, never)
    assert ORACLE not in set(findings.table["policy"])
    assert findings.table["regret_to_oracle"].isna().all()
    assert "No oracle, so regret_to_oracle is empty: it does not plan for faults of kind pod_kill." in (
        findings.warnings
    )


def test_faults_of_metrics_alone_are_planned_for() -> None:
    assert not why_not(load_task("noisy-metrics"))
