"""Task: the whole decision problem as one frozen value and one YAML file."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field, model_validator

from envs.actions import ActionMap
from envs.guard import GuardSettings
from envs.interface import Interface
from envs.names import task_names
from envs.objective import Objective
from envs.observer import ObserverSettings
from envs.reward import Reward
from simulator.prices import SECONDS_PER_HOUR
from simulator.randomization import Randomization
from simulator.scenario import Scenario
from simulator.settings import Settings, is_whole_multiple, parse_settings, read_text

if TYPE_CHECKING:
    import numpy as np

    from simulator.cluster import Cluster
    from simulator.events import Journal
    from simulator.kernel.tables import Log
    from simulator.trace import Trace


class Task(Settings):
    """Scenario, Interface, Objective and horizon."""

    name: str = Field(min_length=1, description="Its name in tables.")
    question: str = Field(default="", description="What it asks, in one sentence.")
    scenario: Scenario
    objective: Objective
    actions: ActionMap = ActionMap()
    randomization: Randomization = Field(
        default=Randomization(), description="How the clusters differ that policies are trained on."
    )
    period_seconds: float = Field(gt=0, le=3600, description="Between two decisions of a learned policy.")
    horizon_seconds: float = Field(gt=0, description="Length of a training episode.")
    judged_seconds: float = Field(default=86_400, gt=0, description="Length of a judged episode.")

    @model_validator(mode="after")
    def _whole_periods(self) -> Task:
        if not is_whole_multiple(self.horizon_seconds, self.period_seconds):
            msg = (
                f"horizon_seconds ({self.horizon_seconds:g}) must be a whole number of periods "
                f"({self.period_seconds:g} s)"
            )
            raise ValueError(msg)
        return self

    @property
    def interface(self) -> Interface:
        """What a policy learned on this Task sees and may do."""
        system = self.scenario.system
        services = system.services
        return Interface(
            services=tuple(service.name for service in services),
            observer=ObserverSettings(
                capacity_rps=system.capacity_rps(),
                slots_per_pod=tuple(service.slots_per_pod for service in services),
                slo_seconds=self.objective.slo_seconds,
                period_seconds=self.period_seconds,
            ),
            actions=self.actions,
            guard=GuardSettings(
                min_replicas=tuple(service.min_replicas for service in services),
                max_replicas=tuple(service.max_replicas for service in services),
            ),
            period_seconds=self.period_seconds,
        )

    @property
    def reward(self) -> Reward:
        """Its unit is the cost of one period of the pods that the workload's mean keeps fully busy."""
        system = self.scenario.system
        vcpu = sum(
            load / service.slots_per_pod * service.vcpu_per_pod
            for load, service in zip(system.load_seconds(), system.services, strict=True)
        )
        usd_per_hour = self.scenario.workload.mean_rps * vcpu * self.scenario.usd_per_vcpu_hour
        return Reward(self.objective, usd_per_hour * self.period_seconds / SECONDS_PER_HOUR)

    def build(
        self,
        seed: int | np.random.SeedSequence,
        trace: Trace,
        log: Log | None = None,
        journal: Journal | None = None,
    ) -> Cluster:
        """The Task's cluster under a trace; late requests are counted at the SLO."""
        return self.scenario.build(seed, (self.objective.slo_seconds,), trace, log, journal)


def load_task(name_or_path: str | Path) -> Task:
    """A Task by name or from a YAML file.

    Raises:
        InputError: naming file, field, value and what is allowed.
    """
    if str(name_or_path) in task_names():
        text = (resources.files("envs") / "tasks" / f"{name_or_path}.yaml").read_text(encoding="utf-8")
    else:
        hint = f"; tasks that ship: {', '.join(task_names())}"
        text = read_text(Path(name_or_path), "task file", hint)
    return parse_settings(Task, text, str(name_or_path))
