"""Reasons for the decision record."""

from __future__ import annotations

from collections.abc import Sequence


def join_reasons(services: Sequence[str], texts: Sequence[str]) -> str:
    """One line of the reasons of one cluster's services; a single one stands alone."""
    if len(texts) == 1:
        return texts[0]
    names = services or [str(place) for place in range(len(texts))]
    return " | ".join(f"{name}: {text}" for name, text in zip(names, texts, strict=True))
