"""Which addresses may be listened on without further ado."""

from __future__ import annotations

from tidegate.errors import ConfigError
from tidegate.tokens import is_loopback


def require_loopback(host: str, is_exposed: bool, *, place: str = "--host", flag: str = "--expose") -> None:
    """Refuse an address that others reach, unless that is meant.

    Raises
    ------
    ConfigError
        If it is not on loopback and nobody has said so.
    """
    if not is_loopback(host) and not is_exposed:
        raise ConfigError(
            f"{host} is reached by other machines, and the service has no TLS and no login",
            f"Serve on 127.0.0.1 behind something that has both, or say that it is meant with {flag}",
            place=place,
        )
