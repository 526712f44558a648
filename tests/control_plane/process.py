"""Programs that tests run, and how tests wait for what these do."""

from __future__ import annotations

import itertools
import os
import random
import signal
import socket
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import httpx
import urllib3
from kubernetes.client import ApiException

T = TypeVar("T")
NOT_YET = (ApiException, urllib3.exceptions.HTTPError, httpx.HTTPError, OSError)

# A program asks to be killed when the thread that started it ends, so that none outlives a test run however the
# run ends. This thread lives as long as the run.
_STARTER = ThreadPoolExecutor(1, "starter")
_RESERVED: list[socket.socket] = []


def wait_until(
    condition: Callable[[], T], what: str, seconds: float = 60.0, every_seconds: float = 0.05
) -> T:
    """The first true value of a condition; an answer that is an error is not yet one.

    Raises:
        TimeoutError: there was none in time.
    """
    deadline = time.monotonic() + seconds
    error: Exception | None = None
    while time.monotonic() < deadline:
        try:
            if value := condition():
                return value
            error = None
        except NOT_YET as latest:
            error = latest
        time.sleep(every_seconds)
    raise TimeoutError(f"not within {seconds:g} s: {what}") from error


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nothing else has, and that no other run that calls this gets while this one lasts.

    They lie below the range that outgoing connections take theirs from, so that none of these takes the port of a
    server that is restarted, or connects to itself while that server is down.
    """
    candidates = random.SystemRandom().sample(range(20_000, 32_000), 1000)
    return list(itertools.islice(filter(_reserve, candidates), count))


def _reserve(port: int) -> bool:
    name = socket.socket(socket.AF_UNIX)
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
            name.bind(f"\0setpoint-port-{port}")  # an abstract name: the kernel frees it when the run ends
        except OSError:
            name.close()
            return False
    _RESERVED.append(name)
    return True


class Process:
    """A program in a process group of its own; its output goes to a file.

    Attributes:
        log: standard output and standard error of all its lives.
    """

    def __init__(self, arguments: Sequence[str | Path], folder: Path) -> None:
        self.name = Path(arguments[0]).name
        self.log = folder / f"{self.name}.log"
        self._arguments = arguments
        self._running: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Begin a life."""
        command = ["setpriv", "--pdeathsig", "KILL", "--", *self._arguments]
        with self.log.open("ab") as log:
            self._running = _STARTER.submit(
                subprocess.Popen,
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            ).result()

    def wait_until_healthy(self, url: str, context: ssl.SSLContext | None = None) -> None:
        """Until the address answers 200.

        Raises:
            RuntimeError: the program has ended, or does not answer in time.
        """

        def answers() -> bool:
            if self._running is None or self._running.poll() is not None:
                raise RuntimeError(f"{self.name} has ended:\n{self.tail()}")
            with urllib.request.urlopen(url, context=context, timeout=2) as answer:
                return answer.status == 200

        try:
            wait_until(answers, f"{url} answers", 120)
        except TimeoutError as error:
            raise RuntimeError(f"{self.name} does not answer:\n{self.tail()}") from error

    def signal(self, number: signal.Signals) -> None:
        """Send its group a signal."""
        if self._running is not None and self._running.poll() is None:
            os.killpg(self._running.pid, number)

    def pause(self) -> None:
        """Until each of its threads stands still, which on a busy machine takes a moment."""
        self.signal(signal.SIGSTOP)
        wait_until(self._stands_still, f"{self.name} stands still")

    def _stands_still(self) -> bool:
        assert self._running is not None
        states = [path.read_text() for path in Path(f"/proc/{self._running.pid}/task").glob("*/status")]
        return all("State:\tT" in state for state in states)

    def stop(self) -> None:
        """End it so that it can save what it has."""
        self.signal(signal.SIGTERM)
        if self._running is not None:
            self._running.wait(30)

    def kill(self) -> None:
        """End it at once."""
        self.signal(signal.SIGKILL)
        if self._running is not None:
            self._running.wait()

    def tail(self, lines: int = 15) -> str:
        """The last lines that it wrote."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])
