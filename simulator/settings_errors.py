"""What is wrong with settings, in words and paths of the YAML file that they come from."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, Tag, ValidationError

_MOST_LETTERS = 60
_PLAIN = {
    "model_type": "must hold fields: {name: value, ...}",
    "model_attributes_type": "must hold fields: {name: value, ...}",
    "tuple_type": "must be a list: [...]",
}
"""What pydantic says in words of Python, by the error's type."""
_FIELD_FIRST = re.compile(r"(\w+)(\.\w+)*( \([^()]*\))?:|(\w+)(\.\w+)+ ")
"""The path of a field at the beginning of a text."""
Steps = tuple[int | str, ...]


def describe(model: type[BaseModel], source: str, error: ValidationError) -> str:
    """One line: source, each field's path, what is wrong and the value."""
    errors = error.errors()
    places = [item["loc"] for item in errors]
    parts = []
    for item in errors:
        place = item["loc"]
        inside = any(len(other) > len(place) and other[: len(place)] == place for other in places)
        if item["type"] == "too_short" and inside:
            continue  # what is wrong with the items is said already, and they are not counted then
        parts.append(_say(model, item))
    return f"{source}: " + "; ".join(parts)


def _say(model: type[BaseModel], item: Any) -> str:  # noqa: ANN401 - pydantic's own error
    """What is wrong with one field, after its path."""
    steps, kind = follow(model, item["loc"])
    path = ".".join(steps)
    what, value = item["type"], item["input"]
    if what == "extra_forbidden":
        return f"{path}: {_unknown_field(model, item['loc'])}"
    if what in {"union_tag_not_found", "union_tag_invalid"}:
        return f"{path or 'the whole'}: {_wrong_tag(kind, item['ctx'])}"
    said = _PLAIN.get(what, item["msg"].removeprefix("Value error, ").replace("Tuple", "List"))
    if path and what == "value_error" and _begins_with_field(said, kind):
        return f"{path}.{said}"
    is_said = what != "missing" and (value is None or isinstance(value, str | int | float))
    given = f" (it is {repr(value)[:_MOST_LETTERS]})" if is_said else ""
    return f"{path or 'the whole'}: {said}{given}"


def _unknown_field(model: type[BaseModel], place: Steps) -> str:
    """Which fields there are beside one that is none, and which may be meant."""
    _, kind = follow(model, place[:-1])
    if not _is_model(kind):
        return "is no field"
    names, given = list(kind.model_fields), str(place[-1])
    close = get_close_matches(given, names, n=1, cutoff=0.6)
    close += [name for name in names if name.startswith(f"{given}_")]
    guess = f", did you mean {close[0]}?" if close else ""
    return f"is no field of {kind.__name__}{guess} (there are: {', '.join(names)})"


def _wrong_tag(kind: object, context: Mapping[str, Any]) -> str:
    """What a field that chooses among kinds may be; it is missing or unknown."""
    field = context["discriminator"].strip("'")
    tags = [tag for member in _members(kind) for tag in _tags(_bare(member), field)]
    allowed = ", ".join(tags)
    if "tag" not in context:
        return f"{field} is needed: one of {allowed}"
    close = get_close_matches(context["tag"], tags, n=1, cutoff=0.6)
    guess = f", did you mean {close[0]}?" if close else ""
    return f"{field} {context['tag']!r} is unknown{guess} (there are: {allowed})"


def _begins_with_field(text: str, kind: Any) -> bool:  # noqa: ANN401 - a type
    found = _FIELD_FIRST.match(text)
    return found is not None and _is_model(kind) and (found[1] or found[4]) in kind.model_fields


def follow(kind: object, place: Steps) -> tuple[tuple[str, ...], Any]:
    """Where pydantic's place of an error is in the YAML file, and of which type that is.

    Args:
        kind: the whole's type.
        place: steps from the whole; among them are the tags of unions, which no file has there.

    Returns:
        The steps without tags, and the type; None where it is not known.
    """
    steps = []
    found = _bare(kind)
    for step in place:
        members = _members(found)
        if members:
            found = _bare(_tagged(members, step))
            continue
        steps.append(str(step))
        found = _bare(_inside(found, step))
    return tuple(steps), found


def _inside(kind: Any, step: int | str) -> Any:  # noqa: ANN401 - a type, or None
    """The type of a field, an item or a value; None where it is not known."""
    if _is_model(kind):
        field = kind.model_fields.get(str(step))
        return field.annotation if field else None
    origin, inner = get_origin(kind), get_args(kind)
    if not isinstance(origin, type) or not inner:
        return None
    if issubclass(origin, Mapping):
        return inner[-1]
    if issubclass(origin, tuple) and inner[-1] is not Ellipsis:
        return inner[step] if isinstance(step, int) and step < len(inner) else None
    return inner[0] if issubclass(origin, Sequence | set | frozenset) else None


def _tagged(members: Sequence[Any], step: int | str) -> Any:  # noqa: ANN401 - a type, or None
    """The member of a union that pydantic calls so; None where there is none."""
    for member in members:
        named = any(isinstance(extra, Tag) and extra.tag == step for extra in get_args(member)[1:])
        bare = _bare(member)
        if named or step in _tags(bare) or step == getattr(bare, "__name__", None):
            return member
    return None


def _tags(kind: Any, field: str | None = None) -> tuple[str, ...]:  # noqa: ANN401 - a type
    """The values by which a model is chosen among others, of one field or of any."""
    fields = kind.model_fields if _is_model(kind) else {}
    return tuple(
        tag
        for name, info in fields.items()
        if field in {None, name} and get_origin(info.annotation) is Literal
        for tag in get_args(info.annotation)
    )


def _bare(kind: Any) -> Any:  # noqa: ANN401 - a type
    """A type without annotations and None."""
    while True:
        if get_origin(kind) is Annotated:
            kind = get_args(kind)[0]
        elif _is_union(kind) and len(known := _not_none(kind)) == 1:
            kind = known[0]
        else:
            return kind


def _members(kind: object) -> tuple[Any, ...]:
    """Those of a union of several; else none."""
    return _not_none(kind) if _is_union(kind) else ()


def _not_none(kind: object) -> tuple[Any, ...]:
    return tuple(member for member in get_args(kind) if member is not type(None))


def _is_union(kind: object) -> bool:
    return get_origin(kind) in {Union, UnionType}


def _is_model(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def takes_numbers_only(kind: object) -> bool:
    """Whether a field's type is of numbers, lists of them among it, and not of booleans."""
    found = _leaves(kind)
    return bool(found & {int, float}) and not found & {bool, object} and not any(map(_is_model, found))


def _leaves(kind: Any) -> set[Any]:  # noqa: ANN401 - a type
    """The innermost types of a type; object where anything goes."""
    kind = _bare(kind)
    if kind is Any:
        return {object}
    if get_origin(kind) is Literal:
        return {type(value) for value in get_args(kind)}
    inner = [part for part in get_args(kind) if part is not Ellipsis]
    return set().union(*map(_leaves, inner)) if inner else {kind}
