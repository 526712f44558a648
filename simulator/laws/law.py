"""The service-time laws as one type for settings; their compiled draws are in ``simulator.laws.draws``."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from simulator.laws.deterministic import DeterministicLaw
from simulator.laws.empirical import EmpiricalLaw
from simulator.laws.exponential import ExponentialLaw
from simulator.laws.gamma import GammaLaw
from simulator.laws.hyperexponential import HyperexponentialLaw
from simulator.laws.lognormal import LognormalLaw
from simulator.laws.pareto import ParetoLaw

ServiceTimeLaw = Annotated[
    LognormalLaw
    | ExponentialLaw
    | DeterministicLaw
    | GammaLaw
    | ParetoLaw
    | HyperexponentialLaw
    | EmpiricalLaw,
    Field(discriminator="law"),
]
