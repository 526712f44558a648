"""The data plane against theory: several services, forks and joins, and the rules by which requests find pods."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from markov import stationary
from replications import (
    FRACTIONS,
    Model,
    assert_agrees,
    assert_less,
    assert_percentiles,
    law,
    mean_number,
    mean_response,
    mean_wait,
    network,
    replicate,
    service,
    station,
)
from scipy.optimize import brentq

from simulator.networks import (
    fork_join_two_mean_response_seconds,
    jackson_mean_numbers,
    jackson_mean_response_seconds,
    tandem_mean_response_seconds,
    tandem_response_percentile_seconds,
)
from simulator.operation import Call, Operation
from simulator.service import Service
from simulator.theory import mmc_mean_response_seconds, mmc_mean_wait_seconds, mmc_response_percentile_seconds

# Jackson networks: a service that keeps no slot while it calls is left when its own work is done


def stop(name: str, mean_seconds: float, *steps: tuple[Call, ...], slots: int = 1) -> Service:
    """A station of a network: exponential work, then calls to those after it."""
    operation = Operation(service_time=law("exponential", mean_seconds), steps=steps)
    return service(name=name, slots_per_pod=slots, operations=(operation,), holds_slot_while_calling=False)


def tandem(rate_rps: float, means: list[float], servers: list[int], seconds: tuple[float, ...] = ()) -> Model:
    names = "abc"
    stops = [
        stop(name, mean, *([(Call(to=names[at + 1]),)] if at < 2 else []), slots=slots)
        for at, (name, mean, slots) in enumerate(zip(names, means, servers, strict=True))
    ]
    return network(rate_rps, stops, "a", seconds)


def test_a_tandem_is_the_sum_of_its_stations() -> None:
    means, servers = [1.4, 0.6, 2.1], [2, 1, 3]
    runs = replicate(tandem(1.0, means, servers), 2.5e5, "tandem")
    numbers = jackson_mean_numbers([1, 0, 0], np.eye(3, k=1), means, servers)
    for place, number in enumerate(numbers.tolist()):
        assert_agrees(runs, mean_number(place), number)
    assert_agrees(runs, mean_response(), tandem_mean_response_seconds(1.0, means, servers))


def test_a_tandem_of_single_servers_has_the_percentiles_of_reich() -> None:
    means = [0.6, 0.5, 0.65]
    percentiles = [tandem_response_percentile_seconds(fraction, 1.0, means) for fraction in FRACTIONS]
    model = tandem(1.0, means, [1, 1, 1], tuple(percentiles))
    runs = replicate(model, 4.5e5, "tandem percentiles")
    assert_agrees(runs, mean_response(), tandem_mean_response_seconds(1.0, means, [1, 1, 1]))
    assert_percentiles(runs, percentiles, width=1.5)


def test_a_network_with_branches_has_product_form() -> None:
    """From a to b with 0.4; after that, from wherever a request is, to c with 0.5."""
    means, servers = [0.7, 1.5, 2.4], [1, 1, 2]
    stops = [
        stop("a", means[0], (Call(to="b", probability=0.4),), (Call(to="c", probability=0.5),)),
        stop("b", means[1]),
        stop("c", means[2], slots=2),
    ]
    routing = [[0.0, 0.4, 0.3], [0.0, 0.0, 0.5], [0.0, 0.0, 0.0]]
    runs = replicate(network(1.0, stops, "a"), 4.8e5, "branches")
    for place, number in enumerate(jackson_mean_numbers([1, 0, 0], routing, means, servers).tolist()):
        assert_agrees(runs, mean_number(place), number)
    assert_agrees(runs, mean_response(), jackson_mean_response_seconds([1, 0, 0], routing, means, servers))


def test_requests_that_come_back_leave_the_station_as_mm1() -> None:
    """With 0.4 a request joins the same queue once more: its arrivals are not Poisson, its number is M/M/1's.

    Source: product form for first come, first served with one exponential law for all visits, Kelly, Reversibility
    and Stochastic Networks, 1979, chapter 3.
    """
    work = law("exponential", 0.5)
    again = Call(to="web.second", probability=0.4)
    operations = (
        Operation(name="first", service_time=work, steps=((again,),)),
        Operation(name="second", service_time=work),
    )
    model = network(1.0, [service(operations=operations, holds_slot_while_calling=False)], "web.first")
    runs = replicate(model, 3e5, "feedback")
    assert_agrees(runs, mean_number(), 0.7 / (1 - 0.7))
    assert_agrees(runs, mean_response(), 0.7 / (1 - 0.7))


@pytest.mark.parametrize(("rho", "requests"), [(0.5, 2e5), (0.7, 2e5)])
def test_fork_and_join_of_two_takes_as_long_as_flatto_and_hahn_say(rho: float, requests: float) -> None:
    gate_seconds = 1e-6
    step = (Call(to="left"), Call(to="right"))
    gate = Operation(service_time=law("deterministic", gate_seconds), steps=(step,))
    services = [
        service(name="gate", slots_per_pod=10_000, operations=(gate,)),
        service(name="left"),
        service(name="right"),
    ]
    runs = replicate(network(rho, services, "gate"), requests, "fork", rho)
    assert_agrees(runs, mean_response(), fork_join_two_mean_response_seconds(rho, 1.0) + gate_seconds)
    for place in (1, 2):
        assert_agrees(runs, mean_number(place), rho / (1 - rho), 0.015)


def test_a_caller_that_keeps_its_slot_is_busy_for_all_of_its_calls() -> None:
    """Kept slots: a caller of one slot and its callee, never busy for another, are M/G/1 with the sum as service."""
    caller = Operation(service_time=law("exponential", 0.3), steps=((Call(to="b"),),))
    services = [
        service(name="a", operations=(caller,)),
        service(name="b", service_time=law("exponential", 0.4)),
    ]
    runs = replicate(network(1.0, services, "a"), 4e5, "sync")
    second_moment = (0.3**2 + 0.4**2) + (0.3 + 0.4) ** 2
    assert_agrees(runs, mean_wait(0), second_moment / 2 / (1 - 0.7))
    assert all(mean_wait(1)(each.whole) < 1e-9 for each in runs)


# Which pod a request joins; pods of one slot with a queue of their own


def pods(count: int, rho: float, rule: str, seconds: tuple[float, ...] = ()) -> Model:
    return station(rho * count, seconds, pods=count, dispatch=rule)


def test_random_pods_are_mm1_each() -> None:
    percentiles = [mmc_response_percentile_seconds(fraction, 0.7, 1.0, 1) for fraction in FRACTIONS]
    runs = replicate(pods(4, 0.7, "random", tuple(percentiles)), 6e5, "random")
    assert_agrees(runs, mean_wait(), mmc_mean_wait_seconds(0.7, 1.0, 1))
    assert_percentiles(runs, percentiles, width=1.5)


def test_pods_in_turn_are_gi_m_1_each() -> None:
    """Each of four gets every fourth request: arrivals with Erlang gaps; sigma solves sigma = A*(mu (1 - sigma)).

    Source: Kleinrock, Queueing Systems I, 1975, section 6.4.
    """
    count, rho = 4, 0.7
    rate = rho * count
    sigma = brentq(lambda root: (rate / (rate + 1 - root)) ** count - root, 0.0, 1 - 1e-6)
    percentiles = [-np.log(1 - fraction) / (1 - sigma) for fraction in FRACTIONS]
    runs = replicate(pods(count, rho, "round_robin", tuple(percentiles)), 5e5, "in turn")
    assert_agrees(runs, mean_wait(), sigma / (1 - sigma))
    assert_percentiles(runs, percentiles, width=1.5)


def shortest_of_two_mean_response_seconds(rho: float, size: int = 50) -> float:
    """Of the shorter queue's Markov chain, ties halved, by Little."""
    one, other = np.indices((size, size))
    rate = 2 * rho
    moves = [
        ((1, 0), rate * ((one < other) + 0.5 * (one == other))),
        ((0, 1), rate * ((other < one) + 0.5 * (one == other))),
        ((-1, 0), 1.0 * (one > 0)),
        ((0, -1), 1.0 * (other > 0)),
    ]
    return float((stationary(moves) * (one + other)).sum()) / rate


@pytest.mark.parametrize("rule", ["least_requests", "two_choices"])
def test_the_shorter_of_two_queues_is_its_markov_chain(rule: str) -> None:
    """Of two pods, two choices without replacement see both."""
    runs = replicate(pods(2, 0.7, rule), 6e5, "shorter", rule)
    expected = shortest_of_two_mean_response_seconds(0.7)
    assert_agrees(runs, mean_response(), expected)
    assert_agrees(runs, mean_wait(), expected - 1.0)


def test_the_more_a_rule_knows_the_shorter_the_wait() -> None:
    rules = ["shared", "least_requests", "two_choices", "round_robin", "random"]
    runs = [replicate(pods(10, 0.9, rule), 5e4, "rules", rule) for rule in rules]
    for better, worse in itertools.pairwise(runs):
        assert_less(better, worse, mean_wait())


def test_two_choices_of_a_hundred_pods_are_near_the_mean_field() -> None:
    """Source: Mitzenmacher, The power of two choices in randomized load balancing, 2001: sum of rho^(2^i - 2)."""
    rho = 0.9
    limit = sum(rho ** (2**level - 2) for level in range(1, 10))
    runs = replicate(pods(100, rho, "two_choices"), 4e5, "mean field", warm_up_requests=1e5)
    found = float(np.mean([mean_response()(each.whole) for each in runs]))
    assert found == pytest.approx(limit, rel=0.025)
    assert found < mmc_mean_response_seconds(rho, 1.0, 1) / 3
