"""Ctrl-C, and what a command says of it."""

from __future__ import annotations


class Interrupted(Exception):  # noqa: N818 - asked for, and no error
    """Ctrl-C ended a command; the message says what is left of its work."""
