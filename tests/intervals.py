"""Intervals in which nothing happened but what a test says."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from simulator.latency import BUCKETS
from simulator.plant import Interval, Requests


def interval(shape: tuple[int, ...] = (1,), classes: int = 1, thresholds: int = 1, **fields: Any) -> Interval:
    """``shape`` is ``(..., S)``; fields of ``requests`` are given beside the Interval's own as ``requests_NAME``."""
    ends = {"start_seconds": np.array(0.0), "duration_seconds": np.array(15.0)}
    group = (*shape[:-1], classes)
    of_requests = {
        name.removeprefix("requests_"): fields.pop(name)
        for name in list(fields)
        if name.startswith("requests_")
    }
    requests = {
        field.name: _zeros(field, group, thresholds) for field in dataclasses.fields(Requests)
    } | of_requests
    own = {field.name: _zeros(field, shape, thresholds) for field in dataclasses.fields(Interval)}
    return Interval(**(own | {"nodes": None} | ends | fields | {"requests": Requests(**requests)}))


def _zeros(field: dataclasses.Field[Any], shape: tuple[int, ...], thresholds: int) -> Any:
    kind = np.float64 if field.type == "Floats" else np.int64
    last = {"late": (thresholds,), "latency_counts": (BUCKETS,)}.get(field.name, ())
    return np.zeros((*shape, *last), dtype=kind)
