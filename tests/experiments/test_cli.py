"""The command line on good and on broken input."""

from __future__ import annotations

import dataclasses
import gzip
import json
import os
import re
import signal
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pydantic import BaseModel
from refused import WHY, write_refused_task

from agents.bundle import Bundle, load_bundle
from agents.registry import RULES
from envs.task import load_task
from experiments import commands
from experiments.interruption import Interrupted
from experiments.recipes import _part_before
from experiments.run import Run
from experiments.table import COLUMNS
from simulator.trace import Trace, write_trace

SETPOINT = Path(sys.executable).with_name("setpoint")


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("traces") / "waves.csv"
    minutes = np.arange(90)
    write_trace(Trace(np.round(60 * (60 + 40 * np.sin(minutes / 7))), 60.0), path)
    return path


def setpoint(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [str(SETPOINT), *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def evaluate(trace: Path, out: Path, *more: object) -> subprocess.CompletedProcess[str]:
    part = ("--start", 3600, "--duration", 600, "--seeds", 2)
    return setpoint("evaluate", "--trace", trace, *part, "--out", out, *more, cwd=out.parent)


def test_evaluate_writes_the_same_bytes_twice_and_a_whole_report(trace: Path, tmp_path: Path) -> None:
    contents = []
    for name in ("one", "two"):
        done = evaluate(trace, tmp_path / name, "--policy", "fixed:replicas=9", "--policy", "hpa:target=0.6")
        assert done.returncode == 0, done.stderr
        contents.append((tmp_path / name / "results.csv").read_bytes())
    assert contents[0] == contents[1]
    table = pd.read_parquet(tmp_path / "one" / "results.parquet")
    assert list(table.columns) == list(COLUMNS)
    assert list(pd.read_csv(tmp_path / "one" / "results.csv").columns) == list(COLUMNS)
    assert set(table["policy"]) == {"fixed:replicas=9", "hpa:target=0.6", "calibrated-hpa", "oracle"}
    assert (table["duration_s"] == 600).all()
    page = (tmp_path / "one" / "report.html").read_text()
    assert page.count("<html") == 1
    assert "src=" not in page.split("</script>", 1)[1]
    assert not list((tmp_path / "one").rglob(".part*"))


def test_what_says_little_is_said_so(tmp_path: Path) -> None:
    write_trace(Trace(np.full(30, 60.0), 60.0), tmp_path / "quiet.csv")
    done = setpoint("evaluate", "--trace", "quiet.csv", "--seeds", 1, "--out", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "out" / "report.html").read_text()
    for warning in ("No policy ever scaled", "Fewer than five seeds"):
        assert warning in done.stdout.replace("\n", " ")
        assert warning in page


def test_simulate_and_rehearse_agree(trace: Path, tmp_path: Path) -> None:
    part = ("--trace", trace, "--duration", 1200, "--policy", "hpa:target=0.5")
    simulated = setpoint("simulate", *part, cwd=tmp_path)
    assert simulated.returncode == 0, simulated.stderr
    assert (tmp_path / "timeline.png").read_bytes().startswith(b"\x89PNG")
    rehearsed = setpoint("control", "rehearse", *part, cwd=tmp_path)
    assert rehearsed.returncode == 0, rehearsed.stderr
    records = [json.loads(line) for line in rehearsed.stdout.splitlines()]
    assert len(records) == 80
    assert records[0]["seen"]["cpu"][0]["value"] is None
    cost = next(line.split()[1] for line in simulated.stdout.splitlines() if line.startswith("cost_usd"))
    assert f"{float(cost):.4g} USD" in rehearsed.stderr


def test_the_summary_has_no_exponents(tmp_path: Path) -> None:
    write_trace(Trace(np.full(5, 600.0), 60.0, start_seconds=777_660.0), tmp_path / "late.csv")
    done = setpoint("simulate", "--trace", "late.csv", "--policy", "fixed:replicas=2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^start_s +777660 *$", done.stdout, re.MULTILINE)
    assert re.search(r"^duration_s +300 *$", done.stdout, re.MULTILINE)
    shown = setpoint("traces", "show", "late.csv", cwd=tmp_path)
    assert re.search(r"^duration +5 min *$", shown.stdout, re.MULTILINE)
    assert "from 777660 s" in shown.stdout


def test_traces_show(trace: Path, tmp_path: Path) -> None:
    done = setpoint("traces", "show", trace, "--png", "trace.png", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "90 of 60 s" in done.stdout
    assert re.search(r"^duration +1\.5 h *$", done.stdout, re.MULTILINE)
    assert (tmp_path / "trace.png").read_bytes().startswith(b"\x89PNG")


def test_traces_show_says_that_a_log_has_exact_times(tmp_path: Path) -> None:
    rows = [f"{second / 10:.1f},{'read' if second % 4 else 'write'}" for second in range(1200)]
    (tmp_path / "log.csv").write_text("\n".join(["t_seconds,class", *rows, ""]))
    done = setpoint("traces", "show", "log.csv", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^request log +exact times of 1,200 requests *$", done.stdout, re.MULTILINE)
    assert re.search(r"^classes +read 75\.0%, write 25\.0% *$", done.stdout, re.MULTILINE)
    assert "120 of 1 s" in done.stdout
    part = ("--start", 60, "--mean-rps", 5, "--out", "out")
    scaled = setpoint("evaluate", "--trace", "log.csv", *part, cwd=tmp_path)
    assert_refused(scaled, tmp_path / "out", "log.csv", "exact request times cannot be scaled")


def test_traces_show_says_when_an_access_log_begins_and_what_it_left_out(tmp_path: Path) -> None:
    lines = [f'h - - [05/Mar/2024:12:00:{second:02} +0100] "GET / HTTP/1.1" 200 5' for second in range(60)]
    (tmp_path / "access.log").write_text("\n".join([*lines, *lines[:40][::-1], "bad", ""]))
    done = setpoint("traces", "show", "access.log", "--csv", "counts.csv", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^access log +0 s is 2024-03-05 11:00:00 UTC *$", done.stdout, re.MULTILINE)
    assert "warning: access.log: 1 of 101 lines" in done.stderr
    counts = (tmp_path / "counts.csv").read_text().splitlines()
    assert counts[:3] == ["t_seconds,requests", "0,2", "1,2"]
    assert len(counts) == 61
    simulated = setpoint("simulate", "--trace", "access.log", "--policy", "fixed:replicas=2", cwd=tmp_path)
    assert simulated.returncode == 0, simulated.stderr
    assert "warning: access.log: 1 of 101 lines" in simulated.stderr
    for name in ("access.log", "counts.txt"):
        refused = setpoint("traces", "show", "access.log", "--csv", name, cwd=tmp_path)
        assert_refused(refused, tmp_path / "counts.txt", "--csv", name)


BROKEN = {
    "empty": (b"", "empty"),
    "text": (b"t_seconds,requests\n0,5\n60,many\n120,5\n", ":3: requests is 'many'"),
    "negative": (b"t_seconds,requests\n0,5\n60,-1\n120,5\n", ":3: requests is -1"),
    "nan": (b"t_seconds,requests\n0,5\n60,nan\n120,5\n", ":3: requests is 'nan'"),
    "unordered": (b"t_seconds,requests\n0,5\n120,1\n60,5\n", ":4: t_seconds is 60 after 120"),
    "gap": (b"t_seconds,requests\n0,5\n60,1\n180,5\n240,5\n", ":4: t_seconds goes from 60 to 180"),
    "noise": (bytes(range(256)) * 20, "not a text file"),
    "columns": (b"time,count\n0,5\n60,1\n", "t_seconds"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_trace_ends_in_one_line(name: str, tmp_path: Path) -> None:
    content, message = BROKEN[name]
    (tmp_path / "broken.csv").write_bytes(content)
    done = evaluate(tmp_path / "broken.csv", tmp_path / "out")
    assert_refused(done, tmp_path / "out", "broken.csv", message)


def test_a_truncated_gzip_file(trace: Path, tmp_path: Path) -> None:
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(trace.read_bytes())[:-40])
    assert_refused(
        evaluate(tmp_path / "cut.csv.gz", tmp_path / "out"), tmp_path / "out", "cut.csv.gz", "gzip"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--policy", "magic"),
            (
                f"'magic' is unknown; rules are: {', '.join(sorted(RULES))}; "
                "recipes are: calibrated-RULE, hindsight-RULE, oracle with RULE one of fixed, hpa, keda, "
            ),
        ),
        (("--policy", "calibrated-magic"), "recipes are: calibrated-RULE"),
        (("--policy", "hpa:colour=3"), "setting 'colour' is unknown; there are: target"),
        (("--policy", "hpa:target=0"), "target is 0"),
        (("--policy", "fixed:replicas=-1"), "replicas is -1"),
        (("--policy", "nowhere/none.bundle"), "nowhere/none.bundle: no such file"),
        (("--start", "1e9"), "start 1000000000 s is at or beyond the end"),
        (("--duration", "1e7"), "is not within the trace"),
        (("--task", "nothing.yaml"), "nothing.yaml: no such task file"),
        (
            ("--seeds", "0"),
            "'--seeds': Input should be greater than or equal to 1 (see setpoint evaluate --help)",
        ),
        (("--mean-rps", "many"), "'--mean-rps': Input should be a valid number"),
        (("--mean-rps", "nan"), "'--mean-rps': "),
        (("--mean-rps", "inf"), "--mean-rps inf: must be a finite number of requests/s"),
        (("--mean-rps", "1e8"), "requests in the judged part; at most 2e+09 are simulated"),
        (("--duration", "inf"), "'--duration': Input should be less than or equal to 100000000"),
        (("--policy", "fixed:replicas=0"), "replicas is 0; the task allows 2 to 200"),
        (("--colour", "red"), "No such option: --colour"),
    ],
)
def test_wrong_arguments_end_in_one_line(
    arguments: tuple[str, str], message: str, trace: Path, tmp_path: Path
) -> None:
    assert_refused(evaluate(trace, tmp_path / "out", *arguments), tmp_path / "out", message)


@pytest.mark.parametrize("command", [("simulate",), ("control", "rehearse")])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--mean-rps", "inf"), "--mean-rps inf: must be a finite number"),
        (("--mean-rps", "1e300"), "requests in the judged part; at most 2e+09 are simulated"),
        (("--start", "5340", "--duration", "60", "--mean-rps", "1e7"), "requests before the judged part"),
        (
            ("--start", "0", "--duration", "60", "--mean-rps", "1e6", "--policy", "calibrated-hpa"),
            "requests to calibrate on",
        ),
        (("--policy", "calibrated-magic"), "recipes are: calibrated-RULE, hindsight-RULE"),
    ],
)
def test_every_command_refuses_what_is_too_much_before_it_is_built(
    command: tuple[str, ...], arguments: tuple[str, ...], message: str, trace: Path, tmp_path: Path
) -> None:
    done = setpoint(*command, "--trace", trace, *arguments, cwd=tmp_path)
    assert_refused(done, tmp_path / "timeline.png", message)
    assert not (tmp_path / ".setpoint-runs").exists()


def test_training_refuses_an_infinite_mean(trace: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "p.bundle"
    done = setpoint("train", "--trace", trace, "--mean-rps", "inf", "--out", out, cwd=tmp_path)
    assert_refused(done, out, "--mean-rps inf: must be a finite number")


FOLDERS = ("evaluate", "calibrate", "demo", "simulate")
OUTPUTS = {
    "evaluate": ("evaluate", "--trace", "waves.csv", "--seeds", 1, "--out"),
    "calibrate": ("calibrate", "--trace", "waves.csv", "--out"),
    "demo": ("demo", "--out"),
    "simulate": ("simulate", "--trace", "waves.csv", "--export"),
    "train": ("train", "--steps", 1024, "--out"),
    "rehearse": ("control", "rehearse", "--trace", "waves.csv", "--log"),
    "log": ("simulate", "--trace", "waves.csv", "--request-log"),
    "png": ("simulate", "--trace", "waves.csv", "--png"),
    "trace": ("traces", "show", "waves.csv", "--csv"),
    "drawn": ("traces", "show", "waves.csv", "--png"),
    "model": ("traces", "fit", "waves.csv", "--out"),
    "sample": ("traces", "sample", "steady", "--out"),
}


@pytest.mark.parametrize(
    ("name", "path", "message"),
    [
        *((name, "file", "file is a file; it must be a folder") for name in FOLDERS),
        *((name, "file/new", "file/new: file is a file; it must be a folder") for name in FOLDERS),
        ("train", "folder/p.bundle", "folder/p.bundle is a folder; it must be a file"),
        ("rehearse", "folder", "folder is a folder; it must be a file"),
        ("log", "folder/l.parquet", "folder/l.parquet is a folder; it must be a file"),
        ("png", "folder/t.png", "folder/t.png is a folder; it must be a file"),
        ("drawn", "folder/t.png", "folder/t.png is a folder; it must be a file"),
        ("trace", "folder/t.csv", "folder/t.csv is a folder; it must be a file"),
        ("model", "folder/m.yaml", "folder/m.yaml is a folder; it must be a file"),
        ("sample", "folder/t.csv", "folder/t.csv is a folder; it must be a file"),
        ("train", "file/p.bundle", "file/p.bundle: file is a file; it must be a folder"),
        ("rehearse", "file/deep/l.json", "file/deep/l.json: file is a file; it must be a folder"),
    ],
)
def test_outputs_in_the_wrong_place_are_refused_alike(
    name: str, path: str, message: str, trace: Path, tmp_path: Path
) -> None:
    (tmp_path / "waves.csv").write_bytes(trace.read_bytes())
    (tmp_path / "file").write_text("")
    for folder in ("p.bundle", "l.parquet", "t.png", "t.csv", "m.yaml"):
        (tmp_path / "folder" / folder).mkdir(parents=True)
    command = OUTPUTS[name]
    done = setpoint(*command, path, cwd=tmp_path)
    assert_refused(done, tmp_path / "mlflow.db", f"setpoint: {command[-1]} {message}\n")
    assert done.stdout == ""
    assert {one.name for one in tmp_path.iterdir()} == {"waves.csv", "file", "folder"}


def test_a_picture_that_cannot_be_drawn_is_said_before_the_run(trace: Path, tmp_path: Path) -> None:
    done = setpoint("simulate", "--trace", trace, "--png", "/proc/x.png", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr == "setpoint: /proc/x.png: No such file or directory\n"
    assert done.stdout == ""


def test_recipes_say_what_they_were_calibrated_on(trace: Path, tmp_path: Path) -> None:
    part = ("--trace", trace, "--start", 3600, "--duration", 600, "--policy", "calibrated-hpa")
    simulated = setpoint("simulate", *part, cwd=tmp_path)
    rehearsed = setpoint("control", "rehearse", *part, cwd=tmp_path)
    judged = evaluate(trace, tmp_path / "out", "--policy", "fixed:replicas=9")
    for done, text in ((simulated, simulated.stdout), (rehearsed, rehearsed.stderr), (judged, judged.stdout)):
        assert done.returncode == 0, done.stderr
        found = re.search(r"calibrated-hpa is hpa:\S+, calibrated on the 1 h before the judged part", text)
        assert found, text
    assert len(rehearsed.stdout.splitlines()) == 40


def test_where_nothing_lies_before_calibration_says_what_it_took_instead(tmp_path: Path) -> None:
    template = Run(load_task("web"), Trace(np.full(5, 6000.0), 60.0), None, "", "", 0)
    assert _part_before(template)[1] == (
        "three days of the task's workload model 'nasa' at 100 requests/s: there is no part before the judged one"
    )
    short = dataclasses.replace(template, history=Trace(np.full(5, 12000.0), 60.0))
    assert _part_before(short)[1] == (
        "three days of the task's workload model 'nasa' at 200 requests/s: "
        "there is less than 600 s before the judged one"
    )


def test_policies_lists_rules_with_their_settings_and_recipes(tmp_path: Path) -> None:
    done = setpoint("policies", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    words = [line.split() for line in done.stdout.splitlines()]
    for name, entry in RULES.items():
        assert f"{name}: {entry.summary}" in done.stdout
        for setting, field in entry.settings.model_fields.items():
            default = "not" if field.default is None else str(field.default).split()[0]
            if field.is_required():
                default = "needed"
            elif isinstance(field.default, BaseModel):
                default = "{steps:"
            assert any(line[:2] == [setting, default] for line in words), setting
    assert {"calibrated-RULE", "hindsight-RULE", "oracle"} <= {line[0] for line in words if line}


def test_the_version(tmp_path: Path) -> None:
    done = setpoint("--version", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, f"setpoint {metadata.version('setpoint')}\n")


def test_a_missing_trace(tmp_path: Path) -> None:
    done = evaluate(tmp_path / "missing.csv", tmp_path / "out")
    assert_refused(done, tmp_path / "out", "missing.csv: no such file")


def test_bundles_that_do_not_fit(trace: Path, tmp_path: Path) -> None:
    other = load_task("web").interface.model_copy(update={"period_seconds": 30.0})
    Bundle.of(b"no model", other, {}).save(tmp_path / "other.bundle")
    done = evaluate(trace, tmp_path / "out", "--policy", tmp_path / "other.bundle")
    assert_refused(
        done, tmp_path / "out", "trained for another interface: period_seconds is 30.0 there and 15.0 here"
    )
    content = (tmp_path / "other.bundle").read_bytes()
    (tmp_path / "half.bundle").write_bytes(content[: len(content) // 2])
    done = evaluate(trace, tmp_path / "out", "--policy", tmp_path / "half.bundle")
    assert_refused(done, tmp_path / "out", "half.bundle: not a whole bundle")


def test_a_full_disk_ends_in_one_line_and_leaves_nothing_half_written(trace: Path, tmp_path: Path) -> None:
    """Once what is compiled has been kept, which takes larger files than the results."""
    program = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000)); "
        "from experiments.cli import main; main()"
    )
    part = ["--start", "3600", "--duration", "600", "--seeds", "1", "--policy", "fixed:replicas=9"]
    evaluate = ["evaluate", "--trace", str(trace), *part, "--out"]
    compiles = [str(SETPOINT), *evaluate, str(tmp_path / "before")]
    subprocess.run(compiles, cwd=tmp_path, capture_output=True, check=True)
    command = [sys.executable, "-c", program, *evaluate, str(tmp_path / "out")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert done.stderr.splitlines()[-1] == f"setpoint: {tmp_path}/out/plane.png: File too large"
    assert "Traceback" not in done.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["runs"], "no table without its page"
    assert not list((tmp_path / "out").rglob(".part*"))


def test_interrupted_training_keeps_a_bundle_and_goes_on_from_there(tmp_path: Path) -> None:
    command = [str(SETPOINT), "train", "--steps", "600000", "--out", "p.bundle"]
    environment = {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/runs.db"}
    process = start(command, tmp_path, environment)
    for _ in range(600):
        if (tmp_path / "p.bundle").exists():
            break
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    steps = load_bundle(tmp_path / "p.bundle").provenance["steps"]
    assert steps > 0
    assert errors.splitlines()[-1] == (
        f"setpoint: interrupted at step {steps}: p.bundle holds the policy of step {steps}; "
        "the same command goes on from there"
    )
    assert (tmp_path / "runs.db").stat().st_size > 0
    other = setpoint("train", "--steps", 700_000, "--out", "p.bundle", cwd=tmp_path)
    assert other.returncode == 2
    assert other.stderr == (
        "setpoint: p.bundle.checkpoint: of a training whose steps is 600000, not 700000; "
        "the command it began with goes on, --fresh begins anew\n"
    )
    again = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert again.returncode == 0, again.stderr
    assert again.stderr.startswith(f"going on from step {steps}, where p.bundle was stopped\n")
    found = load_bundle(tmp_path / "p.bundle").provenance
    assert (found["engine"], found["resumed"], found["steps"]) == ("batch", [steps], 19 * 32_768)
    assert not (tmp_path / "p.bundle.checkpoint").exists()


def test_training_falls_back_to_the_request_engine_and_says_why(tmp_path: Path) -> None:
    command = "train", "--task", write_refused_task(tmp_path), "--steps", 1, "--out", "p.bundle"
    refused = setpoint(*command, "--engine", "batch", cwd=tmp_path)
    assert refused.returncode == 2
    assert refused.stderr.startswith(f"setpoint: --engine batch: {WHY}")
    assert refused.stderr.endswith("The request engine does (--engine request)\n")
    assert setpoint(*command, "--engine", "fast", cwd=tmp_path).stderr == (
        "setpoint: --engine 'fast' is unknown; there are: auto, batch, request\n"
    )
    done = setpoint(*command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith(f"training on the request engine, since {WHY}")
    assert load_bundle(tmp_path / "p.bundle").provenance["engine"] == "request"


@pytest.mark.parametrize(("kept", "there"), [(0, False), (0, True), (2048, True)])
def test_what_an_interruption_says_of_the_bundle(kept: int, there: bool, tmp_path: Path) -> None:
    out = tmp_path / "p.bundle"
    if there:
        out.write_text("")
    expected = {
        (0, False): f"before the first update: {out} is not there yet; the same command begins anew",
        (0, True): f"before the first update: {out} is as it was; the same command begins anew",
        (
            2048,
            True,
        ): f"at step 2048: {out} holds the policy of step 2048; "
        "the same command without --fresh goes on from there",
    }[kept, there]

    def interrupted() -> None:
        with commands._told_of_interruption(out, "the same command without --fresh") as keep:
            keep(kept)
            raise KeyboardInterrupt

    with pytest.raises(Interrupted) as caught:
        interrupted()
    assert str(caught.value) == f"interrupted {expected}"


def test_an_output_that_cannot_be_written_ends_training_before_it_begins(tmp_path: Path) -> None:
    began = time.monotonic()
    done = setpoint("train", "--steps", 1024, "--out", "/proc/x.bundle", cwd=tmp_path)
    assert time.monotonic() - began < 20
    assert done.returncode == 1
    assert done.stderr == "setpoint: /proc/x.bundle: No such file or directory\n"
    assert not list(tmp_path.rglob("mlflow.db"))


def test_a_part_shorter_than_an_episode_is_refused_before_training_begins(
    trace: Path, tmp_path: Path
) -> None:
    done = setpoint(
        "train", "--trace", trace, "--duration", 600, "--out", tmp_path / "new" / "p.bundle", cwd=tmp_path
    )
    assert_refused(
        done, tmp_path / "new", "the part to train on has 600 s; an episode of task web needs 3600 s"
    )


@pytest.mark.parametrize(("option", "value"), [("--start", 0), ("--duration", 7200), ("--mean-rps", 50)])
def test_a_part_of_no_trace_is_refused_before_training_begins(
    option: str, value: float, tmp_path: Path
) -> None:
    done = setpoint("train", option, value, "--out", tmp_path / "new" / "p.bundle", cwd=tmp_path)
    assert_refused(done, tmp_path / "new", f"{option} {value}: only with --trace")


@pytest.mark.parametrize("scaled", [(), ("--mean-rps", 50)])
def test_training_on_a_part_without_requests_is_refused(scaled: tuple[object, ...], tmp_path: Path) -> None:
    write_trace(Trace(np.zeros(90), 60.0), tmp_path / "none.csv")
    out = tmp_path / "new" / "p.bundle"
    done = setpoint("train", "--trace", "none.csv", *scaled, "--steps", 1, "--out", out, cwd=tmp_path)
    assert_refused(done, tmp_path / "new", "none.csv: no requests in the part to train on; choose another")


def test_without_a_terminal_progress_comes_in_tenths(capsys: pytest.CaptureFixture[str]) -> None:
    with commands.bar("training ppo", lines=True) as update:
        for step in range(51):
            update(step / 50, f"step {step}")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 10
    assert lines[0] == "training ppo: 10 %, step 5"
    assert lines[-1] == "training ppo: 100 %, step 50"


def test_an_interrupted_evaluation_goes_on_from_there(trace: Path, tmp_path: Path) -> None:
    command = [str(SETPOINT), "evaluate", "--trace", str(trace), "--start", "3600", "--duration", "600"]
    command += ["--seeds", "20", "--policy", "fixed:replicas=9", "--out", "out"]
    process = start(command, tmp_path, dict(os.environ))
    for _ in range(600):
        if list((tmp_path / "out").glob("runs/[!.]*.npz")):
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert errors.endswith("interrupted: what is finished stays, and the same command goes on from there\n")
    assert not (tmp_path / "out" / "results.csv").exists()
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "runs").glob("[!.]*.npz")}
    assert kept
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert (tmp_path / "out" / "results.csv").exists()


@pytest.mark.parametrize("command", [("simulate",), ("control", "rehearse")])
def test_other_commands_are_just_interrupted(command: tuple[str, ...], tmp_path: Path) -> None:
    write_trace(Trace(np.full(100_000, 60_000.0), 60.0), tmp_path / "long.csv")
    arguments = ["--trace", "long.csv", "--start", "0", "--duration", "1900000"]
    process = start([str(SETPOINT), *command, *arguments], tmp_path, dict(os.environ), subprocess.DEVNULL)
    time.sleep(6)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors.splitlines()[-1]) == (130, "setpoint: interrupted")


def test_no_worker_outlives_an_evaluation_that_is_killed(trace: Path, tmp_path: Path) -> None:
    command = [str(SETPOINT), "evaluate", "--trace", str(trace), "--seeds", "500", "--out", "out"]
    process = start(command, tmp_path, dict(os.environ))
    try:
        for _ in range(600):
            if len(list((tmp_path / "out").glob("runs/[!.]*.npz"))) > 1:  # the batch engine's and a worker's
                break
            time.sleep(0.1)
        workers = [pid for pid in children_of(process.pid) if "spawn_main" in command_line(pid)]
        assert workers
    finally:
        process.kill()
        process.communicate()
    for _ in range(300):
        if not any("spawn_main" in command_line(pid) for pid in workers):
            return
        time.sleep(0.1)
    pytest.fail(f"still there: {workers}")


def children_of(parent: int) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def start(
    command: list[str], cwd: Path, environment: dict[str, str], output: int | None = None
) -> subprocess.Popen[str]:
    """A command that hears Ctrl-C even where these tests run in the background, where shells ignore it."""
    heard = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        return subprocess.Popen(
            command, cwd=cwd, stdout=output, stderr=subprocess.PIPE, text=True, env=environment
        )
    finally:
        signal.signal(signal.SIGINT, heard)


def assert_refused(done: subprocess.CompletedProcess[str], out: Path, *messages: str) -> None:
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    for message in messages:
        assert message in done.stderr
    assert not out.exists()


def test_results_of_another_question_are_replaced_with_a_word(trace: Path, tmp_path: Path) -> None:
    part = (
        "--policy",
        "fixed:replicas=9",
        "--policy",
        "fixed:replicas=9",
        "--seeds",
        "1",
        "--duration",
        "600",
    )
    said = "the results of another task or another part of a trace are replaced"
    for start, expected in (("3600", False), ("3600", False), ("4200", True)):
        done = evaluate(trace, tmp_path / "out", *part, "--start", start)
        assert done.returncode == 0, done.stderr
        told = " ".join((done.stdout + done.stderr).split())
        assert (said in told) == expected
        assert "fixed:replicas=9 is given more than once and judged once" in told


def test_a_part_without_requests_cannot_be_judged(tmp_path: Path) -> None:
    (tmp_path / "none.csv").write_text(
        "t_seconds,requests\n" + "".join(f"{60 * row},0\n" for row in range(120))
    )
    done = evaluate(tmp_path / "none.csv", tmp_path / "out")
    assert_refused(done, tmp_path / "out", "no requests in the judged part, so that nothing can be judged")
