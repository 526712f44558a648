"""From a trained network to ONNX."""

from __future__ import annotations

import io
import warnings

import torch
from stable_baselines3.common.policies import ActorCriticPolicy


class _Actor(torch.nn.Module):
    def __init__(self, policy: ActorCriticPolicy) -> None:
        super().__init__()
        self._extractor = policy.mlp_extractor.policy_net
        self._head = policy.action_net

    def forward(self, observation: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self._head(self._extractor(observation))
        return logits


def export_actor(policy: ActorCriticPolicy) -> bytes:
    """The actor of an actor-critic on flat observations, from ``observation`` to ``logits``."""
    (size,) = policy.observation_space.shape or (0,)
    content = io.BytesIO()
    with warnings.catch_warnings():
        # the tracing exporter is deprecated, and the one that needs no extra package
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            _Actor(policy).eval().cpu(),
            (torch.zeros(1, size),),
            content,  # type: ignore[arg-type]  # torch takes a buffer, its annotation does not
            input_names=["observation"],
            output_names=["logits"],
            dynamic_axes={"observation": {0: "batch"}, "logits": {0: "batch"}},
            dynamo=False,
        )
    return content.getvalue()
