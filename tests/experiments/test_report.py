"""What the report says of results that are known."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from envs.task import load_task
from experiments import timeline as timeline_module
from experiments.calibrate import Calibration
from experiments.estimates import estimate
from experiments.figures import mark_of, plane_plot, terminal_chart
from experiments.measures import MEASURES
from experiments.recipes import Resolved
from experiments.report import Findings, _texts, summarize, verdict, write_report
from experiments.run import TIMELINE
from experiments.table import make_table
from experiments.timeline import draw_timeline, latency_axis, thin, timeline_plot
from experiments.tried import Tried
from experiments.wording import duration, percent, plain_number, short_names

TASK = load_task("web")
FRONT = (Tried("hpa:target=0.8", 2.0, 0.02), Tried("hpa:target=0.4", 6.0, 0.005))
CALIBRATED = Calibration(FRONT[0], FRONT, limit=0.01, within_budget=False)


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
        "my.bundle is 25.0 % cheaper than calibrated-hpa, with fewer violations (1 % against 2 %), and 25.0 % cheaper "
        "than the HPA with hindsight at as many violations. my.bundle keeps the budget of 1 %. "
        "calibrated-hpa breaks the budget of 1 %."
    )
    assert verdict(findings_of((5.0, 0.03), (4.0, 0.005))) == (
        "my.bundle is 25.0 % dearer than calibrated-hpa, with more violations (3 % against 0.5 %). "
        "my.bundle breaks the budget of 1 %. calibrated-hpa keeps the budget of 1 %."
    )


def test_violations_are_as_many_where_the_intervals_overlap() -> None:
    findings = findings_of((3.0, 0.01))
    mine = findings.table["policy"] == "my.bundle"
    findings.table.loc[mine, "slo_violation_ratio"] = [0.008, 0.01, 0.03]
    assert "with no clear difference in violations (" in verdict(findings)
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
    assert f"{100 * expected:.1f} % dearer than the HPA with hindsight" in verdict(findings)
    findings.table.loc[mine, "slo_violation_ratio"] = [0.005, 0.01, 0.021]
    row = summarize(findings)[0]
    assert (row["matched"], row["matched_interval"]) == ("\N{EN DASH}", "")
    assert "hindsight" not in verdict(findings)


def test_a_difference_too_small_to_be_shown_is_none() -> None:
    assert verdict(findings_of((4.0001, 0.02))).startswith(
        "my.bundle is as dear as calibrated-hpa, with no clear difference in violations (2 % against 2 %)"
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


def test_a_chart_of_nothing_has_no_other_number_than_zero() -> None:
    lines = terminal_chart(np.zeros(3)).splitlines()
    assert [line.partition("\N{BOX DRAWINGS LIGHT VERTICAL AND LEFT}")[0].strip() for line in lines] == [
        *[""] * 7,
        "0",
    ]
    assert "\N{FULL BLOCK}" not in "".join(lines)
    assert terminal_chart(np.array([250_000.0])).splitlines()[0].startswith("    250000 ")


@pytest.mark.parametrize(
    ("low", "high", "slo", "ticks"),
    [
        (140.0, 150.0, 300.0, [100, 300]),
        (301.0, 302.0, 300.0, [300]),
        (2.0, 9.0, 5.0, [1, 3, 10]),
        (90.0, 40_000.0, 300.0, [30, 100, 300, 1000, 3000, 10_000, 30_000]),
        (1000.0, 1000.0, 1000.0, [1000]),
        (math.nan, math.nan, 300.0, [300]),
        (0.0, 0.2, 0.25, [0.1, 0.3]),
    ],
)
def test_the_latency_axis_has_few_ticks_but_one(
    low: float, high: float, slo: float, ticks: list[float]
) -> None:
    (begin, end), found = latency_axis(np.array([low, high]), slo)
    assert found == pytest.approx(ticks)
    for value in (low, high, slo, *ticks):
        assert begin < value < end or not value > 0


def axes_drawn(monkeypatch: pytest.MonkeyPatch, timeline: dict[str, Any]) -> list[Any]:
    drawn: list[Any] = []
    monkeypatch.setattr(timeline_module, "save_figure", lambda figure, _path: drawn.append(figure))
    draw_timeline(timeline, 0.3, "title", Path("unused.png"))
    drawn[0].canvas.draw()
    return list(drawn[0].axes)


def test_on_a_timeline_nothing_lies_over_something_else(monkeypatch: pytest.MonkeyPatch) -> None:
    timeline = {name: np.linspace(1.0, 5.0, 50) for name in TIMELINE}
    timeline["latency_p95_seconds"] = np.linspace(0.14, 0.15, 50)
    _, replicas, latency, _ = axes_drawn(monkeypatch, timeline)
    assert replicas.get_legend().get_window_extent().y0 >= replicas.get_window_extent().y1
    assert [label.get_text() for label in latency.get_yticklabels()] == ["100", "300"]
    assert not latency.get_yticks(minor=True).size
    (slo,) = latency.texts
    inside, box = latency.get_window_extent(), slo.get_window_extent()
    assert inside.x0 < box.x0 < box.x1 <= inside.x1
    assert inside.y0 < box.y0 < box.y1 <= inside.y1


def test_the_pages_latency_axis_is_the_pictures() -> None:
    timeline = {name: np.linspace(1.0, 5.0, 50) for name in TIMELINE}
    axis = timeline_plot(timeline, 0.3).layout.yaxis3
    assert list(axis.ticktext) == ["300", "1000", "3000"]
    assert axis.range[0] < math.log10(300) < axis.range[1]


def test_a_ratio_just_over_the_budget_does_not_read_as_the_budget() -> None:
    ratios = (0.0100024, 0.0099998, 0.01, 0.0103, 0.0051234, math.nan)
    shown = ["1.0002", "0.99998", "1", "1.03", "0.512", "\N{EN DASH}"]
    assert [percent(ratio, 0.01) for ratio in ratios] == shown
    assert percent(0.0100024) == "1"


def test_no_two_policies_look_alike() -> None:
    assert len({mark_of(place) for place in range(36)}) == 36


@pytest.mark.parametrize("late", [0.016, 0.2])
def test_the_pages_violations_have_whole_labels(late: float) -> None:
    figure = plane_plot({"hpa": (np.array([1.0, 2.0]), np.array([0.006, late]))}, 0.01, ())
    axis = figure.layout.xaxis
    assert {"1", "2", "0.5"} <= set(axis.ticktext)
    assert [float(text) for text in axis.ticktext] == pytest.approx(axis.tickvals)


def test_numbers_have_no_exponent() -> None:
    assert [plain_number(value) for value in (777_600.0, 0.5, 1e9, 86_400.25)] == [
        "777600",
        "0.5",
        "1000000000",
        "86400.25",
    ]
    assert [plain_number(value, 4) for value in (123_456.7, 1.23456, 0.0, math.nan)] == [
        "123457",
        "1.235",
        "0",
        "nan",
    ]
    findings = findings_of((3.0, 0.01))
    findings.table[["start_s", "duration_s", "mean_rps"]] = [7_776_000.0, 600.0, 123_456.0]
    setting = _texts(findings)["setting"]
    assert setting.startswith("10 min from 7776000 s, 123456 requests/s on average; ")


def test_durations_are_said_in_the_largest_unit_that_is_reached() -> None:
    assert [duration(seconds) for seconds in (45.0, 600.0, 5400.0, 777_600.0)] == [
        "45 s",
        "10 min",
        "1.5 h",
        "216 h",
    ]


def test_a_bundle_is_called_by_its_file_where_no_other_is() -> None:
    policies = ["hpa", "runs/a.bundle", "one/b.bundle", "two/b.bundle"]
    assert list(short_names(policies).values()) == ["hpa", "a.bundle", "one/b.bundle", "two/b.bundle"]


def test_the_page_calls_a_bundle_by_its_file_and_keeps_the_path_in_the_provenance(tmp_path: Path) -> None:
    findings = findings_of((3.0, 0.01))
    path = "some/folder/my.bundle"
    findings.table.loc[findings.table["policy"] == "my.bundle", "policy"] = path
    findings = dataclasses.replace(
        findings,
        resolved=[Resolved(path, path), findings.resolved[1]],
        timelines={path: findings.timelines["my.bundle"]},
        provenance=[(f"policy {path}", "fingerprint")],
    )
    assert verdict(findings).startswith("my.bundle is 25.0 % cheaper")
    assert [row["policy"] for row in summarize(findings)] == ["my.bundle", "calibrated-hpa"]
    write_report(findings, tmp_path / "report.html")
    body = (tmp_path / "report.html").read_text().rpartition("<h1>")[2]
    assert "<h2>my.bundle, seed 0</h2>" in body
    assert '"name":"my.bundle"' in body
    assert body.count(path) == 1
