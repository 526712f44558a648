"""The control problem: tasks, observations, actions, limits and Gymnasium environments."""


def register_envs() -> None:
    """Register an environment for each task; ``envs.plugin`` calls this once Gymnasium is imported."""
    from gymnasium import register, registry

    from envs.names import env_id, task_names

    for task in task_names():
        if env_id(task) not in registry:
            register(
                id=env_id(task),
                entry_point="envs.autoscale:make_env",
                vector_entry_point="envs.vector:make_vector_env",
                kwargs={"task": task},
            )
