"""The nodes that pods run on, how they are packed, and how nodes come and go."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from simulator.node_autoscaler import NodeAutoscaler
from simulator.nodes import NodeGroup
from simulator.settings import Settings

Packing = Literal["least_allocated", "most_allocated"]


class ClusterSettings(Settings):
    """Node groups and what rules them."""

    groups: tuple[NodeGroup, ...] = Field(min_length=1, max_length=100, description="The node groups.")
    packing: Packing = Field(
        default="least_allocated",
        description="How the scheduler packs: Kubernetes' default spreads pods, most_allocated fills nodes.",
    )
    autoscaler: NodeAutoscaler | None = Field(
        default=NodeAutoscaler(), description="None: nodes come and go only where a policy asks for it."
    )
    detection_seconds: float = Field(
        default=50.0,
        ge=0,
        le=3600,
        description="From a node's death until its pods are replaced: --node-monitor-grace-period, 50 s since "
        "Kubernetes 1.32, as where a cloud tells that the machine is gone; Kubernetes alone waits 5 min more.",
    )
    minimum_billed_seconds: float = Field(
        default=60.0,
        ge=0,
        le=86_400,
        description="A node costs at least so long; then it is billed by the second.",
    )

    @model_validator(mode="after")
    def _names(self) -> ClusterSettings:
        names = [group.name for group in self.groups]
        if len(set(names)) < len(names):
            msg = f"groups must have different names (they are {', '.join(names)})"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _may_run(self) -> ClusterSettings:
        if self.autoscaler is None and all(group.initial_nodes == 0 for group in self.groups):
            msg = (
                "no pod could ever run: initial_nodes is 0 in all groups and autoscaler is null, so that no node "
                "comes by itself; give one of them initial_nodes of 1 or more, or an autoscaler"
            )
            raise ValueError(msg)
        return self
