"""One self-contained page from a result table."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from agents.registry import is_bundle
from envs.task import Task
from experiments.calibrate import SPACES
from experiments.estimates import Estimate, estimate, matched_change, probability_of_improvement
from experiments.figures import draw_plane, plane_plot
from experiments.oracle import ORACLE
from experiments.recipes import Resolved
from experiments.timeline import timeline_plot
from experiments.tried import Tried
from experiments.wording import duration, percent, plain_number, short_names
from simulator.arrays import Floats

BASELINE = "calibrated-hpa"
_DASH = "\N{EN DASH}"


@dataclass(frozen=True, slots=True)
class Findings:
    """All that the page is made of.

    Attributes:
        table: the result table.
        timelines: of each policy's first seed, by policy.
        hpa_points: HPA settings tried on the judged part, for its front; empty if none were.
        oracle_points: what the oracle ran on the first seed, for its front; empty if it was not run.
        bounds_usd: what no schedule of its model within the budget costs less than, by seed.
        bound_curve: the same on the first seed at other violations, too.
    """

    task: Task
    table: pd.DataFrame
    resolved: list[Resolved]
    timelines: dict[str, dict[str, Floats]]
    hpa_points: tuple[Tried, ...]
    warnings: list[str]
    provenance: list[tuple[str, str]]
    oracle_points: tuple[Tried, ...] = ()
    bounds_usd: tuple[float, ...] = ()
    bound_curve: tuple[Tried, ...] = ()


def write_report(findings: Findings, path: Path) -> None:
    """Write the page; it needs nothing from the network."""
    from jinja2 import Environment
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    def embed(name: str, figure: Any) -> Markup:  # noqa: ANN401 - plotly is imported lazily
        html = figure.to_html(
            full_html=False, include_plotlyjs=False, div_id=name, config={"displayModeBar": False}
        )
        return Markup(html)  # noqa: S704 - plotly escapes what it embeds

    template = (resources.files("experiments") / "report.html.j2").read_text(encoding="utf-8")
    slo = findings.task.objective.slo_seconds
    means, names = _means(findings), _names(findings)
    marks = {names[policy]: values for policy, values in means.items()}
    page = (
        Environment(autoescape=True)
        .from_string(template)
        .render(
            plotly_js=Markup(get_plotlyjs()),  # noqa: S704 - plotly's own script
            plane=embed(
                "plane",
                plane_plot(
                    marks,
                    findings.task.objective.violation_budget,
                    findings.hpa_points,
                    findings.oracle_points,
                    findings.bound_curve,
                ),
            ),
            timelines=[
                {
                    "policy": names[name],
                    "seed": 0,
                    "plot": embed(f"timeline{index}", timeline_plot(timeline, slo)),
                }
                for index, (name, timeline) in enumerate(findings.timelines.items())
            ],
            **_texts(findings),
        )
    )
    path.write_text(page, encoding="utf-8")


def write_plane(findings: Findings, path: Path) -> None:
    """Draw the page's plane of cost against violations as a PNG file."""
    first, names = findings.table.iloc[0], _names(findings)
    draw_plane(
        {names[policy]: values for policy, values in _means(findings).items()},
        findings.task.objective.violation_budget,
        (findings.hpa_points, findings.oracle_points, findings.bound_curve),
        f"{findings.task.name}: {duration(first['duration_s'])} of {first['trace']}",
        path,
    )


def verdict(findings: Findings) -> str:
    """What became of each Bundle, or else of the calibrated HPA: cheaper or dearer, within the budget or not."""
    means = _means(findings)
    budget = findings.task.objective.violation_budget
    kept = f"{_budget(BASELINE, estimate(means[BASELINE][1]).value, budget)}."
    return " ".join([*(_compare(name, means, findings) for name in means if is_bundle(name)), kept])


def of_oracle(findings: Findings) -> str:
    """What the oracle came to, and what its model says cannot be had; that it was not run where it was not."""
    means = _means(findings)
    if ORACLE not in means:
        return "The oracle was not run."
    cost, late = (estimate(values).value for values in means[ORACLE])
    bound = estimate(np.array(findings.bounds_usd)).value
    kept = _budget(ORACLE, late, findings.task.objective.violation_budget)
    return (
        f"{kept} for {plain_number(cost, 4)} USD with the future known; in its model no schedule within the budget "
        f"costs less than {plain_number(bound, 4)} USD."
    )


def _compare(policy: str, means: dict[str, tuple[Floats, Floats]], findings: Findings) -> str:
    name, budget = _names(findings)[policy], findings.task.objective.violation_budget
    cost, late = (estimate(values) for values in means[policy])
    baseline_cost, baseline_late = (estimate(values) for values in means[BASELINE])
    change = cost.value / baseline_cost.value - 1
    text = (
        f"{name} is {_change(change)} {BASELINE}, with {_fewer_or_more(late, baseline_late)} "
        f"({percent(late.value, budget)} % against {percent(baseline_late.value, budget)} %)"
    )
    matched = matched_change(findings.hpa_points, *means[policy]).value
    if not np.isnan(matched):
        text += f", and {_change(matched)} the HPA with hindsight at as many violations"
    return f"{text}. {_budget(name, late.value, budget)}."


def _fewer_or_more(late: Estimate, other: Estimate) -> str:
    if late.high < other.low:
        return "fewer violations"
    return "more violations" if late.low > other.high else "no clear difference in violations"


def _change(change: float) -> str:
    shown = f"{100 * abs(change):.1f} %"
    if shown == "0.0 %":
        return "as dear as"
    return f"{shown} {'cheaper' if change < 0 else 'dearer'} than"


def _budget(policy: str, late: float, budget: float) -> str:
    if np.isnan(late):
        return f"{policy} met no requests"
    return f"{policy} {'keeps' if late <= budget else 'breaks'} the budget of {percent(budget)} %"


def _names(findings: Findings) -> dict[str, str]:
    return short_names(findings.table["policy"].unique())


def _means(findings: Findings) -> dict[str, tuple[Floats, Floats]]:
    return {
        str(name): (
            group["cost_usd"].to_numpy(dtype=float),
            group["slo_violation_ratio"].to_numpy(dtype=float),
        )
        for name, group in findings.table.groupby("policy", sort=False)
    }


def _texts(findings: Findings) -> dict[str, Any]:
    first = findings.table.iloc[0]
    services = findings.task.scenario.system.services
    bounds = ", ".join(
        f"{service.min_replicas} to {service.max_replicas} replicas of {service.slots_per_pod} slots (requests at once)"
        + (f" of {service.name}" if len(services) > 1 else "")
        for service in services
    )
    start, mean = plain_number(first["start_s"]), plain_number(first["mean_rps"], 4)
    setting = (
        f"{duration(first['duration_s'])} from {start} s, {mean} requests/s on average; "
        f"SLO {1000 * findings.task.objective.slo_seconds:g} ms; {bounds}; "
        "every request simulated."
    )
    return {
        "task": findings.task.name,
        "trace": first["trace"],
        "setting": setting,
        "verdict": verdict(findings),
        "front": bool(findings.hpa_points),
        "oracle": of_oracle(findings),
        "oracle_front": bool(findings.oracle_points),
        "warnings": findings.warnings,
        "rows": summarize(findings),
        "seeds": findings.table["seed"].nunique(),
        "budget": f"{percent(findings.task.objective.violation_budget)} %",
        "searches": [_search(resolved) for resolved in findings.resolved if resolved.calibration],
        "provenance": findings.provenance,
    }


def summarize(findings: Findings) -> list[dict[str, Any]]:
    """A row a policy with everything as text, in the table's order."""
    means, names = _means(findings), _names(findings)
    specs = {resolved.label: resolved.policy for resolved in findings.resolved}
    budget = findings.task.objective.violation_budget
    rows = []
    for policy, group in findings.table.groupby("policy", sort=False):
        cost, late = means[str(policy)]
        costs, lates = estimate(cost), estimate(late)
        baseline = estimate(means[BASELINE][0]).value
        matched = matched_change(findings.hpa_points, cost, late)
        regret = estimate(group["regret_to_oracle"].to_numpy(dtype=float))
        rows.append(
            {
                "policy": names[str(policy)],
                "settings": "" if specs[str(policy)] == policy else specs[str(policy)],
                "cost": plain_number(costs.value, 4),
                "cost_interval": _interval(costs, 1),
                "violations": percent(lates.value, budget),
                "violations_interval": _interval(lates, 100),
                "over": lates.value > budget,
                "against": f"{costs.value / baseline - 1:+.1%}" if policy != BASELINE else _DASH,
                "cheaper": f"{probability_of_improvement(cost, means[BASELINE][0]):.2f}"
                if policy != BASELINE
                else _DASH,
                "matched": _DASH if np.isnan(matched.value) else f"{matched.value:+.1%}",
                "matched_interval": ""
                if np.isnan(matched.value)
                else f"{matched.low:+.1%} to {matched.high:+.1%}",
                "regret": _DASH if np.isnan(regret.value) else f"{regret.value:+.1%}",
                "regret_interval": ""
                if np.isnan(regret.value)
                else f"{regret.low:+.1%} to {regret.high:+.1%}",
                "p95": plain_number(group["latency_p95_ms"].mean(), 4),
                "cpu": f"{group['cpu_utilization'].mean():.0%}",
                "events": f"{group['scale_events'].mean():.0f}",
            }
        )
    return rows


def _search(resolved: Resolved) -> dict[str, Any]:
    calibration = resolved.calibration
    if calibration is None:
        return {}
    chosen = calibration.chosen
    outcome = (
        f"{plain_number(chosen.cost_usd, 4)} USD with {100 * chosen.slo_violation_ratio:.3f} % violations there "
        f"(at most {100 * calibration.limit:.3f} % were allowed"
        f"{', and no margin of the defaults' if chosen == calibration.default else ''})"
    )
    if not calibration.within_budget:
        outcome += "; no settings kept the budget, so these are the cheapest with about the fewest violations"
    space = next(space for name, space in SPACES.items() if resolved.label.endswith(f"-{name}"))
    return {
        "label": resolved.label,
        "spec": chosen.spec,
        "on": resolved.on,
        "outcome": outcome,
        "count": len(calibration.tried),
        "batch": len(calibration.batch),
        "front": resolved.label.startswith("hindsight-"),
        "space": str(space),
        "grid": space.is_grid,
    }


def _interval(found: Estimate, scale: float) -> str:
    return f"{plain_number(scale * found.low, 4)} to {plain_number(scale * found.high, 4)}"
