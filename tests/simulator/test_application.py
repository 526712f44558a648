"""Call graphs: what is refused, how often operations are called, what a pod can serve."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from simulator.application import Application, application_names, load_application
from simulator.settings import parse_settings


def service(name: str, mean_seconds: float = 0.1, **fields: Any) -> dict[str, Any]:
    work: dict[str, Any] = {"service_time": {"law": "deterministic", "mean_seconds": mean_seconds}}
    return {
        "name": name,
        "slots_per_pod": 4,
        "vcpu_per_pod": 1.0,
        "start_up": {"p50_seconds": 1, "p95_seconds": 2},
        "min_replicas": 0,
        "max_replicas": 10,
    } | (fields if "operations" in fields else work | fields)


def operation(name: str, *steps: list[dict[str, Any]], mean_seconds: float = 0.1) -> dict[str, Any]:
    law = {"law": "deterministic", "mean_seconds": mean_seconds}
    return {"name": name, "service_time": law, "steps": list(steps)}


def application(*services: dict[str, Any], entry: str = "a", **fields: Any) -> Application:
    return Application.model_validate(
        {"services": services, "classes": [{"name": "all", "entry": {"to": entry}}]} | fields
    )


def test_visits_multiply_along_the_calls() -> None:
    front = service(
        "a", operations=[operation("x", [{"to": "b", "count": 3}], [{"to": "c", "probability": 0.5}])]
    )
    middle = service("b", operations=[operation("y", [{"to": "c", "probability": 0.2, "count": 2}])])
    app = application(front, middle, service("c"))
    assert app.visits == pytest.approx({(0, 0): 1.0, (1, 0): 3.0, (2, 0): 0.5 + 3 * 2 * 0.2})


def test_a_slot_is_held_while_calling_or_not() -> None:
    """Parallel calls as long as the longest; network both ways."""
    steps = [[{"to": "b", "network_seconds": 0.05}, {"to": "c"}], [{"to": "c", "probability": 0.5}]]
    for holds, seconds in ((True, 0.1 + (0.2 + 0.1) + 0.5 * 0.25), (False, 0.1)):
        front = service("a", operations=[operation("x", *steps)], holds_slot_while_calling=holds)
        app = application(front, service("b", 0.2), service("c", 0.25))
        assert app.load_seconds() == pytest.approx((seconds, 0.2, 1.5 * 0.25))
        assert app.capacity_rps() == pytest.approx((4 / seconds, 4 / 0.2, 4 / 0.25))


def test_under_processor_sharing_the_cpu_may_be_what_binds() -> None:
    app = application(service("a", 0.1, discipline="processor_sharing", vcpu_per_pod=2.0))
    assert app.capacity_rps() == pytest.approx((20.0,))


def test_a_service_that_is_called_with_probability_0_stays() -> None:
    front = service("a", operations=[operation("x", [{"to": "b", "probability": 0.0}])])
    app = application(front, service("b", 0.2))
    assert app.load_seconds() == (0.1, 0.0)
    assert app.capacity_rps() == pytest.approx((40.0, 20.0))


@pytest.mark.parametrize(
    ("services", "said"),
    [
        ([service("a"), service("a")], r"services must have different names \(they are a, a\)"),
        ([service("b")], "class 'all' calls 'a'; there are the services b"),
        ([service("a"), service("b")], "service 'b' is called by no class of requests"),
        (
            [service("a", operations=[operation("x", [{"to": "b.z"}])]), service("b")],
            "a.x calls 'b.z'; b has the operations serve",
        ),
        (
            [
                service("a", operations=[operation("x", [{"to": "b"}])]),
                service("b", operations=[operation("y", [{"to": "a"}])]),
            ],
            r"the calls go in a circle: (a\.x -> b\.y -> a\.x|b\.y -> a\.x -> b\.y)",
        ),
    ],
)
def test_a_graph_that_cannot_be_is_refused(services: list[dict[str, Any]], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        application(*services)


@pytest.mark.parametrize("to", ["", "a.", ".x", "a.b.c"])
def test_a_callee_has_one_dot_at_most(to: str) -> None:
    with pytest.raises(ValidationError, match=r"classes\.0\.entry\.to"):
        application(service("a"), entry=to)


def test_what_is_wrong_is_said_once() -> None:
    text = "services: [{name: a, service_time: {law: weibull}}]\nclasses: [{entry: {to: a}}]\n"
    with pytest.raises(ValueError, match="weibull") as caught:
        parse_settings(Application, text, "mine.yaml")
    assert "at least 1 item" not in str(caught.value)


def test_deep_and_wide_graphs_are_read() -> None:
    """A chain of 2,000 operations; 20 layers in which each calls all of the next."""
    places = [(at % 20, at // 20) for at in range(2000)]
    names = [f"s{service}.o{place}" for service, place in places]
    steps = [[[{"to": name}]] for name in names[1:]] + [[]]
    by_service: dict[int, list[dict[str, Any]]] = {}
    for (index, place), step in zip(places, steps, strict=True):
        by_service.setdefault(index, []).append(operation(f"o{place}", *step))
    chain = application(
        *(service(f"s{index}", operations=found) for index, found in by_service.items()), entry="s0.o0"
    )
    assert set(chain.visits.values()) == {1.0}
    layers = [[f"l{layer}x{at}" for at in range(5)] for layer in range(20)]
    services = []
    for layer, following in zip(layers, [*layers[1:], []], strict=True):
        step = [[{"to": name, "probability": 0.2} for name in following]] if following else []
        services += [service(name, operations=[operation("o", *step)]) for name in layer]
    classes = [{"name": name, "entry": {"to": name}} for name in layers[0]]
    wide = Application.model_validate({"services": services, "classes": classes})
    assert sum(wide.visits.values()) == pytest.approx(20.0)


@pytest.mark.parametrize("name", application_names())
def test_the_shipped_ones_say_what_they_are_modelled_on(name: str) -> None:
    app = load_application(name)
    assert app.name == name
    assert len(app.source) > 50
    assert len(app.services) == {"shop": 3, "boutique": 11}[name]
    assert all(service.queue_limit_per_pod for service in app.services)
