"""Sweeps: kept runs, damaged files, and keys that hold all a result depends on."""

from __future__ import annotations

import dataclasses
import multiprocessing
import signal
import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from envs.task import load_task
from experiments.planned import Schedule
from experiments.run import Outcome, Run, execute, trace_digest
from experiments.sweep import Job, Store, Sweep
from simulator.trace import Trace

TASK = load_task("web")
FLAT = Trace(np.full(5, 60 * 100.0), 60.0, name="flat")
RUN = Run(TASK, FLAT, FLAT, "fixed:replicas=3", "three", 0)
OTHERS = {
    "task": TASK.model_copy(update={"period_seconds": 30.0}),
    "judged": FLAT.scale(2.0),
    "history": None,
    "policy": "fixed:replicas=4",
    "label": "four",
    "seed": 1,
    "schedule": Schedule((3, 4), 15.0, 1e-5),
}


@pytest.mark.parametrize("name", OTHERS)
def test_the_key_holds_every_field(name: str) -> None:
    assert set(OTHERS) == {field.name for field in dataclasses.fields(Run)}
    assert dataclasses.replace(RUN).key == RUN.key
    assert dataclasses.replace(RUN, **{name: OTHERS[name]}).key != RUN.key


def test_a_digest_holds_each_request_where_its_time_is_known() -> None:
    times, index = np.array([1.0, 2.0, 70.0]), np.array([0, 1, 0], dtype=np.int32)
    counted = Trace(np.array([2.0, 1.0]), 60.0)
    timed = dataclasses.replace(counted, times_seconds=times)
    named = dataclasses.replace(timed, classes=("a", "b"), class_index=index)
    traces = [
        counted,
        timed,
        named,
        dataclasses.replace(timed, times_seconds=np.array([1.0, 2.5, 70.0])),
        dataclasses.replace(named, classes=("a", "c")),
        dataclasses.replace(named, class_index=1 - index),
    ]
    assert trace_digest(dataclasses.replace(named, times_seconds=times.copy())) == trace_digest(named)
    assert len({trace_digest(trace) for trace in traces}) == len(traces)


def equal(one: Outcome, other: Outcome) -> bool:
    same_rows = repr(one.row) == repr(other.row)
    return same_rows and all(
        np.array_equal(one.timeline[name], other.timeline[name], equal_nan=True) for name in one.timeline
    )


def test_what_is_kept_comes_back_as_it_was(tmp_path: Path) -> None:
    outcome, store = execute(RUN), Store(tmp_path / "runs")
    assert store.load(RUN.key) is None
    store.save(RUN.key, outcome)
    loaded = store.load(RUN.key)
    assert loaded is not None
    assert equal(loaded, outcome)


@pytest.mark.parametrize("damage", ["cut", "empty", "text"])
def test_a_damaged_file_is_run_again(damage: str, tmp_path: Path) -> None:
    with Sweep(tmp_path, processes=1) as sweep:
        (first,) = sweep.outcomes([RUN])
    (path,) = tmp_path.iterdir()
    content = path.read_bytes()
    path.write_bytes({"cut": content[:-30], "empty": b"", "text": b"hello"}[damage])
    with Sweep(tmp_path, processes=1) as sweep:
        (again,) = sweep.outcomes([RUN])
    assert equal(first, again)
    assert path.read_bytes() == content


def test_outcomes_come_in_order_each_run_once(tmp_path: Path) -> None:
    runs = [dataclasses.replace(RUN, seed=seed) for seed in (2, 0, 1, 0)]
    done: list[int] = []
    with Sweep(tmp_path, processes=2) as sweep:
        outcomes = sweep.outcomes(runs, lambda run: done.append(run.seed))
        assert [outcome.row["seed"] for outcome in outcomes] == [2, 0, 1, 0]
        assert sorted(done) == [0, 1, 2]
        done.clear()
        sweep.outcomes(runs, lambda run: done.append(run.seed))
        assert done == [2, 0, 1, 0], "kept ones are told of, too"
    assert len(list(tmp_path.iterdir())) == 3


def test_the_key_of_each_run_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    key = Run.key.fget  # type: ignore[attr-defined]

    def counted(run: Run) -> str:
        made.append(run.seed)
        return str(key(run))

    monkeypatch.setattr(Run, "key", property(counted))
    with Sweep(tmp_path, processes=1) as sweep:
        sweep.outcomes([dataclasses.replace(RUN, seed=seed) for seed in range(6)])
    assert sorted(made) == list(range(6))


def interrupt_once_begun(folder: Path, count: int) -> None:
    while len(list(folder.iterdir())) < count:
        time.sleep(0.05)
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


def test_ctrl_c_does_not_wait_for_runs_that_have_not_ended(tmp_path: Path) -> None:
    """Nor are their processes left; those of others are."""
    begun, runs = tmp_path / "begun", tmp_path / "runs"
    begun.mkdir()
    runs.mkdir()
    other = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(3600,))
    other.start()
    try:
        threading.Thread(target=interrupt_once_begun, args=(begun, 2), daemon=True).start()
        works = [f"import time; open({str(begun / name)!r}, 'w').close(); time.sleep(3600)" for name in "ab"]
        with pytest.raises(KeyboardInterrupt), Sweep(runs, 2) as sweep:
            sweep.all_kept([Job(work, partial(exec, work), work) for work in works])
        assert multiprocessing.active_children() == [other]
    finally:
        other.terminate()
        other.join()
