"""``KIND:key=value,key=value`` on a command line, as the settings that it stands for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from agents.registry import parse_spec
from simulator.errors import InputError
from simulator.settings import Settings

Made = TypeVar("Made", bound=Settings)


def make_settings(spec: str, what: str, kinds: Mapping[str, type[Made]]) -> Made:
    """The settings of a spec.

    Args:
        what: what it is one of, for errors.
        kinds: what there is, by kind.

    Raises:
        InputError: naming the kind, the setting, its value and what is allowed.
    """
    try:
        parsed = parse_spec(spec)
    except InputError as error:
        raise InputError(str(error).replace("policy", what, 1)) from None
    kind = kinds.get(parsed.name)
    if kind is None:
        msg = f"{what} {parsed.name!r} is unknown; there are: {', '.join(kinds)}"
        raise InputError(msg)
    try:
        return kind.model_validate(parsed.settings)
    except ValidationError as error:
        parts = [_say(item, kind) for item in error.errors()]
        raise InputError(f"{what} {spec}: " + "; ".join(parts)) from None


def _say(item: Any, kind: type[Settings]) -> str:  # noqa: ANN401 - pydantic's own error
    name = ".".join(str(place) for place in item["loc"])
    if item["type"] == "extra_forbidden":
        allowed = ", ".join(key for key in kind.model_fields if key != "kind")
        return f"setting {name!r} is unknown; there are: {allowed}"
    if item["type"] == "missing":
        return f"setting {name!r} is needed"
    given = f"{name} is {item['input']!r}: " if name else ""
    return str(given + item["msg"].removeprefix("Value error, "))
