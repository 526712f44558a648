"""Snapshots of many clusters, and of one of them."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from simulator.arrays import Floats, Ints
from simulator.plant import Metric, Snapshot
from simulator.pod_groups import PodGroup, PodGroups


def random_snapshot(rng: np.random.Generator, wanted: Ints, now: float) -> Snapshot:
    """Counts, metrics and pods of any size, some missing, for counts ``(..., S)``."""
    shape = wanted.shape

    def values() -> Floats:
        return np.where(rng.random(shape) < 0.15, np.nan, rng.choice([0, 1, 12.5, 90, 400], shape))

    def metric() -> Metric:
        return Metric(values(), np.full(shape, 15.0))

    def pods() -> PodGroups:
        counts = rng.integers(0, 9, (4, *shape)) * rng.integers(0, 2, (4, *shape))
        kinds = [PodGroup(one, one, one * rng.integers(0, 1500, shape), 1000 * one) for one in counts]
        return PodGroups(*kinds, np.where(rng.random(shape) < 0.1, np.nan, 15.0))

    counts = rng.integers(0, 9, (3, *shape))
    return Snapshot(
        np.full(shape[:-1], now),
        wanted,
        *counts,
        *(metric() for _ in range(4)),
        metrics={"jobs": metric()},
        pods={"cpu": pods(), "memory": pods(), "cpu/proxy": pods()},
    )


def alone(seen: Any, place: int) -> Any:
    """One cluster of a Snapshot, or of a part of one."""
    if isinstance(seen, np.ndarray):
        return seen[place]
    if isinstance(seen, dict):
        return {name: alone(value, place) for name, value in seen.items()}
    if dataclasses.is_dataclass(seen):
        fields = {one.name: alone(getattr(seen, one.name), place) for one in dataclasses.fields(seen)}
        return type(seen)(**fields)  # type: ignore[arg-type]
    return seen
