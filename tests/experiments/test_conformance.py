"""The grid, the bounds and the command that hold the batch engine against the request engine."""

from __future__ import annotations

import dataclasses
import math
import os
import signal
import subprocess
import sys
import time
from itertools import combinations, product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from refused import WHY, write_refused_task
from typer.testing import CliRunner

from envs.task import load_task
from experiments import conformance_command
from experiments.cli import app
from experiments.conformance import (
    ASIDE,
    MADE_LOADS,
    NO_TROUBLE,
    SMALL,
    TROUBLES,
    Cell,
    World,
    compare,
    covering_grid,
    full_grid,
    given_load,
    grid,
    made_load,
    make_cell,
)
from experiments.conformance_figure import draw_conformance
from experiments.sweep import Sweep
from experiments.verdict import judge, rank_correlation, write_table
from simulator.errors import InputError
from simulator.flow.support import check_supported
from simulator.trace import Trace, write_trace

SETPOINT = Path(sys.executable).with_name("setpoint")
TINY = str(Path(__file__).parents[1] / "data" / "tiny.bundle")
WEB = load_task("web")
TRUTHS = (0.002, 0.004, 0.008, 0.016, 0.032)
COSTS = (5.0, 4.0, 3.0, 2.5, 2.0)


def cells_of(
    violations: tuple[float, ...] = TRUTHS, costs: tuple[float, ...] = COSTS, world: World = SMALL[0]
) -> list[Cell]:
    """Five policies; what is given is what the batch engine finds."""
    return [
        Cell(world, f"hpa:target=0.{place + 5}", (truth, late), (cost, usd), (0.5, 0.5))
        for place, (truth, late, cost, usd) in enumerate(zip(TRUTHS, violations, COSTS, costs, strict=True))
    ]


def test_equal_engines_keep_all_bounds() -> None:
    verdict = judge(cells_of(), 0.01)
    assert verdict.passes
    assert verdict.rank_correlation == 1.0
    assert (verdict.counted, verdict.pairs, verdict.misses) == (5, 10, ())


def test_shuffled_results_do_not_keep_the_rank_correlation() -> None:
    rng = np.random.default_rng(0)
    found = []
    for _ in range(200):
        order = rng.permutation(5)
        if (order == np.arange(5)).all():
            continue
        shuffled = cells_of(tuple(TRUTHS[place] for place in order), tuple(COSTS[place] for place in order))
        found.append(rank_correlation(shuffled))
        assert not judge(shuffled, 0.01).passes
    assert max(found) < 0.9
    assert abs(np.mean(found)) < 0.15


@pytest.mark.parametrize(
    ("violations", "costs", "expected"),
    [
        (TRUTHS[::-1], COSTS, -1.0),
        (TRUTHS, COSTS[::-1], -1.0),
        ((0.01,) * 5, COSTS, 0.0),
        ((0.004, 0.002, *TRUTHS[2:]), COSTS, 0.8),
    ],
)
def test_the_rank_correlation_is_that_of_the_worse_order(
    violations: tuple[float, ...], costs: tuple[float, ...], expected: float
) -> None:
    assert rank_correlation(cells_of(violations, costs)) == pytest.approx(expected)


def test_the_order_of_what_the_truth_does_not_tell_apart_says_nothing() -> None:
    close = [
        Cell(World(), policy, violations, cost, (0.5, 0.5))
        for policy, violations, cost in (
            ("a", (0.0500, 0.0550), (1.000, 1.01)),
            ("b", (0.0510, 0.0500), (1.010, 1.00)),
            ("c", (0.0001, 0.0009), (1.015, 1.02)),
            ("d", (0.0009, 0.0001), (1.005, 1.03)),
        )
    ]
    assert rank_correlation(close) == 1.0
    assert math.isnan(rank_correlation(close[:2]))
    assert judge(close[:2], 0.01).bounds[3].reached == "no policies differ"


@pytest.mark.parametrize(
    ("change", "broken"),
    [
        ({"violations": (0.02, 0.026)}, 0),
        ({"cost_usd": (3.0, 3.1)}, 1),
        ({"utilization": (0.5, 0.48)}, 2),
    ],
)
def test_a_bound_is_broken_and_the_mechanism_named(
    change: dict[str, tuple[float, float]], broken: int
) -> None:
    good = cells_of()
    bad = [dataclasses.replace(cell, **change) for cell in cells_of(world=World(lag_seconds=60.0))[:1]]
    verdict = judge(good + bad, 0.01)
    assert not verdict.bounds[broken].is_kept
    assert not verdict.passes
    assert verdict.misses == tuple(bad)
    assert list(verdict.mechanisms.items()) == [("lag_seconds=60.0", 1.0), ("lag_seconds=15.0", 0.0)]


def test_what_chance_explains_is_no_miss_once_it_is_known() -> None:
    def row(cost: float) -> dict[str, float]:
        return {"slo_violation_ratio": 0.0, "cost_usd": cost, "cpu_utilization": 0.5}

    few, many, same = (
        make_cell(World(), "hpa", [row(cost) for cost in costs], (0.0, 1.04, 0.5))
        for costs in ([0.95, 1.05], [0.95, 1.05] * 8, [1.0] * 16)
    )
    assert [cell.excess > 1 for cell in (few, many, same)] == [True, False, True]
    assert many.chance[1] == pytest.approx(2 * 0.05 * math.sqrt(16 / 15) / 4)


def test_any_three_settings_meet_in_the_covering_grid() -> None:
    worlds = covering_grid()
    assert set(worlds) < set(full_grid())
    assert len(worlds) <= len(full_grid()) / 3
    values = {
        field.name: {getattr(world, field.name) for world in full_grid()}
        for field in dataclasses.fields(World)
        if field.name not in {"level", "trouble"}
    }
    for axes in combinations(values, 3):
        met = {tuple(getattr(world, axis) for axis in axes) for world in worlds}
        assert met == set(product(*(values[axis] for axis in axes)))


def test_traces_are_loads_of_the_grid() -> None:
    assert grid("small", WEB, ["a.csv"]) == (*SMALL, World(load="a.csv"))
    assert {world.load for world in grid("cover", WEB, ["a.csv"])} == {*MADE_LOADS, "a.csv"}
    assert len(grid("full", WEB)) == 108 + len(ASIDE)
    assert {world.trouble for world in ASIDE} == {NO_TROUBLE, *TROUBLES}
    with pytest.raises(InputError, match="--grid 'big' is unknown; there are: small, cover, full"):
        grid("big", WEB)


def test_troubles_are_in_the_task_and_levels_in_the_load() -> None:
    for trouble in TROUBLES:
        scenario = World(trouble=trouble).task(WEB).scenario
        changed = scenario.faults, scenario.workload.arrivals, scenario.metrics.noise
        assert changed != (WEB.scenario.faults, WEB.scenario.workload.arrivals, WEB.scenario.metrics.noise)
        check_supported(scenario)


def test_an_application_keeps_its_service_times() -> None:
    shop = load_task("shop3")
    (first, *_) = grid("full", shop)
    changed = first.task(shop).scenario.system
    assert (first.law, first.slots) == (None, None)
    for before, after in zip(shop.scenario.system.services, changed.services, strict=True):
        assert after.start_up.p50_seconds == first.start_up_seconds
        assert (after.slots_per_pod, after.all_operations) == (before.slots_per_pod, before.all_operations)


def test_a_pod_keeps_its_capacity_and_the_slo_its_ratio() -> None:
    task = World(slots=16, law="heavy", lag_seconds=60.0).task(WEB)
    service = task.scenario.service
    assert service is not None
    assert service.service_time.mean_seconds == pytest.approx(0.2)
    assert task.objective.slo_seconds == pytest.approx(1.2)
    assert task.scenario.metrics.lag_seconds == 60.0


def test_a_trace_is_scaled_by_the_part_that_is_taken() -> None:
    times = np.arange(7200.0)
    trace = Trace(np.r_[np.full(60, 60.0), np.full(60, 120.0)], 60.0, 100.0, times_seconds=times + 100)
    load = given_load(trace, 200.0, 1, 3700.0)
    assert (load.start_seconds, load.duration_seconds, load.times_seconds) == (3700.0, 3600.0, None)
    assert load.mean_rps == pytest.approx(200.0)
    with pytest.raises(InputError, match="no requests in the 1 h from 0 s; choose another --start"):
        given_load(Trace(np.zeros(60), 60.0), 200.0, 1)


def test_both_engines_run_the_same_policy_where_it_learns(tmp_path: Path) -> None:
    """Two hours of jumps without a history: what is learned in the first decides the second."""
    world, load = World(load="jumps", slots=1), made_load("jumps", 200.0, 2)
    with Sweep(tmp_path) as sweep:
        (cell,) = compare(WEB, (world,), {"jumps": load}, sweep, policies=("predictive_hpa",), seeds=8)
    assert cell.sure_errors[0] < 0.02, cell


def test_the_picture_and_the_table_show_every_cell(tmp_path: Path) -> None:
    cells = cells_of() + cells_of(TRUTHS[::-1], world=World(law=None, slots=None, load="$x.csv"))
    draw_conformance(cells, "title", tmp_path / "c.png")
    draw_conformance(cells[:1], "one cell", tmp_path / "one.png")
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")
    write_table(cells, tmp_path / "c.csv")
    table = pd.read_csv(tmp_path / "c.csv")
    assert len(table) == 10
    np.testing.assert_allclose(table["violations_batch"][5:], TRUTHS[::-1])
    assert table["within"].tolist() == [True] * 5 + [False, False, True, False, False]


def conformance(cwd: Path, *more: object) -> subprocess.CompletedProcess[str]:
    command = [str(SETPOINT), "conformance", "--hours", "1", "--seeds", "1", *map(str, more)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def test_the_command_writes_its_table_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    write_trace(Trace(np.full(60, 60 * 50.0), 60.0), tmp_path / "even.csv")
    arguments = [
        "--trace",
        "even.csv",
        "--policy",
        "hpa:target=0.6",
        "--policy",
        "hpa:target=0.8",
        "--out",
        "out",
    ]
    command = [str(SETPOINT), "conformance", "--hours", "1", "--seeds", "1", *arguments]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    for _ in range(600):
        if list(tmp_path.glob("out/runs/[!.]*.npz")):
            break
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert errors.endswith("what is finished stays, and the same command goes on from there\n")
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.glob("out/runs/[!.]*.npz")}
    assert kept
    done = conformance(tmp_path, *arguments)
    table = pd.read_csv(tmp_path / "out" / "conformance.csv")
    assert done.returncode == (0 if "keeps all bounds" in done.stdout else 1), done.stderr
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert len(table) == 10
    assert set(table["load"]) == {*MADE_LOADS, "even.csv"}
    assert (tmp_path / "out" / "conformance.png").exists()


@pytest.mark.parametrize(("found", "code"), [(TRUTHS, 0), (TRUTHS[::-1], 1)])
def test_a_bound_that_is_not_kept_is_exit_code_1(
    found: tuple[float, ...], code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conformance_command, "compare", lambda *_, **__: cells_of(found))
    done = CliRunner().invoke(app, ["conformance", "--out", str(tmp_path)])
    assert done.exit_code == code


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--grid", "big"], "--grid 'big' is unknown"),
        (
            ["--policy", "calibrated-hpa"],
            "--policy calibrated-hpa needs a search; give the settings it comes to",
        ),
        (["--policy", "hpb"], "policy 'hpb' is unknown"),
        (
            ["--policy", TINY],
            "trained for another interface: observer.slots_per_pod is [4] there and [1] here",
        ),
        (["--trace", "short.csv"], "is not within the trace"),
        (["--trace", "sine"], "there is a load called sine already"),
        (["--start", "5"], "--start 5: only with --trace"),
    ],
)
def test_what_is_wrong_is_told_before_any_work(arguments: list[str], message: str, tmp_path: Path) -> None:
    write_trace(Trace(np.full(30, 600.0), 60.0), tmp_path / "short.csv")
    done = conformance(tmp_path, *arguments, "--out", "out")
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_task_that_the_batch_engine_does_not_model_is_refused(tmp_path: Path) -> None:
    done = conformance(tmp_path, "--task", write_refused_task(tmp_path), "--out", "out")
    assert done.returncode == 2
    assert WHY in done.stderr
