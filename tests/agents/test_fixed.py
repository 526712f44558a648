"""The fixed policy: one number, whatever happens."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from agents.baselines.fixed import FixedSettings, make_fixed
from agents.policy import Context
from simulator.arrays import Ints
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
    assert make_fixed(FixedSettings(replicas=1), CONTEXT).period_seconds == 15
    assert make_fixed(FixedSettings(replicas=1, period=60), CONTEXT).period_seconds == 60


@pytest.mark.parametrize("settings", [{"replicas": -1}, {"replicas": 1, "period": 0}, {}])
def test_wrong_settings_are_refused(settings: dict[str, int]) -> None:
    with pytest.raises(ValidationError):
        FixedSettings.model_validate(settings)
