"""Made workloads: means, variances and shapes that are known."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from simulator.generators import GENERATORS, Bursty, Diurnal, FlashCrowd, OnOff, Ramp, RandomWalk
from simulator.scenario import Workload

HOUR, DAY = 3600.0, 86_400.0


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("kind", GENERATORS)
@settings(max_examples=25)
@given(duration=st.floats(1.0, 20_000.0), mean=st.floats(0.01, 1e5), seed=st.integers(0, 100))
def test_every_draw_covers_its_time_and_is_never_negative(
    kind: str, duration: float, mean: float, seed: int
) -> None:
    drawn = GENERATORS[kind]().draw(duration, mean, rng(seed))
    assert duration <= drawn.duration_seconds + 1e-6 < duration + drawn.bin_seconds + 1e-6
    assert drawn.bin_seconds in {1.0, 60.0}
    assert np.isfinite(drawn.requests).all()
    assert drawn.requests.min() >= 0
    again = GENERATORS[kind]().draw(duration, mean, rng(seed))
    assert drawn.requests.tobytes() == again.requests.tobytes()


@pytest.mark.parametrize("kind", ["steady", "ramp", "flash_crowd"])
def test_means_over_what_is_drawn_are_exact(kind: str) -> None:
    assert GENERATORS[kind]().draw(5000.0, 7.0, rng()).mean_rps == pytest.approx(7.0, rel=1e-12)


def test_a_week_of_days_has_its_mean_top_and_trough() -> None:
    made = Diurnal(peak_to_trough=5.0, peak_hour=9.0, weekend_factor=0.5, first_weekday=4)
    days = made.draw(7 * DAY, 3.0, rng()).rate_rps.reshape(7, 1440)
    assert days.mean() == pytest.approx(3.0, rel=1e-12)
    assert days[0].max() / days[0].min() == pytest.approx(5.0, rel=1e-4)
    assert days[0].argmax() in {9 * 60 - 1, 9 * 60}
    np.testing.assert_allclose(days[1] / days[0], 0.5)
    np.testing.assert_allclose(days[3], days[0])


def test_a_ramp_goes_straight_from_level_to_level() -> None:
    rates = Ramp(growth=3.0, begin_share=0.25, end_share=0.75).draw(400.0, 2.0, rng()).rate_rps
    np.testing.assert_allclose(rates[:100], 1.0, rtol=1e-6)
    np.testing.assert_allclose(rates[300:], 3.0, rtol=1e-6)
    np.testing.assert_allclose(np.diff(rates[101:299]), 0.01, rtol=1e-6)


def test_a_bursty_rate_has_the_chains_mean_and_variance() -> None:
    made = Bursty(levels=(1.0, 5.0), mean_sojourn_seconds=(200.0, 100.0))
    rates = made.draw(30 * DAY, 1.0, rng(1)).rate_rps
    chain = made.chain()
    shares, factors = chain.stationary(), chain.factors()
    sojourns = 30 * DAY / 300
    assert rates.mean() == pytest.approx(1.0, abs=4 / math.sqrt(sojourns))
    assert rates.var() == pytest.approx(float(shares @ factors**2) - 1, rel=0.05)


def test_a_crowd_rises_stays_and_leaves() -> None:
    made = FlashCrowd(peak=4.0, at_seconds=100.0, rise_seconds=50.0, hold_seconds=200.0, decay_seconds=60.0)
    rates = made.draw(2000.0, 1.0, rng()).rate_rps
    base = rates[0]
    np.testing.assert_allclose(rates[:100], base)
    np.testing.assert_allclose(rates[150:349] / base, 4.0, rtol=1e-9)
    assert rates[125] / base == pytest.approx(1 + 3 * 25.5 / 50)
    assert rates[410] / base == pytest.approx(1 + 3 * math.exp(-60.5 / 60))


def test_crowds_come_one_in_each_stretch() -> None:
    made = FlashCrowd(
        peak=9.0,
        every_seconds=1000.0,
        rise_seconds=1.0,
        hold_seconds=1.0,
        decay_seconds=5.0,
        at_seconds=300.0,
    )
    rates = made.draw(4000.0, 1.0, rng()).rate_rps
    tops = np.flatnonzero((rates[1:-1] > rates[:-2]) & (rates[1:-1] >= rates[2:])) + 1
    assert [int(top // 1000) for top in tops] == [0, 1, 2, 3]


def test_a_random_walk_has_its_spread_memory_and_mean() -> None:
    drawn = RandomWalk(std=0.4, memory_seconds=HOUR).draw(2000 * DAY, 5.0, rng(2))
    logs = np.log(drawn.rate_rps)
    assert drawn.bin_seconds == 60.0
    assert drawn.mean_rps == pytest.approx(5.0, rel=0.01)
    assert logs.std() == pytest.approx(0.4, rel=0.02)
    assert np.corrcoef(logs[:-60], logs[60:])[0, 1] == pytest.approx(math.exp(-1), abs=0.02)
    first = [math.log(RandomWalk(std=0.4).draw(60.0, 1.0, rng(seed)).rate_rps[0]) for seed in range(1000)]
    assert np.std(first) == pytest.approx(0.4, rel=0.1)


def test_a_short_memory_is_drawn_by_the_second() -> None:
    drawn = RandomWalk(memory_seconds=30.0).draw(100.0, 1.0, rng())
    assert drawn.bin_seconds == 1.0


@pytest.mark.parametrize("regular", [False, True])
def test_on_and_off_have_their_shares(*, regular: bool) -> None:
    made = OnOff(on_seconds=100.0, off_seconds=300.0, off_level=0.1, regular=regular)
    rates = made.draw(20 * DAY, 1.0, rng(3)).rate_rps
    on = 400.0 / (100 + 0.1 * 300)
    assert rates.max() == pytest.approx(on)
    assert rates.min() == pytest.approx(0.1 * on)
    assert rates.mean() == pytest.approx(1.0, rel=1e-3 if regular else 0.06)
    if regular:
        starts = np.flatnonzero((rates[1:] > 0.99 * on) & (rates[:-1] < 0.99 * on))
        assert set(np.diff(starts)) == {400}


def test_a_workload_takes_a_made_model() -> None:
    made = TypeAdapter(Workload).validate_python({"model": {"kind": "ramp", "growth": 2.0}, "mean_rps": 3.0})
    assert made.draw(100.0, rng()).mean_rps == pytest.approx(3.0)
    assert Workload.model_validate(made.model_dump()) == made


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ({"kind": "flash"}, "'flash_crowd'"),
        ({"kind": "flash_crowd", "peek": 3}, "peek"),
        ({"kind": "ramp", "begin_share": 0.9}, r"end_share \(0.75\) must be above begin_share \(0.9\)"),
        ({"kind": "bursty", "levels": [0, 0]}, "one at least must be above 0"),
        ({"kind": "on_off", "on_seconds": 0}, "on_seconds"),
        ({"kind": "random_walk", "std": 4}, "std"),
        (5, "valid string"),
    ],
)
def test_a_wrong_made_model_is_refused(model: Any, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Workload(model=model, mean_rps=1.0)
