"""Bearer tokens of the HTTP surfaces that change something: one that is live, or two while they are exchanged.

A surface names its setting, such as ``alert_tokens``: the tokens themselves, parted by spaces, commas or line ends, in
``TIDEGATE_ALERT_TOKENS``, or in a file that ``TIDEGATE_ALERT_TOKENS_FILE`` names. To rotate: put the new one beside the
old one, give callers the new one, take the old one out.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tidegate.errors import ConfigError

MIN_CHARACTERS = 16
MAX_LIVE = 2
_ALPHABET = re.compile(r"[A-Za-z0-9\-._~+/]+=*")  # RFC 6750, section 2.1: b64token
_BETWEEN = re.compile(r"[\s,]+")
_MADE_BY = "python3 -c 'import secrets; print(secrets.token_urlsafe(32))' makes a good one"


@dataclass(frozen=True, slots=True)
class Tokens:
    """The live tokens of one surface, kept as digests: what is printed or dumped gives none away.

    Attributes
    ----------
    digests : tuple of bytes      SHA-256 of each

    Examples
    --------
    >>> tokens = tokens_of("correct-horse-battery, staple-of-another-kind", place="TIDEGATE_ALERT_TOKENS")
    >>> tokens.accepts("Bearer staple-of-another-kind"), tokens.accepts("Bearer wrong"), tokens.accepts(None)
    (True, False, False)
    """

    digests: tuple[bytes, ...] = field(repr=False)

    def accepts(self, authorization: str | None) -> bool:
        """Whether a request's ``Authorization`` header names a live token.

        Takes as long for any wrong token: digests of one length are compared in constant time, all of them always.

        Parameters
        ----------
        authorization : str or None     the header as it came; None where there was none
        """
        scheme, _, given = (authorization or "").partition(" ")
        if scheme.lower() != "bearer":
            return False
        digest = _digest(given.strip(" "))
        is_live = [hmac.compare_digest(digest, live) for live in self.digests]
        return any(is_live)


def tokens_of(text: str, *, place: str) -> Tokens:
    """Read one token, or two, parted by spaces, commas or line ends.

    Parameters
    ----------
    place : str     where the text is from, for the message; the text itself is never repeated

    Raises
    ------
    ConfigError
        If there is none, or more than two, or one is too short, or of characters that no header carries.
    """
    found = [each for each in _BETWEEN.split(text) if each]
    if not 1 <= len(found) <= MAX_LIVE:
        raise ConfigError(
            f"{len(found)} tokens where one is live, or two are while they are exchanged",
            f"Give one or two, parted by a space, a comma or a line end; {_MADE_BY}",
            place=place,
        )
    for number, token in enumerate(found, 1):
        if not _ALPHABET.fullmatch(token):
            raise ConfigError(
                f"token {number} has characters that a bearer token may not have",
                f"Use letters, digits and - . _ ~ + / only, with = at the end; {_MADE_BY}",
                place=place,
            )
        if len(token) < MIN_CHARACTERS:
            raise ConfigError(
                f"token {number} has {len(token)} characters where {MIN_CHARACTERS} are the least",
                _MADE_BY,
                place=place,
            )
    return Tokens(tuple(_digest(token) for token in dict.fromkeys(found)))


def read_tokens(name: str, environment: Mapping[str, str] | None = None) -> Tokens | None:
    """Read the tokens of a surface from the environment; None where it has none.

    Parameters
    ----------
    name : str                      of the setting, such as ``alert_tokens``
    environment : mapping, optional    default: that of the process

    Raises
    ------
    ConfigError
        If they are given twice, the file cannot be read, or its content is none.

    Examples
    --------
    >>> read_tokens("alert_tokens", {}) is None
    True
    """
    known = os.environ if environment is None else environment
    variable = f"TIDEGATE_{name.upper()}"
    text, path = known.get(variable), known.get(f"{variable}_FILE")
    if path is None:
        return None if text is None else tokens_of(text, place=variable)
    if text is not None:
        raise ConfigError(f"{variable}_FILE is given too", "Leave one of the two out", place=variable)
    try:
        in_file = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"the tokens cannot be read: {error}", "Name a readable file of one or two lines", place=f"{variable}_FILE"
        ) from error
    return tokens_of(in_file, place=f"{variable}_FILE")


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches `host`.

    Examples
    --------
    >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("0.0.0.0"), is_loopback("tidegate.example")
    (True, True, False, False)
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def require_tokens_beyond_loopback(host: str, tokens: Tokens | None, name: str) -> None:
    """Refuse to listen, without a token, where other machines reach it.

    Parameters
    ----------
    name : str     of the setting, such as ``alert_tokens``

    Raises
    ------
    ConfigError
        If that would be so.
    """
    if tokens is None and not is_loopback(host):
        raise ConfigError(
            f"{host} is reached by other machines, and no token is asked of them",
            f"Put one into a file that TIDEGATE_{name.upper()}_FILE names, or listen on 127.0.0.1; {_MADE_BY}",
            place="--host",
        )


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
