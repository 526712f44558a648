"""Recipes: names that need a search and resolve to a policy with settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from agents.registry import is_bundle, make
from experiments.calibrate import SPACES, Calibration, calibrate
from experiments.run import Run, make_context, with_policy
from experiments.sweep import Sweep
from simulator.errors import InputError
from simulator.trace import Split, Trace

CALIBRATED, HINDSIGHT = "calibrated-", "hindsight-"
SEED = 1_000_003
"""Calibration's own seed, which no judged run has."""
_DAY_SECONDS = 86_400.0
_SHORTEST_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Resolved:
    """A recipe's policy.

    Attributes:
        label: what was asked for.
        policy: a spec that the registry makes.
        calibration: how it was found; None for what is no recipe.
        on: what it was calibrated on, for people.
    """

    label: str
    policy: str
    calibration: Calibration | None = None
    on: str = ""


def check_policy(policy: str, template: Run) -> None:
    """Check a policy before anything runs.

    Raises:
        InputError: if its name, a setting or its Bundle is wrong.
    """
    name = _recipe_of(policy)
    if name is None:
        make(policy, make_context(template.task, template.history, template.seed))
    elif name not in SPACES:
        names = ", ".join(f"{prefix}{known}" for known in SPACES for prefix in (CALIBRATED, HINDSIGHT))
        msg = f"policy {policy!r} is unknown; recipes are: {names}"
        raise InputError(msg)


def resolve(policy: str, template: Run, split: Split, sweep: Sweep, note: Callable[[str], None]) -> Resolved:
    """Find a recipe's settings; what is no recipe comes back as it is."""
    name = _recipe_of(policy)
    if name is None:
        return Resolved(policy, policy)
    if policy.startswith(HINDSIGHT):
        part, on = split.judged, "the judged part itself"
    else:
        part, on = _part_before(template, split)
    calibration_run = Run(template.task, part, None, policy, policy, SEED)
    budget = template.task.objective.violation_budget
    found = calibrate(calibration_run, SPACES[name], budget, sweep, note)
    return Resolved(policy, found.chosen.spec, found, on)


def runs_of(resolved: Resolved, template: Run, seeds: int) -> list[Run]:
    """The judged runs of a resolved policy, one a seed."""
    labelled = with_policy(template, resolved.policy, resolved.label)
    return [
        Run(labelled.task, labelled.judged, labelled.history, labelled.policy, labelled.label, seed)
        for seed in range(seeds)
    ]


def _recipe_of(policy: str) -> str | None:
    if is_bundle(policy):
        return None
    for prefix in (CALIBRATED, HINDSIGHT):
        if policy.startswith(prefix):
            return policy.removeprefix(prefix)
    return None


def _part_before(template: Run, split: Split) -> tuple[Trace, str]:
    history = split.history
    if history is None or history.duration_seconds < _SHORTEST_SECONDS:
        workload = template.task.scenario.workload
        drawn = workload.draw(_DAY_SECONDS, np.random.default_rng(SEED))
        known = (history or split.judged).mean_rps
        on = f"a day of the task's workload model {workload.model!r} at {known:.4g} requests/s"
        return drawn.scale(known / drawn.mean_rps), f"{on}: there is no part before the judged one"
    duration = min(_DAY_SECONDS, history.duration_seconds)
    part = history.slice(history.end_seconds - duration, duration)
    return part, f"the {duration / 3600:.4g} h before the judged part"
