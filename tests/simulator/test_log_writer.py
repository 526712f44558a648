"""Every request of a run in a Parquet file: all of them, right, and read again as a trace."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from simulator.application import load_application
from simulator.cluster import Cluster
from simulator.dataplane import DataPlane
from simulator.kernel.tables import IN_FLIGHT, LOGGED, OK
from simulator.log_writer import write_requests
from simulator.plant import Desired
from simulator.request_log import read_latencies
from simulator.scenario import Scenario
from simulator.trace import Trace, read_trace

THRESHOLD = 0.05


def shop(**fields: Any) -> Scenario:
    workload = {"model": "nasa", "mean_rps": 100}
    return Scenario.model_validate(
        {"workload": workload, "application": "shop", "prices": {"usd_per_vcpu_hour": 0.04}} | fields
    )


def run(scenario: Scenario, trace: Trace, path: Path) -> list[Any]:
    """Two minutes, the first with too few pods of one tier, so that all outcomes occur."""
    names = [group.name for group in scenario.system.classes]
    with write_requests(path, names, (trace.start_seconds, trace.end_seconds)) as log:
        cluster: Cluster = scenario.build(3, (THRESHOLD,), trace, log)
        cluster.apply(Desired(np.array([3, 0, 2])))
        intervals = [cluster.advance(40.0)]
        cluster.apply(Desired(np.array([3, 4, 2])))
        intervals += [cluster.advance(40.0), cluster.advance(40.0)]
        cluster.end_log()
    return intervals


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Any], Path]:
    path = tmp_path_factory.mktemp("log") / "requests.parquet"
    trace = Trace(np.array([12_000.0, 9_000.0]), 60.0, start_seconds=600.0)
    return run(shop(), trace, path), path


def total(intervals: list[Any], name: str) -> Any:
    return sum(getattr(each.requests, name) for each in intervals)


def test_every_request_has_its_row(logged: tuple[list[Any], Path]) -> None:
    intervals, path = logged
    rows = pd.read_parquet(path)
    for place, name in enumerate(("browse", "order")):
        of_class = rows[rows["class"] == name]
        counts = of_class["outcome"].value_counts()
        assert len(of_class) == total(intervals, "offered")[place]
        for outcome in ("served", "dropped", "timed_out", "failed"):
            assert counts[outcome] == total(intervals, outcome)[place], outcome
        assert counts["in_flight"] == intervals[-1].requests.in_flight[place]
        served = of_class[of_class["outcome"] == "served"]["latency_seconds"]
        late = (of_class["outcome"] != "served") & (of_class["outcome"] != "in_flight")
        old = 720.0 - of_class["arrived_seconds"] > THRESHOLD
        late |= (of_class["outcome"] == "in_flight") & old
        assert (served > THRESHOLD).sum() + late.sum() == total(intervals, "late")[place, 0]
        ended = of_class["latency_seconds"].sum()
        assert ended == pytest.approx(total(intervals, "response_seconds")[place], rel=1e-9)
    assert total(intervals, "failed").sum() > 0
    assert rows["latency_seconds"].isna().sum() == (rows["outcome"] == "in_flight").sum()
    assert rows["arrived_seconds"].between(600.0, 720.0).all()
    assert rows["retries"].max() == 1


def test_percentiles_are_exact(logged: tuple[list[Any], Path]) -> None:
    _, path = logged
    rows, found = pd.read_parquet(path), read_latencies(path)
    assert found is not None
    served = np.sort(rows[(rows["class"] == "browse") & (rows["outcome"] == "served")]["latency_seconds"])
    for percent, seconds in found.percentiles_seconds.loc["browse"].items():
        assert np.mean(served <= seconds) >= percent / 100 > np.mean(served < seconds)
    assert found.requests.tolist() == rows["class"].value_counts().loc[["browse", "order"]].tolist()
    assert found.shares.sum(axis=1).tolist() == pytest.approx([1, 1])


def test_the_percentiles_of_a_hundred(tmp_path: Path) -> None:
    path = tmp_path / "log.parquet"
    with write_requests(path, ["a", "b"], (0.0, 10.0)) as log:
        block = np.zeros(101, LOGGED)
        block["latency_seconds"] = np.arange(101) / 100
        block["outcome"] = OK
        block[0] = (9.0, np.nan, 1, 0, IN_FLIGHT)
        log(block)
    found = read_latencies(path)
    assert found is not None
    assert found.percentiles_seconds.loc["a"].tolist() == [0.5, 0.9, 0.95, 0.99, 1.0]
    assert found.percentiles_seconds.loc["b"].isna().all()


@pytest.mark.parametrize(
    "columns",
    [
        {"outcome": [200, 500], "latency_seconds": [1.0, 2.0]},
        {"outcome": ["ok", "ok"], "latency_seconds": [1.0, 2.0]},
        {"outcome": ["served", "served"], "latency_seconds": ["1", "2"]},
        {"outcome": ["served", "served"]},
    ],
)
def test_other_peoples_columns_say_nothing_of_latencies(columns: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "log.parquet"
    pd.DataFrame({"arrived_seconds": [1.0, 2.0], "class": ["a", "b"]} | columns).to_parquet(path)
    assert read_latencies(path) is None
    assert read_trace(path).requests.sum() == 2


def test_a_log_without_requests_keeps_its_time(tmp_path: Path) -> None:
    path = tmp_path / "log.parquet"
    with write_requests(path, ["a"], (90.5, 150.5)):
        pass
    trace = read_trace(path)
    assert (trace.start_seconds, trace.duration_seconds, trace.requests.sum()) == (90.5, 60.0, 0.0)


def test_the_log_replayed_is_the_same_run(tmp_path: Path) -> None:
    """To the last bit where both clocks begin at 0; other starts round the arrivals."""
    path = tmp_path / "first.parquet"
    intervals = run(shop(), Trace(np.array([12_000.0, 9_000.0]), 60.0), path)
    again = run(shop(), read_trace(path).slice(0.0, 120.0), tmp_path / "again.parquet")
    for name in ("offered", "served", "dropped", "timed_out", "failed", "late", "latency_counts"):
        assert total(again, name).tolist() == total(intervals, name).tolist(), name
    first, second = (
        pd.read_parquet(each).sort_values("arrived_seconds", ignore_index=True)
        for each in (path, tmp_path / "again.parquet")
    )
    pd.testing.assert_frame_equal(first, second)


def test_a_log_of_classes_that_the_application_does_not_have_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("t_seconds,class\n0.5,browse\n3,refund\n")
    with pytest.raises(ValueError, match="class 'refund' is unknown; the application has: browse, order"):
        shop().build(1, (THRESHOLD,), read_trace(path))


def test_memory_does_not_grow_with_time() -> None:
    plane = DataPlane(load_application("shop"), np.uint64(1), (0.3,), log=lambda _block: None)
    for row in range(12):
        plane.open_pod(row, row // 4)
    sizes = []
    rng = np.random.default_rng(1)
    for until in range(10, 310, 10):
        plane.advance(float(until), np.sort(until - 10 * rng.random(3000)))
        sizes.append(sum(table.nbytes for table in plane._tables))
    assert len(set(sizes[3:])) == 1
    assert sizes[-1] < 10_000_000
