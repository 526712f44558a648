"""From a record of a real service to a task, and how far that can be trusted."""
