"""KEDA's rules against tables of cases: tests/cases/README.md."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import pytest
from case_tables import Case, all_are_there, parameters

from agents.baselines.keda_jobs import JobRules, Queue, average_target, combine_queues, decide_jobs
from agents.baselines.keda_scaling import (
    COOLDOWN_SECONDS,
    Activity,
    Fallback,
    ScaleRules,
    is_active,
    report,
    request_scale,
)
from simulator.arrays import Floats

LONG_AGO_SECONDS: Final = 1e9


def seconds(value: float | None) -> Floats:
    return np.array([np.nan if value is None else float(value)])


def check_activation(case: Case) -> None:
    active = is_active(seconds(case["value"]), case["activation_threshold"])
    assert {"active": bool(active[0])} == case["expected"]


def check_fallback(case: Case) -> None:
    row, health, expected = case["fallback"], case["health"], case["expected"]
    fallback = (
        None
        if row is None
        else Fallback(row["failure_threshold"], row["replicas"], row["behavior"] or "static")
    )
    found = report(
        seconds(None if case["scaler_error"] else case["scaler_value"]),
        np.array([health["failures"] if health else 0]),
        fallback,
        case["target"],
        np.array([case["current_replicas"]]),
        np.array([case.get("ready_replicas") or 0]) if case["target_type"] == "Value" else None,
    )
    value, failures = float(found.values[0]), int(found.failures[0])
    assert bool(found.falls_back[0]) == expected["fallback_active"]
    if "error" in expected:
        assert np.isnan(value)
    else:
        assert value == pytest.approx(expected["value"], rel=1e-12, abs=0)
    if "health" in expected:
        counted = {"failures": failures, "status": "Failing" if failures else "Happy"}
        assert (health if fallback is None else counted) == expected["health"]


def check_request_scale(case: Case) -> None:
    fallback = case.get("fallback") or {}
    rules = ScaleRules(
        fewest=case.get("min_replicas") or 0,
        idle=case.get("idle_replicas"),
        cooldown_seconds=case.get("cooldown_s", COOLDOWN_SECONDS),
        initial_cooldown_seconds=case.get("initial_cooldown_s") or 0,
        fallback_replicas=case.get("fallback_replicas", fallback.get("replicas")),
        paused=case.get("paused", False),
        paused_scale_in=case.get("paused_scale_in", False),
        paused_scale_out=case.get("paused_scale_out", False),
        forced=any(case.get(name) for name in ("forced", "force", "force_active", "force_activation")),
    )
    activity = Activity(
        active=np.array([case["active"]]),
        failed=np.array([bool(case.get("error"))]),
        inactive_seconds=seconds(case.get("last_active_age_s")),
        age_seconds=seconds(case.get("created_age_s", LONG_AGO_SECONDS)),
    )
    found = {
        "replicas": int(request_scale(np.array([case["current_replicas"]]), activity, rules)[0]),
        "active": case["active"] or rules.forced,
    }
    assert {key: found[key] for key in case["expected"]} == case["expected"]


def check_job_strategy(case: Case) -> None:
    rules = JobRules(
        strategy=case["strategy"],
        min_replicas=case.get("min_replicas") or 0,
        max_replicas=case["max_replicas"],
        queue_length_deduction=case.get("queue_length_deduction") or 0,
        running_job_percentage=case.get("running_job_percentage"),
    )
    done = decide_jobs(rules, case["running"], case["pending"], case["max_scale"], case["scale_to"])
    found = {"effective_max": done.effective_max, "scale_to": done.scale_to}
    assert {key: found[key] for key in case["expected"]} == case["expected"]


def check_job_state(case: Case) -> None:
    rules = JobRules(min_replicas=case["min_replicas"] or 0, max_replicas=case["max_replicas"])
    queues = [Queue(row["queue_length"], row["target_average"], row["active"]) for row in case["scalers"]]
    done = combine_queues(queues, rules, case["combine"] or "max")
    found = {"active": done.active, "queue_length": done.queue_length, "max_value": done.max_value}
    assert {key: found[key] for key in case["expected"]} == case["expected"]


def check_target_average(case: Case) -> None:
    found = average_target(case["targets"])
    assert found == pytest.approx(case["expected"]["average"], rel=case.get("rel_tol", 1e-12), abs=0)


CHECKS: Final[dict[str, Callable[[Case], None]]] = {
    "keda_activation_derived": check_activation,
    "keda_fallback": check_fallback,
    "keda_request_scale": check_request_scale,
    "keda_job_strategy": check_job_strategy,
    "keda_job_state": check_job_state,
    "keda_target_average": check_target_average,
}


@pytest.mark.parametrize(("table", "row"), parameters(CHECKS))
def test_keda_case(table: str, row: Case) -> None:
    CHECKS[table](row)


def test_every_table_is_there() -> None:
    assert all_are_there(CHECKS)
