"""Values that people write as YAML: frozen, checked when made, with errors that name the field."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Self, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from simulator.errors import InputError
from simulator.settings_errors import describe, takes_numbers_only


class Settings(BaseModel):
    """A frozen, checked value that people write as YAML; unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy, with some fields changed and unchecked; what was derived of the old ones is not taken along."""
        copied = super().model_copy(update=update, deep=deep)
        for name in copied.__dict__.keys() - type(self).model_fields.keys():
            del copied.__dict__[name]
        return copied

    @model_validator(mode="before")
    @classmethod
    def _no_booleans_for_numbers(cls, content: object) -> object:
        """Refuse true for 1, which is a slip in a file."""
        if not isinstance(content, Mapping):
            return content
        wrong = [
            InitErrorDetails(
                type=PydanticCustomError("number", "must be a number"), loc=(name, *place), input=value
            )
            for name, held in content.items()
            if name in _number_fields(cls)
            for place, value in _booleans(held)
        ]
        if wrong:
            raise ValidationError.from_exception_data(cls.__name__, wrong)
        return content


@cache
def _number_fields(model: type[Settings]) -> frozenset[str]:
    return frozenset(
        name for name, field in model.model_fields.items() if takes_numbers_only(field.annotation)
    )


def _booleans(value: object) -> Iterator[tuple[tuple[int | str, ...], bool]]:
    """The booleans in a value or a list, a list of lists and so on, each with its place."""
    if isinstance(value, bool):
        yield (), value
    parts: Any = ()
    if isinstance(value, list | tuple):
        parts = enumerate(value)
    elif isinstance(value, Mapping):
        parts = value.items()
    for step, part in parts:
        for place, found in _booleans(part):
            yield (step, *place), found


class _GivenTwiceError(ValueError):
    """A key that a YAML mapping has twice."""


class _Loader(yaml.SafeLoader):
    """Refuses a key that is given twice, of which YAML would take the last."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:  # noqa: ANN401 - as PyYAML has it
        node = super().compose_mapping_node(anchor)
        keys = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                continue
            if (key.tag, key.value) in keys:
                msg = f"line {key.start_mark.line + 1}: {key.value} is given twice"
                raise _GivenTwiceError(msg)
            keys.add((key.tag, key.value))
        return node


Model = TypeVar("Model", bound=Settings)


def parse_settings(model: type[Model], text: str, source: str) -> Model:
    """Settings from a YAML text.

    Args:
        source: where the text comes from, for errors.

    Raises:
        InputError: naming source, field, value and what is allowed.
    """
    try:
        content = _read_yaml(text)
    except _GivenTwiceError as error:
        msg = f"{source}: {error}"
        raise InputError(msg) from None
    except (yaml.YAMLError, ValueError) as error:
        msg = f"{source}: not a YAML file ({' '.join(str(error).split())})"
        raise InputError(msg) from None
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise InputError(describe(model, source, error)) from None


def _read_yaml(text: str) -> object:
    loader = _Loader(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def read_text(path: Path, what: str, hint: str = "") -> str:
    """A text file's content.

    Args:
        what: what the file is meant to be, for errors.
        hint: what to do where there is no such file.

    Raises:
        InputError: if it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        msg = f"{path}: no such {what}{hint}"
        raise InputError(msg) from None
    except (OSError, UnicodeDecodeError) as error:
        msg = f"{path}: cannot be read as a {what} ({error})"
        raise InputError(msg) from None


def is_whole_multiple(whole: float, part: float) -> bool:
    """Whether ``whole`` is 1, 2, 3 ... times ``part``, but for rounding (0.3 is 3 times 0.1)."""
    ratio = whole / part
    return round(ratio) >= 1 and math.isclose(ratio, round(ratio), rel_tol=1e-9)
