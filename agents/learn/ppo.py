"""Proximal policy optimisation through stable-baselines3.

Source: Schulman et al., Proximal Policy Optimization Algorithms, 2017.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from stable_baselines3 import PPO
from stable_baselines3.common.distributions import CategoricalDistribution
from stable_baselines3.common.vec_env import VecEnv
from torch.distributions import Categorical
from torch.distributions.utils import lazy_property

from simulator.settings import Settings


class PpoSettings(Settings):
    """Settings of PPO; the defaults suit a 15 s control period and some minutes of foresight."""

    environments: int = Field(default=8, ge=1, le=4096, description="Environments stepped together.")
    rollout_steps: int = Field(
        default=128, ge=8, description="Steps of each environment between two updates."
    )
    batch_size: int = Field(default=256, ge=8, description="Size of a minibatch.")
    epochs: int = Field(default=10, ge=1, description="Passes over a rollout.")
    learning_rate: float = Field(default=1e-3, gt=0, description="Adam's step, falling linearly to a tenth.")
    discount: float = Field(default=0.97, gt=0, lt=1, description="Discount of a control period.")
    gae_lambda: float = Field(default=0.92, ge=0, le=1, description="Generalised advantage estimation.")
    entropy: float = Field(default=0.003, ge=0, description="Worth of entropy.")
    hold_bias: float = Field(
        default=2.0,
        ge=0,
        description="Added to the logit of hold at first, so that exploring starts near it.",
    )
    hidden: tuple[int, ...] = Field(default=(64, 64), description="Widths of the hidden layers.")
    activation: Literal["tanh", "relu"] = Field(default="tanh", description="Between the layers.")


BATCH_DEFAULTS = PpoSettings(
    environments=1024,
    rollout_steps=32,
    batch_size=8192,
    epochs=4,
    learning_rate=2e-3,
    hidden=(32, 32),
    activation="relu",
)
"""What suits a thousand clusters at once."""
DEFAULTS = {"batch": BATCH_DEFAULTS, "request": PpoSettings()}
"""By the engine that is trained on."""
_FEWEST_EPISODES = 100
"""That a reported reward is the mean of."""
_ADAM_EPSILON = 1e-5
"""As stable-baselines3 has it by itself."""
_ACTIVATIONS = {"tanh": torch.nn.Tanh, "relu": torch.nn.ReLU}


class _Choice(Categorical):
    """A categorical distribution; of logits that are normalised already, the exponential is what softmax gives.

    Over ten actions torch's softmax, its gradient and the checks of arguments take a tenth of all training.
    """

    def __init__(self, logits: torch.Tensor) -> None:
        super().__init__(logits=logits, validate_args=False)

    @lazy_property
    def probs(self) -> torch.Tensor:
        """float32 ``(..., A)``; of each action."""
        return self.logits.exp()


class _Choices(CategoricalDistribution):
    """The same as stable-baselines3 asks for it."""

    def proba_distribution(self, action_logits: torch.Tensor) -> _Choices:
        """Of these logits, float32 ``(..., A)``."""
        self.distribution = _Choice(action_logits)
        return self


def make_ppo(env: VecEnv, settings: PpoSettings, hold_action: int, seed: int) -> PPO:
    """An untrained agent on the CPU that mostly holds."""
    model = PPO(
        "MlpPolicy",
        env,
        n_steps=settings.rollout_steps,
        batch_size=settings.batch_size,
        n_epochs=settings.epochs,
        learning_rate=lambda left: settings.learning_rate * max(left, 0.1),
        gamma=settings.discount,
        gae_lambda=settings.gae_lambda,
        ent_coef=settings.entropy,
        policy_kwargs={
            "net_arch": list(settings.hidden),
            "activation_fn": _ACTIVATIONS[settings.activation],
            "optimizer_kwargs": {"eps": _ADAM_EPSILON, "fused": True},
        },
        stats_window_size=max(_FEWEST_EPISODES, settings.environments),
        seed=seed,
        device="cpu",
    )
    bias: torch.Tensor = model.policy.action_net.get_parameter("bias")
    model.policy.action_dist = _Choices(len(bias))
    with torch.no_grad():
        bias[hold_action] += settings.hold_bias
    return model
