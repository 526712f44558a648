"""Make tiny.bundle, a policy of a few hundred steps for tests without a trainer."""

from __future__ import annotations

from pathlib import Path

from agents.learn.ppo import PpoSettings
from agents.learn.training import Plan, train
from envs.task import load_task

SETTINGS = PpoSettings(environments=2, rollout_steps=64, batch_size=64, epochs=2, hidden=(8,), hold_bias=0.0)

if __name__ == "__main__":
    plan = Plan(load_task("web"), None, 256, seed=0, settings=SETTINGS, processes=False)
    train(plan, Path(__file__).with_name("tiny.bundle"), lambda _: None)
