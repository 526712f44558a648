"""Batching: hand-worked batches, and a birth-death chain whose rates depend on how many are at work."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from markov import stationary
from scipy import stats
from test_kernel_examples import Run, application, assert_ends, service

from simulator.application import Application
from simulator.kernel.tables import OK
from simulator.service import Service

SEEDS, LEVEL = 20, 0.001


def batch(slots: int, slowdown: float, **changes: Any) -> dict[str, Any]:
    return service(slots_per_pod=slots, discipline="batching", batch_slowdown=slowdown, **changes)


def test_each_further_request_makes_all_slower() -> None:
    run = Run(application(batch(2, 0.5, vcpu_per_pod=4.0)))
    # alone for 0.5, then both at 2/3 until the first is done; then the third comes in beside the second
    run.until(9.0, 0.0, 0.5, 0.6)
    assert_ends(run, (0.0, 1.25, OK), (0.5, 2.0, OK), (0.6, 2.5, OK))
    assert run.count("cpu_seconds") == pytest.approx(4.0 * 2.5)
    assert run.count("busy_slot_seconds") == pytest.approx(1.25 + 1.5 + 1.25)


@pytest.mark.parametrize(("slowdown", "end"), [(0.0, 1.0), (1.0, 8.0)])
def test_a_batch_is_free_or_no_gain_at_the_ends(slowdown: float, end: float) -> None:
    run = Run(application(batch(8, slowdown))).until(9.0, *np.zeros(8))
    assert_ends(run, *[(0.0, end, OK)] * 8)


def test_a_slow_pod_is_busy_for_longer_and_its_cpu_does_not_speed_it_up() -> None:
    run = Run(application(batch(2, 0.5)))
    run.plane.set_pod(0, speed=0.5, vcpu=8.0)
    run.until(1.5, 0.0, 0.0)
    run.plane.set_pod(0, speed=1.0)
    assert_ends(run.until(9.0), *[(0.0, 2.25, OK)] * 2)
    assert run.count("cpu_seconds") == pytest.approx(8.0 * 2.25)


@pytest.mark.parametrize(("slots", "slowdown", "rate"), [(4, 0.1, 24.0), (16, 0.05, 70.0), (3, 1.0, 7.0)])
def test_as_many_are_there_as_the_chain_of_its_rates_says(slots: int, slowdown: float, rate: float) -> None:
    """Exponential work of mean 0.1 s: n at work leave at rate n / (1 + s (n - 1)) / 0.1, one pod, Poisson arrivals."""
    count = np.arange(2000.0)
    working = np.minimum(count, slots)
    leaving = working / (1 + slowdown * np.maximum(working - 1, 0)) / 0.1
    chain = stationary([((1,), np.full(2000, rate)), ((-1,), leaving)])
    expected = float(chain @ count)
    web = batch(slots, slowdown) | {"service_time": {"law": "exponential", "mean_seconds": 0.1}}
    app, seconds, warm_up = application(web), 600_000.0 / rate, 200.0
    means = []
    for seed in range(SEEDS):
        rng = np.random.default_rng([seed, slots])
        run = Run(app)
        arrivals = np.sort(rng.uniform(0.0, seconds, rng.poisson(rate * seconds)))
        run.plane._tables.clock["seed"] = seed
        run.until(warm_up, *arrivals[arrivals < warm_up])
        before = run.requests("in_flight_request_seconds")
        run.plane.advance(seconds, arrivals[arrivals >= warm_up])
        means.append((run.requests("in_flight_request_seconds") - before) / (seconds - warm_up))
    error = np.std(means, ddof=1) / np.sqrt(SEEDS)
    assert error * stats.t.ppf(0.975, SEEDS - 1) < 0.01 * expected
    assert abs(np.mean(means) - expected) / error < stats.t.ppf(1 - LEVEL / 2, SEEDS - 1)


def test_capacity_is_that_of_full_batches() -> None:
    web = Service.model_validate(batch(8, 0.25, work=0.5))
    app = Application.of(web)
    assert app.capacity_rps() == pytest.approx((8 / (0.5 * (1 + 0.25 * 7)),))
    assert app.load_seconds() == pytest.approx((0.5 * (1 + 0.25 * 7),))
    assert not app.is_one_queue
    rate = app.capacity_rps()[0]
    run = Run(app).until(4000.0, *(np.arange(1.02 * rate * 4000.0) / (1.02 * rate)))
    assert run.count("served") / 4000.0 == pytest.approx(rate, rel=0.01)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"discipline": "slots"}, "batch_slowdown needs discipline batching"),
        ({"batch_slowdown": 1.5}, "less than or equal to 1"),
        ({"cfs_throttling": True}, "cfs_throttling needs discipline processor_sharing"),
    ],
)
def test_what_does_not_go_together_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Service.model_validate(batch(2, 0.5) | changes)
