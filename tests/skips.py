"""Tests that may be skipped where CI=true, by the start of their node id, each with its reason."""

ALLOWED_SKIPS: dict[str, str] = {}
