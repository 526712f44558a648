"""The control problem: tasks, observations, actions, limits and Gymnasium environments."""


def register_envs() -> None:
    """Register setpoint's environments; ``envs.plugin`` calls this once Gymnasium is imported."""
    from gymnasium import register, registry

    if "setpoint/Web-v1" not in registry:
        register(
            id="setpoint/Web-v1",
            entry_point="envs.autoscale:make_env",
            vector_entry_point="envs.vector:make_vector_env",
            kwargs={"task": "web"},
        )
