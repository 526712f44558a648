"""Plants that are real."""
