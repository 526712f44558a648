"""Rules that are hard to beat."""
