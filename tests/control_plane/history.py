"""A Prometheus with a history: its blocks are made from a text file, so that days are there in a second."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from control_plane import binaries
from control_plane.process import Process, free_ports

START = 1_714_521_600
"""When the history begins: 2024-05-01 00:00 UTC."""
SCRAPE_SECONDS = 15
DAYS = 3


def rate_rps(seconds: np.ndarray) -> np.ndarray:
    """Requests/s that the counter `http_requests_total{service="web"}` has, from START on."""
    return 50 + 40 * np.sin(2 * np.pi * seconds / 86_400)


def counted(seconds: np.ndarray) -> np.ndarray:
    """Requests from START on: the integral of rate_rps."""
    return 50 * seconds + 40 * 86_400 / (2 * np.pi) * (1 - np.cos(2 * np.pi * seconds / 86_400))


def series() -> Iterable[str]:
    """OpenMetrics, a line a sample."""
    seconds = np.arange(0, DAYS * 86_400 + 1, SCRAPE_SECONDS)
    yield "# TYPE http_requests counter"
    for service, factor in (("web", 1.0), ("shop", 0.5)):
        for second, count in zip(seconds, factor * counted(seconds), strict=True):
            yield f'http_requests_total{{service="{service}"}} {count:.6f} {START + second}'
    yield "# TYPE load gauge"
    for second in seconds:
        if not 3600 <= second < 7200:  # an hour is missing
            yield f'load{{kind="gap"}} {rate_rps(second):.6f} {START + second}'
        yield f'load{{kind="nan"}} {"NaN" if second == 7200 else 1} {START + second}'
        yield f'load{{kind="inf"}} {"+Inf" if second == 7200 else 1} {START + second}'
        yield f'load{{kind="late"}} {second // 60} {START + second}'
    yield "# EOF"


class History:
    """The server.

    Attributes:
        url: its address.
    """

    def __init__(self, folder: Path) -> None:
        """Make the blocks.

        Raises:
            FileNotFoundError: there is no prometheus or promtool; says how to have them.
        """
        program, tool = binaries.require("prometheus", "promtool")
        text, data = folder / "history.txt", folder / "data"
        text.write_text("\n".join(series()) + "\n")
        make = [tool, "tsdb", "create-blocks-from", "openmetrics", text, data]
        subprocess.run(make, check=True, capture_output=True)
        text.unlink()
        config = folder / "prometheus.yml"
        config.write_text("{}")
        (port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{port}"
        arguments = {
            "config.file": config,
            "storage.tsdb.path": data,
            "storage.tsdb.retention.time": "100y",
            "web.listen-address": f"127.0.0.1:{port}",
        }
        self._process = Process(
            [program, *(f"--{name}={value}" for name, value in arguments.items())], folder
        )

    def start(self) -> None:
        """Until it answers."""
        self._process.start()
        self._process.wait_until_healthy(f"{self.url}/-/ready")

    def kill(self) -> None:
        """At once."""
        self._process.kill()
