"""Operations: what a service does for one kind of call, and the calls it makes for that.

What happens with a call is compiled: ``simulator.calls`` has a file each for time-outs, retries,
circuit breakers and load shedding.
"""

from __future__ import annotations

from pydantic import Field, model_validator

from simulator.laws.law import ServiceTimeLaw
from simulator.settings import Settings


class RetryBudget(Settings):
    """How many retries an edge of the call graph may add to its calls."""

    ratio: float = Field(default=0.2, ge=0, le=10, description="Retries earned by a first attempt.")
    per_second: float = Field(default=10.0, ge=0, le=1e6, description="Retries earned by time alone.")
    burst: float = Field(default=100.0, ge=1, le=1e9, description="Most retries that can be saved up.")


class Retry(Settings):
    """What a caller does when a call is dropped, fails or takes too long."""

    max_attempts: int = Field(default=3, ge=2, le=100, description="Attempts, the first included.")
    back_off_seconds: float = Field(
        default=0.025, ge=0, le=3600, description="Wait before the first retry; Envoy's is 25 ms."
    )
    back_off_cap_seconds: float = Field(
        default=0.25, ge=0, le=3600, description="Longest wait; Envoy's is ten times the first."
    )
    jitter: float = Field(
        default=1.0, ge=0, le=1, description="Share of the wait that is random: 1 is full jitter."
    )
    budget: RetryBudget | None = Field(default=None, description="No limit if not given.")

    @model_validator(mode="after")
    def _ordered(self) -> Retry:
        if self.back_off_cap_seconds < self.back_off_seconds:
            msg = (
                f"back_off_cap_seconds ({self.back_off_cap_seconds:g}) must be at least back_off_seconds "
                f"({self.back_off_seconds:g})"
            )
            raise ValueError(msg)
        return self


class Breaker(Settings):
    """When an edge of the call graph stops calling."""

    window_calls: int = Field(default=100, ge=1, le=10_000, description="Last calls that are looked at.")
    failure_ratio: float = Field(default=0.5, gt=0, le=1, description="Share of failures that opens it.")
    open_seconds: float = Field(default=60.0, gt=0, le=86_400, description="How long it stays open.")
    trial_calls: int = Field(default=10, ge=1, le=10_000, description="Calls that try whether it may close.")


class Callee(Settings):
    """Where a call goes."""

    to: str = Field(
        pattern=r"^[^.]+(\.[^.]+)?$", description="A service, or SERVICE.OPERATION where it has several."
    )

    @property
    def target(self) -> tuple[str, str]:
        """Service and operation; the operation is empty where the service has one only."""
        service, _, operation = self.to.partition(".")
        return service, operation


class Fallback(Callee):
    """Where a call goes while its service is diverted: the same elsewhere, as in another region."""

    network_seconds: float = Field(
        default=0.0, ge=0, le=60, description="Delay of the call on its way there, and of the answer."
    )


class Call(Callee):
    """One call that a caller makes, and what it does when the answer is late or bad."""

    probability: float = Field(default=1.0, ge=0, le=1, description="How often the call is made at all.")
    count: int = Field(default=1, ge=1, le=1000, description="Fan-out: so many of these calls at once.")
    network_seconds: float = Field(
        default=0.0, ge=0, le=60, description="Delay of the call on its way, and of the answer on its own."
    )
    timeout_seconds: float | None = Field(
        default=None, gt=0, le=3600, description="After this the caller gives up, and the service works on."
    )
    retry: Retry | None = Field(default=None, description="None: a call is made once.")
    breaker: Breaker | None = Field(default=None, description="None: calls are made whatever happens.")
    optional: bool = Field(default=False, description="Whether the caller does well without an answer.")
    fallback: Fallback | None = Field(
        default=None,
        description="Where it goes while its service is diverted. None: to its service all the same.",
    )


class Operation(Settings):
    """One kind of call that a service answers: first its own work, then its steps one after another."""

    name: str = Field(default="serve", min_length=1, pattern=r"^[^.]+$", description="Unique in its service.")
    service_time: ServiceTimeLaw = Field(description="Its own work, seconds on a slot or a core.")
    steps: tuple[tuple[Call, ...], ...] = Field(
        default=(),
        max_length=100,
        description="Calls: the steps one after another, the calls of a step at once.",
    )
