"""Markov chains solved numerically: what queueing formulas can be checked against."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def stationary(moves: Sequence[tuple[tuple[int, ...], np.ndarray]]) -> np.ndarray:
    """Stationary probabilities of a chain on a box of integers, in the box's shape.

    Args:
        moves: steps on the grid, each with its rate in every state, in the box's shape. Steps that would leave the
            box are not taken: it should be so large that its edge has no weight.
    """
    from scipy.sparse import coo_matrix, diags, vstack
    from scipy.sparse.linalg import spsolve

    shape = moves[0][1].shape
    states = np.arange(np.prod(shape)).reshape(shape)
    places = np.indices(shape)
    flows = coo_matrix((states.size, states.size))
    for step, rates in moves:
        ends = places + np.reshape(step, (-1,) + (1,) * len(shape))
        inside = np.all([(end >= 0) & (end < size) for end, size in zip(ends, shape, strict=True)], axis=0)
        inside &= rates > 0
        to = states[tuple(end[inside] for end in ends)]
        flows = flows + coo_matrix((rates[inside], (to, states[inside])), shape=flows.shape)
    balance = (flows - diags(np.asarray(flows.sum(axis=0)).ravel())).tocsr()
    # one state's probability is set to 1 in place of its own balance, which follows from the others
    first = coo_matrix(([1.0], ([0], [0])), shape=(1, states.size))
    weights = spsolve(vstack([first, balance[1:]]).tocsc(), np.eye(states.size, 1).ravel())
    return (weights / weights.sum()).reshape(shape)


def passage_exceeds(seconds: float, start: list[float], rates: list[float]) -> float:
    """Tail of the time from a phase drawn from ``start`` down through all below it, phase i left at ``rates[i]``."""
    from scipy.linalg import expm

    generator = np.diag(rates[1:], -1) - np.diag(rates)
    return float((np.array(start) @ expm(generator * seconds)).sum())
