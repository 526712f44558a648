"""MLflow for real: an SQLite store, a server on loopback, and stores that fail."""

from __future__ import annotations

import gc
import logging
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest

from experiments.tracking import track
from simulator.errors import InputError

# MLflow leaves SQLite connections to the collector, which is therefore called before each test ends.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    yield
    while mlflow.active_run():
        mlflow.end_run()
    gc.collect()


def only_run(uri: str) -> Any:
    client = mlflow.MlflowClient(uri)
    experiment = client.get_experiment_by_name("setpoint")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    return run


def test_a_run_is_kept_in_the_store_beside_the_bundle(tmp_path: Path) -> None:
    with track("setpoint", {"steps": 64, "agent": "ppo"}, tmp_path / "new" / "mlflow.db") as log:
        log({"reward_per_step": -3.0, "loss": float("nan")}, 32)
        log({"reward_per_step": -2.0, "loss": 0.5}, 64)
    uri = f"sqlite:///{tmp_path}/new/mlflow.db"
    run = only_run(uri)
    assert run.info.status == "FINISHED"
    assert run.data.params == {"steps": "64", "agent": "ppo"}
    history = mlflow.MlflowClient(uri).get_metric_history(run.info.run_id, "reward_per_step")
    assert [(one.step, one.value) for one in history] == [(32, -3.0), (64, -2.0)]
    assert run.data.metrics == {"reward_per_step": -2.0, "loss": 0.5}


@pytest.mark.parametrize(("error", "status"), [(KeyboardInterrupt, "KILLED"), (ValueError, "FAILED")])
def test_a_run_that_is_stopped_says_so(error: type[BaseException], status: str, tmp_path: Path) -> None:
    with pytest.raises(error), track("setpoint", {}, tmp_path / "mlflow.db"):
        raise error
    assert only_run(f"sqlite:///{tmp_path}/mlflow.db").info.status == status


@pytest.mark.parametrize("uri", ["http://127.0.0.1:9", "nonsense://x"])
def test_a_store_that_cannot_be_used_is_named(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(InputError, match=uri) as caught, track("setpoint", {}, tmp_path / "mlflow.db"):
        pytest.fail("nothing to log to")
    assert "\n" not in str(caught.value)
    assert "MLFLOW_TRACKING_URI names another" in str(caught.value)


def test_a_store_that_fails_later_costs_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with (
        caplog.at_level(logging.WARNING, "setpoint"),
        track("setpoint", {}, tmp_path / "mlflow.db") as log,
        monkeypatch.context() as patch,
    ):
        patch.setattr(mlflow.MlflowClient, "log_batch", fail)
        for step in range(3):
            log({"reward_per_step": 0.0}, step)
    assert [record.message for record in caplog.records] == [
        "MLflow failed, training goes on without it: [Errno 28] No space left on device"
    ]


@pytest.mark.slow
def test_the_store_is_a_server_where_the_environment_names_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--backend-store-uri", f"sqlite:///{tmp_path}/server.db", "--workers", "1"]
    uri = f"http://127.0.0.1:{port}"
    with (tmp_path / "server.log").open("wb") as file:
        server = subprocess.Popen(command, cwd=tmp_path, stdout=file, stderr=file, start_new_session=True)
    try:
        wait_for(uri, server, tmp_path / "server.log")
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        with track("setpoint", {"seed": 3}, tmp_path / "mlflow.db") as log:
            log({"reward_per_step": -1.5}, 8)
        run = only_run(uri)
    finally:
        server.terminate()
        server.wait(30)
    assert (run.info.status, run.data.params) == ("FINISHED", {"seed": "3"})
    assert run.data.metrics == {"reward_per_step": -1.5}
    assert not (tmp_path / "mlflow.db").exists()


def wait_for(uri: str, server: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(600):
        try:
            with urllib.request.urlopen(f"{uri}/health", timeout=5):
                return
        except OSError:
            assert server.poll() is None, log.read_text()
            time.sleep(0.1)
    pytest.fail(f"no MLflow server: {log.read_text()}")
