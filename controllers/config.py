"""What ``setpoint control run`` reads: one YAML file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from agents.registry import is_bundle
from controllers.plants.kubernetes import KubernetesSettings
from controllers.sources.prometheus import PrometheusSettings
from envs.guard import GuardOptions
from simulator.settings import Settings, parse_settings, read_text


class ListenSettings(Settings):
    """Where ``/metrics`` and ``/healthz`` are."""

    host: str = Field(default="0.0.0.0", min_length=1, description="Address to listen on.")  # noqa: S104 - scraped and probed from outside the pod
    port: int = Field(default=9464, ge=0, le=65_535, description="Port to listen on; 0 takes a free one.")


class ControlConfig(Settings):
    """A controller: what it scales, by which policy, within which limits."""

    plant: KubernetesSettings = Field(description="The Deployment that is scaled.")
    prometheus: PrometheusSettings | None = Field(
        default=None, description="Where rate, latency and queue come from; bundles need it, hpa does not."
    )
    policy: Annotated[str, Field(min_length=1)] = Field(
        description="hpa:target=0.6, fixed:replicas=20 or a bundle's path, from this file's folder."
    )
    fingerprint: str | None = Field(
        default=None,
        pattern=r"^[0-9a-f]{8,64}$",
        description="Start of the bundle's fingerprint; another bundle is refused.",
    )
    min_replicas: int = Field(ge=0, le=100_000, description="Fewest replicas.")
    max_replicas: int = Field(ge=1, le=100_000, description="Most replicas.")
    guard: GuardOptions = Field(default=GuardOptions(), description="Further limits of each decision.")
    dry_run: bool = Field(default=False, description="Decide and tell, but change nothing.")
    listen: ListenSettings = Field(default=ListenSettings(), description="The controller's own telemetry.")

    @model_validator(mode="after")
    def _bounds(self) -> ControlConfig:
        if self.max_replicas < self.min_replicas:
            msg = f"max_replicas ({self.max_replicas}) must be at least min_replicas ({self.min_replicas})"
            raise ValueError(msg)
        return self


def load_config(path: Path) -> ControlConfig:
    """Read a controller's YAML file; the paths in it are made absolute from its folder.

    Raises:
        InputError: naming file, field, value and what is allowed.
    """
    config = parse_settings(ControlConfig, read_text(path, "controller's YAML file"), str(path))
    folder = path.resolve().parent
    plant, policy = config.plant, config.policy
    if plant.kubeconfig is not None:
        plant = plant.model_copy(update={"kubeconfig": folder / plant.kubeconfig.expanduser()})
    if is_bundle(policy):
        policy = str(folder / policy)
    return config.model_copy(update={"plant": plant, "policy": policy})
