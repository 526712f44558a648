"""The recent past in few numbers: the last values alone, older ones as means over ever longer blocks."""

from __future__ import annotations

import numpy as np

from simulator.arrays import Floats, Ints

_SINGLE = 3


def block_edges(reach: int) -> Ints:
    """Ages at which blocks begin and end, int64 ``(B + 1,)``: 0, 1, 2, 3, 5, 9, 17 ... up to ``reach``."""
    edges = list(range(min(_SINGLE, reach) + 1))
    width = 2
    while edges[-1] + width <= reach:
        edges.append(edges[-1] + width)
        width *= 2
    return np.array(edges)


def block_means(values: Floats, edges: Ints) -> Floats:
    """The blocks' means that end at each value, float64 ``(T, B)``; before the first value stands the first."""
    reach = int(edges[-1])
    padded = np.concatenate((np.full(reach, values[0]), values))
    sums = np.concatenate(([0.0], np.cumsum(padded)))
    ends = np.arange(reach, len(padded)) + 1
    within = sums[ends[:, np.newaxis] - edges[:-1]] - sums[ends[:, np.newaxis] - edges[1:]]
    return np.asarray(within / np.diff(edges))


def last_means(values: Floats, edges: Ints) -> Floats:
    """The blocks' means that end at the last value, float64 ``(..., B)``, of values ``(..., reach)``."""
    newest_first = values[..., ::-1]
    return np.asarray(np.add.reduceat(newest_first, edges[:-1], axis=-1) / np.diff(edges))
