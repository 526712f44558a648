"""Settings that everything has that scales by the HPA's rule."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field, model_validator

from agents.baselines.hpa_behavior import CONTROLLER_WINDOW_SECONDS, Behavior, ScalingPolicy, ScalingRules
from agents.baselines.hpa_proposal import Tolerance
from simulator.settings import Settings

_GENTLE: Final = ScalingRules(
    policies=(
        ScalingPolicy(type="Pods", value=2, period_seconds=60),
        ScalingPolicy(type="Percent", value=25, period_seconds=60),
    )
)


class ScalingSettings(Settings):
    """How far and how fast an HPA goes; defaults are those of kube-controller-manager's flags."""

    target: float | None = Field(default=None, description="What to steer to.")
    tolerance: float = Field(
        default=0.1, ge=0, description="No change while used over target is so close to 1."
    )
    window: int = Field(
        default=CONTROLLER_WINDOW_SECONDS,
        ge=0,
        le=3600,
        description="Scale-down stabilisation window, seconds, where the behavior has none of its own.",
    )
    scale_up: Literal["default", "gentle"] = Field(
        default="default",
        description="Fastest scale-up: default, the larger of 4 pods and 100 percent in 15 s;"
        " gentle, the larger of 2 pods and 25 percent in 60 s.",
    )
    period: float = Field(default=15.0, ge=1, le=3600, description="Seconds between two decisions.")
    behavior: Behavior | Literal["none"] | None = Field(
        default=None,
        description="Full scaling rules in place of scale_up; none: the older rule of an HPA without any"
        " behavior (at most double, or 4).",
    )

    @model_validator(mode="after")
    def _one_scale_up(self) -> ScalingSettings:
        if self.behavior is not None and self.scale_up != "default":
            msg = f"scale_up is {self.scale_up!r}: only one of scale_up and behavior is allowed"
            raise ValueError(msg)
        return self

    @property
    def rules(self) -> Behavior | None:
        """The behavior that these settings mean; None for an HPA without any."""
        if self.behavior is None:
            return Behavior(scale_up=_GENTLE if self.scale_up == "gentle" else None)
        return None if self.behavior == "none" else self.behavior

    @property
    def tolerances(self) -> Tolerance:
        """The tolerance by direction."""
        rules = self.rules or Behavior()
        return Tolerance(self._tolerance(rules.scale_down), self._tolerance(rules.scale_up))

    def _tolerance(self, rules: ScalingRules | None) -> float:
        return self.tolerance if rules is None or rules.tolerance is None else rules.tolerance
