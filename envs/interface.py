"""Observer, ActionMap, Guard and control period of a learned policy, with a fingerprint."""

from __future__ import annotations

import hashlib
import json

from pydantic import Field

from envs.actions import ActionMap
from envs.guard import Guard, GuardSettings
from envs.observer import FEATURES, VERSION, Observer, ObserverSettings
from simulator.arrays import Ints
from simulator.errors import InputError
from simulator.settings import Settings

_TIGHTENABLE = ("guard.min_replicas", "guard.max_replicas")


class Interface(Settings):
    """All that must agree between where a policy was trained and where it acts."""

    services: tuple[str, ...] = Field(min_length=1, description="Names along axis S.")
    observer: ObserverSettings
    actions: ActionMap
    guard: GuardSettings
    period_seconds: float = Field(gt=0, description="Between two decisions.")

    def new_observer(self) -> Observer:
        """An Observer that has seen nothing yet."""
        return Observer(self.observer)

    def new_guard(self) -> Guard:
        """A Guard that remembers nothing yet."""
        return Guard(self.guard)

    def facts(self) -> dict[str, object]:
        """All that the fingerprint covers, flat, by dotted name: everything but min and max."""
        flat: dict[str, object] = {
            "observer.version": VERSION,
            "observer.features": [[f.name, f.unit, f.scale, f.low, f.high] for f in FEATURES],
        }
        for section, value in self.model_dump(mode="json").items():
            parts = value if isinstance(value, dict) else {"": value}
            flat |= {f"{section}.{name}".rstrip("."): part for name, part in parts.items()}
        return {name: value for name, value in flat.items() if name not in _TIGHTENABLE}

    def fingerprint(self, actor_digest: str = "") -> str:
        """SHA-256 over the facts and the actor's digest, in hexadecimal."""
        return fingerprint_of(self.facts(), actor_digest)

    def mismatch(self, facts: dict[str, object]) -> str:
        """What differs from another Interface's facts, for people; empty where nothing does."""
        ours = json.loads(json.dumps(self.facts()))
        names = [name for name in ours | facts if ours.get(name) != facts.get(name)]
        return "; ".join(f"{name} is {facts.get(name)} there and {ours.get(name)} here" for name in names)

    def tightened(self, min_replicas: Ints, max_replicas: Ints) -> Interface:
        """The same with bounds within its own.

        Args:
            min_replicas: int64 ``(S,)``.
            max_replicas: int64 ``(S,)``.

        Raises:
            InputError: if a bound is outside its own.
        """
        own = zip(self.services, self.guard.min_replicas, self.guard.max_replicas, strict=True)
        for (service, low, high), fewest, most in zip(own, min_replicas, max_replicas, strict=True):
            if not low <= fewest <= most <= high:
                msg = (
                    f"{service}: bounds {fewest} to {most} must be within {low} to {high} replicas, "
                    "which the policy was trained for"
                )
                raise InputError(msg)
        bounds = {
            "min_replicas": tuple(int(low) for low in min_replicas),
            "max_replicas": tuple(int(high) for high in max_replicas),
        }
        guard = GuardSettings.model_validate(self.guard.model_dump() | bounds)
        return self.model_copy(update={"guard": guard})


def fingerprint_of(facts: dict[str, object], actor_digest: str) -> str:
    """SHA-256 over facts and an actor's digest, in hexadecimal."""
    content = json.dumps([facts, actor_digest], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(content.encode()).hexdigest()
