"""Spaces too large to try all of: Optuna samples them, a generation at a time."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agents.space import Axis, Point, Range, Space

if TYPE_CHECKING:
    from optuna.trial import Trial

Measure = Callable[[list[Point]], list[tuple[float, float]]]
"""What points come to: cost and violation ratio of each, NaN where that is not known."""
INTERESTING_BUDGETS = 5.0
"""Violations of more budgets, and of less than such a part of one, are all the same to the sampler."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How much is sampled."""

    generations: int
    size: int


def sample(space: Space, budget: float, seed: int, sampling: Sampling, measure: Measure) -> None:
    """Sample a space for low cost and few violations; the same seed and measures give the same points.

    Optuna's TPE sampler with two objectives, of which violations count within INTERESTING_BUDGETS of the budget: the
    front is found where it matters. Points of a generation are drawn before any of them is measured, so that all can
    be measured at once.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.TPESampler(
            seed=seed, multivariate=True, constant_liar=True, n_startup_trials=sampling.size
        )
        study = optuna.create_study(directions=["minimize", "minimize"], sampler=sampler)
        for _ in range(sampling.generations):
            trials = [study.ask() for _ in range(sampling.size)]
            points = [tuple(_ask(trial, *axis) for axis in space.axes.items()) for trial in trials]
            for trial, (cost, late) in zip(trials, measure(points), strict=True):
                if math.isfinite(cost) and math.isfinite(late):
                    study.tell(
                        trial,
                        (cost, min(max(late, budget / INTERESTING_BUDGETS), budget * INTERESTING_BUDGETS)),
                    )
                else:
                    study.tell(trial, state=optuna.trial.TrialState.FAIL)


def _ask(trial: Trial, name: str, axis: Axis) -> Any:  # noqa: ANN401 - an axis' values are of any kind
    if isinstance(axis, Range):
        return axis.rounded(trial.suggest_float(name, axis.low, axis.high, log=axis.log))
    if all(isinstance(value, int | float) for value in axis):
        return axis[trial.suggest_int(name, 0, len(axis) - 1)]
    return trial.suggest_categorical(name, axis)
