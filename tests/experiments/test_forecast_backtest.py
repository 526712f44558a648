"""``setpoint forecast`` from the command line to its files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from agents.forecast.accuracy import measure
from agents.forecast.backtest import Backtest, roll
from agents.forecast.forecaster import Grid
from agents.forecast.registry import FORECASTERS, make
from agents.forecast.seasonal_naive import naive_error
from experiments.cli import app
from experiments.forecast_backtest import is_quick
from experiments.interruption import Interrupted
from simulator.errors import InputError
from simulator.trace import Trace, read_trace, write_trace

COLUMNS = [
    "forecaster",
    "horizon_s",
    "mape",
    "smape",
    "mase",
    "pinball",
    "coverage",
    "right",
    "against_naive",
    "update_ms",
    "slowest_ms",
    "fit_s",
    "control",
    "note",
]
LIGHT = [name for name, entry in FORECASTERS.items() if entry.light]


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight days of 5-minute counts, with noise."""
    path = tmp_path_factory.mktemp("traces") / "days.csv"
    bins = np.arange(8 * 288)
    noise = np.random.default_rng(0).normal(size=len(bins))
    write_trace(Trace(np.round(3000 + 1800 * np.sin(2 * np.pi * bins / 288) + 90 * noise), 300.0), path)
    return path


def backtest(trace: Path, out: Path, *more: object) -> Result:
    arguments = ["forecast", "backtest", "--trace", trace, "--out", out, *more]
    return CliRunner().invoke(app, [str(one) for one in arguments])


def test_gaps_in_the_file_are_forecast_across(trace: Path, tmp_path: Path) -> None:
    """A lost hour and some empty values in the history, half an hour in the judged part."""
    lines = trace.read_text().splitlines()
    for line in (500, 501, 900):
        lines[line] = lines[line].partition(",")[0] + ","
    kept = [line for place, line in enumerate(lines) if not (600 <= place < 612 or 2000 <= place < 2006)]
    path = tmp_path / "gaps.csv"
    path.write_text("\n".join([*kept, ""]))
    more = ("--horizon", "5m", "--forecaster", "harmonic")
    done = backtest(path, tmp_path / "gaps", *more)
    assert done.exit_code == 0, done.output
    assert "gaps.csv: 21 of 2304 counts are missing" in " ".join(done.stderr.split())
    backtest(trace, tmp_path / "whole", *more)
    tables = [pd.read_csv(tmp_path / name / "forecast.csv") for name in ("gaps", "whole")]
    for name in ("mase", "pinball", "coverage", "right"):
        assert tables[0][name].to_numpy() == pytest.approx(tables[1][name].to_numpy(), rel=0.1)


def test_gaps_in_every_bin_are_refused(trace: Path, tmp_path: Path) -> None:
    """A count is missing in every hour."""
    kept = [line for place, line in enumerate(trace.read_text().splitlines()) if place % 12 != 5]
    path = tmp_path / "gaps.csv"
    path.write_text("\n".join([*kept, ""]))
    done = backtest(path, tmp_path / "out", "--horizon", "1h")
    assert isinstance(done.exception, InputError)
    assert "0 bins of history and 0 judged ones are without gaps, in bins of 1 h" in str(done.exception)
    assert backtest(path, tmp_path / "out", "--horizon", "1h", "--bin", "5m").exit_code == 0


def test_it_prints_and_writes_what_a_rolling_origin_gives(trace: Path, tmp_path: Path) -> None:
    done = backtest(trace, tmp_path, "--horizon", "5m", "--horizon", "30m", "--forecaster", "harmonic")
    assert done.exit_code == 0, done.output
    table = pd.read_csv(tmp_path / "forecast.csv")
    assert list(table.columns) == COLUMNS
    assert list(table["forecaster"]) == ["seasonal-naive", "harmonic"] * 2
    assert list(table["horizon_s"]) == [300, 300, 1800, 1800]
    rates = read_trace(trace).rate_rps
    plan = Backtest(rates, 6 * 288, (1, 6))
    found = roll(plan, make("harmonic", Grid(300.0, 6)), lambda: 0.0)
    truth = measure(*plan.pairs(found, 1), naive_error(plan.history, 288), float(np.median(plan.history)))
    (row,) = table[(table["forecaster"] == "harmonic") & (table["horizon_s"] == 1800)].to_dict("records")
    for name in ("mape", "smape", "mase", "pinball", "coverage", "right"):
        assert row[name] == pytest.approx(getattr(truth, name), rel=1e-5)
    naive = table["mase"][2]
    assert row["against_naive"] == pytest.approx(row["mase"] / naive, rel=1e-4)
    assert list(table["against_naive"][[0, 2]]) == [1, 1]
    assert row["mase"] < 0.8
    assert row["coverage"] == pytest.approx(0.9, abs=0.05)
    assert (
        "days.csv in bins of 5 min: 144 h of history, season 24 h; 48 h judged from 518400 s" in done.stdout
    )
    assert (tmp_path / "forecast.png").read_bytes().startswith(b"\x89PNG")


def test_again_it_forecasts_nothing_and_writes_the_same(
    trace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = backtest(trace, tmp_path)
    kept = {path: path.read_bytes() for path in tmp_path.glob("forecast.*")}
    monkeypatch.setattr("experiments.forecast_backtest.roll", never)
    again = backtest(trace, tmp_path)
    assert again.exit_code == 0, again.output
    assert first.stdout == again.stdout
    assert {path: path.read_bytes() for path in tmp_path.glob("forecast.*")} == kept
    assert len(kept) == 2


def test_interrupted_it_keeps_what_is_finished(
    trace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ("--forecaster", "last-value", "--forecaster", "harmonic")
    with monkeypatch.context() as patch:
        patch.setattr("experiments.forecast_backtest.make", interrupted_at("harmonic"))
        stopped = backtest(trace, tmp_path, *asked)
    assert isinstance(stopped.exception, Interrupted)
    assert "the same command goes on from there" in str(stopped.exception)
    assert not (tmp_path / "forecast.csv").exists()
    monkeypatch.setattr("experiments.forecast_backtest.make", interrupted_at("last-value"))
    assert backtest(trace, tmp_path, *asked).exit_code == 0
    assert set(pd.read_csv(tmp_path / "forecast.csv")["forecaster"]) == {"seasonal-naive", *asked[1::2]}


def interrupted_at(name: str) -> object:
    def made(asked: str, grid: Grid) -> object:
        if asked == name:
            raise KeyboardInterrupt
        return make(asked, grid)

    return made


def never(*_: object) -> None:
    raise AssertionError


def test_bins_are_as_wide_as_the_shortest_horizon_or_as_asked(trace: Path, tmp_path: Path) -> None:
    done = backtest(trace, tmp_path, "--horizon", "30m", "--forecaster", "last-value")
    assert "in bins of 30 min" in done.stdout
    done = backtest(trace, tmp_path, "--horizon", "30m", "--bin", "10m", "--forecaster", "last-value")
    assert "in bins of 10 min" in done.stdout
    done = backtest(trace, tmp_path, "--horizon", "1m", "--horizon", "5m", "--forecaster", "last-value")
    assert "warning: bins of 5 min are wider than --horizon 1m: the next bin is forecast" in done.stderr
    assert list(pd.read_csv(tmp_path / "forecast.csv")["horizon_s"]) == [300, 300]


def test_the_judged_part_can_be_chosen(trace: Path, tmp_path: Path) -> None:
    done = backtest(
        trace, tmp_path, "--start", 3 * 86_400, "--duration", 43_200, "--forecaster", "last-value"
    )
    assert "72 h of history, season 24 h; 12 h judged from 259200 s" in done.stdout


def test_little_history_is_said(trace: Path, tmp_path: Path) -> None:
    done = backtest(trace, tmp_path, "--start", 86_400, "--duration", 43_200)
    said = " ".join(done.stdout.split())
    assert "ensemble: 288 bins of history, ensemble needs 768: autoregression instead" not in said
    assert "no season seen twice" in said
    assert "ensemble: 43" in said
    assert "ensemble needs 768: autoregression instead" in said
    notes = pd.read_csv(tmp_path / "forecast.csv").set_index("forecaster")["note"]
    assert "autoregression instead" in notes["ensemble"].iloc[0]


def test_light_forecasters_are_quick_enough_for_a_control_loop(trace: Path, tmp_path: Path) -> None:
    asked = [part for name in LIGHT for part in ("--forecaster", name)]
    assert backtest(trace, tmp_path, *asked).exit_code == 0
    table = pd.read_csv(tmp_path / "forecast.csv").set_index("forecaster")
    for name in LIGHT:
        assert FORECASTERS[name].control
        assert table.loc[name, "control"].all()


def test_what_is_quick_enough() -> None:
    assert is_quick(0.1, 4.9)
    assert not is_quick(0.1, 5.1)
    assert not is_quick(0.16, 0.16)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--horizon", "soon"), "--horizon is 'soon'; must be such as 15s, 1m or 60"),
        (("--horizon", "0m"), "--horizon is '0m'; must be above 0"),
        (
            ("--horizon", "7m", "--bin", "5m"),
            "--horizon is '7m'; must be a whole number of bins of 5 min (--bin)",
        ),
        (
            ("--horizon", "40d"),
            "days.csv: bins of 960 h, as wide as the shortest --horizon without --bin, in",
        ),
        (("--horizon", "49h"), "days.csv: 3 bins of 49 h; too few to forecast from"),
        (("--horizon", "5m", "--horizon", "49h"), "the judged part has 576 bins of 5 min, a horizon of 49 h"),
        (("--bin", "1m"), "--bin is '1m'; must be a whole number of the trace's own bins of 5 min"),
        (("--forecaster", "oracle"), "forecaster 'oracle' is unknown; there are: last-value"),
        (("--start", "-5"), "--start -5: must be 2400 s, which leaves 8 bins of history, to before the end"),
        (("--start", "9e9"), "--start 9000000000: must be 2400 s"),
        (("--out", __file__), "is a file; it must be a folder"),
    ],
)
def test_wrong_input_is_one_line(trace: Path, tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    more = arguments if "--out" in arguments else (*arguments, "--out", str(tmp_path))
    done = CliRunner().invoke(app, ["forecast", "backtest", "--trace", str(trace), *more])
    assert isinstance(done.exception, InputError)
    assert said in str(done.exception)
    assert "\n" not in str(done.exception)


def test_the_forecasters_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("experiments.inspection.find_spec", lambda _: None)
    done = CliRunner(env={"COLUMNS": "120"}).invoke(app, ["forecast", "list"])
    assert done.exit_code == 0, done.output
    for name in FORECASTERS:
        assert name in done.output
    for extra in ("forecast", "train", "prophet"):
        assert f"pip install 'setpoint[{extra}]'" in done.output
