"""Domain randomisation: how the clusters of the batch engine differ from a Scenario.

Source: J. Tobin et al., Domain randomization for transferring deep neural networks from simulation to the real
world, 2017.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from simulator.settings import Settings


def _ordered(factors: tuple[float, float]) -> tuple[float, float]:
    low, high = factors
    if not 0 < low <= high <= 1000:
        msg = "must be two factors above 0 and at most 1000, the lower one first"
        raise ValueError(msg)
    return factors


Factors = Annotated[tuple[float, float], AfterValidator(_ordered)]
"""Lowest and highest factor; one between them is drawn for an episode, its logarithm uniformly."""


class Randomization(Settings):
    """Each cluster is drawn for an episode: factors on what the Scenario says."""

    load: Factors = Field(default=(0.5, 2.0), description="On the mean rate.")
    service_time: Factors = Field(
        default=(0.5, 2.0), description="On the mean service time; the SLO goes with it."
    )
    scv: Factors = Field(
        default=(0.5, 2.0),
        description="On the service time's squared coefficient of variation, where its law has one to set.",
    )
    slo: Factors = Field(default=(0.7, 1.5), description="On the SLO over the mean service time.")
    slots: Factors = Field(default=(0.5, 2.0), description="On the slots of a pod, then rounded, at least 1.")
    start_up: Factors = Field(
        default=(0.5, 2.0),
        description="On the time from a pod's creation to ready, and on nodes' boots and pulls.",
    )
    lag: Factors = Field(default=(0.5, 2.0), description="On the metrics' lag.")
    faults: Factors = Field(
        default=(1.0, 1.0),
        description="On how often those faults come that have a hazard rate, and on spot's.",
    )
    price: Factors = Field(default=(1.0, 1.0), description="On what pods and nodes cost.")

    @staticmethod
    def none() -> Randomization:
        """All clusters are as the Scenario says."""
        return Randomization.model_validate(dict.fromkeys(Randomization.model_fields, (1.0, 1.0)))
