"""The fixed policy: one number, whatever happens."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from agents.baselines.fixed import FixedSettings, make_fixed
from agents.policy import Context
from simulator.arrays import Ints
from simulator.errors import InputError
from simulator.plant import Metric, Snapshot

CONTEXT = Context(("web",), np.array([2]), np.array([10]))


def snapshot_of(wanted: Ints, cpu: float) -> Snapshot:
    metric = Metric(np.full(wanted.shape, cpu), np.zeros(wanted.shape))
    time_seconds = np.zeros(wanted.shape[:-1])
    return Snapshot(time_seconds, wanted, 0 * wanted, wanted, 0 * wanted, metric, metric, metric, metric)


@pytest.mark.parametrize("cpu", [0.0, 1.0, np.nan])
def test_asks_for_the_same_whatever_is_measured(cpu: float) -> None:
    desired = make_fixed(FixedSettings(replicas=7), CONTEXT).decide(snapshot_of(np.array([4]), cpu))
    assert desired.replicas.tolist() == [7]
    assert desired.replicas.dtype == np.int64
    assert desired.reason == "fixed at 7"


def test_many_clusters() -> None:
    policy = make_fixed(FixedSettings(replicas=3), CONTEXT)
    policy.reset(np.array([True, False, False, True]))
    desired = policy.decide(snapshot_of(np.full((4, 2), 9), 0.5))
    assert np.array_equal(desired.replicas, np.full((4, 2), 3))
    assert desired.reason == ""


def test_period() -> None:
    assert make_fixed(FixedSettings(replicas=2), CONTEXT).period_seconds == 15
    assert make_fixed(FixedSettings(replicas=2, period=60), CONTEXT).period_seconds == 60


@pytest.mark.parametrize("settings", [{"replicas": -1}, {"replicas": 1, "period": 0}, {}])
def test_wrong_settings_are_refused(settings: dict[str, int]) -> None:
    with pytest.raises(ValidationError):
        FixedSettings.model_validate(settings)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"replicas": 0}, "replicas is 0; the task allows 2 to 10"),
        ({"replicas": 11}, "replicas is 11; the task allows 2 to 10"),
        ({"replicas": 3, "nodes": 4}, "nodes is 4, but the task has no nodes"),
    ],
)
def test_what_the_task_can_never_give_is_refused(settings: dict[str, int], said: str) -> None:
    with pytest.raises(InputError, match=said):
        make_fixed(FixedSettings.model_validate(settings), replace(CONTEXT, groups=()))


def test_bounds_that_differ_among_services_and_groups_that_are_not_known_are_let_be() -> None:
    both = Context(("web", "api"), np.array([2, 6]), np.array([4, 9]))
    assert make_fixed(FixedSettings(replicas=8, nodes=4), both).settings.replicas == 8
