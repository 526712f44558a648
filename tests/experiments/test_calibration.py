"""``setpoint calibrate`` from the command line to its files."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from refused import WHY, write_refused_task
from typer.testing import CliRunner, Result

from agents.registry import parse_spec
from envs.task import load_task
from experiments.calibrate import SPACES
from experiments.calibration import Wanted, calibrate_rule
from experiments.cli import app, main
from experiments.commands import Part
from experiments.recipes import SEED
from experiments.run import Run, execute
from simulator.errors import InputError
from simulator.trace import Trace, read_trace, write_trace

COLUMNS = [
    "policy",
    "target",
    "window",
    "scale_up",
    "cost_usd_batch",
    "slo_violation_ratio_batch",
    "cost_usd_request",
    "slo_violation_ratio_request",
    "front",
    "chosen",
]


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("traces") / "waves.csv"
    minutes = np.arange(120)
    write_trace(Trace(np.round(60 * (80 + 50 * np.sin(minutes / 9) + 40 * (minutes % 40 > 35))), 60.0), path)
    return path


def calibrate(trace: Path, out: Path, *more: object) -> Result:
    arguments = ["calibrate", "--trace", trace, "--out", out, *more]
    return CliRunner().invoke(app, [str(one) for one in arguments])


def test_it_prints_and_writes_what_the_request_engine_says(trace: Path, tmp_path: Path) -> None:
    done = calibrate(trace, tmp_path / "one", "--start", 1200, "--duration", 5400)
    assert done.exit_code == 0, done.output
    table = pd.read_csv(tmp_path / "one" / "calibration.csv")
    assert list(table.columns) == COLUMNS
    assert len(table) == 112
    (chosen,) = table[table["chosen"]].itertuples()
    run = table.dropna()
    assert 1 < len(run) < 60
    within = run[run["slo_violation_ratio_request"] <= 0.01]
    assert chosen.cost_usd_request == within["cost_usd_request"].min()
    spec = f"hpa:target={chosen.target},window={chosen.window},scale_up={chosen.scale_up}"
    truth = execute(Run(load_task("web"), read_trace(trace).slice(1200, 5400), None, spec, "", SEED)).row
    assert chosen.cost_usd_request == pytest.approx(truth["cost_usd"], rel=1e-5)
    assert chosen.slo_violation_ratio_request == pytest.approx(truth["slo_violation_ratio"], rel=1e-5)
    assert (run["cost_usd_batch"] / run["cost_usd_request"]).between(0.98, 1.02).all()
    assert "part: 1.5 h of waves.csv from 1200 s" in done.stdout
    assert f"search space of {SPACES['hpa']}"[:80] in done.stdout
    assert f"chosen: {spec}: " in done.stdout
    assert "within the budget of 1 %" in done.stdout
    assert (tmp_path / "one" / "calibration.png").read_bytes().startswith(b"\x89PNG")
    manifest = (tmp_path / "one" / "hpa.yaml").read_text()
    assert manifest in done.stdout
    found = yaml.safe_load(manifest)
    assert found["kind"] == "HorizontalPodAutoscaler"
    assert (found["spec"]["minReplicas"], found["spec"]["maxReplicas"]) == (2, 200)
    (metric,) = found["spec"]["metrics"]
    assert metric["resource"]["target"]["averageUtilization"] == round(100 * chosen.target)
    assert found["spec"]["behavior"]["scaleDown"]["stabilizationWindowSeconds"] == chosen.window


def test_the_front_is_that_of_the_whole_grid(trace: Path, tmp_path: Path) -> None:
    assert calibrate(trace, tmp_path, "--duration", 3600).exit_code == 0
    table = pd.read_csv(tmp_path / "calibration.csv")
    cost, late = table["cost_usd_batch"], table["slo_violation_ratio_batch"]
    for row in table[table["front"]].itertuples():
        assert not ((cost < row.cost_usd_batch) & (late < row.slo_violation_ratio_batch)).any()
    for row in table[~table["front"]].itertuples():
        assert ((cost <= row.cost_usd_batch) & (late <= row.slo_violation_ratio_batch)).sum() > 1


def test_again_it_runs_nothing_and_writes_the_same(
    trace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = calibrate(trace, tmp_path, "--duration", 1800)
    kept = {path: path.read_bytes() for path in tmp_path.glob("calibration.*")}
    monkeypatch.setattr("experiments.engines.try_together", never)
    monkeypatch.setattr("experiments.sweep.Sweep.begin", never)
    again = calibrate(trace, tmp_path, "--duration", 1800)
    assert again.exit_code == 0, again.output
    assert first.stdout == again.stdout
    assert {path: path.read_bytes() for path in tmp_path.glob("calibration.*")} == kept
    assert len(kept) == 2


def never(*_: object) -> None:
    raise AssertionError


def test_a_budget_that_nothing_keeps_is_said(trace: Path, tmp_path: Path) -> None:
    done = calibrate(trace, tmp_path, "--duration", 1800, "--budget", 0.001)
    said = " ".join(done.stdout.split())
    assert (
        "no settings keep the budget of 0.1 %: these are the cheapest with about the fewest violations"
        in said
    )


def test_what_the_batch_engine_does_not_model_is_run_one_by_one(trace: Path, tmp_path: Path) -> None:
    done = calibrate(trace, tmp_path, "--task", write_refused_task(tmp_path), "--duration", 900)
    assert done.exit_code == 0, done.output
    assert f"task hungry: {WHY}" in done.stderr
    table = pd.read_csv(tmp_path / "calibration.csv")
    assert 10 <= len(table) < 112
    assert table["cost_usd_batch"].isna().all()
    assert table["cost_usd_request"].notna().all()
    assert f"{len(table)} settings on the request engine" in done.stdout


def test_keda_is_searched_around_what_a_pod_serves_and_is_a_scaled_object(
    trace: Path, tmp_path: Path
) -> None:
    names = ("--deployment", "front", "--namespace", "shop")
    done = calibrate(trace, tmp_path, "--policy", "keda", "--duration", 1800, *names)
    assert done.exit_code == 0, done.output
    table = pd.read_csv(tmp_path / "calibration.csv")
    (chosen,) = table[table["chosen"]].itertuples()
    assert parse_spec(chosen.policy).settings["target"] == pytest.approx(80 * chosen.share)
    found = yaml.safe_load((tmp_path / "keda.yaml").read_text())
    assert found["metadata"] == {"name": "front", "namespace": "shop"}
    (trigger,) = found["spec"]["triggers"]
    assert float(trigger["metadata"]["threshold"]) == pytest.approx(80 * chosen.share)
    assert f"kubectl apply -f {tmp_path / 'keda.yaml'}" in done.stdout.replace("\n", "")


def test_a_schedule_is_printed_so_that_a_shell_takes_it(trace: Path, tmp_path: Path) -> None:
    done = calibrate(trace, tmp_path, "--policy", "schedule", "--duration", 1800)
    assert done.exit_code == 0, done.output
    (said,) = (line for line in done.stdout.splitlines() if line.startswith("chosen: "))
    (spec, *_) = shlex.split(said.removeprefix("chosen: "))
    spec = spec.removesuffix(":")
    table = pd.read_csv(tmp_path / "calibration.csv")
    assert list(table.columns[:5]) == ["policy", "share", "quantile", "hours", "lead"]
    (chosen,) = table[table["chosen"]].itertuples()
    assert chosen.policy == spec
    simulated = (
        "simulate",
        "--trace",
        trace,
        "--duration",
        1800,
        "--policy",
        spec,
        "--png",
        tmp_path / "one.png",
    )
    assert CliRunner().invoke(app, [str(one) for one in simulated]).exit_code == 0
    assert not list(tmp_path.glob("*.yaml"))


def test_without_optuna_the_error_names_the_extra(
    trace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    arguments = [
        "setpoint",
        "calibrate",
        "--trace",
        trace,
        "--out",
        tmp_path,
        "--policy",
        "pid",
        "--duration",
        900,
    ]
    monkeypatch.setattr(sys, "argv", [str(one) for one in arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    assert (
        "this command needs optuna; install it with: pip install 'setpoint[calibrate]'"
        in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ("--policy", "vpa"),
            f"(it does not change replicas, which is all that is tried); there are: {', '.join(SPACES)}",
        ),
        (
            ("--policy", "hpa:target=0.6"),
            "--policy 'hpa:target=0.6' has no settings to search; there are: fixed, hpa",
        ),
        (("--budget", "0"), "--budget 0: must be a share of the requests over 0 and below 1, such as 0.01"),
        (("--budget", "nan"), "--budget nan: must be"),
        (("--namespace", "my shop"), "--namespace 'my shop': must be lower-case letters, digits and hyphens"),
        (("--start", "1e9"), "is at or beyond the end"),
        (("--mean-rps", "1e8"), "at most 2e+09 are simulated"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_run(
    arguments: tuple[str, ...], said: str, trace: Path, tmp_path: Path
) -> None:
    done = calibrate(trace, tmp_path / "out", *arguments)
    assert isinstance(done.exception, InputError)
    assert said in str(done.exception)
    assert not (tmp_path / "out").exists()


def test_a_part_without_requests_is_refused(tmp_path: Path) -> None:
    write_trace(Trace(np.zeros(20), 60.0), tmp_path / "none.csv")
    done = calibrate(tmp_path / "none.csv", tmp_path / "out")
    assert "none.csv: no requests in the part; choose another with --start and --duration" in str(
        done.exception
    )


def test_of_a_long_trace_it_takes_a_day_and_says_so(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["calibrate", "--help"])
    assert "without --duration it ends after 24 hours" in " ".join(done.output.split())
    write_trace(Trace(np.full(50, 3600.0), 3600.0), tmp_path / "long.csv")
    _, split = Part("web", tmp_path / "long.csv", None, None, None).load()
    assert (split.judged.start_seconds, split.judged.duration_seconds) == (0, 86_400)


def test_bins_too_wide_to_speak_of_seconds_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seconds, told in ((300, False), (600, True)):
        write_trace(Trace(np.full(4, 100.0 * seconds), float(seconds)), tmp_path / "wide.csv")
        part = Part("web", tmp_path / "wide.csv", None, 600.0, None)
        calibrate_rule(part, Wanted("fixed"), tmp_path / str(seconds), 1)
        assert ("wide.csv has bins of over 300 s" in " ".join(capsys.readouterr().err.split())) is told
