"""Bad releases and stuck pulls in the batch engine: pods come and go as on the request engine, and so do errors."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from quiet import check_same, without_nodes, world


def faults(rng: Random, kind: str, *services: str | None) -> list[dict[str, Any]]:
    """Some of a kind, which begin and end between two control steps' decisions and may overlap."""
    return [
        {
            "kind": kind,
            "at_seconds": 15.0 * rng.randint(1, 70),
            "duration_seconds": 15.0 * rng.randint(2, 30),
            "service": rng.choice(services),
        }
        for _ in range(rng.randint(1, 3))
    ]


@pytest.mark.parametrize("seed", range(30))
def test_stuck_pulls_hold_up_pods_as_on_the_request_engine(seed: int) -> None:
    rng = Random(1000 + seed)
    check_same(world(rng, faults(rng, "stuck_pull", "s0", None)), rng)


@pytest.mark.parametrize("seed", range(40))
def test_bad_releases_are_rolled_out_and_back_as_on_the_request_engine(seed: int) -> None:
    """Every other time pods need no nodes; where they do there is room, so that none wait in an order of their own."""
    rng = Random(2000 + seed)
    task = world(rng, faults(rng, "bad_release", "s0"), has_room=True)
    check_same(without_nodes(task) if seed % 2 else task, rng)


@pytest.mark.parametrize("seed", range(30))
def test_pods_that_leak_are_killed_and_started_again_as_on_the_request_engine(seed: int) -> None:
    rng = Random(3000 + seed)
    leaks = [
        each | {"gib_per_hour": rng.choice((3.0, 30.0, 120.0))}
        for each in faults(rng, "memory_leak", "s0", None)
    ]
    task = world(rng, leaks, has_room=True)
    check_same(without_nodes(task) if seed % 2 else task, rng)
