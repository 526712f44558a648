"""The data plane against another simulator: the same models in Ciw, whose runs agree with ours.

Source: G. Palmer, V. Knight, P. Harper and A. Hawa, Ciw: an open-source discrete event simulation library, 2019.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import ciw
import numpy as np
import pytest
from replications import (
    Model,
    Run,
    assert_same_mean,
    classes,
    late_share,
    law,
    loss_share,
    mean_response,
    network,
    replicate,
    seed_sequences,
    service,
    station,
)

from simulator.arrays import Floats
from simulator.laws.lognormal import LognormalLaw
from simulator.operation import Call, Operation

LATE_SECONDS = 3.0
HALF_WIDTH, LATE_HALF_WIDTH = 0.12, 0.24
Records = Sequence[Any]


def ciw_runs(
    requests: int, rate_rps: float, label: str, node: type | None = None, **model: Any
) -> list[Records]:
    """Records of requests that came after a tenth of the time and before its last twentieth."""
    built = ciw.create_network(**model)
    found = []
    for sequence in seed_sequences("ciw", label, count=16):
        ciw.seed(int(sequence.generate_state(1)[0]))
        simulation = ciw.Simulation(built, node_class=node)
        end = requests / rate_rps
        simulation.simulate_until_max_time(end)
        records = simulation.get_all_records()
        found.append([each for each in records if 0.1 * end < each.arrival_date < 0.95 * end])
    return found


def our_runs(model: Model, label: str) -> list[Run]:
    return replicate(model, 1e5, "with ciw", label)


def response_seconds(records: Records, name: str = "Customer") -> Floats:
    return np.array(
        [
            each.exit_date - each.arrival_date
            for each in records
            if each.record_type == "service" and each.customer_class == name
        ]
    )


def assert_both_respond_alike(
    ours: list[Run], theirs: list[Records], group: int = 0, name: str = "Customer"
) -> None:
    """Mean response time and share of late requests among those that are served."""
    responses = [response_seconds(records, name) for records in theirs]
    assert_same_mean(
        [mean_response(group)(each.whole) for each in ours],
        [float(np.mean(seconds)) for seconds in responses],
        HALF_WIDTH,
    )
    assert_same_mean(
        [late_share(0, group)(each.whole) for each in ours],
        [float(np.mean(seconds > LATE_SECONDS)) for seconds in responses],
        LATE_HALF_WIDTH,
    )


def exponential(rate_rps: float) -> Any:
    return ciw.dists.Exponential(rate=rate_rps)


def lognormal(mean_seconds: float, scv: float) -> Any:
    location, scale = LognormalLaw(mean_seconds=mean_seconds, scv=scv).parameters()
    return ciw.dists.Lognormal(mean=location, sd=scale)


@pytest.mark.parametrize(
    ("model", "rate", "servers", "work"),
    [
        (station(1.2, (LATE_SECONDS,), slots_per_pod=2), 1.2, 2, lambda: exponential(1.0)),
        (
            station(0.5, (LATE_SECONDS,), service_time=LognormalLaw(mean_seconds=1.0, scv=1.5)),
            0.5,
            1,
            lambda: lognormal(1.0, 1.5),
        ),
    ],
    ids=["mm2", "mg1"],
)
def test_one_station(model: Model, rate: float, servers: int, work: Callable[[], Any]) -> None:
    theirs = ciw_runs(
        5_000,
        rate,
        f"station {servers}",
        arrival_distributions=[exponential(rate)],
        service_distributions=[work()],
        number_of_servers=[servers],
    )
    assert_both_respond_alike(our_runs(model, f"station {servers}"), theirs)


def test_losses() -> None:
    ours = our_runs(station(0.9, queue_limit_per_pod=4), "losses")
    theirs = ciw_runs(
        4_000,
        0.9,
        "losses",
        arrival_distributions=[exponential(0.9)],
        service_distributions=[exponential(1.0)],
        number_of_servers=[1],
        queue_capacities=[4],
    )
    lost = [float(np.mean([each.record_type == "rejection" for each in records])) for records in theirs]
    assert_same_mean([loss_share(each.whole) for each in ours], lost, LATE_HALF_WIDTH)
    responses = [float(np.mean(response_seconds(records))) for records in theirs]
    assert_same_mean([mean_response()(each.whole) for each in ours], responses, HALF_WIDTH)


def test_a_tandem() -> None:
    first = Operation(service_time=law("exponential", 0.8), steps=((Call(to="b"),),))
    services = [
        service(name="a", operations=(first,), holds_slot_while_calling=False),
        service(name="b", slots_per_pod=2, service_time=LognormalLaw(mean_seconds=1.0, scv=0.5)),
    ]
    ours = our_runs(network(0.7, services, "a"), "tandem")
    theirs = ciw_runs(
        4_000,
        0.7,
        "tandem",
        arrival_distributions=[exponential(0.7), None],
        service_distributions=[exponential(1 / 0.8), lognormal(1.0, 0.5)],
        number_of_servers=[1, 2],
        routing=[[0.0, 1.0], [0.0, 0.0]],
    )
    both = [
        sum(
            np.mean([each.exit_date - each.arrival_date for each in records if each.node == node])
            for node in (1, 2)
        )
        for records in theirs
    ]
    assert_same_mean([mean_response()(each.whole) for each in ours], both, HALF_WIDTH)


def test_processor_sharing() -> None:
    work = LognormalLaw(mean_seconds=1.0, scv=2.0)
    model = station(
        0.6, (LATE_SECONDS,), discipline="processor_sharing", slots_per_pod=10_000, service_time=work
    )
    theirs = ciw_runs(
        6_500,
        0.6,
        "sharing",
        node=ciw.PSNode,
        arrival_distributions=[exponential(0.6)],
        service_distributions=[lognormal(1.0, 2.0)],
        number_of_servers=[float("inf")],
        ps_thresholds=[1],
    )
    assert_both_respond_alike(our_runs(model, "sharing"), theirs)


def test_priorities() -> None:
    model = classes(0.7, [law("exponential"), law("exponential")], [0.4, 0.3], (LATE_SECONDS,))
    theirs = ciw_runs(
        8_000,
        0.7,
        "priorities",
        arrival_distributions={"usual": [exponential(0.4)], "urgent": [exponential(0.3)]},
        service_distributions={"usual": [exponential(1.0)], "urgent": [exponential(1.0)]},
        number_of_servers=[1],
        priority_classes={"usual": 1, "urgent": 0},
    )
    ours = our_runs(model, "priorities")
    for group, name in enumerate(("usual", "urgent")):
        assert_both_respond_alike(ours, theirs, group, name)
