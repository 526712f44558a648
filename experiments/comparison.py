"""Policies on several traces: who keeps the budget where, at what cost, and where one loses to the default HPA."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from experiments.estimates import ROUNDING, Estimate, estimate
from experiments.figures import INK, mark_of, plain, save_figure
from experiments.report import Findings
from experiments.wording import plain_number, short_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DEFAULTS = "hpa"
"""What the others are held against: Kubernetes' own."""
_TICKS = (1.0, 1.25, 1.6, 2.0, 2.5, 3.2, 4.0, 5.0, 6.4, 8.0)
_ROW_INCHES, _LEAST_INCHES = 0.42, 2.2


@dataclass(frozen=True, slots=True)
class Judged:
    """A policy on a trace, over its seeds.

    Attributes:
        cost_usd, late: cost and violation ratio.
        regret: cost over the oracle's, minus 1; NaN where there is none.
    """

    cost_usd: Estimate
    late: Estimate
    regret: float

    def keeps(self, budget: float) -> bool:
        """Whether its violations are within the budget."""
        return self.late.value <= budget

    def loses_to(self, other: Judged, budget: float) -> bool:
        """Whether it is worse, beyond both intervals where both keep or both break the budget.

        It breaks a budget that the other keeps, or is dearer where both keep it, or has more violations where
        both break it.
        """
        if self.keeps(budget) != other.keeps(budget):
            return other.keeps(budget)
        if self.keeps(budget):
            return self.cost_usd.low > other.cost_usd.high * (1 + ROUNDING)
        return self.late.low > other.late.high


@dataclass(frozen=True, slots=True)
class Comparison:
    """What became of each policy on each trace.

    Attributes:
        judged: by trace, then by policy.
        budget: most violations, as a share of the requests.
    """

    judged: dict[str, dict[str, Judged]]
    budget: float

    @property
    def policies(self) -> list[str]:
        """All of them, in the order that they were asked for."""
        return list(dict.fromkeys(policy for found in self.judged.values() for policy in found))

    def losses(self, policy: str) -> list[str]:
        """The traces on which it loses to the default HPA."""
        return [
            trace
            for trace, found in self.judged.items()
            if policy in found and DEFAULTS in found and found[policy].loses_to(found[DEFAULTS], self.budget)
        ]

    def rows(self) -> list[dict[str, str]]:
        """A row a policy, as text: on how many traces it keeps the budget, its costs, and its losses."""
        return [self._row(policy) for policy in self.policies]

    def _row(self, policy: str) -> dict[str, str]:
        of = {trace: found for trace, found in self.judged.items() if policy in found}
        kept = sum(found[policy].keeps(self.budget) for found in of.values())
        against = [
            found[policy].cost_usd.value / found[DEFAULTS].cost_usd.value - 1
            for found in of.values()
            if DEFAULTS in found
        ]
        regrets = [found[policy].regret for found in of.values() if not np.isnan(found[policy].regret)]
        losses = self.losses(policy)
        return {
            "policy": policy,
            "kept": f"{kept} of {len(of)}",
            "regret": f"{_median(regrets)} ({len(regrets)})" if regrets else "",
            "against": _median(against) if policy != DEFAULTS else "",
            "losses": "" if policy == DEFAULTS else f"{len(losses)} of {len(of)}",
            "where": ", ".join(losses),
        }


def compare(findings: dict[str, Findings]) -> Comparison:
    """The comparison of what was found on each trace, by its name; all are of one task."""
    names = short_names(
        policy for found in findings.values() for policy in dict.fromkeys(found.table["policy"])
    )
    judged = {
        trace: {
            names[str(policy)]: Judged(
                estimate(rows["cost_usd"].to_numpy(dtype=float)),
                estimate(rows["slo_violation_ratio"].to_numpy(dtype=float)),
                estimate(rows["regret_to_oracle"].to_numpy(dtype=float)).value,
            )
            for policy, rows in found.table.groupby("policy", sort=False)
        }
        for trace, found in findings.items()
    }
    return Comparison(judged, next(iter(findings.values())).task.objective.violation_budget)


def draw_comparison(comparison: Comparison, title: str, path: Path) -> None:
    """Costs against the default HPA's (or the first policy's) by trace; a mark is hollow where the budget is broken."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullLocator

    traces = list(comparison.judged)
    height = max(_LEAST_INCHES, _ROW_INCHES * len(traces) + 1.6)
    figure = Figure(figsize=(11, height), layout="constrained")
    axes = figure.subplots()
    for place, policy in enumerate(comparison.policies):
        _draw_policy(axes, comparison, policy, place)
    axes.axvline(1.0, color=INK, linewidth=0.8)
    axes.set_yticks(range(len(traces)), [plain(trace) for trace in traces])
    axes.set_ylim(len(traces) - 0.5, -0.5)
    axes.set(xscale="log", xlabel="cost, times that of the default HPA (log); hollow: breaks the budget")
    axes.xaxis.set_major_formatter(lambda value, _: plain_number(value, 3))
    axes.xaxis.set_major_locator(LogLocator(subs=_TICKS))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.grid(axis="y", color="#e4e7eb", linewidth=0.6)
    axes.tick_params(axis="y", length=0)
    axes.set_title(plain(title), loc="left")
    figure.legend(loc="outside lower center", ncols=4, frameon=False)
    save_figure(figure, path)


def _draw_policy(axes: Axes, comparison: Comparison, policy: str, place: int) -> None:
    color, mark = mark_of(place)
    off = 0.5 * (place + 0.5) / len(comparison.policies) - 0.25
    axes.plot([], [], mark, color=color, label=plain(policy), markersize=7)
    for row, found in enumerate(comparison.judged.values()):
        if policy not in found or DEFAULTS not in found:
            continue
        one = found[policy]
        ratio = one.cost_usd.value / found[DEFAULTS].cost_usd.value
        face = color if one.keeps(comparison.budget) else "white"
        axes.plot(ratio, row + off, mark, color=color, markerfacecolor=face, markersize=7)


def _median(values: list[float]) -> str:
    return f"{np.median(values):+.1%}" if values else ""
