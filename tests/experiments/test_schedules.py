"""Schedules against every schedule there is, in models small enough for that."""

from __future__ import annotations

from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.schedules import Model, bound_usd, cheapest, ladder, plan_wanted

PERIOD = 15.0


@st.composite
def models(draw: st.DrawFn) -> Model:
    """At most five periods, four counts and three levels; violations need not fall with replicas."""
    periods, counts, levels = draw(st.integers(1, 5)), draw(st.integers(1, 4)), draw(st.integers(1, 3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    shape = periods, counts, levels
    fewest = draw(st.integers(0, 2))
    return Model(
        late=rng.integers(0, 30, shape).astype(np.float32),
        after=rng.integers(0, levels, shape).astype(np.uint8),
        hold_usd=rng.uniform(0.5, 1.5, periods),
        start_usd=float(rng.uniform(0, 3)),
        fewest=fewest,
        first=fewest + int(rng.integers(counts)),
        lead=draw(st.integers(0, 2)),
    )


def all_schedules(model: Model) -> list[tuple[float, float]]:
    """Cost and violations of every schedule that may be: nothing is added before the lead is over."""
    periods, counts, _ = model.late.shape
    found = []
    for schedule in product(range(model.fewest, model.fewest + counts), repeat=periods):
        path = (model.first, *schedule)
        if all(after <= before for before, after in list(pairwise(path))[: model.lead]):
            found.append(model.follow(np.array(schedule)))
    return found


@given(models(), st.floats(0, 10))
def test_with_violations_paid_for_nothing_is_cheaper(model: Model, price: float) -> None:
    rung = cheapest(model, price)
    assert (rung.cost_usd, rung.late) in all_schedules(model)
    lowest = min(cost + price * late for cost, late in all_schedules(model))
    assert rung.cost_usd + price * rung.late == pytest.approx(lowest)


@given(models())
def test_no_schedule_with_as_few_violations_is_cheaper_than_a_rung(model: Model) -> None:
    every = all_schedules(model)
    for rung in ladder(model, 0.0):
        as_few = [cost for cost, late in every if late <= rung.late]
        if not np.isnan(rung.usd_per_violation):
            assert min(as_few) == pytest.approx(rung.cost_usd)
        else:
            assert min(as_few) <= rung.cost_usd + 1e-9


@given(models())
def test_the_bound_is_below_the_optimum_and_that_below_the_ladder_at_every_budget(model: Model) -> None:
    every, rungs = all_schedules(model), ladder(model, 0.0)
    bounds, costs = [], []
    for budget in sorted({late for _, late in every}):
        optimum = min(cost for cost, late in every if late <= budget)
        bounds.append(bound_usd(rungs, budget))
        costs.append(min((rung.cost_usd for rung in rungs if rung.late <= budget), default=np.inf))
        assert bounds[-1] <= optimum + 1e-9
        assert optimum <= costs[-1] + 1e-9
    for values in (bounds, costs):
        assert all(later <= before + 1e-9 for before, later in pairwise(values)), "a larger budget costs more"
    assert np.isfinite(costs[-1])


@given(models())
def test_the_ladder_has_the_fewest_violations_and_the_lowest_cost_there_can_be(model: Model) -> None:
    every, rungs = all_schedules(model), ladder(model, 0.0)
    assert min(rung.late for rung in rungs) == min(late for _, late in every)
    assert min(rung.cost_usd for rung in rungs) == pytest.approx(min(cost for cost, _ in every), rel=0.01)


def test_between_cheapest_schedules_that_jump_there_are_others() -> None:
    """What waits is never worked off, so at no price only a part is given up; at a budget it is."""
    periods = 40
    late = np.zeros((periods, 2, 2), np.float32)
    late[:, 0, :] = late[:, :, 1] = 10.0
    after = np.ones((periods, 2, 2), np.uint8)
    after[:, 1, 0] = 0
    model = Model(late, after, np.ones(periods), 0.0, 1, 2)
    rungs = ladder(model, 0.0)
    hull = {rung.late for rung in rungs if not np.isnan(rung.usd_per_violation)}
    assert hull == {0.0, 10.0 * periods}
    for left in (1, 5, 20):
        best = min(rung.cost_usd for rung in rungs if rung.late <= 10.0 * left)
        assert best == pytest.approx(2 * periods - left), left


def ready_by(wanted: np.ndarray, first: int, start_seconds: np.ndarray) -> list[int]:
    """Ready pods at each period's beginning, as a ReplicaSet makes and takes them."""
    pods, draws, found = [0.0] * first, iter(start_seconds.tolist()), []
    for period, count in enumerate(wanted.tolist()):
        now = period * PERIOD
        pods.sort()
        del pods[count:]  # those that are ready last, or not yet, go first
        pods += [now + next(draws) for _ in range(count - len(pods))]
        found.append(sum(ready <= now for ready in pods))
    return found


@given(st.data())
def test_what_is_wanted_makes_what_is_planned_ready_in_time(data: st.DataObject) -> None:
    replicas = np.array(data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=60)))
    seconds = np.array(data.draw(st.lists(st.floats(1.0, 100.0), min_size=5, max_size=40)))
    furthest = int(seconds.max() / PERIOD) + 2
    first = int(replicas[:furthest].max())
    wanted = plan_wanted(replicas, first, seconds, PERIOD)
    assert all(
        ready >= needed
        for ready, needed in zip(ready_by(wanted, first, np.tile(seconds, 200)), replicas, strict=True)
    )
    assert wanted.max() <= max(first, replicas.max())


def test_a_pod_is_created_as_late_as_its_start_up_allows_and_goes_at_once() -> None:
    replicas = np.array([1, 1, 1, 1, 2, 1, 1, 1])
    assert plan_wanted(replicas, 1, np.array([20.0]), PERIOD).tolist() == [1, 1, 2, 2, 2, 1, 1, 1]
    assert plan_wanted(replicas, 1, np.array([40.0]), PERIOD).tolist() == [1, 2, 2, 2, 2, 1, 1, 1]
