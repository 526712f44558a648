"""An exported run says what was seen, asked for and true, and nothing is left of one that did not end."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from agents.runner import Decision
from envs.task import load_task
from experiments import outputs as outputs_module
from experiments import simulation
from experiments.commands import Part
from experiments.export import EVENTS, FAULTS, FILES, NODES, TELEMETRY, Export
from experiments.interruption import Interrupted
from experiments.run import Run, execute
from experiments.simulation import Outputs, simulate
from simulator.errors import InputError
from simulator.latency import percentile_seconds
from simulator.plant import Interval
from simulator.trace import Trace

START = 50_000.0


def exported(
    folder: Path, task_name: str, policy: str
) -> tuple[dict[str, pa.Table], list[tuple[Decision, Interval]]]:
    """Ten minutes of a task, its four tables and what they are made of."""
    task = load_task(task_name)
    services = [service.name for service in task.scenario.system.services]
    groups = [group.name for group in task.scenario.cluster.groups] if task.scenario.cluster else []
    export, seen = Export(services, groups, folder, START), []
    export.check()
    assert not folder.exists()

    def see(decision: Decision, interval: Interval) -> None:
        export.add(decision, interval)
        seen.append((decision, interval))

    load = Trace(np.full(10, 9000.0), 60.0)
    outcome = execute(Run(task, load, None, policy, policy, 0), see=see, journal=export.happened)
    export.write(outcome.faults)
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    return {name: pq.read_table(folder / name) for name in FILES}, seen


def test_requests_and_nodes_that_were_asked_for_are_there(tmp_path: Path) -> None:
    tables, seen = exported(tmp_path / "run", "cold-start", "fixed:replicas=8,vcpu=3,nodes=6")
    telemetry, nodes = (tables[name].to_pydict() for name in (TELEMETRY, NODES))
    assert set(telemetry["allowed"]) == {8}
    assert set(telemetry["allowed_vcpu"]) == {3.0}
    assert set(telemetry["allowed_memory_gib"]) == {None}
    assert set(nodes["allowed"]) == {6}
    assert nodes["ready"] == [
        int(decision.snapshot.nodes.ready[0]) for decision, _ in seen if decision.snapshot.nodes
    ]
    assert sum(nodes["launched"]) == sum(int(each.nodes.launched.sum()) for _, each in seen if each.nodes) > 0
    assert sum(nodes["cost_usd"]) == pytest.approx(sum(telemetry["nodes_cost_usd"]))
    assert nodes["time_seconds"][0] == START


def test_the_true_latency_is_that_of_the_interval(tmp_path: Path) -> None:
    tables, seen = exported(tmp_path / "a" / "run", "web", "fixed:replicas=3")
    telemetry = tables[TELEMETRY].to_pydict()
    for found, (_, interval) in zip(telemetry["true_latency_p95"], seen, strict=True):
        assert found == percentile_seconds(interval.latency_counts[0], 0.95)
    assert set(telemetry["allowed_vcpu"]) == {None}
    assert tables[NODES].num_rows == 0


def test_columns_have_the_same_types_with_and_without_rows(tmp_path: Path) -> None:
    full, _ = exported(tmp_path / "full", "spot-fleet", "hpa")
    bare, _ = exported(tmp_path / "bare", "web", "fixed:replicas=3")
    for name in (NODES, EVENTS, FAULTS):
        assert full[name].schema == bare[name].schema
    for name in ("nodes_starting", "nodes_ready", "nodes_cost_usd", "allowed_vcpu"):
        assert full[TELEMETRY].schema.field(name) == bare[TELEMETRY].schema.field(name)


def test_a_disk_that_is_full_leaves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pq, "write_table", fail)
    with pytest.raises(OSError, match="No space"):
        Export(["web"], [], tmp_path / "a" / "run", 0.0).write(())
    assert list(tmp_path.iterdir()) == []


def test_where_no_folder_can_be_made_is_said_before_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(InputError, match="is a file; it must be a folder"):
        Export(["web"], [], file, 0.0).check()
    with pytest.raises(InputError, match="run: .*file is a file; it must be a folder"):
        Export(["web"], [], file / "below" / "run", 0.0).check()
    (tmp_path / "old" / EVENTS).mkdir(parents=True)
    with pytest.raises(InputError, match=f"--export .*{EVENTS} is a folder; it must be a file"):
        Export(["web"], [], tmp_path / "old", 0.0).check()
    monkeypatch.setattr(outputs_module.os, "access", lambda *_: False)
    with pytest.raises(PermissionError, match="run"):
        Export(["web"], [], tmp_path / "run", 0.0).check()
    assert set(tmp_path.iterdir()) == {file, tmp_path / "old"}


def test_a_wrong_policy_leaves_nothing(tmp_path: Path) -> None:
    part = Part("web", None, None, 600.0, None)
    outputs = Outputs(tmp_path / "a" / "t.png", tmp_path / "b" / "r.parquet", tmp_path / "c")
    with pytest.raises(InputError, match="targett"):
        simulate(part, "hpa:targett=1", 0, (), outputs)
    assert list(tmp_path.iterdir()) == []


def test_an_interruption_says_what_there_is_of_log_and_export(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    part = Part("web", None, None, 600.0, None)
    log, folder = tmp_path / "r.parquet", tmp_path / "run"
    outputs = Outputs(tmp_path / "t.png", log, folder)
    with monkeypatch.context() as patch:
        patch.setattr(simulation, "execute", interrupted)
        with pytest.raises(Interrupted, match=rf"{log} is not written, {folder} is not written"):
            simulate(part, "hpa", 0, (), outputs)
    assert not log.exists()
    assert not folder.exists()
    with monkeypatch.context() as patch:
        patch.setattr(Export, "write", interrupted)
        with pytest.raises(Interrupted, match=rf"{log} is written, {folder} is not written"):
            simulate(part, "hpa", 0, (), outputs)
    simulate(part, "hpa", 0, (), outputs)
    assert {path.name for path in folder.iterdir()} == set(FILES)
    with monkeypatch.context() as patch:
        patch.setattr(simulation, "execute", interrupted)
        with pytest.raises(Interrupted, match=rf"{log} is as it was, {folder} is as it was"):
            simulate(part, "hpa", 0, (), outputs)
