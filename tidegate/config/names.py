"""How settings are named where they are given, and how none of something is."""

from __future__ import annotations

PREFIX = "TIDEGATE_"
"""Of variables in the environment."""
NEVER = "none"
"""Given for a duration that never passes."""


def flag_of(field: str) -> str:
    """Name the flag of a field of the settings.

    Examples
    --------
    >>> flag_of("max_calls")
    '--max-calls'
    """
    return f"--{field.replace('_', '-')}"
