"""Policies tried together on the batch engine against each alone, and against the request engine."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from refused import refused_task

from envs.task import load_task
from experiments.conformance import made_load
from experiments.run import Run, execute
from experiments.trials import Trial, is_possible, try_together
from simulator.trace import Trace

TASK = load_task("web")
PART = made_load("sine", 150.0, 3)
SPECS = (
    "hpa:target=0.5,window=60",
    "fixed:replicas=12",
    "hpa:target=0.8,scale_up=gentle",
    "hpa:target=0.6",
    "keda:target=48,window=60",
)


def trial(specs: tuple[str, ...], seeds: tuple[int, ...] = (3,), part: Trace = PART) -> Trial:
    return Trial(Run(TASK, part, None, "", "", 3), specs, seeds)


def test_what_is_tried_together_meets_what_each_would_meet_alone() -> None:
    """The same load and draws: figures are the same bit for bit, in any company."""
    together = try_together(trial((*SPECS, SPECS[0])))
    for place, spec in enumerate((*SPECS, SPECS[0])):
        alone = try_together(trial((spec,)))
        assert together.cost_usd[place] == alone.cost_usd[0]
        assert together.slo_violation_ratio[place] == alone.slo_violation_ratio[0]
        assert together.late_by_day[:, place] == alone.late_by_day[:, 0]


def test_seeds_are_averaged() -> None:
    both = try_together(trial(SPECS, (3, 4)))
    each = [try_together(trial(SPECS, (seed,))) for seed in (3, 4)]
    usd = np.mean([one.cost_usd for one in each], axis=0)
    late = np.mean([one.slo_violation_ratio for one in each], axis=0)
    assert np.allclose(both.cost_usd, usd, rtol=1e-12)
    assert np.allclose(both.slo_violation_ratio, late, rtol=0.01)
    assert (each[0].slo_violation_ratio != each[1].slo_violation_ratio).all()


def test_days_are_told_apart() -> None:
    """Of two and a half days all pods are too few on the second alone."""
    hours = np.full(60, 60.0)
    hours[30] = 40_000.0
    found = try_together(trial(("hpa", "fixed:replicas=4"), part=Trace(60 * hours, 3600.0)))
    assert found.late_by_day.shape == (3, 2)
    assert (found.late_by_day.argmax(axis=0) == 1).all()
    assert found.late_by_day.sum(axis=0) == pytest.approx(
        found.slo_violation_ratio * 60 * hours.sum(), rel=0.02
    )


def test_the_request_engine_finds_the_same() -> None:
    found = try_together(trial(SPECS, (3, 4, 5, 6)))
    for place, spec in enumerate(SPECS):
        rows = [execute(Run(TASK, PART, None, spec, spec, seed)).row for seed in (3, 4)]
        assert found.cost_usd[place] == pytest.approx(np.mean([row["cost_usd"] for row in rows]), rel=0.02)
        truth = float(np.mean([row["slo_violation_ratio"] for row in rows]))
        assert found.slo_violation_ratio[place] == pytest.approx(truth, rel=0.25, abs=0.001)


def test_without_requests_the_ratio_is_nan() -> None:
    found = try_together(trial(("hpa", "fixed:replicas=4"), part=Trace(np.zeros(5), 60.0)))
    assert (found.cost_usd > 0).all()
    assert np.isnan(found.slo_violation_ratio).all()


def test_the_rest_of_a_step_is_left_out() -> None:
    for part in (Trace(np.full(200, 600.0), 6.0), Trace(np.full(199, 600.0), 6.0)):
        usd = try_together(trial(("fixed:replicas=10",), part=part)).cost_usd[0]
        steps = part.duration_seconds // 15
        assert usd == pytest.approx(10 * steps * 15 / 3600 * 0.04, rel=0.01)


def test_every_share_of_the_work_is_told_once() -> None:
    shares: list[float] = []
    try_together(trial(("hpa",)), shares.append)
    assert len(shares) == 100
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_what_the_batch_engine_does_not_model_is_not_tried() -> None:
    assert is_possible(TASK, PART)
    assert not is_possible(refused_task(), PART)
    assert not is_possible(TASK, Trace(np.array([900.0]), 10.0))


def test_the_key_knows_all_that_the_result_depends_on() -> None:
    one = trial(SPECS)
    others = [
        trial(SPECS[:2]),
        trial(SPECS, (4,)),
        trial(SPECS, part=PART.scale(2.0)),
        dataclasses.replace(one, template=dataclasses.replace(one.template, task=load_task("cold-start"))),
    ]
    assert len({one.key, *(other.key for other in others)}) == 5
    assert one.key == trial(SPECS).key
