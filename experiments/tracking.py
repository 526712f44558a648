"""Tracking training runs with MLflow, the only module that knows it."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from simulator.errors import InputError

LOG = logging.getLogger("setpoint.tracking")
LogMetrics = Callable[[Mapping[str, float], int], None]
_QUICK = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}
"""Set where the user's environment says nothing: no telemetry, and no minutes of retries."""


@contextmanager
def track(experiment: str, parameters: Mapping[str, Any], store: Path) -> Iterator[LogMetrics]:
    """One MLflow run; yields what logs metrics at a step.

    A store that fails later costs a warning and the metrics from there on, never the training.

    Args:
        store: SQLite file used unless ``MLFLOW_TRACKING_URI`` is set.

    Raises:
        InputError: if the store cannot be used from the beginning.
    """
    for name, value in _QUICK.items():
        os.environ.setdefault(name, value)
    import mlflow

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    uri = os.environ.get("MLFLOW_TRACKING_URI") or _local(store)
    fresh = not store.exists()
    try:
        mlflow.set_tracking_uri(uri)
        mlflow.set_experiment(experiment)
        run_id = mlflow.start_run().info.run_id
        mlflow.log_params(dict(parameters))
    except Exception as error:  # noqa: BLE001 - each kind of store has exceptions of its own
        if fresh:
            store.unlink(missing_ok=True)
        msg = f"MLflow cannot use {uri} ({_first_line(error)}); MLFLOW_TRACKING_URI names another store"
        raise InputError(msg) from None
    log, status = _Log(mlflow.MlflowClient(uri), run_id), "FAILED"
    try:
        yield log.write
        status = "FINISHED"
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        log.attempt(lambda: mlflow.end_run(status))


class _Log:
    """Metrics in batches, until the store fails."""

    def __init__(self, client: Any, run_id: str) -> None:  # noqa: ANN401 - MLflow is imported lazily
        self._client = client
        self._run_id = run_id
        self._failed = False

    def write(self, metrics: Mapping[str, float], step: int) -> None:
        """Log all metrics but NaN, which MLflow refuses."""
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        batch = [Metric(name, value, now, step) for name, value in metrics.items() if value == value]  # noqa: PLR0124 - not NaN
        self.attempt(lambda: self._client.log_batch(self._run_id, metrics=batch))

    def attempt(self, call: Callable[[], None]) -> None:
        """Call the store, unless it has failed before."""
        if self._failed:
            return
        try:
            call()
        except Exception as error:  # noqa: BLE001 - each kind of store has exceptions of its own
            self._failed = True
            LOG.warning("MLflow failed, training goes on without it: %s", _first_line(error))


def _local(store: Path) -> str:
    store.parent.mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{store.resolve()}"


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
