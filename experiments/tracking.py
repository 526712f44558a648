"""Tracking training runs with MLflow, the only module that knows it."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

LogMetrics = Callable[[Mapping[str, float], int], None]


@contextmanager
def track(experiment: str, parameters: Mapping[str, Any], store: Path) -> Iterator[LogMetrics]:
    """One MLflow run; yields what logs metrics at a step.

    Args:
        store: SQLite file used unless ``MLFLOW_TRACKING_URI`` is set.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    import mlflow
    from mlflow.entities import Metric

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    if not uri:
        store.parent.mkdir(parents=True, exist_ok=True)
        uri = f"sqlite:///{store.resolve()}"
    mlflow.set_tracking_uri(uri)
    mlflow.set_experiment(experiment)
    with mlflow.start_run() as run:
        mlflow.log_params(dict(parameters))
        client = mlflow.MlflowClient()

        def log(metrics: Mapping[str, float], step: int) -> None:
            now = int(1000 * time.time())
            batch = [Metric(name, value, now, step) for name, value in metrics.items() if value == value]  # noqa: PLR0124 - MLflow refuses NaN
            client.log_batch(run.info.run_id, metrics=batch)

        yield log
