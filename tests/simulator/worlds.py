"""Small whole worlds by chance: services, nodes, faults, metrics, and a script of what is asked for.

A world is drawn from a ``random.Random``, so that Hypothesis can make and shrink it and a number can name it.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np

from simulator.plant import Desired
from simulator.scenario import Scenario
from simulator.trace import Trace

Fields = dict[str, Any]
BIN_SECONDS = 20.0
EXPANDERS = ["least_waste", "most_pods", "least_nodes", "price", "priority", "random"]
FAULTS = [
    "pod_kill",
    "node_loss",
    "zone_loss",
    "region_loss",
    "stock_out",
    "slow_start",
    "stuck_pull",
    "latency",
    "cpu_starvation",
    "memory_leak",
    "metric_outage",
    "metric_staleness",
    "api_refusal",
    "bad_release",
]
OF_NODES = {"node_loss", "zone_loss", "region_loss", "stock_out"}
OF_SERVICES = {
    "pod_kill",
    "slow_start",
    "stuck_pull",
    "latency",
    "cpu_starvation",
    "memory_leak",
    "bad_release",
}


@dataclass(frozen=True)
class Step:
    """What is asked for, if anything, and how long to wait then."""

    desired: Desired | None
    seconds: float


@dataclass(frozen=True)
class World:
    """A Scenario, its load, and what is done to it."""

    scenario: Scenario
    trace: Trace
    seed: int
    steps: tuple[Step, ...]


def draw_world(random: Random, *, calm: bool = False) -> World:
    """A world; a ``calm`` one has nothing that would keep it from what is asked for last."""
    steps_seconds = [random.choice([1.0, 5.0, 15.0, 15.0, 30.0]) for _ in range(random.randint(2, 8))]
    busy_seconds = sum(steps_seconds)
    has_nodes = random.random() < 0.75
    services = [_service(random, place, has_nodes, calm) for place in range(random.choice([1, 1, 2, 3]))]
    groups = _groups(random, services, calm) if has_nodes else []
    fields: Fields = {
        "workload": {"model": "nasa", "mean_rps": 1, "arrivals": {"process": "poisson"}},
        "metrics": _metrics(random),
        "faults": _faults(random, services, groups, busy_seconds, calm),
        "staffing_quality": random.choice([0.0, 2.0]),
    }
    if len(services) == 1 and random.random() < 0.7:
        fields["service"] = services[0]
    else:
        fields["application"] = _application(random, services)
    if has_nodes:
        fields["cluster"] = _cluster(random, groups, calm)
    else:
        fields["prices"] = {"usd_per_vcpu_hour": 0.04, "usd_per_gib_hour": random.choice([0.0, 0.004])}
    steps = [
        Step(_desired(random, len(services), len(groups), calm=calm), seconds) for seconds in steps_seconds
    ]
    if calm:
        wanted = Desired(np.array([random.randint(0, 3) for _ in services]))
        steps += [Step(wanted, 30.0), *[Step(None, 10.0) for _ in range(42)]]
    bins = int(-(-sum(step.seconds for step in steps) // BIN_SECONDS)) + 1
    rates = [random.choice([0.0, 1.0, 5.0, 15.0]) for _ in range(bins)]
    trace = Trace(np.array(rates) * BIN_SECONDS, BIN_SECONDS, name="load")
    return World(Scenario.model_validate(fields), trace, random.randint(0, 2**32), tuple(steps))


def _delay(random: Random, *medians: float) -> Fields:
    median = random.choice(medians)
    return {"p50_seconds": median, "p95_seconds": median * random.choice([1.0, 1.0, 2.0])}


def _service(random: Random, place: int, has_nodes: bool, calm: bool) -> Fields:
    discipline = random.choice(["slots", "slots", "processor_sharing", "batching"])
    law = random.choice(["deterministic", "exponential", "lognormal"])
    vcpu = random.choice([0.25, 0.5, 1.0])
    request = random.choice([0.25, 0.5, 1.0])
    leaks = not calm and random.random() < 0.3
    fields: Fields = {
        "name": f"s{place}",
        "slots_per_pod": random.choice([1, 2, 4]),
        "vcpu_per_pod": vcpu,
        "discipline": discipline,
        "service_time": {"law": law, "mean_seconds": random.choice([0.02, 0.2, 0.5])},
        "dispatch": random.choice(["shared", "shared", "round_robin", "least_requests", "two_choices"]),
        "memory": {
            "request_gib": request,
            "limit_gib": request * random.choice([1.0, 2.0]),
            "base_gib": random.choice([0.0, 0.5 * request]),
            "gib_per_request": 0.3 * request if leaks else 0.0,
        },
        "start_up": _delay(random, 0.5, 3.0, 10.0),
        "start_cpu_share": random.choice([0.0, 0.5]),
        "drain_grace_seconds": random.choice([0.0, 0.5, 3.0, 10.0]),
        "wakes": random.random() < 0.3,
        "min_replicas": random.choice([0, 1]),
        "max_replicas": 6,
        "roll_out": {
            "max_surge": random.choice([0.0, 0.25, 1.0]),
            "max_unavailable": random.choice([0.0, 0.25]),
        },
    }
    if random.random() < 0.3:
        fields["warm_up"] = {"seconds": random.choice([2.0, 10.0]), "speed": 0.5}
    if random.random() < 0.3:
        fields["queue_limit_per_pod"] = random.choice([0, 3])
    if discipline == "processor_sharing":
        fields["vcpu_limit_per_pod"] = random.choice([None, 2 * vcpu])
        fields["cfs_throttling"] = random.random() < 0.3
    if discipline == "batching":
        fields["batch_slowdown"] = random.choice([0.0, 0.2])
    if has_nodes:
        fields["image"] = random.choice([None, _delay(random, 1.0, 5.0)])
        fields["region"] = random.choice([None, None, "here", "there"])
        fields["gpus_per_pod"] = random.choice([0, 0, 0, 1])
    return fields


def _application(random: Random, services: list[Fields]) -> Fields:
    """Each service is called by one before it; calls may time out, be tried again and go elsewhere."""
    calls: list[list[Fields]] = [[] for _ in services]
    for place in range(1, len(services)):
        caller = random.randrange(place)
        call = _call(random, services[place]["name"])
        if place + 1 < len(services):
            call["fallback"] = {"to": services[place + 1]["name"], "network_seconds": 0.01}
        calls[caller].append(call)
    for service, own in zip(services, calls, strict=True):
        if own:
            work = service.pop("service_time")
            service["operations"] = [{"service_time": work, "steps": [own]}]
            service["holds_slot_while_calling"] = random.random() < 0.5
    classes = [
        {"name": name, "share": 1.0, "priority": place, "entry": _call(random, services[0]["name"])}
        for place, name in enumerate(["light", "heavy"][: random.choice([1, 2])])
    ]
    return {"services": services, "classes": classes}


def _call(random: Random, to: str) -> Fields:
    fields: Fields = {"to": to, "network_seconds": random.choice([0.0, 0.005])}
    if random.random() < 0.5:
        fields["timeout_seconds"] = random.choice([0.3, 2.0])
        fields["retry"] = random.choice([None, {"max_attempts": 2}])
    return fields


def _groups(random: Random, services: list[Fields], calm: bool) -> list[Fields]:
    """One to three node groups; each service's pods fit on the first of their region."""
    regions = sorted({service["region"] for service in services if service["region"]}) or ["here"]
    regions += [random.choice(["here", "there"]) for _ in range(random.randint(0, 3 - len(regions)))]
    groups = []
    for place, region in enumerate(regions):
        least = random.choice([0, 0, 1])
        most = 12 if calm else random.choice([1, 2, 4])
        price = random.choice([0.1, 0.4])
        group: Fields = {
            "name": f"g{place}",
            "vcpu": random.choice([2.0, 4.0]),
            "memory_gib": random.choice([4.0, 8.0]),
            "gpus": random.choice([1, 2]),
            "usd_per_hour": price,
            "max_pods": random.choice([2, 5, 110]),
            "min_nodes": least,
            "max_nodes": most,
            "initial_nodes": random.choice([None, None, least, min(least + 1, most)]),
            "boot": _delay(random, 3.0, 10.0) if calm else _delay(random, 3.0, 10.0, 40.0),
            "shutdown_seconds": random.choice([0.0, 3.0]),
            "region": region,
            "zone": random.choice(["a", "b"]),
            "latency_seconds": random.choice([0.0, 0.0, 0.01]),
            "priority": random.randint(0, 2),
        }
        if not calm:
            group["stock_out_probability"] = random.choice([0.0, 0.0, 0.5])
        if not calm and random.random() < 0.4:
            group["spot"] = {
                "interruptions_per_hour": random.choice([20.0, 60.0]),
                "notice_seconds": random.choice([0.0, 2.0, 20.0]),
            }
        groups.append(group)
    return groups


def _cluster(random: Random, groups: list[Fields], calm: bool) -> Fields:
    fields: Fields = {
        "groups": groups,
        "packing": random.choice(["least_allocated", "most_allocated"]),
        "detection_seconds": random.choice([0.0, 5.0, 20.0]),
        "minimum_billed_seconds": random.choice([0.0, 60.0]),
        "autoscaler": None,
    }
    has_none = all(group["initial_nodes"] == 0 for group in groups)
    if calm or random.random() < 0.8 or has_none:
        fields["autoscaler"] = {
            "scan_seconds": random.choice([2.0, 10.0]),
            "expander": random.choice(EXPANDERS),
            "unneeded_seconds": random.choice([0.0, 10.0, 30.0]),
            "after_add_seconds": random.choice([0.0, 15.0]),
            "utilization_threshold": random.choice([0.3, 0.9]),
            "max_provision_seconds": 60.0 if calm else random.choice([8.0, 30.0]),
            "back_off_seconds": random.choice([5.0, 20.0]),
            "back_off_cap_seconds": 40.0,
            "max_removed_at_once": random.choice([1, 10]),
            "candidates": random.choice([1, 30]),
            "consolidation": None if calm else random.choice([None, None, {"usd_per_moved_pod": 0.0}]),
        }
    return fields


def _metrics(random: Random) -> Fields:
    return {
        "scrape_seconds": 5.0,
        "window_seconds": random.choice([5.0, 10.0]),
        "lag_seconds": random.choice([0.0, 5.0]),
        "noise": random.choice([0.0, 0.2]),
        "gap_probability": random.choice([0.0, 0.4]),
        "stale_seconds": random.choice([10.0, 300.0]),
    }


def _faults(
    random: Random, services: list[Fields], groups: list[Fields], seconds: float, calm: bool
) -> list[Fields]:
    return [
        fault
        for _ in range(random.choice([0, 1, 2, 4]))
        if (fault := _fault(random, random.choice(FAULTS), services, groups, seconds, calm))
    ]


def _fault(
    random: Random, kind: str, services: list[Fields], groups: list[Fields], seconds: float, calm: bool
) -> Fields | None:
    """A fault that is over by the end of the script where the world is calm; None where it needs nodes."""
    if kind in OF_NODES and not groups:
        return None
    fault: Fields = {"kind": kind}
    if calm or random.random() < 0.6:
        fault["at_seconds"] = float(random.randint(0, int(seconds)))
    else:
        fault["per_hour"] = random.choice([30.0, 200.0])
    if kind not in {"pod_kill", "node_loss"}:
        fault["duration_seconds"] = random.choice([0.0, 5.0, 20.0])
    else:
        fault["count"] = random.choice([1, 3])
    if kind in OF_SERVICES:
        fault["service"] = random.choice([None, random.choice(services)["name"]])
    if groups:
        group = random.choice(groups)
        fault |= {
            "zone_loss": {"region": group["region"], "zone": group["zone"]},
            "region_loss": {"region": group["region"]},
            "stock_out": {"group": group["name"]},
        }.get(kind, {})
    return fault | {
        "memory_leak": {"gib_per_hour": random.choice([10.0, 200.0])},
        "cpu_starvation": {"share": 0.3},
        "api_refusal": {"probability": random.choice([0.5, 1.0])},
        "bad_release": {"error_probability": 0.5, "slowness": random.choice([1.0, 2.0])},
    }.get(kind, {})


def _desired(random: Random, services: int, groups: int, *, calm: bool) -> Desired | None:
    if random.random() < 0.2:
        return None

    def amounts(*values: float) -> np.ndarray | None:
        if random.random() < 0.7:
            return None
        return np.array([random.choice(values) for _ in range(services)])

    asks_for_nodes = groups and not calm and random.random() < 0.3
    return Desired(
        np.array([random.randint(0, 6) for _ in range(services)]),
        vcpu=amounts(0.25, 0.5, 1.0, 1.5),
        memory_gib=None if calm else amounts(0.25, 0.5, 1.0),
        nodes=np.array([random.randint(0, 3) for _ in range(groups)]) if asks_for_nodes else None,
    )
