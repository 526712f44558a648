"""Calibration: a rule's settings that are cheapest with violations within the budget."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from agents.registry import RULES, Spec, check_settings
from agents.space import Ground, Point, Space
from experiments.engines import Engines
from experiments.hardest_day import can_be_cut
from experiments.run import Run
from experiments.sampling import Sampling, sample
from experiments.sweep import Sweep
from experiments.trials import Report
from experiments.tried import Tried, front, rank, thin
from simulator.errors import InputError
from simulator.trace import Trace

SPACES = {name: rule.space for name, rule in RULES.items() if rule.space is not None}
MOST_ROUNDS = 12
ON_BATCH, ON_REQUEST = Sampling(generations=8, size=32), Sampling(generations=5, size=8)
"""How much is tried of a space that is no grid, on the batch engine or else on the request engine."""
CLEARLY_DEARER, CLEARLY_OVER = 1.02, 1.3
"""A neighbour that the batch engine finds so much dearer, or over the limit so many times, is not run."""
LIKELIEST = 6
"""Of a space that is no grid, so many that look best must have been run."""
NEARLY_FEWEST = 1.1
"""Where nothing keeps the budget, violations that are so many times the fewest of any settings are few enough."""
FRONT_BUDGETS = 10.0
"""A front is run as far as its violations are within so many budgets."""


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
    trials = 1 if search.space.is_grid else ON_BATCH.generations + (search.default is not None)
    engines = Engines(search, trials, sweep, note, report)
    batch = _try_on_batch(search, engines) if engines.has_batch else {}
    if batch and search.by_day and can_be_cut(search.template):
        engines.keep_to_a_day(batch, _best(batch, search.limit(batch.values())))
    tried: dict[Point, Tried] = {}
    defaults = [] if search.default is None else [search.default]
    asked = _first(search, batch, engines)
    for _ in range(MOST_ROUNDS):
        found = engines.run([*asked, *defaults])
        tried.update((point, found[point]) for point in asked)
        limit = search.limit([*batch.values(), *tried.values()])
        best = _best(tried, limit)
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


def _best(found: dict[Point, Tried], limit: float) -> Point:
    return min(found, key=lambda point: rank(found[point], limit))


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
    best = _best(batch, limit)
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
