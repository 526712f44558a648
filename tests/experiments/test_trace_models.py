"""The commands ``setpoint traces fit``, ``sample`` and ``models``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from experiments.trace_models import draw_sample, find_model, fit, list_models, sample, warnings
from simulator.errors import InputError
from simulator.fitted import FittedModel
from simulator.generators import Bursty, FlashCrowd
from simulator.likeness import Match
from simulator.trace import Trace, read_trace, write_trace
from simulator.workload import model_names


@pytest.fixture
def waves(tmp_path: Path) -> Path:
    hours = np.arange(24 * 14)
    rates = 500 * (1 + 0.6 * np.sin(2 * np.pi * hours / 24))
    path = tmp_path / "waves.csv"
    write_trace(Trace(np.random.default_rng(0).poisson(rates).astype(float), 3600.0), path)
    return path


def test_a_trace_is_fitted_and_sampled(
    waves: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, png, again = tmp_path / "waves.yaml", tmp_path / "waves.png", tmp_path / "again.csv"
    fit(waves, None, None, 0, model, png)
    said = capsys.readouterr().out
    for part in (
        "waves: fitted to 336 h",
        "all days alike",
        "counts: by chance",
        "original and 20 look-alikes",
    ):
        assert part in said
    assert "Look-alikes match the original in all of these within the bounds." in said
    assert png.read_bytes().startswith(b"\x89PNG")
    sample(str(model), None, None, 1, again, None)
    drawn = read_trace(again)
    assert len(drawn.requests) == 24 * 14
    assert drawn.mean_rps == pytest.approx(500 / 3600, rel=0.05)
    assert np.all(drawn.requests == np.rint(drawn.requests))
    first = again.read_bytes()
    sample(str(model), None, None, 1, again, None)
    assert again.read_bytes() == first


def test_every_model_that_ships_is_listed_and_drawn(capsys: pytest.CaptureFixture[str]) -> None:
    list_models()
    said = capsys.readouterr().out
    assert len(model_names()) >= 9
    for name in model_names():
        assert name in said
        drawn = draw_sample(find_model(name), 7200.0, 50.0, np.random.default_rng(0))
        assert drawn.duration_seconds >= 7200
        assert drawn.requests.min() >= 0


def test_made_workloads_are_found_by_spec_and_by_file(tmp_path: Path) -> None:
    assert find_model("flash_crowd:peak=3,every_seconds=600") == FlashCrowd(peak=3, every_seconds=600)
    path = tmp_path / "chain.yaml"
    path.write_text("kind: bursty\nlevels: [1, 2, 3]\nmean_sojourn_seconds: [5, 5, 5]\n")
    assert find_model(str(path)) == Bursty(levels=(1, 2, 3), mean_sojourn_seconds=(5, 5, 5))
    assert isinstance(find_model("world_cup"), FittedModel)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("flash", "workload model 'flash' is unknown; there are: .*world_cup.*flash_crowd"),
        ("flash_crowd:peek=3", "workload flash_crowd:peek=3: setting 'peek' is unknown; there are: peak"),
        ("flash_crowd:peak=0", "peak is 0: Input should be greater than or equal to 1"),
        ("ramp:growth", "workload 'ramp:growth': 'growth' must be one setting as key=value"),
        ("missing.yaml", "missing.yaml: no such workload model"),
    ],
)
def test_a_wrong_model_is_refused(spec: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        find_model(spec)


def test_wrong_files_are_refused_before_the_work(waves: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a model's name ends in .yaml"):
        fit(waves, None, None, None, tmp_path / "model.csv", None)
    with pytest.raises(InputError, match="a picture's name ends in .png"):
        sample("steady", None, None, 0, None, tmp_path / "a.jpg")
    with pytest.raises(InputError, match=r"ends in .csv or .csv.gz"):
        sample("steady", None, None, 0, tmp_path / "a.txt", None)
    assert list(tmp_path.iterdir()) == [waves]


def test_a_miss_is_told_plainly() -> None:
    missed = Match("daily", 0.9, 0.1, 0.0, 0.2, 0.2)
    assert warnings([missed]) == ["Look-alikes of this trace are not to be trusted for daily cycles."]
