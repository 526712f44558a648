"""What is said of wrong settings: in paths of the file, with what is allowed at that very place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from agents.registry import check_settings, parse_spec
from envs.task import Task, load_task
from experiments.specs import make_settings
from simulator.errors import InputError
from simulator.faults import KINDS
from simulator.laws.law import ServiceTimeLaw
from simulator.settings import Settings, parse_settings
from simulator.settings_errors import follow, takes_numbers_only

CONTENT = load_task("multi-region").model_dump(mode="json", exclude_none=True)
FLEET = load_task("spot-fleet").model_dump(mode="json", exclude_none=True)
EUROPE, ENTRY = "scenario.application.services.0", "scenario.application.classes.0.entry"
Place = tuple[int | str, ...]


def changed(content: Any, place: Place, value: object) -> Any:
    """The content with another value at a place; Ellipsis takes it away."""
    step, *rest = place
    copy = dict(content) if isinstance(content, dict) else list(content)
    if rest:
        copy[step] = changed(copy[step], tuple(rest), value)
    elif value is ...:
        del copy[step]
    else:
        copy[step] = value
    return copy


def places(content: object, at: Place = ()) -> Iterator[tuple[Place, object]]:
    """Every place in a content with what is there."""
    yield at, content
    parts: Any = (
        content.items()
        if isinstance(content, dict)
        else enumerate(content)
        if isinstance(content, list)
        else ()
    )
    for step, part in parts:
        yield from places(part, (*at, step))


def said_of(content: object) -> str:
    with pytest.raises(InputError) as caught:
        parse_settings(Task, yaml.safe_dump(content), "mine.yaml")
    return str(caught.value).removeprefix("mine.yaml: ")


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("scenario.faults.0.kind", ..., "{0}: kind is needed: one of pod_kill, node_loss, "),
        (
            "scenario.faults.0.kind",
            "zone_los",
            "{0}: kind 'zone_los' is unknown, did you mean zone_loss? (there",
        ),
        ("scenario.faults.1.zone", ..., "{1}: Field required"),
        ("scenario.faults.0.count", 3, "{1}: is no field of RegionLoss (there are: at_seconds, per_hour, "),
        ("scenario.faults.0", 7, "{1}: must hold fields"),
        ("scenario.workload.model", {}, "{1}: kind is needed: one of steady, diurnal, "),
        (
            "scenario.workload.model",
            {"kind": "ramp", "peak": 2},
            "{1}.peak: is no field of Ramp (there are: ",
        ),
        (
            f"{EUROPE}.service_time",
            {"mean_seconds": 1},
            "{1}: law is needed: one of lognormal, exponential, ",
        ),
        (
            f"{EUROPE}.service_time",
            {"law": "gamma", "mean_seconds": 1, "scv": -1},
            "{1}.scv: Input should be greater than 0",
        ),
        (f"{EUROPE}.zone", "a", "{1}: is no field of Service (there are: name, "),
        (
            f"{ENTRY}.time_out_seconds",
            1,
            "{1}: is no field of Call, did you mean timeout_seconds? (there are: ",
        ),
        (f"{EUROPE}.region", "mars", "{0} (europe): region is 'mars'; cluster.groups are in america, europe"),
        ("scenario.faults.0.region", "mars", "{0} (region_loss): there is no node group in mars/*"),
        ("scenario.workload.mean_rps", True, "{1}: must be a number (it is True)"),
        ("actions.changes.1", True, "{1}: must be a number (it is True)"),
        ("scenario.faults.0.per_hour", False, "{1}: must be a number (it is False)"),
    ],
)
def test_a_message_has_the_files_path_and_what_is_allowed_there(path: str, value: object, said: str) -> None:
    """The path and the one above it stand for {1} and {0}."""
    steps = tuple(int(step) if step.isdigit() else step for step in path.split("."))
    expected = said.format(path.rpartition(".")[0], path)
    assert said_of(changed(CONTENT, steps, value)).startswith(expected)


@given(st.sampled_from([found for content in (CONTENT, FLEET) for found in places(content) if found[0]]))
def test_the_path_of_whatever_is_wrong_is_one_of_the_file(found: tuple[Place, object]) -> None:
    """A value of a type that fits nowhere, and then a field that is nowhere."""
    place, value = found
    content = next(each for each in (CONTENT, FLEET) if found in places(each))
    dotted = ".".join(map(str, place))
    said = said_of(changed(content, place, {"no such field": [None]}))
    assert said.startswith((f"{dotted}: ", f"{dotted}.")) or place[-1] in {"kind", "law", "process"}
    if isinstance(value, dict):
        said = said_of(changed(content, (*place, "no such field"), 1))
        assert said.startswith(f"{dotted}.no such field: is no field of ")


@given(
    st.sampled_from([place for place, value in places(CONTENT) if isinstance(value, int | float)]),
    st.booleans(),
)
def test_a_boolean_is_refused_wherever_a_number_is_needed(place: Place, value: bool) -> None:
    _, kind = follow(Task, place)
    if kind is bool:
        return
    assert (
        said_of(changed(CONTENT, place, value))
        == f"{'.'.join(map(str, place))}: must be a number (it is {value})"
    )


def test_a_boolean_is_refused_on_the_command_line_too() -> None:
    with pytest.raises(InputError, match="at_seconds is True: must be a number"):
        make_settings("pod_kill:at_seconds=true", "fault", KINDS)
    with pytest.raises(InputError, match="fixed:replicas=True: replicas is True: must be a number"):
        check_settings(parse_spec("fixed:replicas=true"))


class Mixed(Settings):
    """Fields of all sorts."""

    flag: bool = False
    number_or_flag: float | bool = 1.0
    numbers: tuple[float, ...] = ()
    table: tuple[tuple[float, ...], ...] = ()
    by_name: dict[str, int] | None = None
    number_or_name: int | str = 1
    perhaps: float | None = None
    anything: Any = None
    law: ServiceTimeLaw | None = None


def test_booleans_stay_where_they_are_meant() -> None:
    assert Mixed(flag=True, number_or_flag=True, anything=[True]).number_or_flag is True
    found = {name for name, field in Mixed.model_fields.items() if takes_numbers_only(field.annotation)}
    assert found == {"numbers", "table", "by_name", "number_or_name", "perhaps"}
    with pytest.raises(ValidationError) as caught:
        Mixed.model_validate({"table": [[1, 2], [3, False]], "by_name": {"a": True}, "number_or_name": True})
    assert [item["loc"] for item in caught.value.errors()] == [
        ("table", 1, 1),
        ("by_name", "a"),
        ("number_or_name",),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("flag: true\nflag: true\n", "x.yaml: line 2: flag is given twice"),
        ("by_name:\n  a: 1\n  b: 2\n  a: 3\n", "x.yaml: line 4: a is given twice"),
        ("by_name: {a: 1, 'a': 2}", "x.yaml: line 1: a is given twice"),
    ],
)
def test_a_key_that_is_given_twice_is_refused_with_its_line(text: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_settings(Mixed, text, "x.yaml")
    assert str(caught.value) == said


def test_what_is_merged_in_may_be_given_again() -> None:
    text = "by_name: &a {<<: {a: 1, b: 1}, a: 2}\nanything: {<<: *a, b: 3}\n"
    found = parse_settings(Mixed, text, "x.yaml")
    assert (found.by_name, found.anything) == ({"a": 2, "b": 1}, {"a": 2, "b": 3})


@given(
    st.recursive(
        st.integers() | st.text(max_size=3),
        lambda inner: st.dictionaries(st.text(max_size=3), inner, max_size=4),
    )
)
def test_yaml_without_double_keys_reads_as_always(content: object) -> None:
    text = yaml.safe_dump({"anything": content}, allow_unicode=True)
    assert parse_settings(Mixed, text, "x.yaml").anything == yaml.safe_load(text)["anything"]


def test_a_changed_copy_derives_everything_anew() -> None:
    """Cached properties of the original are none of the copy's."""
    scenario = load_task("web").scenario
    assert scenario.service is not None
    service = scenario.service.model_copy(update={"min_replicas": 7})
    assert scenario.system.services[0].min_replicas != 7
    assert scenario.model_copy(update={"service": service}).system.services == (service,)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("nasaa", "did you mean nasa?"),
        ("steady", "as {kind: steady}"),
        ("my.yaml", "a task takes models that ship"),
    ],
)
def test_a_workload_model_that_does_not_ship(model: str, said: str) -> None:
    content = load_task("web").model_dump(mode="json", exclude_none=True)
    content["scenario"]["workload"]["model"] = model
    with pytest.raises(InputError, match=r"mine.yaml: scenario\.workload\.model: ") as refused:
        parse_settings(Task, yaml.safe_dump(content), "mine.yaml")
    assert said in str(refused.value)


def test_nodes_that_cannot_hold_the_least_replicas_are_told() -> None:
    content = load_task("spot-fleet").model_dump(mode="json", exclude_none=True)
    assert not Task.model_validate(content).scenario.shortages()
    for group in content["scenario"]["cluster"]["groups"]:
        group |= {"min_nodes": 0, "initial_nodes": 1, "max_nodes": 1}
    content["scenario"]["service"] |= {"min_replicas": 40, "max_replicas": 80}
    (line,) = Task.model_validate(content).scenario.shortages()
    assert "min_replicas is 40, and at most" in line
    assert not load_task("web").scenario.shortages()
