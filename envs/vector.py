"""AutoscaleVectorEnv: thousands of clusters of a Task as one Gymnasium vector environment, on the batch engine."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from envs.observer import Facts, Observer
from envs.task import Task, load_task
from simulator.arrays import Ints
from simulator.errors import InputError
from simulator.fluid import FluidClusters
from simulator.ownership import check_import_names
from simulator.prices import SECONDS_PER_HOUR
from simulator.randomization import Randomization
from simulator.scenario import Workload
from simulator.trace import Trace, read_trace

_DAY_SECONDS = 86_400.0
_DRAWN_DAYS = 7
_DRAWN_WEEKS = 64
_LOADS_SEED = 20260101

Observations = NDArray[np.float32]
Actions = NDArray[np.int64]
Infos = dict[str, Any]


class AutoscaleVectorEnv(VectorEnv[Observations, Actions, NDArray[Any]]):
    """Many clusters of a task at once; what each step means is in the data sheet of ``envs.autoscale.AutoscaleEnv``.

    ## Differences from a single environment
    Clusters run on the batch engine (``simulator.fluid``), which counts the violations that are to be expected. Each
    is drawn for an episode around the task (``Task.randomization``) and observed in its own terms: load over the
    capacity of its own pods, latency over its own SLO. Weeks are taken from a fixed set of 64, or from ``trace``.

    ## Seeds
    ``reset(seed=s)`` seeds cluster i with s + i; each is a function of its own seed alone, however many there are.
    Without a seed the clusters go on to further episodes.

    ## Autoreset
    As Gymnasium 1.x defines it, by default in the next step: there the action is not used, the reward is 0.
    ``autoreset_mode=AutoresetMode.SAME_STEP`` returns the next episode's first observation at once, the last one of
    the ended in ``info["final_obs"]``, and what was told of their last step in ``info["final_info"]``.

    ## Information
    Arrays ``(N,)``: ``cost_usd``, ``violations``, ``offered`` of the step and ``replicas`` wanted after it.
    ``action_masks()`` gives the actions that pass unclipped.

    ## Arguments
    `task`, `trace` as for a single environment. `randomization`: other than the task's; ``Randomization.none()``
    gives clusters that are all as the task says.
    """

    metadata = {"render_modes": [], "autoreset_mode": AutoresetMode.NEXT_STEP}  # noqa: RUF012 - Gymnasium's own way

    def __init__(
        self,
        num_envs: int = 1,
        task: str | Path | Task = "web",
        trace: Trace | str | Path | None = None,
        randomization: Randomization | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
    ) -> None:
        _check_arguments(num_envs, randomization, autoreset_mode)
        self.task = task if isinstance(task, Task) else load_task(task)
        self.num_envs = num_envs
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.metadata = type(self).metadata | {"autoreset_mode": self.autoreset_mode}
        interface = self.task.interface
        self._actions, self._guard = interface.actions, interface.new_guard()
        self.clusters = FluidClusters(
            self.task.scenario,
            _loads(self.task, trace),
            num_envs,
            period_seconds=self.task.period_seconds,
            horizon_seconds=self.task.horizon_seconds,
            slo_seconds=self.task.objective.slo_seconds,
            randomization=randomization or self.task.randomization,
        )
        self._steps = round(self.task.horizon_seconds / self.task.period_seconds)
        shape = num_envs, len(interface.services)
        self._facts = Facts(np.ones(shape), np.ones(shape), np.ones((num_envs, 1)))
        self._unit_usd = np.ones(num_envs)
        self._observer = Observer(interface.observer, self._facts)
        low, high = self._observer.bounds
        self.single_observation_space = spaces.Box(low, high, dtype=np.float32)
        actions = self._actions.count
        self.single_action_space = (
            spaces.Discrete(actions) if shape[1] == 1 else spaces.MultiDiscrete([actions] * shape[1])
        )
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._everyone = np.arange(num_envs)
        self._shown = self.clusters.snapshot()
        self._ended = np.zeros(num_envs, dtype=bool)
        self._is_seeded = False

    def reset(
        self, *, seed: int | Sequence[int] | None = None, options: Infos | None = None
    ) -> tuple[Observations, Infos]:
        """Begin an episode of each cluster, or of those in ``options["reset_mask"]``, bool ``(N,)``.

        Raises:
            InputError: if there are not as many seeds as clusters, whole numbers of 0 or more.
        """
        mask = (options or {}).get("reset_mask")
        which = self._everyone if mask is None else np.flatnonzero(mask)
        if mask is not None and not self._is_seeded:
            msg = (
                "some clusters cannot be reset before all have been; call reset() without a reset_mask first"
            )
            raise InputError(msg)
        if seed is None and not self._is_seeded:
            seed = int(np.random.SeedSequence().generate_state(1)[0])
        if seed is not None:
            seeds = self._seeds(seed)
            self.clusters.seed(which, [seeds[place] for place in which])
            self._is_seeded = True
        self._begin(which)
        self._shown = self.clusters.snapshot()
        look = self._observer.observe if mask is None else self._observer.look
        return look(self._shown), {}

    def step(
        self, actions: Actions
    ) -> tuple[Observations, NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], Infos]:
        """Ask for replicas and let one control period happen in every cluster.

        Raises:
            InputError: if there is no such action, or a cluster's episode is over and it is not reset by itself.
        """
        clusters, state = self.clusters, self.clusters.state
        if not self._is_seeded:
            msg = "no episode has begun; call reset() first"
            raise InputError(msg)
        chosen = self._checked(actions)
        waiting = self._ended
        resets = bool(waiting.any())
        if resets and self.autoreset_mode is AutoresetMode.DISABLED:
            msg = f"the episode of cluster {int(waiting.argmax())} is over; call reset with its reset_mask"
            raise InputError(msg)
        seen = self._shown
        clusters.apply(self._guard.allow(seen, self._actions.desired(chosen, seen)).replicas)
        happened = clusters.advance()
        usd = happened.usd.sum(axis=1) + happened.node_usd.sum(axis=1)
        rewards = -(usd + self.task.objective.usd_per_violation * happened.late) / self._unit_usd
        offered = happened.requests.copy()
        violations = happened.late.copy()
        if resets:
            which = np.flatnonzero(waiting)
            self._begin(which)
            for values in (rewards, usd, violations, offered):
                values[which] = 0
        self._shown = clusters.snapshot()
        observations = self._observer.observe(self._shown)
        truncated = state.step >= self._steps
        infos: Infos = {
            "cost_usd": usd,
            "violations": violations,
            "offered": offered,
            "replicas": state.wanted.sum(axis=1),
        }
        self._ended = truncated.copy()
        if self.autoreset_mode is AutoresetMode.SAME_STEP and truncated.any():
            observations = self._begin_anew(truncated, observations, infos)
        return observations, rewards, np.zeros(self.num_envs, dtype=bool), truncated, infos

    def _seeds(self, seed: int | Sequence[int]) -> list[int]:
        """A seed for each cluster, refused where there are none."""
        seeds = (
            [int(seed) + place for place in range(self.num_envs)]
            if isinstance(seed, Integral)
            else np.ravel(seed).tolist()
        )
        if not all(isinstance(one, int) and one >= 0 for one in seeds):
            msg = f"seed is {seed!r}; must be a whole number of 0 or more, or one a cluster"
            raise InputError(msg)
        if len(seeds) != self.num_envs:
            msg = f"seed has {len(seeds)} numbers; must have {self.num_envs}, one a cluster"
            raise InputError(msg)
        return seeds

    def _checked(self, actions: Actions) -> Actions:
        """Actions ``(N, S)``, refused where they are not."""
        chosen, shape = np.asarray(actions), self.clusters.state.wanted.shape
        is_whole = np.issubdtype(chosen.dtype, np.integer)
        if chosen.shape not in {shape, self.action_space.shape} or not is_whole:
            msg = (
                f"actions are {chosen.dtype} {chosen.shape}; must be whole numbers {self.action_space.shape}"
            )
            raise InputError(msg)
        if chosen.min() < 0 or chosen.max() >= self._actions.count:
            msg = f"actions are {chosen.min()} to {chosen.max()}; must be 0 to {self._actions.count - 1}"
            raise InputError(msg)
        return chosen.reshape(shape)

    def action_masks(self) -> NDArray[np.bool_]:
        """Bool ``(N, A)`` or ``(N, S, A)``: the actions that are done as they are."""
        masks = self._actions.mask(self._shown, self._guard)
        return masks[:, 0] if masks.shape[1] == 1 else masks

    def close_extras(self, **kwargs: Any) -> None:  # noqa: ANN401 - Gymnasium's own
        """Give the threads back."""
        del kwargs
        self.clusters.close()

    def _begin(self, which: Ints) -> None:
        """Begin an episode of these clusters."""
        self.clusters.begin(which)
        world, facts, said = self.clusters.world, self._facts, self.task.interface.observer
        work, slots = self.clusters.factors(which)
        facts.slots_per_pod[which] = slots * np.array(said.slots_per_pod)
        facts.capacity_rps[which] = slots / work * np.array(said.capacity_rps)
        facts.slo_seconds[which, 0] = world.slo_seconds[which]
        self._unit_usd[which] = self._units(which)
        mask = np.zeros(self.num_envs, dtype=bool)
        mask[which] = True
        self._observer.reset(mask)
        self._guard.reset(mask)
        self._ended[which] = False

    def _units(self, which: Ints) -> NDArray[np.float64]:
        """What the pods cost in a step that a cluster's mean load keeps fully busy: float64 ``(n,)``."""
        world, scenario = self.clusters.world, self.task.scenario
        system = scenario.system
        work, slots = self.clusters.factors(which)
        slots_per_pod = np.array([service.slots_per_pod for service in system.services])
        rate = scenario.workload.mean_rps * world.load_scale[which, np.newaxis]
        pods = rate * np.array(system.load_seconds()) * work / (slots_per_pod * slots)
        vcpu = (pods * np.array([service.vcpu_per_pod for service in system.services])).sum(axis=1)
        usd_per_hour = vcpu * scenario.usd_per_vcpu_hour * world.price[which]
        return np.asarray(usd_per_hour * self.task.period_seconds / SECONDS_PER_HOUR)

    def _begin_anew(self, ended: NDArray[np.bool_], last: Observations, infos: Infos) -> Observations:
        """The first observations of the next episodes where one has ended."""
        which = np.flatnonzero(ended)
        final = np.full(self.num_envs, None, dtype=object)
        for place in which:
            final[place] = last[place].copy()
        told = {name: np.where(ended, values, 0) for name, values in infos.items()}
        told |= {f"_{name}": ended.copy() for name in infos}
        infos |= {"final_obs": final, "_final_obs": ended.copy()}
        infos |= {"final_info": told, "_final_info": ended.copy()}
        self._begin(which)
        self._shown = self.clusters.snapshot()
        return np.where(ended[:, np.newaxis], self._observer.look(self._shown), last)


def _check_arguments(num_envs: object, randomization: object, autoreset_mode: object) -> None:
    """Refuse what no environment can be made of.

    Raises:
        InputError: naming the argument and what it may be.
    """
    if not isinstance(num_envs, Integral) or isinstance(num_envs, bool) or num_envs < 1:
        msg = f"num_envs is {num_envs!r}; must be a whole number of at least 1"
        raise InputError(msg)
    if not isinstance(randomization, Randomization | None):
        msg = f"randomization is {randomization!r}; must be a simulator.randomization.Randomization"
        raise InputError(msg)
    modes = [mode.value for mode in AutoresetMode]
    if autoreset_mode not in [*modes, *AutoresetMode]:
        msg = f"autoreset_mode is {autoreset_mode!r}; must be one of {', '.join(modes)}"
        raise InputError(msg)


def _loads(task: Task, trace: Trace | str | Path | None) -> list[Trace]:
    """What episodes are taken from.

    Raises:
        InputError: if the trace is shorter than an episode.
    """
    if trace is None:
        days = max(_DRAWN_DAYS, math.ceil(task.horizon_seconds / _DAY_SECONDS))
        return _drawn(task.scenario.workload, days)
    return [(read_trace(trace) if isinstance(trace, str | Path) else trace).refine()]


@lru_cache(maxsize=1)
def _drawn(workload: Workload, days: int) -> list[Trace]:
    """The same loads for every environment of a task."""
    rng = np.random.default_rng(_LOADS_SEED)
    return [workload.draw(days * _DAY_SECONDS, rng) for _ in range(_DRAWN_WEEKS)]


def make_vector_env(num_envs: int = 1, **settings: Any) -> AutoscaleVectorEnv:  # noqa: ANN401 - passed on
    """What ``gymnasium.make_vec`` calls.

    Raises:
        InputError: if another distribution owns one of setpoint's import names, too.
    """
    check_import_names()
    return AutoscaleVectorEnv(num_envs, **settings)
