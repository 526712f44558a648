"""The picture of a run shows what was wanted, what starts, and what broke when."""

from __future__ import annotations

import dataclasses
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from envs.task import load_task
from experiments import timeline as timeline_module
from experiments.breakdown import fault_rows
from experiments.run import Run, execute
from experiments.simulation import late_faults, with_faults
from experiments.timeline import draw_timeline, fault_bands, lanes_of, replica_lines, timeline_plot
from simulator.faults import FaultLabel
from simulator.trace import Trace

Timeline = dict[str, np.ndarray]
STEPS = 40


@pytest.fixture(scope="module", name="timeline")
def timeline_of() -> Timeline:
    """Ten minutes of two tiers under a load that doubles, with faults of two kinds."""
    task = with_faults(
        load_task("retry-storm"),
        ("pod_kill:at_seconds=300,service=app", "latency:per_hour=200,duration_seconds=20,service=web"),
    )
    load = Trace(np.repeat([6000.0, 36_000.0], 5), 60.0)
    timeline = dict(execute(Run(task, load, None, "hpa:target=0.5", "hpa", 1)).timeline)
    assert len(timeline["time_seconds"]) == STEPS
    return timeline


def drawn(monkeypatch: pytest.MonkeyPatch, timeline: Timeline) -> Any:
    figures: list[Any] = []
    monkeypatch.setattr(timeline_module, "save_figure", lambda figure, _path: figures.append(figure))
    draw_timeline(timeline, 0.3, "title", Path("unused.png"))
    figures[0].canvas.draw()
    return figures[0]


def test_what_is_wanted_of_each_service_adds_up(timeline: Timeline) -> None:
    lines = replica_lines(timeline)
    assert [line.label for line in lines] == ["web", "app"]
    assert sum(line.values for line in lines) == pytest.approx(timeline["ready"])
    assert sum(line.planned for line in lines if line.planned is not None) == pytest.approx(
        timeline["wanted"]
    )


def test_wanted_starting_and_ready_of_several_services_are_drawn_and_named(
    monkeypatch: pytest.MonkeyPatch, timeline: Timeline
) -> None:
    assert timeline["starting"].any()
    replicas = drawn(monkeypatch, timeline).axes[2]
    named = [text.get_text() for text in replicas.get_legend().get_texts()]
    assert named == ["web", "app", "wanted", "starting, all"]
    curves = [line for line in replicas.get_lines() if len(line.get_xdata()) == STEPS]
    assert len(curves) == 4
    assert replicas.get_ylim()[1] >= max(
        timeline["starting"].max(), *(line.get_ydata().max() for line in curves)
    )
    shown = {trace.name for trace in timeline_plot(timeline, 0.3).data}
    assert {
        "web",
        "web, wanted",
        "app",
        "app, wanted",
        "starting, all",
        *lanes_of(fault_bands(timeline)),
    } <= shown


def test_each_kind_of_fault_has_one_name_in_a_lane_above_all_else(
    monkeypatch: pytest.MonkeyPatch, timeline: Timeline
) -> None:
    timeline = timeline | {"fault latency web": np.arange(STEPS) % 2}
    bands = fault_bands(timeline)
    assert len(bands) == 1 + STEPS // 2
    figure = drawn(monkeypatch, timeline)
    strip, first = figure.axes[:2]
    names = [label.get_text() for label in strip.get_yticklabels()]
    assert names == lanes_of(bands)
    assert len(set(names)) == len(names)
    assert len(strip.collections) == len(bands)
    boxes = [label.get_window_extent() for label in strip.get_yticklabels()]
    assert all(below.y1 <= above.y0 + 1 for above, below in pairwise(boxes))
    assert first.get_legend().get_window_extent().y1 <= strip.get_window_extent().y0
    assert not [text for one in figure.axes[1:] for text in one.texts if text.get_text() in names]


def test_without_faults_there_is_no_strip(monkeypatch: pytest.MonkeyPatch, timeline: Timeline) -> None:
    healthy = {name: values for name, values in timeline.items() if not name.startswith("fault ")}
    assert len(drawn(monkeypatch, healthy).axes) == 4


def test_nodes_that_start_are_dotted(monkeypatch: pytest.MonkeyPatch, timeline: Timeline) -> None:
    ready = np.ones(STEPS)
    nodes = timeline | {"nodes of a": ready, "starting nodes of a": 0 * ready}
    legend = drawn(monkeypatch, nodes).axes[3].get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["a"]
    nodes["starting nodes of a"] = 2 * ready
    axes = drawn(monkeypatch, nodes).axes[3]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["a", "starting"]
    assert axes.get_ylim()[1] > 2


def test_a_fault_that_is_still_on_counts_up_to_the_end() -> None:
    label = FaultLabel("latency", 10.0, 30.0, "web")
    still = dataclasses.replace(label, start_seconds=90.0, end_seconds=np.inf)
    (row,) = fault_rows((label, still), 100.0)
    assert row == {"fault": "latency web", "times": 2, "first, s": 10.0, "seconds": 30.0}


@pytest.mark.parametrize(("at_seconds", "late"), [(599.0, 0), (600.0, 1), (7200.0, 1)])
def test_a_fault_after_the_end_is_warned_of(at_seconds: float, late: int) -> None:
    task = with_faults(load_task("web"), (f"pod_kill:at_seconds={at_seconds}", "latency:per_hour=1"))
    said = late_faults(task, 600.0)
    assert len(said) == late
    assert all("pod_kill never begins" in line and "600 s" in line for line in said)
