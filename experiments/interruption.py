"""Ctrl-C, and what a command says of it."""

from __future__ import annotations

import signal
import threading
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


@contextmanager
def deferred() -> Iterator[None]:
    """Ctrl-C waits for the end of what must not be cut off, such as the start of a worker."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    asked: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _frame: asked.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if asked:
        raise KeyboardInterrupt
