"""The oracle: the cheapest replica schedule within a violation budget, with the future known.

It knows a run's arrivals, their work and the start-ups of its pods, so each seed has schedules of its own.
How they are found:

1. ``experiments.oracle_model`` serves every period of the run with every number of replicas that may be worth
   it.
2. ``experiments.schedules`` finds the schedules that are cheapest in that model for many prices of a
   violation, exact each: a ladder. At any budget no schedule of the model costs less than the ladder's bound.
3. The request engine, which is right where the two differ, runs the rung whose violations come nearest to a
   budget from below; how far its violations are from the model's says which rung is tried next.

``regret_to_oracle`` of a run is its cost over the cost of the oracle's cheapest run of the same seed at equal
or fewer violations, minus 1: the oracle is asked anew at each run's own violations, so nothing is
interpolated. It is NaN where the oracle has no run with so few violations. Below 0 it says that the oracle's
schedule was not the best one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from envs.task import Task
from experiments.planned import PERIOD_SECONDS, Schedule
from experiments.run import Outcome, Run, code_digest, trace_digest
from experiments.sweep import Job, Sweep
from experiments.tried import Tried
from simulator.arrays import Floats, Ints
from simulator.faults import MetricOutage, MetricStaleness
from simulator.trace import Trace

ORACLE = "oracle"
MOST_TRIES = 6
"""Rungs that are run at most for one level of violations."""
MOST_RATIO = 0.25
"""Where more of the requests are late the model is coarse, and nothing is held against the oracle."""
_MISSED = 2
"""After so many runs that should have been within a level and were not, the middle one of the rest is tried."""
_WORTH = 0.999
"""A rung is run beside one that keeps a level if it costs less than so much of that."""
_NEAR = 0.99
"""Of the violations that nothing avoids: steps of a ladder are shares of what is above that."""
_SAFER = (0, 1, 3)
"""What lies beyond the ladder's end has so many replicas more."""
_LEAST_SHOWN, _POINTS = 1e-5, 60
"""A bound's curve begins so much above the fewest violations there can be, and has so many points."""
_SHOWN = (1 / 27, 1 / 9, 1 / 3, 3.0)
"""Budgets of the front that is drawn, as shares of what is above the violations that nothing avoids."""


@dataclass(frozen=True, slots=True)
class Ladder:
    """A seed's cheapest schedules in the model, and some between and beyond them.

    Attributes:
        usd_per_violation: float64 ``(L,)``; their prices, NaN for those that are not optimal at any.
        cost_usd: float64 ``(L,)``.
        late: float64 ``(L,)``; violations.
        wanted: int64 ``(L, T)``; what is asked for in each period.
        requests: of the run.
        unavoidable: of them, late whatever is done.
    """

    usd_per_violation: Floats
    cost_usd: Floats
    late: Floats
    wanted: Ints
    requests: float
    unavoidable: float

    def bound_usd(self, ratio: float) -> float:
        """No schedule of the model with at most such a violation ratio costs less."""
        bounds = self.cost_usd + self.usd_per_violation * (self.late - ratio * self.requests)
        return float(np.nanmax(bounds))

    def schedule(self, rung: int) -> Schedule:
        """What a rung plays."""
        wanted = tuple(self.wanted[rung].tolist())
        return Schedule(wanted, PERIOD_SECONDS, float(self.usd_per_violation[rung]))


def why_not(task: Task) -> str:
    """What of a task the oracle does not know how to plan for; empty where it knows all."""
    scenario = task.scenario
    if not scenario.system.is_one_queue:
        return "it plans for one service behind one queue, and this task has more"
    service = scenario.system.services[0]
    fault = next(
        (one.kind for one in scenario.faults if not isinstance(one, MetricOutage | MetricStaleness)), None
    )
    lacks = {
        "nodes": scenario.cluster is not None,
        f"faults of kind {fault}": fault is not None,
        "waking from zero": service.wakes,
        "warm-up": service.warm_up is not None,
        "memory use": service.memory.base_gib + service.memory.gib_per_request > 0,
        "pods that are billed for a minimum": bool(
            scenario.prices and scenario.prices.minimum_billed_seconds
        ),
    }
    return ", ".join(f"it does not plan for {what}" for what, there in lacks.items() if there)


def climb(task: Task, judged: Trace, seed: int) -> Outcome:
    """A run's ladder, as the columns of an Outcome."""
    from experiments.oracle_model import draw_start_ups, make_model
    from experiments.schedules import ladder, plan_wanted, safer

    model, requests, unavoidable = make_model(task, judged, seed)
    rungs = ladder(model, _NEAR * unavoidable)
    safest = min(rungs, key=lambda rung: (rung.late, rung.cost_usd))
    most_replicas = task.scenario.system.services[0].max_replicas
    rungs += [safer(model, safest, more, most_replicas) for more in _SAFER]
    starts = draw_start_ups(task, seed)
    columns = {
        "usd_per_violation": np.array([rung.usd_per_violation for rung in rungs]),
        "cost_usd": np.array([rung.cost_usd for rung in rungs]),
        "late": np.array([rung.late for rung in rungs]),
        "wanted": np.array(
            [plan_wanted(rung.replicas, model.first, starts, PERIOD_SECONDS) for rung in rungs], np.float64
        ),
        "counts": np.array([requests, unavoidable], np.float64),
    }
    return Outcome({}, columns)


@dataclass(slots=True)
class _Seed:
    """What is known of a seed: its ladder, and the rungs that were run."""

    ladder: Ladder
    found: dict[int, Outcome] = field(default_factory=dict)
    worse: float = 1.0

    def best(self, ratio: float) -> int | None:
        """The cheapest rung that was run with at most such a violation ratio; None where there is none."""
        within = [rung for rung, outcome in self.found.items() if outcome.row["slo_violation_ratio"] <= ratio]
        return min(within, key=lambda rung: float(self.found[rung].row["cost_usd"]), default=None)

    def next(self, ratio: float) -> int | None:
        """The rung to run next for the cheapest one within a violation ratio; None where none is worth it."""
        ladder, best = self.ladder, self.best(ratio)
        most = np.inf if best is None else _WORTH * float(ladder.cost_usd[best])
        late = ladder.unavoidable + self.worse * (ladder.late - ladder.unavoidable)
        figures = list(zip(ladder.cost_usd.tolist(), ladder.late.tolist(), strict=True))
        run = {figures[rung] for rung in self.found}  # one schedule may be the cheapest at several prices
        rungs = [rung for rung, figure in enumerate(figures) if figure not in run and figure[0] < most]
        within = sorted(
            (rung for rung in rungs if late[rung] <= ratio * ladder.requests),
            key=lambda rung: float(ladder.cost_usd[rung]),
        )
        if within:
            missed = sum(
                outcome.row["slo_violation_ratio"] > ratio and late[rung] <= ratio * ladder.requests
                for rung, outcome in self.found.items()
            )
            return within[len(within) // 2 if missed >= _MISSED else 0]
        if best is not None:
            return None
        return min(rungs, key=lambda rung: (float(late[rung]), float(ladder.cost_usd[rung])), default=None)

    def add(self, rung: int, outcome: Outcome) -> None:
        """Keep a run, and how far the model's violations are from its."""
        self.found[rung] = outcome
        avoidable = float(self.ladder.late[rung]) - self.ladder.unavoidable
        met = outcome.row["slo_violation_ratio"] * self.ladder.requests - self.ladder.unavoidable
        if avoidable > 0 and met > 0:
            self.worse = met / avoidable


class Oracle:
    """The oracle of a task and a judged part, for any of their seeds.

    Args:
        template: the run whose policy it takes the place of.
        note: told of what is done.
    """

    def __init__(self, template: Run, sweep: Sweep, note: Callable[[str], None]) -> None:
        self._template = replace(template, policy=ORACLE, label=ORACLE)
        self._sweep = sweep
        self._note = note
        self._seeds: dict[int, _Seed] = {}

    def plan(self, seeds: list[int]) -> None:
        """Make the ladders of seeds."""
        jobs = [self._job(seed) for seed in seeds if seed not in self._seeds]
        finished: list[int] = []

        def done(seed: int) -> None:
            finished.append(seed)
            self._note(f"oracle: planned seed {seed} ({len(finished)} of {len(jobs)})")

        for job, outcome in zip(jobs, self._sweep.all_kept(jobs, done), strict=True):
            columns = outcome.timeline
            requests, unavoidable = columns["counts"].tolist()
            self._seeds[job.what] = _Seed(
                Ladder(
                    columns["usd_per_violation"],
                    columns["cost_usd"],
                    columns["late"],
                    columns["wanted"].astype(np.int64),
                    requests,
                    unavoidable,
                )
            )

    def run_within(self, levels: list[tuple[int, float]]) -> None:
        """Run rungs until the cheapest one within each violation ratio, of a seed, is there as far as can be told."""
        self.plan(sorted({seed for seed, _ in levels}))
        for _ in range(MOST_TRIES):
            asked = dict.fromkeys(
                (seed, rung) for seed, ratio in levels if (rung := self._seeds[seed].next(ratio)) is not None
            )
            if not asked:
                return
            runs = [self._run(seed, rung) for seed, rung in asked]
            for (seed, rung), outcome in zip(asked, self._sweep.outcomes(runs, self._tell), strict=True):
                self._seeds[seed].add(rung, outcome)

    def chosen(self, seed: int, ratio: float) -> Run:
        """The cheapest run found within a violation ratio; where there is none, the one with the fewest violations."""
        known = self._seeds[seed]
        best = known.best(ratio)
        if best is None:
            best = min(known.found, key=lambda rung: float(known.found[rung].row["slo_violation_ratio"]))
        return self._run(seed, best)

    def regret(self, seed: int, ratio: float, cost_usd: float) -> float:
        """A run's cost over the oracle's at equal or fewer violations, minus 1.

        NaN where the oracle has none so few, and above MOST_RATIO.
        """
        known = self._seeds[seed]
        best = known.best(ratio) if ratio <= MOST_RATIO else None
        return float("nan") if best is None else cost_usd / float(known.found[best].row["cost_usd"]) - 1

    def bound_usd(self, seed: int, ratio: float) -> float:
        """What no schedule of the model within a violation ratio can cost less than."""
        return self._seeds[seed].ladder.bound_usd(ratio)

    def front(self, seed: int, ratio: float) -> tuple[Tried, ...]:
        """A seed's runs, some about a violation ratio among them, and all that were made for others."""
        self.plan([seed])
        of_run = self._seeds[seed].ladder
        least = of_run.unavoidable / of_run.requests
        if ratio > least:
            self.run_within([(seed, least + share * (ratio - least)) for share in _SHOWN])
        return tuple(
            Tried(
                f"oracle at {of_run.usd_per_violation[rung]:.3g} USD a violation",
                float(outcome.row["cost_usd"]),
                float(outcome.row["slo_violation_ratio"]),
            )
            for rung, outcome in self._seeds[seed].found.items()
        )

    def bound_curve(self, seed: int, most: float) -> tuple[Tried, ...]:
        """A seed's bound at violation ratios from the fewest there can be to the most that are asked for."""
        ladder = self._seeds[seed].ladder
        least = ladder.unavoidable / ladder.requests
        ratios = least + np.geomspace(_LEAST_SHOWN, max(most - least, 2 * _LEAST_SHOWN), _POINTS)
        return tuple(Tried("the model's bound", ladder.bound_usd(ratio), ratio) for ratio in ratios.tolist())

    def _run(self, seed: int, rung: int) -> Run:
        return replace(self._template, seed=seed, schedule=self._seeds[seed].ladder.schedule(rung))

    def _tell(self, run: Run) -> None:
        self._note(f"oracle: ran a schedule of seed {run.seed}")

    def _job(self, seed: int) -> Job[int]:
        task, judged = self._template.task, self._template.judged
        parts = [ORACLE, code_digest(), task.model_dump_json(), trace_digest(judged), str(seed)]
        key = hashlib.sha256("\n".join(parts).encode()).hexdigest()
        return Job(key, partial(climb, task, judged, seed), seed)
