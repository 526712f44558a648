"""What a rule's settings may be searched over."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Any

from agents.policy import Context
from simulator.trace import Trace

Point = tuple[Any, ...]
"""A value along each axis; empty for the rule's defaults, where no point of the space stands for them."""
_DIGITS = 3
_MOST_LISTED, _MOST_DECIMALS = 6, 9


@dataclass(frozen=True, slots=True)
class Range:
    """All numbers between two ends, both included, to three significant digits.

    Attributes:
        log: whether equal ratios are equally far apart, rather than equal differences.
    """

    low: float
    high: float
    log: bool = False

    def rounded(self, value: float) -> float:
        """A number within the ends as it is written into a spec."""
        return min(max(float(f"{value:.{_DIGITS}g}"), self.low), self.high)

    def __str__(self) -> str:
        """For reports."""
        return f"{self.low:g} to {self.high:g}{', on a logarithmic scale' if self.log else ''}"


Axis = tuple[Any, ...] | Range
"""Values to choose among, in their order; or a Range."""


@dataclass(frozen=True, slots=True)
class Ground:
    """What settings are searched on.

    Attributes:
        context: what the policy may know.
        load: the requests that it is to bear.
    """

    context: Context
    load: Trace


def _as_they_are(values: Mapping[str, Any], _: Ground) -> dict[str, Any]:
    return dict(values)


@dataclass(frozen=True, slots=True)
class Space:
    """What is searched of a rule: a grid where all axes are values to choose among.

    Attributes:
        name: the rule's.
        axes: by the setting's name, or by another where ``settings`` says what it means.
        settings: the rule's settings for a value along each axis, on some ground.
    """

    name: str
    axes: dict[str, Axis]
    settings: Callable[[Mapping[str, Any], Ground], dict[str, Any]] = _as_they_are

    @property
    def is_plain(self) -> bool:
        """Whether the axes are settings of the rule themselves."""
        return self.settings is _as_they_are

    @property
    def is_grid(self) -> bool:
        """Whether all of it can be tried."""
        return not any(isinstance(axis, Range) for axis in self.axes.values())

    @property
    def points(self) -> list[Point]:
        """All of a grid."""
        return list(product(*self._grid))

    @property
    def coarse(self) -> list[Point]:
        """A few points all over a grid, the first ones where all of it cannot be tried at once."""
        return list(product(*(_few(values) for values in self._grid)))

    def settings_at(self, point: Point, ground: Ground) -> dict[str, Any]:
        """The rule's settings at a point."""
        return self.settings(dict(zip(self.axes, point, strict=True)), ground) if point else {}

    def label(self, point: Point) -> str:
        """A point for people; the policy's spec where the axes are its settings."""
        pairs = (
            ",".join(f"{name}={value}" for name, value in zip(self.axes, point, strict=True)) if point else ""
        )
        return f"{self.name}{':' if self.is_plain else ' with '}{pairs}" if pairs else self.name

    def neighbours(self, point: Point) -> list[Point]:
        """The points of a grid that differ by at most one step on every axis."""
        if not point:
            return []
        near = []
        for values, value in zip(self._grid, point, strict=True):
            place = values.index(value)
            near.append(values[max(place - 1, 0) : place + 2])
        return list(product(*near))

    @property
    def _grid(self) -> list[tuple[Any, ...]]:
        return [axis for axis in self.axes.values() if not isinstance(axis, Range)]

    @property
    def about(self) -> str:
        """The axes, for people."""
        return "; ".join(f"{name} {_said(axis)}" for name, axis in self.axes.items())

    def __str__(self) -> str:
        """For reports."""
        return f"{self.name}: {self.about}"


def _said(axis: Axis) -> str:
    """The ends of a range, of many numbers with equal steps the ends and the step, or else all values."""
    if isinstance(axis, Range):
        return f"from {axis}"
    if len(axis) > _MOST_LISTED and all(isinstance(value, int | float) for value in axis):
        steps = {round(high - low, _MOST_DECIMALS) for low, high in pairwise(axis)}
        if len(steps) == 1:
            return f"from {axis[0]:g} to {axis[-1]:g} in steps of {steps.pop():g}"
    return f"in {', '.join(map(str, axis))}"


def _few(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Every third one of many, the first and the middle one of some, one of two."""
    if len(values) > 5:
        return values[1::3]
    return values[:: max(len(values) // 2, 2)][:2]
