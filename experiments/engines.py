"""Both engines at the points of a search."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from agents.space import Point
from experiments.hardest_day import can_be_cut, exchange, hardest_day
from experiments.run import Outcome, Run, with_policy
from experiments.sweep import Sweep
from experiments.trials import Report, Trial, is_possible, try_together
from experiments.tried import Tried
from simulator.arrays import Floats
from simulator.trace import Trace

if TYPE_CHECKING:
    from experiments.calibrate import Search

TRIAL_SEEDS = 4
"""Of each setting on the batch engine."""


class Engines:
    """Both engines at the points of a search.

    Args:
        trials: there will be, on the whole part; for the report.

    Attributes:
        ran: what was run on the request engine.
    """

    def __init__(
        self, search: Search, trials: int, sweep: Sweep, note: Callable[[str], None], report: Report | None
    ) -> None:
        self._search, self._sweep, self._note, self._report = search, sweep, note, report
        self.has_batch = is_possible(search.template.task, search.template.judged)
        self.ran: dict[Point, Tried] = {}
        self._run = search.template
        self._whole: dict[Point, Tried] = {}
        self._of_day: dict[Point, Tried] = {}
        self._late_by_day: dict[Point, Floats] = {}
        self._finished = self._tries = 0
        self._of = trials + (search.by_day and can_be_cut(search.template))

    @property
    def day(self) -> Trace | None:
        """What the request engine runs, where that is not the whole part."""
        return None if self._run is self._search.template else self._run.judged

    def keep_to_a_day(self, batch: dict[Point, Tried], best: Point) -> None:
        """From here on the request engine runs the day that has most violations at one point.

        Args:
            batch: all points that are run from here on, on the whole part.
        """
        self._run = hardest_day(self._search.template, self._late_by_day[best])
        self._whole, self._of_day = batch, self.try_on_batch(batch)

    def run(self, points: Iterable[Point]) -> dict[Point, Tried]:
        """What points come to on the request engine, each of which is run once."""
        asked = list(dict.fromkeys(points))
        new = [point for point in asked if point not in self.ran]
        specs = [self._search.spec(point) for point in new]
        runs = [with_policy(self._run, spec, spec) for spec in specs]
        outcomes = self._sweep.outcomes(runs, self._done)
        for point, spec, outcome in zip(new, specs, outcomes, strict=True):
            row = outcome.row
            self.ran[point] = self._of_whole(Tried(spec, row["cost_usd"], row["slo_violation_ratio"], point))
        return {point: self.ran[point] for point in asked}

    def try_on_batch(self, points: Iterable[Point]) -> dict[Point, Tried]:
        """What points come to on the batch engine, all at once, or what is kept of that."""
        asked, template = list(dict.fromkeys(points)), self._run
        specs = {point: self._search.spec(point) for point in asked}
        different = tuple(dict.fromkeys(specs.values()))
        trial = Trial(template, different, tuple(range(template.seed, template.seed + TRIAL_SEEDS)))

        def work() -> Outcome:
            many = f"{len(different)} settings x {TRIAL_SEEDS} seeds"
            of_day = ", the hardest day" if self.day else ""
            self._note(f"{template.label}: {many} on the batch engine{of_day}")
            return Outcome({}, asdict(try_together(trial, self._so_far, self._sweep)))

        found = self._sweep.kept(trial.key, work).timeline
        self._tries += 1
        place = {spec: index for index, spec in enumerate(different)}
        costs, ratios = found["cost_usd"].tolist(), found["slo_violation_ratio"].tolist()
        tried = {}
        for point, spec in specs.items():
            self._late_by_day[point] = found["late_by_day"][:, place[spec]]
            tried[point] = Tried(spec, costs[place[spec]], ratios[place[spec]], point)
        return tried

    def _of_whole(self, tried: Tried) -> Tried:
        """What was run, with the batch engine's figures of the other days where only one was."""
        if self.day is None:
            return tried
        whole, day = self._whole[tried.point], self._of_day[tried.point]
        usd = exchange(whole.cost_usd, day.cost_usd, tried.cost_usd)
        share = float(self.day.requests.sum() / self._search.template.judged.requests.sum())
        late = exchange(whole.slo_violation_ratio, day.slo_violation_ratio, tried.slo_violation_ratio, share)
        return replace(tried, cost_usd=usd, slo_violation_ratio=late)

    def _so_far(self, share: float) -> None:
        """Tell the share of all tries that is done, by that of the present one."""
        if self._report:
            self._report((self._tries + share) / self._of)

    def _done(self, run: Run) -> None:
        self._finished += 1
        self._note(
            f"{self._search.template.label}: {self._finished} run on the request engine, last {run.policy}"
        )
