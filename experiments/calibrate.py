"""Calibration: a rule's settings that are cheapest with violations within the budget."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property

import numpy as np

from agents.registry import RULES, Spec, check_settings
from agents.space import Ground, Point, Space
from experiments.hardest_day import exchange, hardest_day, is_long
from experiments.run import Outcome, Run, with_policy
from experiments.sampling import Sampling, sample
from experiments.sweep import Sweep
from experiments.trials import Report, Trial, is_possible, try_together
from simulator.arrays import Floats
from simulator.errors import InputError
from simulator.trace import Trace

SPACES = {name: rule.space for name, rule in RULES.items() if rule.space is not None}
MOST_ROUNDS = 12
TRIAL_SEEDS = 4
"""Of each setting on the batch engine."""
ON_BATCH, ON_REQUEST = Sampling(generations=8, size=32), Sampling(generations=5, size=8)
"""How much is tried of a space that is no grid, on the batch engine or else on the request engine."""
CLEARLY_DEARER, CLEARLY_OVER = 1.02, 1.3
"""A neighbour that the batch engine finds so much dearer, or over the limit so many times, is not run."""
LIKELIEST = 6
"""Of a space that is no grid, so many that look best must have been run."""
NEARLY_FEWEST = 1.1
"""Where nothing keeps the budget, violations that are so many times the fewest of any settings are few enough."""
_FEWEST_VIOLATIONS = 1e-6
FRONT_BUDGETS = 10.0
"""A front is run as far as its violations are within so many budgets."""


@dataclass(frozen=True, slots=True)
class Tried:
    """Settings and what they came to; their point in the space is empty where none stands for them."""

    spec: str
    cost_usd: float
    slo_violation_ratio: float
    point: Point = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class Calibration:
    """The chosen settings, and all that were tried.

    Attributes:
        tried: on the request engine.
        limit: most violations of what is chosen: the budget, or less where a margin is left; more where nothing
            keeps the budget.
        within_budget: False where no settings kept the budget.
        batch: on the batch engine; empty where that does not model the task.
        default: what the rule's defaults come to on the request engine; None of a rule that has none.
        day: what the request engine ran, where that is not the whole part; the other days are the batch engine's.
    """

    chosen: Tried
    tried: tuple[Tried, ...]
    limit: float
    within_budget: bool
    batch: tuple[Tried, ...] = ()
    default: Tried | None = None
    day: Trace | None = None


@dataclass(frozen=True)
class Search:
    """What is searched, and on what.

    Attributes:
        template: the run whose policy is exchanged: task, trace part and seed.
        budget: most violations, as a share of the requests.
        front: so many settings of the batch engine's front are run as well, so that there is a front that is true.
        margin: for settings that are to hold on other days: the share that is left unused of the violations that the
            budget allows over those that no settings avoid.
        by_day: of a part that is longer, the request engine runs the hardest day only.
    """

    template: Run
    space: Space
    budget: float
    front: int = 0
    margin: float = 0.0
    by_day: bool = False

    def limit(self, found: Iterable[Tried]) -> float:
        """Most violations of what is chosen, by the fewest of any settings that were tried."""
        ratios = [one.slo_violation_ratio for one in found]
        fewest = min((ratio for ratio in ratios if not np.isnan(ratio)), default=0.0)
        if fewest > self.budget:
            return NEARLY_FEWEST * fewest
        return self.budget - self.margin * (self.budget - fewest)

    def choose(self, found: Iterable[Tried], limit: float) -> Tried:
        """The best of what was tried; the defaults need no margin, and are taken where nothing is better."""
        usual = max(limit, self.budget)

        def order(one: Tried) -> tuple[tuple[bool, float, float], bool]:
            is_default = one.point == self.default
            return rank(one, usual if is_default else limit), not is_default

        return min(found, key=order)

    def spec(self, point: Point) -> str:
        """The policy's spec at a point of the space."""
        return str(Spec(self.space.name, self.space.settings_at(point, self.ground)))

    def neighbours(self, point: Point) -> list[Point]:
        """The points of a grid next to one, and along each axis the first that come to other settings."""
        near = self.space.neighbours(point)
        if self.space.is_plain or not point:
            return near
        spec = self.spec(point)
        for place, values in enumerate(self.space.axes.values()):
            options = list(values) if isinstance(values, tuple) else []
            here = options.index(point[place])
            for beyond in (options[:here][::-1], options[here + 1 :]):
                others = ((*point[:place], value, *point[place + 1 :]) for value in beyond)
                near += [next((other for other in others if self.spec(other) != spec), point)]
        return list(dict.fromkeys(near))

    @cached_property
    def ground(self) -> Ground:
        """What the settings are searched on."""
        return Ground(self.template.context, self.template.judged)

    @cached_property
    def default(self) -> Point | None:
        """The point of the rule's defaults; None where it cannot do without settings."""
        try:
            defaults = check_settings(Spec(self.space.name, {}))
        except InputError:
            return None
        points = self.space.points if self.space.is_grid else []
        for point in points:
            settings = Spec(self.space.name, self.space.settings_at(point, self.ground))
            if check_settings(settings).model_dump() == defaults.model_dump():
                return point
        return ()


def calibrate(
    search: Search, sweep: Sweep, note: Callable[[str], None], report: Report | None = None
) -> Calibration:
    """The cheapest settings with violations within the budget; where there are none, within nearly the fewest.

    The batch engine tries the whole grid, or what Optuna samples of a space that is none. Its best, and what may be
    better, are run on the request engine, which is right where the two differ: the search goes on from the best found
    there until nothing is left that may be better. Where the batch engine does not model the task, a coarse grid on
    the request engine comes first instead, and every neighbour is run; or fewer samples are run there.

    The rule's defaults are run, too, and taken where nothing is better. They need no margin.

    Args:
        note: told of each setting that was run.
        report: told the share of the batch engine's work that is done.
    """
    engines = Engines(search, sweep, note, report)
    batch = _try_on_batch(search, engines) if engines.has_batch else {}
    if batch and search.by_day and is_long(search.template):
        engines.keep_to_a_day(
            batch, min(batch, key=lambda point: rank(batch[point], search.limit(batch.values())))
        )
    tried: dict[Point, Tried] = {}
    defaults = [] if search.default is None else [search.default]
    asked = _first(search, batch, engines)
    for _ in range(MOST_ROUNDS):
        found = engines.run([*asked, *defaults])
        tried.update((point, found[point]) for point in asked)
        limit = search.limit([*batch.values(), *tried.values()])
        best = min(tried, key=lambda point: rank(tried[point], limit))
        asked = [point for point in _promising(search, batch, best, tried, limit) if point not in tried]
        if not asked:
            break
    tried.update(engines.run(defaults))
    chosen = search.choose(tried.values(), limit)
    return Calibration(
        chosen,
        tuple(tried[point] for point in sorted(tried)),
        limit,
        chosen.slo_violation_ratio <= search.budget,
        tuple(batch[point] for point in sorted(batch)),
        None if search.default is None else tried[search.default],
        engines.day,
    )


def rank(tried: Tried, limit: float) -> tuple[bool, float, float]:
    """Lower is better: by cost where violations are within the limit, then the others by violations."""
    over = not tried.slo_violation_ratio <= limit
    first = tried.slo_violation_ratio if over else tried.cost_usd
    return over, first, tried.cost_usd


class Engines:
    """Both engines at the points of a search.

    Attributes:
        ran: what was run on the request engine.
    """

    def __init__(
        self, search: Search, sweep: Sweep, note: Callable[[str], None], report: Report | None
    ) -> None:
        self._search, self._sweep, self._note, self._report = search, sweep, note, report
        self.has_batch = is_possible(search.template.task, search.template.judged)
        self.ran: dict[Point, Tried] = {}
        self._run = search.template
        self._whole: dict[Point, Tried] = {}
        self._of_day: dict[Point, Tried] = {}
        self._late_by_day: dict[Point, Floats] = {}
        self._finished = self._tries = 0
        self._of = 1 if search.space.is_grid else ON_BATCH.generations + (search.default is not None)
        self._of += search.by_day and is_long(search.template)

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
            self._note(f"{template.label}: {many} on the batch engine")
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


def _try_on_batch(search: Search, engines: Engines) -> dict[Point, Tried]:
    """The whole grid on the batch engine, or what is sampled of the space; the defaults in any case."""
    beside = [] if search.default is None else [search.default]
    if search.space.is_grid:
        return engines.try_on_batch([*search.space.points, *beside])
    tried = engines.try_on_batch(beside) if beside else {}
    return tried | _sample(search, ON_BATCH, engines.try_on_batch)


def _sample(
    search: Search, sampling: Sampling, try_all: Callable[[list[Point]], dict[Point, Tried]]
) -> dict[Point, Tried]:
    found: dict[Point, Tried] = {}

    def measure(points: list[Point]) -> list[tuple[float, float]]:
        found.update(try_all(points))
        return [(found[point].cost_usd, found[point].slo_violation_ratio) for point in points]

    sample(search.space, search.budget, search.template.seed, sampling, measure)
    return found


def _first(search: Search, batch: dict[Point, Tried], engines: Engines) -> list[Point]:
    """What the request engine runs first."""
    if not batch:
        return search.space.coarse if search.space.is_grid else list(_sample(search, ON_REQUEST, engines.run))
    limit = search.limit(batch.values())
    best = min(batch, key=lambda point: rank(batch[point], limit))
    near = _promising(search, batch, best, {best: batch[best]}, limit)
    return list(dict.fromkeys((best, *near, *_spread(batch, search))))


def _promising(
    search: Search, batch: dict[Point, Tried], best: Point, tried: dict[Point, Tried], limit: float
) -> list[Point]:
    """What may be better than the best that was run, by the batch engine's figures put right where both are known."""
    if not search.space.is_grid:
        return _likeliest(batch, tried, limit)
    near = search.neighbours(best)
    if not batch:
        return near
    truth, shown = tried[best], batch[best]
    dearer = _ratio(truth.cost_usd, shown.cost_usd)
    worse = _ratio(truth.slo_violation_ratio, shown.slo_violation_ratio)
    found = [
        (point, dearer * batch[point].cost_usd, worse * batch[point].slo_violation_ratio) for point in near
    ]
    if truth.slo_violation_ratio <= limit:
        most_usd, most_late = CLEARLY_DEARER * truth.cost_usd, CLEARLY_OVER * limit
        return [point for point, cost, late in found if cost <= most_usd and late <= most_late]
    return [point for point, _, late in found if late < truth.slo_violation_ratio]


def _likeliest(batch: dict[Point, Tried], tried: dict[Point, Tried], limit: float) -> list[Point]:
    """The samples that look best when put right by the median ratio of the two engines."""
    both = [(tried[point], batch[point]) for point in tried if point in batch]
    dearer, worse = (
        float(np.median([_ratio(getattr(truth, name), getattr(shown, name)) for truth, shown in both] or [1]))
        for name in ("cost_usd", "slo_violation_ratio")
    )
    expected = {
        point: Tried(shown.spec, dearer * shown.cost_usd, worse * shown.slo_violation_ratio)
        for point, shown in batch.items()
    }
    return sorted(expected, key=lambda point: rank(expected[point], limit))[:LIKELIEST]


def _ratio(truth: float, shown: float) -> float:
    return truth / shown if truth and shown else 1.0


def _spread(batch: dict[Point, Tried], search: Search) -> list[Point]:
    """Points of the batch engine's front."""
    most = FRONT_BUDGETS * search.budget
    curve = front(tuple(tried for tried in batch.values() if 0 < tried.slo_violation_ratio <= most))
    return [tried.point for tried in thin(curve, search.front)]


def thin(curve: list[Tried], count: int) -> list[Tried]:
    """At most so many points of a front, as even in the logarithm of their violations as there are."""
    if len(curve) <= count:
        return curve
    violations = np.log([max(tried.slo_violation_ratio, _FEWEST_VIOLATIONS) for tried in curve])
    evenly = np.linspace(violations[0], violations[-1], count)
    return [curve[place] for place in sorted({int(np.abs(violations - at).argmin()) for at in evenly})]


def front(points: tuple[Tried, ...]) -> list[Tried]:
    """The points that no other beats in both cost and violations, by rising cost."""
    best: list[Tried] = []
    for point in sorted(points, key=lambda one: (one.cost_usd, one.slo_violation_ratio)):
        if not best or point.slo_violation_ratio < best[-1].slo_violation_ratio:
            best.append(point)
    return best
