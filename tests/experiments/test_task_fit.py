"""`setpoint task fit` on records of services whose parameters are known, from a simulator of its own."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import service_records as true
import yaml
from control_plane.history import START, History

from envs.task import load_task
from experiments.fit.analysis import Analysis, analyse
from experiments.fit.command import Choices
from experiments.fit.pulled import default_queries, pull_record
from experiments.fit.record import Record, read_record, write_record
from experiments.fit.replay import replay
from experiments.fit.told import outside
from experiments.fit.waiting import MEAN, Candidate, Shape
from experiments.prometheus_range import Grid, PrometheusRange
from simulator import theory
from simulator.errors import InputError
from simulator.service import StartUpLaw
from simulator.trace import read_trace

SETPOINT = Path(sys.executable).with_name("setpoint")
STEP = 30.0
CHOICES = Choices(None, None, None, 0.04, None, None, 15.0, 15.0, 0.7, 0)


def fitted(record: Record) -> Analysis:
    return analyse(record, 0.7, lambda first: CHOICES.wanted("it", first), 0, lambda _: None)


def recorded(
    service: true.Service, mean_rps: float, folder: Path, hours: float = 8, drop: tuple[str, ...] = ()
) -> Record:
    columns = true.run(service, true.load(hours, STEP, mean_rps, seed=3), STEP, seed=5)
    return read_record(true.write(columns, folder / "record.csv", drop))


SERVICES = {
    "lognormal, 4 slots": (true.Service(true.lognormal(0.05, 1.0), 0.012, 4, 0.05, target=0.75), 80),
    "exponential, 1 slot, noise": (
        true.Service(true.exponential(0.08), 0.08, 1, 0.08, target=0.55, most=200, noise=0.05),
        30,
    ),
    "constant, 2 slots": (true.Service(true.constant(0.05), 0.02, 2, 0.05, target=0.7), 60),
    "gamma, 32 slots": (true.Service(true.gamma(0.2, 0.5), 0.02, 32, 0.2, target=0.8, fewest=1), 150),
    "lognormal, 8 slots, idle CPU": (
        true.Service(true.lognormal(0.05, 2.0), 0.02, 8, 0.05, idle_cores=0.05, fixed=2),
        150,
    ),
    "own queues, round robin": (
        true.Service(true.lognormal(0.1, 0.5), 0.05, 2, 0.1, queue="round_robin", most=100),
        40,
    ),
    "own queues, random": (
        true.Service(true.exponential(0.05), 0.02, 4, 0.05, queue="random", target=0.5),
        60,
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SERVICES)
def test_parameters_are_found_again(name: str, tmp_path: Path) -> None:
    service, mean_rps = SERVICES[name]
    check(service, fitted(recorded(service, mean_rps, tmp_path)))


def check(service: true.Service, found: Analysis) -> None:
    assert found.candidate.mean_seconds == pytest.approx(service.mean_seconds, rel=0.04)
    assert found.cpu.seconds_per_request == pytest.approx(service.cpu_seconds, rel=0.03)
    assert found.cpu.idle_cores == pytest.approx(service.idle_cores, abs=0.01)
    assert found.candidate.slots_per_pod == pytest.approx(service.slots, rel=0.25)
    assert found.candidate.dispatch == service.queue
    assert found.found.fewest_slots <= service.slots * 1.25
    if found.start_up.pods:
        error = math.log(service.start_p95 / service.start_p50) / 1.645 / math.sqrt(found.start_up.pods)
        assert abs(math.log(found.start_up.p50_seconds / service.start_p50)) < 4 * error
        assert abs(math.log(found.start_up.p95_seconds / service.start_p95)) < 4 * 1.6 * error
    of = {error.quantity: error for error in found.held_out}
    assert of["p95"].median < 0.12
    assert of["CPU"].median < 0.10
    assert not found.reasons


def test_one_service_is_found_again_with_gaps_and_missing_values(tmp_path: Path) -> None:
    service = true.Service(true.lognormal(0.05, 1.0), 0.012, 4, 0.05, target=0.75)
    columns = true.run(service, true.load(4, STEP, 80, seed=3), STEP, seed=5)
    rng = np.random.default_rng(1)
    for name in ("cpu_cores", "latency_p95_seconds", "latency_p50_seconds", "rate_rps"):
        columns[name][rng.random(480) < 0.05] = np.nan
    path = true.write(columns, tmp_path / "record.csv")
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:200], *lines[220:], ""]))
    record = read_record(path)
    assert len(record) == 480
    assert record.notes[0] == "20 of 480 steps are absent and count as missing"
    check(service, fitted(record))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["a slow database", "slow in the part held out", "costlier requests"])
def test_what_the_model_cannot_be_is_not_to_be_trusted(kind: str, tmp_path: Path) -> None:
    service = true.Service(true.lognormal(0.05, 1.0), 0.02, 4, 0.05)
    columns = true.run(service, true.load(8, STEP, 60, seed=3), STEP, seed=5)
    times = columns["t_seconds"]
    if kind == "costlier requests":
        columns["cpu_cores"] = columns["cpu_cores"] * np.where(times > 6 * 3600, 1.5, 1.0)
    else:
        begin = 2 * 3600 if kind == "a slow database" else 7 * 3600
        slow = (times >= begin) & (times < begin + 1800)
        for name in ("latency_p95_seconds", "latency_p50_seconds", "latency_mean_seconds"):
            columns[name] = columns[name] + 0.3 * slow
    found = fitted(read_record(true.write(columns, tmp_path / "record.csv")))
    assert found.reasons
    if kind == "a slow database":
        assert any(
            reason.startswith("from 7200 s for 30 min the recorded p95 is") for reason in found.reasons
        )


def test_what_a_record_does_not_tell_is_said(tmp_path: Path) -> None:
    service = true.Service(true.lognormal(0.05, 1.0), 0.012, 16, 0.05, fixed=4)
    drop = ("latency_p50_seconds", "latency_mean_seconds", "starts")
    true.write(true.run(service, true.load(3, STEP, 60), STEP), tmp_path / "quiet.csv", drop)
    done = fit(
        tmp_path, "--record", "quiet.csv", "--cpu-request", 0.5, "--png", "fit.png", "--trace-out", "t.csv"
    )
    assert done.returncode == 0, done.stderr
    shown = " ".join(done.stdout.split())
    for said in (
        "not known: requests hardly ever wait",
        "the record has p95 alone",
        "not known, setpoint's default",
        "the recorded replicas never change",
        "the model follows the record within the limits",
    ):
        assert said in shown, shown
    text = (tmp_path / "task.yaml").read_text()
    assert text.startswith("# Fitted by setpoint task fit to quiet.csv, sha256")
    task = load_task(tmp_path / "task.yaml")
    of = task.scenario.system.services[0]
    assert of.vcpu_per_pod * task.scenario.prices.usd_per_vcpu_hour == pytest.approx(0.5 * 0.04, rel=1e-3)
    assert (tmp_path / "fit.png").read_bytes().startswith(b"\x89PNG")
    assert len(read_trace(tmp_path / "t.csv").requests) == 360
    first = text.encode()
    again = fit(tmp_path, "--record", "quiet.csv", "--cpu-request", 0.5)
    assert again.returncode == 0
    assert (tmp_path / "task.yaml").read_bytes() == first


def fit(folder: Path, *more: object) -> subprocess.CompletedProcess[str]:
    command = [str(SETPOINT), "task", "fit", "--out", "task.yaml", *map(str, more)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


HEAD = "t_seconds,rate_rps,cpu_cores,replicas,latency_p95_seconds"


@pytest.mark.parametrize(
    ("head", "change", "said"),
    [
        (HEAD, {3: "90,1,-1,1,0.1"}, "record.csv:5: cpu_cores is '-1'"),
        (HEAD, {3: "90,inf,1,1,0.1"}, "record.csv:5: rate_rps is 'inf'"),
        (HEAD, {3: "90,much,1,1,0.1"}, "record.csv:5: rate_rps is 'much'"),
        (HEAD, {3: "60,1,1,1,0.1"}, "record.csv:5: t_seconds is 60 after 60"),
        (HEAD, {3: "91,1,1,1,0.1"}, "record.csv:5: t_seconds is 91, which is no whole number of steps"),
        (
            HEAD,
            {row: f"{30 * row},1,,1,0.1" for row in range(30)},
            "cpu_cores is missing at 25% of the steps",
        ),
        (HEAD, {row: f"{30 * row},0,1,1," for row in range(120)}, "rate_rps is 0 throughout"),
        (HEAD, {row: f"{30 * row},9,0,1,0.1" for row in range(120)}, "cpu_cores does not grow with rate_rps"),
        (HEAD, {row: f"{30 * row},0.1,1,1,0.1" for row in range(120)}, "only 0 steps of the part to fit on"),
        (HEAD.replace("rate", "load"), {}, "needs one column 'rate_rps'"),
        (HEAD.replace("cpu_cores", "cpu_utilization"), {}, "--cpu-request"),
    ],
)
def test_a_broken_record_ends_in_one_line(
    tmp_path: Path, head: str, change: dict[int, str], said: str
) -> None:
    rows = [change.get(row, f"{30 * row},9,0.1,1,0.1") for row in range(120)]
    (tmp_path / "record.csv").write_text("\n".join([head, *rows, ""]))
    done = fit(tmp_path, "--record", "record.csv")
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "task.yaml").exists()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ((), "one of --record and --prometheus"),
        (("--record", "a.csv", "--prometheus", "http://a"), "one of --record and --prometheus"),
        (("--prometheus", "http://a"), "--record-out"),
        (("--prometheus", "http://a", "--record-out", "r.csv"), "--queries, or --namespace and --deployment"),
        (("--record", "a.csv"), "a.csv: no such file"),
        (("--record", "a.csv", "--out", "a.txt"), "ends in .yaml"),
        (
            ("--record", "a.csv", "--min-replicas", "9", "--max-replicas", "3"),
            "--min-replicas 9 is above --max-replicas 3",
        ),
    ],
)
def test_options_that_do_not_go_together(tmp_path: Path, more: tuple[str, ...], said: str) -> None:
    done = fit(tmp_path, *more)
    assert done.returncode == 2
    assert said in done.stderr
    assert not list(tmp_path.iterdir())


def test_bounds_beside_the_record_leave_its_replay_as_it_is(tmp_path: Path) -> None:
    service = true.Service(true.lognormal(0.05, 1.0), 0.05, 2, 0.1, target=0.6)
    record = recorded(service, 40, tmp_path, hours=3)
    open_, low, high = (
        analyse(
            record, 0.7, lambda first, bounds=bounds: replace(CHOICES, **bounds).wanted("it", first), 0, print
        )
        for bounds in ({}, {"max_replicas": 1}, {"min_replicas": 50})
    )
    for other, (fewest, most) in ((low, (1, 1)), (high, (50, 50))):
        bounded = other.task.scenario.system.services[0]
        assert (bounded.min_replicas, bounded.max_replicas) == (fewest, most)
        assert other.held_out[:2] == open_.held_out[:2]
        assert other.autoscaler == open_.autoscaler
        (line,) = outside(other)
        assert f"{fewest} to {most} replicas, leave out" in line
    assert not outside(open_)
    assert open_.autoscaler is not None


def test_cpu_in_thousandths_is_not_to_be_trusted(tmp_path: Path) -> None:
    service = true.Service(true.lognormal(0.05, 1.0), 0.05, 2, 0.1, target=0.6)
    record = recorded(service, 40, tmp_path, hours=2)
    wrong = replace(record, cpu_cores=1000 * record.cpu_cores)
    choices = replace(CHOICES, cpu_request=1.0)
    found = analyse(wrong, 0.7, lambda first: choices.wanted("it", first), 0, print)
    assert any("must be in cores, not in thousandths" in reason for reason in found.reasons)
    right = analyse(record, 0.7, lambda first: choices.wanted("it", first), 0, print)
    assert not any("thousandths" in reason for reason in right.reasons)


def test_a_replay_has_the_pods_that_the_record_has(tmp_path: Path) -> None:
    """Whatever start-up the task has: a replay's pods are there when the record has them."""
    task = load_task("web")
    assert task.scenario.service is not None
    columns = true.run(
        true.Service(true.lognormal(0.05, 1.0), 0.05, 2, 0.1, target=0.6),
        true.load(1, STEP, 40, seed=3),
        STEP,
        seed=5,
    )
    record = read_record(true.write(columns, tmp_path / "record.csv", ()))
    slow, quick = (
        task.model_copy(
            update={
                "scenario": task.scenario.model_copy(
                    update={
                        "service": task.scenario.service.model_copy(
                            update={"start_up": StartUpLaw(p50_seconds=seconds, p95_seconds=2 * seconds)}
                        )
                    }
                )
            }
        )
        for seconds in (300.0, 1.0)
    )
    np.testing.assert_array_equal(replay(slow, record, 0, 1).cpu_cores, replay(quick, record, 0, 1).cpu_cores)


def test_the_formulas_are_those_of_m_m_c() -> None:
    for servers, busy in ((1, 0.5), (4, 0.75), (4, 0.94), (32, 0.8)):
        rate = busy * servers / 0.05
        names = ("latency_p50_seconds", "latency_p95_seconds", MEAN)
        candidate = Candidate(Shape("gamma", 1.0), 0.05, servers)
        found = candidate.latencies(np.array([rate]), np.ones(1), names)
        for name, fraction in (("latency_p50_seconds", 0.5), ("latency_p95_seconds", 0.95)):
            exact = theory.mmc_response_percentile_seconds(fraction, rate, 0.05, servers)
            assert found[name][0] == pytest.approx(exact, rel=5e-3)
        assert found[MEAN][0] == pytest.approx(
            theory.mmc_mean_response_seconds(rate, 0.05, servers), rel=1e-9
        )


QUERIES = {
    "rate_rps": 'sum(rate(http_requests_total{service="web"}[1m]))',
    "cpu_cores": '0.02 * sum(rate(http_requests_total{service="web"}[1m]))',
    "replicas": 'count(http_requests_total{service="web"}) * 4',
    "latency_p95_seconds": 'count(http_requests_total{service="web"}) * 0.15',
    "pod_start_seconds": "rate(http_requests_total[1m]) * 0 + 25",
}


def test_a_record_from_a_real_prometheus(history: History, tmp_path: Path) -> None:
    (tmp_path / "queries.yaml").write_text(yaml.safe_dump(QUERIES))
    span = ("--start", START + 3600, "--end", START + 3600 + 6 * 3600)
    source = ("--prometheus", history.url, "--queries", "queries.yaml", "--record-out", "record.csv")
    done = fit(tmp_path, *source, *span)
    assert done.returncode == 0, done.stderr
    record = read_record(tmp_path / "record.csv")
    assert (len(record), record.step_seconds) == (360, 60)
    assert np.allclose(record.cpu_cores, 0.02 * record.rate_rps)
    assert set(record.replicas) == {4.0}
    assert record.pod_start_seconds.tolist() == [25.0, 25.0]
    load_task(tmp_path / "task.yaml")
    write_record(record, tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "record.csv").read_bytes()
    (tmp_path / "queries.yaml").write_text(yaml.safe_dump(QUERIES | {"cpu_cores": "http_requests_total"}))
    refused = fit(tmp_path, *source, *span)
    assert refused.returncode == 2
    assert "cpu_cores: 2 series answer" in refused.stderr


def test_the_default_queries_are_promql(history: History) -> None:
    server = PrometheusRange(history.url, {}, 30.0, lambda _: None)
    queries = default_queries("shop", "web", 60.0)
    grid = Grid.over(START, START + 600, 60.0)
    for query in queries.model_dump().values():
        assert server.all(query, grid) == {}
    with pytest.raises(InputError, match="rate_rps: no series answer"):
        pull_record(server, queries, grid, "record.csv")
    server.close()
    with pytest.raises(InputError, match="--deployment"):
        default_queries("shop", 'web"}', 60.0)


def test_a_parquet_record_is_the_same(tmp_path: Path) -> None:
    import pandas as pd

    rows = [f"{30 * row},{9 + row % 7},{0.1 if row % 9 else ''},1,0.1" for row in range(120)]
    (tmp_path / "record.csv").write_text("\n".join([HEAD, *rows, ""]))
    pd.read_csv(tmp_path / "record.csv").to_parquet(tmp_path / "record.parquet")
    first, second = read_record(tmp_path / "record.csv"), read_record(tmp_path / "record.parquet")
    assert np.array_equal(first.cpu_cores, second.cpu_cores, equal_nan=True)
    assert first.rate_rps.tolist() == second.rate_rps.tolist()
    assert replace(first, name="", sha256="").notes == second.notes
