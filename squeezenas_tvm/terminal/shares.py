"""Whose share of a latency is how large, for people."""

from collections.abc import Mapping


def share_text(shares: Mapping[str, float]) -> str:
    """Whose share of a latency is how large, for people."""
    return ", ".join(f"{share:.0%} {source}" for source, share in shares.items())
