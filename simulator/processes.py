"""How requests come where only their rate is known: settings."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from simulator.arrays import Floats
from simulator.settings import Settings

_ROUNDING = 1e-9
Level = Annotated[float, Field(ge=0, le=1e6)]
Sojourn = Annotated[float, Field(ge=1e-3, le=1e7)]
Probability = Annotated[float, Field(ge=0, le=1)]


class PoissonProcess(Settings):
    """Requests come independently of each other, at the trace's rate."""

    process: Literal["poisson"] = "poisson"


class DeterministicProcess(Settings):
    """Requests come evenly: the n-th when the trace's expected count is n - 1/2."""

    process: Literal["deterministic"] = "deterministic"


class ModulatedProcess(Settings):
    """Poisson at the trace's rate times the level of a continuous-time Markov chain (MMPP)."""

    process: Literal["mmpp"] = "mmpp"
    levels: tuple[Level, ...] = Field(
        min_length=2,
        max_length=64,
        description="What each state multiplies the rate with, relative to the others: they are scaled to a mean "
        "of 1 in the long run, so that the trace's counts are kept in the mean.",
    )
    mean_sojourn_seconds: tuple[Sojourn, ...] = Field(
        min_length=2, max_length=64, description="How long the chain stays in each state; exponential."
    )
    transitions: tuple[tuple[Probability, ...], ...] | None = Field(
        default=None,
        description="Row i: the probability that the chain jumps from state i to each state; "
        "to each other state alike if not given.",
    )

    @model_validator(mode="after")
    def _consistent(self) -> ModulatedProcess:
        states = len(self.levels)
        if len(self.mean_sojourn_seconds) != states:
            msg = (
                f"mean_sojourn_seconds has {len(self.mean_sojourn_seconds)} entries and levels {states}; "
                "there must be as many"
            )
            raise ValueError(msg)
        if not any(self.levels):
            msg = "levels are all 0; one at least must be above 0"
            raise ValueError(msg)
        if self.transitions is not None:
            _check_transitions(self.transitions, states)
        return self

    def jumps(self) -> Floats:
        """float64 ``(K, K)``; the probability to jump from each state to each."""
        states = len(self.levels)
        if self.transitions is None:
            return (1.0 - np.eye(states)) / (states - 1)
        return np.array(self.transitions)

    def stationary(self) -> Floats:
        """float64 ``(K,)``; the share of time that the chain is in each state.

        ``p = q m / sum(q m)``: m the mean sojourns, q the stationary distribution of the jumps.
        Source: Cinlar, Introduction to Stochastic Processes, 1975, ch. 10.
        """
        states = len(self.levels)
        balance = np.vstack([self.jumps().T - np.eye(states), np.ones(states)])
        visits = np.linalg.lstsq(balance, np.append(np.zeros(states), 1.0), rcond=None)[0]
        shares = np.maximum(visits, 0.0) * np.array(self.mean_sojourn_seconds)
        return np.asarray(shares / shares.sum())

    def factors(self) -> Floats:
        """float64 ``(K,)``; the levels, scaled to a mean of 1 in the long run."""
        levels = np.array(self.levels)
        return np.asarray(levels / (self.stationary() @ levels))


ArrivalSettings = Annotated[
    PoissonProcess | ModulatedProcess | DeterministicProcess, Field(discriminator="process")
]


def _check_transitions(transitions: tuple[tuple[float, ...], ...], states: int) -> None:
    if [len(row) for row in transitions] != [states] * states:
        msg = f"transitions must have {states} rows of {states}, as there are {states} levels"
        raise ValueError(msg)
    matrix = np.array(transitions)
    for state, row in enumerate(matrix):
        if row[state]:
            msg = (
                f"transitions[{state}][{state}] is {row[state]:g}; must be 0: a chain jumps to another state"
            )
            raise ValueError(msg)
        if abs(row.sum() - 1) > _ROUNDING:
            msg = f"transitions[{state}] add up to {row.sum():.10g}; must add up to 1"
            raise ValueError(msg)
    reached = np.eye(states) + (matrix > 0)
    for _ in range(states.bit_length()):
        reached = np.minimum(reached @ reached, 1.0)
    if not reached.all():
        start, end = (int(place) for place in np.argwhere(reached == 0)[0])
        msg = (
            f"transitions lead never from state {start} to state {end}; each state must be reached from each"
        )
        raise ValueError(msg)
