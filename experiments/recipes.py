"""Recipes: names that need a search and resolve to a policy with settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from agents.bundle import SUFFIX
from agents.registry import RULES, is_bundle, make
from experiments.calibrate import SPACES, Calibration, Search, calibrate
from experiments.oracle import ORACLE, Oracle, why_not
from experiments.parts import CALIBRATION_SECONDS, calibration_part, check_requests
from experiments.planned import Schedule
from experiments.run import Run, with_policy
from experiments.sweep import Sweep
from experiments.wording import duration, plain_number
from simulator.errors import InputError
from simulator.trace import Split

CALIBRATED, HINDSIGHT = "calibrated-", "hindsight-"
RULE = "RULE"
ABOUT = {
    CALIBRATED
    + RULE: "a rule with the cheapest settings that keep the budget with a margin on the three days before",
    HINDSIGHT + RULE: "the same on the judged part itself: a bound, as nobody knows it beforehand",
    ORACLE: "the cheapest replica schedule that keeps the budget, with the future known: docs/oracle.md",
}
"""What each recipe is, for a rule that there is something to search of."""
RECIPES = {name.replace(RULE, rule) for name in ABOUT for rule in SPACES}
SEED = 1_000_003
"""Calibration's own seed, which no judged run has."""
MARGIN = 0.5
"""Of calibrated settings, as they are judged on a day that nobody has seen: chosen on 60 days of 20 traces,
docs/decisions.md."""
FRONT = 10
"""With hindsight so many settings of the front are run: others are held against it at their own violations."""
_SHORTEST_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Resolved:
    """A recipe's policy.

    Attributes:
        label: what was asked for.
        policy: a spec that the registry makes.
        calibration: how it was found; None for what is no recipe.
        on: what it was calibrated on, for people.
        schedule: what the oracle plays on the one seed that it was asked for.
    """

    label: str
    policy: str
    calibration: Calibration | None = None
    on: str = ""
    schedule: Schedule | None = None

    def __str__(self) -> str:
        """For people: what a recipe came to, and on what it was calibrated."""
        return f"{self.label} is {self.policy}, calibrated on {self.on}" if self.calibration else self.label


def check_policy(policy: str, template: Run) -> None:
    """Check a policy before anything runs.

    Raises:
        InputError: if its name, a setting or its Bundle is wrong, or its calibration is too much to simulate.
    """
    if policy == ORACLE:
        _check_oracle(template)
        return
    name = _recipe_of(policy)
    known = is_bundle(policy) or policy.partition(":")[0] in RULES if name is None else name in SPACES
    if not known:
        msg = (
            f"policy {policy!r} is unknown; rules are: {', '.join(sorted(RULES))}; "
            f"recipes are: {', '.join(ABOUT)} with RULE one of {', '.join(SPACES)}; "
            f"or a bundle by its path (*{SUFFIX})"
        )
        raise InputError(msg)
    if name is None:
        make(policy, template.context)
    elif policy.startswith(CALIBRATED):
        check_requests(_part_before(template)[0].judged, "to calibrate on")


def resolve(policy: str, template: Run, split: Split, sweep: Sweep, note: Callable[[str], None]) -> Resolved:
    """Find a recipe's settings, or the schedule for the template's seed; what is no recipe comes back as it is."""
    if policy == ORACLE:
        budget = template.task.objective.violation_budget
        oracle = Oracle(template, sweep, note)
        oracle.run_within([(template.seed, budget)])
        return Resolved(policy, policy, schedule=oracle.chosen(template.seed, budget).schedule)
    name = _recipe_of(policy)
    if name is None:
        return Resolved(policy, policy)
    if policy.startswith(HINDSIGHT):
        part, on = split, "the judged part itself"
    else:
        part, on = _part_before(template)
    calibration_run = Run(template.task, part.judged, part.history, policy, policy, SEED)
    budget = template.task.objective.violation_budget
    front, margin = (FRONT, 0.0) if policy.startswith(HINDSIGHT) else (0, MARGIN)
    found = calibrate(Search(calibration_run, SPACES[name], budget, front, margin), sweep, note)
    return Resolved(policy, found.chosen.spec, found, on)


def runs_of(resolved: Resolved, template: Run, seeds: int) -> list[Run]:
    """The judged runs of a resolved policy, one a seed."""
    labelled = with_policy(template, resolved.policy, resolved.label)
    return [
        Run(labelled.task, labelled.judged, labelled.history, labelled.policy, labelled.label, seed)
        for seed in range(seeds)
    ]


def _check_oracle(template: Run) -> None:
    lacks = why_not(template.task)
    if lacks:
        msg = f"policy {ORACLE}: {lacks} (task {template.task.name}); leave it out"
        raise InputError(msg)


def _recipe_of(policy: str) -> str | None:
    if is_bundle(policy):
        return None
    for prefix in (CALIBRATED, HINDSIGHT):
        if policy.startswith(prefix):
            return policy.removeprefix(prefix)
    return None


def _part_before(template: Run) -> tuple[Split, str]:
    """What is calibrated on, and what lies before that."""
    history = template.history
    if history is None or history.duration_seconds < _SHORTEST_SECONDS:
        workload = template.task.scenario.workload
        drawn = workload.draw(CALIBRATION_SECONDS, np.random.default_rng(SEED))
        known = (history or template.judged).mean_rps
        on = f"three days of the task's workload model {workload.model!r} at {plain_number(known, 4)} requests/s"
        missing = "no part" if history is None else f"less than {_SHORTEST_SECONDS:g} s"
        part = drawn.scale(known / drawn.mean_rps)
        return Split(None, part, factor=1.0, coarse=False), f"{on}: there is {missing} before the judged one"
    part = calibration_part(history)
    before = part.start_seconds - history.start_seconds
    earlier = history.slice(history.start_seconds, before) if before > 0 else None
    return Split(
        earlier, part, factor=1.0, coarse=False
    ), f"the {duration(part.duration_seconds)} before the judged part, with a margin"
