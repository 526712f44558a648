"""The Prometheus source against answers that are written down; a real server is asked in test_deployment.py."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

import httpx
import pytest
from pydantic import ValidationError

from controllers.sources.prometheus import Prometheus, PrometheusSettings, queries
from simulator.errors import InputError

SETTINGS = PrometheusSettings(
    url="http://prometheus:9090/", selector='service="web"', queue="http_requests_waiting", stale_seconds=60
)
NOW = 1_000_000.0
Answer = Callable[[str], httpx.Response]


def vector(*values: float) -> httpx.Response:
    result = [{"metric": {}, "value": [NOW, str(value)]} for value in values]
    return httpx.Response(200, json={"status": "success", "data": {"resultType": "vector", "result": result}})


def source(answer: Answer) -> Prometheus:
    transport = httpx.MockTransport(lambda request: answer(request.url.params["query"]))
    return Prometheus(SETTINGS, httpx.Client(transport=transport))


def healthy(query: str, age: float = 12.0) -> httpx.Response:
    if "timestamp" in query:
        return vector(NOW - age)
    return vector({"sum(r": 150.0, "histo": 0.2, "sum(h": 7.0}[query[:5]])


def test_there_is_one_list_of_queries() -> None:
    found = queries(SETTINGS)
    assert found["rate"].value == 'sum(rate(http_requests_total{service="web"}[60s]))'
    assert found["latency_p95"].value == (
        "histogram_quantile(0.95, sum by (le) "
        '(rate(http_request_duration_seconds_bucket{service="web"}[60s])))'
    )
    assert found["queue"].value == 'sum(http_requests_waiting{service="web"})'
    assert found["rate"].measured == 'max(timestamp(http_requests_total{service="web"}))'
    assert "queue" not in queries(SETTINGS.model_copy(update={"queue": None}))


def test_values_come_with_the_age_of_their_newest_sample() -> None:
    metrics = source(healthy).read(NOW + 500)
    assert {name: float(metric.value[0]) for name, metric in metrics.items()} == {
        "rate": 150.0,
        "latency_p95": 0.2,
        "queue": 7.0,
    }
    assert {float(metric.age_seconds[0]) for metric in metrics.values()} == {12.0}, (
        "by the server's own clock"
    )


def test_a_stale_value_is_missing_at_its_age() -> None:
    for age, missing in ((60.0, False), (60.1, True)):
        rate = source(lambda query, age=age: healthy(query, age)).read(NOW)["rate"]
        assert math.isnan(rate.value[0]) == missing
        assert rate.age_seconds[0] == pytest.approx(age)


def test_no_series_is_missing_and_never_seen() -> None:
    for metric in source(lambda _: vector()).read(NOW).values():
        assert math.isnan(metric.value[0])
        assert metric.age_seconds[0] == math.inf


def refused(_: str) -> httpx.Response:
    raise httpx.ConnectError("Connection refused")


FAULTS: dict[str, Answer] = {
    "refused": refused,
    "unavailable": lambda _: httpx.Response(503, text="starting"),
    "no json": lambda _: httpx.Response(200, text="<html>a proxy's page</html>"),
    "other json": lambda _: httpx.Response(200, json={"status": "success"}),
    "a list": lambda _: httpx.Response(200, json=[1]),
    "no number": lambda _: httpx.Response(200, json={"data": {"result": [{"value": [NOW, "many"]}]}}),
    "two results": lambda _: vector(1.0, 2.0),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_any_fault_is_missing_metrics_whose_age_goes_on(fault: str, caplog: pytest.LogCaptureFixture) -> None:
    answers: list[Answer] = [healthy]

    def answer(query: str) -> httpx.Response:
        return answers[0](query)

    prometheus = source(answer)
    prometheus.read(NOW)
    answers[0] = FAULTS[fault]
    with caplog.at_level(logging.INFO, "setpoint.prometheus"):
        for later in (10.0, 25.0):
            metrics = prometheus.read(NOW + later)
            assert all(math.isnan(metric.value[0]) for metric in metrics.values())
            assert metrics["rate"].age_seconds[0] == pytest.approx(12.0 + later)
        answers[0] = healthy
        assert prometheus.read(NOW)["rate"].value[0] == 150.0
    told = [record.levelname for record in caplog.records]
    assert told == ["WARNING", "INFO"], "once when it begins and once when it ends"
    assert "http://prometheus:9090: " in caplog.messages[0]


def test_one_fault_asks_no_further_so_that_a_tick_ends_in_time() -> None:
    asked: list[str] = []

    def slow(query: str) -> httpx.Response:
        asked.append(query)
        raise httpx.ReadTimeout("timed out")

    source(slow).read(NOW)
    assert len(asked) == 1


def test_a_latency_that_is_nan_without_requests_is_fresh_all_the_same() -> None:
    def idle(query: str) -> httpx.Response:
        return vector(math.nan) if query.startswith("histogram") else healthy(query)

    latency = source(idle).read(NOW)["latency_p95"]
    assert math.isnan(latency.value[0])
    assert latency.age_seconds[0] == 12.0


def test_a_refused_query_is_found_at_the_start_and_a_silent_server_is_not() -> None:
    def wrong(_: str) -> httpx.Response:
        return httpx.Response(400, json={"status": "error", "error": "1:5: parse error: unexpected {"})

    with pytest.raises(InputError, match=r"prometheus: .* refuses the query 'sum.*parse error: unexpected"):
        source(wrong).check()
    source(refused).check()
    source(healthy).check()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("url", "prometheus:9090"),
        ("url", "ftp://prometheus"),
        ("url", "http://"),
        ("requests", "http requests"),
        ("latency", ""),
        ("queue", "a{b}"),
        ("window_seconds", 0),
        ("stale_seconds", 0),
        ("timeout_seconds", -1),
        ("colour", "red"),
    ],
)
def test_a_wrong_setting_is_named(field: str, value: object) -> None:
    with pytest.raises(ValidationError) as caught:
        PrometheusSettings.model_validate({"url": "http://prometheus:9090"} | {field: value})
    assert [item["loc"] for item in caught.value.errors()] == [(field,)]


def test_a_password_in_the_address_is_used_and_never_told(caplog: pytest.LogCaptureFixture) -> None:
    settings = SETTINGS.model_copy(update={"url": "http://reader:s3cret@127.0.0.1:9"})
    prometheus = Prometheus(settings)
    with caplog.at_level(logging.INFO):
        prometheus.read(NOW)
    assert "http://127.0.0.1:9: " in caplog.text
    assert "s3cret" not in caplog.text
