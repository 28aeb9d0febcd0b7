"""Where services listen: the options that say it, and which addresses may be listened on without further ado."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from tidegate.errors import ConfigError
from tidegate.tokens import is_loopback

_F = TypeVar("_F", bound=Callable[..., Any])
_MAX_PORT = 65_535


def address_options(prefix: str, port: int, doing: str, beyond: str = "") -> Callable[[_F], _F]:
    """Add the flags ``--host`` and ``--port`` of a service.

    Parameters
    ----------
    prefix : of their variables in the environment, such as ``TIDEGATE_CONSOLE``
    port : default
    doing : what is done there, for the help, such as ``serve``
    beyond : what another address than loopback takes, for the help
    """

    def decorate(function: _F) -> _F:
        host_option = click.option(
            "--host",
            envvar=f"{prefix}_HOST",
            default="127.0.0.1",
            show_default=True,
            help=f"Address to {doing} on{beyond and f'; another one than loopback {beyond}'}.",
        )
        port_option = click.option(
            "--port",
            envvar=f"{prefix}_PORT",
            type=click.IntRange(0, _MAX_PORT),
            default=port,
            show_default=True,
            help=f"Port to {doing} on; 0 takes a free one.",
        )
        return host_option(port_option(function))

    return decorate


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
