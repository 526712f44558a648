"""Workload models: what is drawn, what is fitted, what ships."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from pydantic import ValidationError

from experiments.fit_models import MODELS, fit_nasa
from simulator.errors import InputError
from simulator.trace import Trace
from simulator.workload import DayShape, WorkloadModel, fit_workload, load_model

DAY = 86_400.0
WEEK = 7 * DAY
FLAT = {"cosine": (0.0,), "sine": (0.0,)}
MODEL: dict[str, Any] = {
    "name": "made",
    "source": "made for a test",
    "first_weekday": 0,
    "weekday": FLAT,
    "weekend": FLAT,
    "noise_std": 0.0,
    "noise_autocorrelation": 0.5,
    "bursts_per_day": 0.0,
    "burst_height": 0.0,
    "burst_decay_seconds": 300.0,
}


def model(**fields: Any) -> WorkloadModel:
    return WorkloadModel.model_validate(MODEL | fields)


def test_a_model_without_noise_is_its_mean() -> None:
    drawn = model().draw(3600.0, 5.0, np.random.default_rng(0))
    assert drawn.bin_seconds == 60.0
    assert drawn.name == "made"
    np.testing.assert_allclose(drawn.requests, np.full(60, 300.0))


def test_the_duration_is_rounded_up_to_minutes() -> None:
    assert model().draw(3601.0, 5.0, np.random.default_rng(0)).duration_seconds == 3660.0


def test_the_same_seed_draws_the_same_trace() -> None:
    nasa = load_model("nasa")
    one, two, other = (nasa.draw(DAY, 200.0, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert one.requests.tobytes() == two.requests.tobytes()
    assert one.requests.tobytes() != other.requests.tobytes()


def test_the_shape_follows_day_and_week() -> None:
    """exp(cos) over a weekday with its top at midnight, half the rate at weekends."""
    shaped = model(
        first_weekday=4,
        weekday={"cosine": (0.0, 1.0), "sine": (0.0, 0.0)},
        weekend={"cosine": (float(np.log(0.5)), 0.0), "sine": (0.0, 0.0)},
    )
    rates = shaped.draw(4 * DAY, 1.0, np.random.default_rng(0)).rate_rps.reshape(4, 1440)
    day = np.exp(np.cos(2 * np.pi * np.arange(1440) / 1440))
    np.testing.assert_allclose(rates, [day, np.full(1440, 0.5), np.full(1440, 0.5), day])


def test_a_sine_is_at_its_top_at_six() -> None:
    assert DayShape(cosine=(0.0, 0.0), sine=(0.0, 2.0)).log_rate(np.array([0.0, DAY / 4])) == pytest.approx(
        [0.0, 2.0]
    )


def test_noise_has_its_spread_and_memory_and_keeps_the_mean() -> None:
    noisy = model(noise_std=0.4, noise_autocorrelation=0.9)
    rates = noisy.draw(200 * DAY, 1.0, np.random.default_rng(3)).rate_rps
    logs = np.log(rates)
    assert logs.std() == pytest.approx(0.4, rel=0.02)
    assert np.corrcoef(logs[:-1], logs[1:])[0, 1] == pytest.approx(0.9, abs=0.005)
    assert rates.mean() == pytest.approx(1.0, rel=0.01)
    first = [
        float(np.log(noisy.draw(60.0, 1.0, np.random.default_rng(seed)).rate_rps[0])) for seed in range(500)
    ]
    assert np.std(first) == pytest.approx(0.4, rel=0.12)  # stationary from the first minute on


def test_bursts_come_at_their_rate_jump_and_decay() -> None:
    bursty = model(bursts_per_day=3.0, burst_height=1.0, burst_decay_seconds=120.0)
    logs = np.log(bursty.draw(400 * DAY, 1.0, np.random.default_rng(3)).rate_rps)
    jumps = logs[1:] - logs[:-1] * np.exp(-0.5)
    bursts = jumps[jumps > 1e-6]
    assert len(bursts) == pytest.approx(1200, abs=4 * 1200**0.5)
    assert bursts.mean() == pytest.approx(1.0, abs=4 * 0.5 / 1200**0.5)
    assert np.abs(jumps[jumps <= 1e-6]).max() < 1e-9


def test_the_shipped_model_has_its_mean_in_the_long_run() -> None:
    """Two years of another seed than the level was fitted with."""
    assert load_model("nasa").draw(104 * WEEK, 200.0, np.random.default_rng(99)).mean_rps == pytest.approx(
        200, rel=0.03
    )


def test_an_unknown_model_is_refused_by_name() -> None:
    with pytest.raises(InputError, match="workload model 'nassa' is unknown; there are: .*nasa"):
        load_model("nassa")
    with pytest.raises(InputError, match=r"workload model '\.\./models/nasa' is unknown"):
        load_model("../models/nasa")


def test_what_ships_is_what_the_fit_gives(traces_dir: Path) -> None:
    fitted = fit_nasa(traces_dir)
    assert fitted == load_model("nasa")
    text = yaml.safe_dump(fitted.model_dump(mode="json"), sort_keys=False, width=110)
    assert text == (MODELS / "nasa.yaml").read_text(encoding="utf-8")


def test_a_fit_finds_the_model_again() -> None:
    made = model(
        first_weekday=2,
        weekday={"cosine": (0.0, -0.5, 0.2), "sine": (0.0, -0.4, 0.1)},
        weekend={"cosine": (-0.4, -0.2, 0.0), "sine": (0.0, -0.3, 0.0)},
        noise_std=0.2,
        noise_autocorrelation=0.97,
        bursts_per_day=2.0,
        burst_height=1.2,
        burst_decay_seconds=300.0,
    )
    drawn = made.draw(16 * WEEK, 100.0, np.random.default_rng(8))
    counted = Trace(np.random.default_rng(9).poisson(drawn.requests).astype(float), 60.0)
    fitted = fit_workload(counted, name="again", source="test", first_weekday=2)
    minutes = 60.0 * np.arange(7 * 1440)
    difference = (fitted.log_shape(minutes) + fitted.log_level) - (made.log_shape(minutes) + made.log_level)
    assert np.std(difference) < 0.06
    assert fitted.noise_std == pytest.approx(0.2, rel=0.25)
    assert fitted.noise_autocorrelation == pytest.approx(0.97, abs=0.015)
    assert 1.0 < fitted.bursts_per_day < 4.0
    assert fitted.burst_height == pytest.approx(1.2, rel=0.4)
    assert 100.0 < fitted.burst_decay_seconds < 900.0
    assert fitted.draw(104 * WEEK, 100.0, np.random.default_rng(7)).mean_rps == pytest.approx(100, rel=0.03)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("first_weekday", 7),
        ("noise_std", -0.1),
        ("noise_autocorrelation", 1.0),
        ("bursts_per_day", -1),
        ("burst_height", 6),
        ("burst_decay_seconds", 0),
        ("weekday", {"cosine": [], "sine": [0.0]}),
        ("colour", "red"),
        ("name", None),
    ],
)
def test_a_wrong_field_is_named(field: str, value: Any) -> None:
    with pytest.raises(ValidationError, match=field):
        model(**{field: value})
