"""What the report says of results that are known."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from envs.task import load_task
from experiments.calibrate import Calibration, Tried
from experiments.estimates import estimate
from experiments.figures import plane_plot, terminal_chart, thin
from experiments.measures import MEASURES
from experiments.recipes import Resolved
from experiments.report import Findings, summarize, verdict, write_report
from experiments.run import TIMELINE
from experiments.table import make_table

TASK = load_task("web")
FRONT = (Tried("hpa:target=0.8", 2.0, 0.02), Tried("hpa:target=0.4", 6.0, 0.005))
CALIBRATED = Calibration(FRONT[0], FRONT, within_budget=False)


def rows(policy: str, cost: float, late: float) -> list[dict[str, Any]]:
    known = dict.fromkeys(MEASURES, 1.0) | {"cost_usd": cost, "slo_violation_ratio": late}
    part = {"trace": "<b>day</b>.csv", "start_s": 0.0, "duration_s": 3600.0, "mean_rps": 10.0}
    return [{"task": "web", **part, "policy": policy, "seed": seed, **known} for seed in range(3)]


def findings_of(bundle: tuple[float, float], baseline: tuple[float, float] = (4.0, 0.02)) -> Findings:
    timeline = {name: np.arange(4.0) for name in TIMELINE}
    return Findings(
        task=TASK,
        table=make_table([*rows("my.bundle", *bundle), *rows("calibrated-hpa", *baseline)]),
        resolved=[
            Resolved("my.bundle", "my.bundle"),
            Resolved("calibrated-hpa", FRONT[0].spec, CALIBRATED, "the day before"),
        ],
        timelines={"my.bundle": timeline},
        hpa_points=FRONT,
        warnings=["a warning & more"],
        provenance=[("trace", "<script>alert(1)</script>")],
    )


def test_the_verdict_says_who_wins_and_who_keeps_the_budget() -> None:
    assert verdict(findings_of((3.0, 0.01))) == (
        "my.bundle is 25.0% cheaper than calibrated-hpa, with fewer violations (1 % against 2 %), and 25.0% cheaper "
        "than the HPA with hindsight at as many violations. my.bundle keeps the budget of 1 %. "
        "calibrated-hpa breaks the budget of 1 %."
    )
    assert verdict(findings_of((5.0, 0.03), (4.0, 0.005))) == (
        "my.bundle is 25.0% dearer than calibrated-hpa, with more violations (3 % against 0.5 %). "
        "my.bundle breaks the budget of 1 %. calibrated-hpa keeps the budget of 1 %."
    )


def test_violations_are_as_many_where_the_intervals_overlap() -> None:
    findings = findings_of((3.0, 0.01))
    mine = findings.table["policy"] == "my.bundle"
    findings.table.loc[mine, "slo_violation_ratio"] = [0.008, 0.01, 0.03]
    assert "with as many violations (" in verdict(findings)
    findings.table.loc[mine, "slo_violation_ratio"] = [0.008, 0.01, 0.015]
    assert "with fewer violations (" in verdict(findings)


def test_at_matched_violations_each_seed_is_compared_on_its_own() -> None:
    findings = findings_of((3.0, 0.01))
    mine = findings.table["policy"] == "my.bundle"
    findings.table.loc[mine, "slo_violation_ratio"] = [0.005, 0.01, 0.02]
    findings.table.loc[mine, "cost_usd"] = [6.6, 4.4, 1.6]  # 10 % dearer, 10 % dearer, 20 % cheaper
    row = summarize(findings)[0]
    expected = estimate(np.array([0.1, 0.1, -0.2])).value
    assert row["matched"] == f"{expected:+.1%}"
    assert row["matched_interval"] == "-20.0% to +10.0%"
    assert f"{expected:.1%} dearer than the HPA with hindsight" in verdict(findings)
    findings.table.loc[mine, "slo_violation_ratio"] = [0.005, 0.01, 0.021]
    row = summarize(findings)[0]
    assert (row["matched"], row["matched_interval"]) == ("\N{EN DASH}", "")
    assert "hindsight" not in verdict(findings)


def test_a_difference_too_small_to_be_shown_is_none() -> None:
    assert verdict(findings_of((4.0001, 0.02))).startswith(
        "my.bundle is as dear as calibrated-hpa, with as many violations (2 % against 2 %)"
    )


def test_the_table_holds_every_policy_and_compares_with_the_baseline() -> None:
    mine, baseline = summarize(findings_of((3.0, 0.01)))
    assert (mine["policy"], mine["against"], mine["cheaper"], mine["matched"]) == (
        "my.bundle",
        "-25.0%",
        "1.00",
        "-25.0%",
    )
    assert (mine["over"], baseline["over"]) == (False, True)
    assert baseline["settings"] == "hpa:target=0.8"


def test_without_requests_nothing_is_claimed() -> None:
    nothing = findings_of((3.0, math.nan), (4.0, math.nan))
    assert "my.bundle met no requests" in verdict(nothing)
    assert summarize(nothing)[0]["violations"] == "\N{EN DASH}"


@pytest.mark.parametrize("late", [0.01, 0.0, math.nan])
def test_the_page_is_whole_and_escapes_what_it_is_given(late: float, tmp_path: Path) -> None:
    write_report(findings_of((3.0, late), (4.0, late)), tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    body = page.rpartition("<h1>")[2]
    assert "&lt;b&gt;day&lt;/b&gt;.csv" in body
    assert "a warning &amp; more" in body
    assert "<script>alert" not in page
    assert "http-equiv" not in page
    assert page.rstrip().endswith("</html>")
    for source in ('src="http', "<link", "@import"):
        assert source not in body


def test_a_policy_without_violations_stands_at_the_edge_of_the_plane() -> None:
    means = {"a": (np.array([1.0]), np.array([0.0])), "b": (np.array([2.0]), np.array([0.02]))}
    figure = plane_plot(means, 0.01, (*FRONT, Tried("far", 0.1, 0.9)))
    marks = {trace.name: trace.x for trace in figure.data}
    assert 0 < marks["a"][0] < 1
    assert marks["b"][0] == pytest.approx(2.0)
    curve = next(trace for trace in figure.data if trace.name.startswith("HPA"))
    assert list(curve.text) == ["hpa:target=0.8"], "what is far from every policy is not shown"


def test_a_long_timeline_is_thinned_and_keeps_its_peaks() -> None:
    count = 5000
    timeline = {name: np.zeros(count) for name in TIMELINE} | {"time_seconds": np.arange(float(count))}
    timeline["ready"][1234], timeline["rate_rps"][:] = 9.0, 2.0
    thinned = thin(timeline)
    assert len(thinned["time_seconds"]) <= 1440
    assert thinned["ready"].max() == 9
    assert thinned["rate_rps"] == pytest.approx(2.0)
    assert thin({name: values[:1440] for name, values in timeline.items()})["ready"].shape == (1440,)


def test_a_chart_in_the_terminal_has_its_peak_at_the_top() -> None:
    lines = terminal_chart(np.array([0.0, 1.0, 4.0]), height=4).splitlines()
    assert lines[0] == "         4 \N{BOX DRAWINGS LIGHT VERTICAL AND LEFT}  \N{FULL BLOCK}"
    assert lines[-1] == "         0 \N{BOX DRAWINGS LIGHT VERTICAL AND LEFT} \N{FULL BLOCK}\N{FULL BLOCK}"
    assert terminal_chart(np.zeros(3)).count("\N{FULL BLOCK}") == 0
