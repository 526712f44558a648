"""Learning: the only folder that knows stable-baselines3 and torch."""
