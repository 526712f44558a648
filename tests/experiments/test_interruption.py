"""Ctrl-C while something must not be cut off."""

from __future__ import annotations

import signal

import pytest

from experiments.interruption import deferred


def work(done: list[str], *, breaks: bool = False) -> None:
    with deferred():
        signal.raise_signal(signal.SIGINT)
        done.append("all of it")
        if breaks:
            raise ValueError(*done)


def test_ctrl_c_waits_for_the_end() -> None:
    before = signal.getsignal(signal.SIGINT)
    done: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        work(done)
    assert done == ["all of it"]
    assert signal.getsignal(signal.SIGINT) is before


def test_an_error_is_told_rather_than_ctrl_c() -> None:
    with pytest.raises(ValueError, match="all of it"):
        work([], breaks=True)
