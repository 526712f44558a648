"""Ctrl-C, and what a command says of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class Interrupted(Exception):  # noqa: N818 - asked for, and no error
    """Ctrl-C ended a command; the message says what is left of its work."""


@contextmanager
def resumable() -> Iterator[None]:
    """Ctrl-C says that what is finished is kept."""
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(
            "interrupted: what is finished stays, and the same command goes on from there"
        ) from None
