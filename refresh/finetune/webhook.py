"""Telling persons that they are needed: one JSON message to a URL of theirs, signed, sent again until it is taken.

::

    tidegate-event: fine_tune.pending_review
    tidegate-delivery: 0123456789abcdef-1704067200000:5      the same for every try: what was seen may be dropped
    tidegate-signature: t=1704067200,v1=9f86d0…              HMAC-SHA256 of "t.body" under the shared secret
"""

from __future__ import annotations

import hashlib
import hmac
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import msgspec
import tenacity

from tidegate import __version__
from tidegate.clock import Clock, SystemClock
from tidegate.contracts import FineTune, FineTuneFlag, FineTuneStatus, GateVerdict, encode
from tidegate.errors import ConfigError, FineTuneError

_LOG = logging.getLogger(__name__)
MIN_SECRET_BYTES = 16
_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
_LONGEST_PAUSE_SECONDS = 30.0


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """Body of the message."""

    event: str
    """``fine_tune.`` and the status."""
    fine_tune_id: str
    run_id: str
    status: FineTuneStatus
    revision: int
    attempt: int
    by: str
    why: str
    at_ms: int
    flag: FineTuneFlag
    gates: tuple[GateVerdict, ...]
    problem: str | None


def notice_of(record: FineTune) -> Notice:
    """Say where a fine-tune is, and how it came there."""
    last = record.steps[-1]
    return Notice(
        event=f"fine_tune.{record.status}",
        fine_tune_id=record.fine_tune_id,
        run_id=record.run_id,
        status=record.status,
        revision=record.revision,
        attempt=record.attempt,
        by=last.by,
        why=last.why,
        at_ms=last.at_ms,
        flag=record.flag,
        gates=record.gates,
        problem=record.problem,
    )


def signature(secret: bytes, sent_seconds: int, body: bytes) -> str:
    """Sign a message: the receiver computes the same, and refuses what is older than a few minutes.

    Examples
    --------
    >>> signature(b"a secret of 24 letters..", 1704067200, b"{}")[:16]
    't=1704067200,v1='
    """
    signed = f"{sent_seconds}.".encode() + body
    return f"t={sent_seconds},v1={hmac.new(secret, signed, hashlib.sha256).hexdigest()}"


def read_secret(path: Path) -> bytes:
    """Read the shared secret from a file.

    Raises
    ------
    ConfigError
        If it cannot be read, or is too short to keep anything.
    """
    try:
        secret = path.read_bytes().strip()
    except OSError as error:
        raise ConfigError(
            f"the secret cannot be read: {error.strerror}", "Check the path", place="--webhook-secret-file"
        ) from error
    if len(secret) < MIN_SECRET_BYTES:
        raise ConfigError(
            f"the secret has {len(secret)} bytes where {MIN_SECRET_BYTES} are the least",
            "python3 -c 'import secrets; print(secrets.token_urlsafe(32))' makes a good one",
            place=str(path),
        )
    return secret


@dataclass(frozen=True, slots=True)
class Webhook:
    """Sends a fine-tune's state to a URL.

    Attributes
    ----------
    url : str                  http or https; redirects are not followed
    secret : bytes, optional   messages are signed with it
    timeout_seconds : float    of one try
    n_tries : int              with growing pauses between them, up to half a minute
    """

    url: str
    secret: bytes | None = field(default=None, repr=False)
    timeout_seconds: float = 10.0
    n_tries: int = 6
    clock: Clock = field(default_factory=SystemClock)
    transport: httpx.BaseTransport | None = None

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError("the webhook's address is no URL", "Give http(s)://HOST/PATH", place="--webhook-url")

    def __call__(self, record: FineTune) -> None:
        """Send it; returns once it was taken.

        Raises
        ------
        FineTuneError
            If the receiver refused it, or did not take it in any of the tries.
        """
        body = encode(notice_of(record))
        headers = {
            "content-type": "application/json",
            "user-agent": f"tidegate/{__version__}",
            "tidegate-event": f"fine_tune.{record.status}",
            "tidegate-delivery": f"{record.fine_tune_id}:{len(record.steps)}",
        }
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(_NotTakenError),
            stop=tenacity.stop_after_attempt(self.n_tries),
            wait=tenacity.wait_random_exponential(multiplier=0.5, min=0.2, max=_LONGEST_PAUSE_SECONDS),
            sleep=self.clock.sleep,
            reraise=True,
        )
        with httpx.Client(timeout=self.timeout_seconds, transport=self.transport) as client:
            try:
                retrying(self._send, client.post, headers, body)
            except _NotTakenError as error:
                raise self._failure(f"{error}, in {self.n_tries} tries") from error

    def _send(self, post: Callable[..., httpx.Response], headers: dict[str, str], body: bytes) -> None:
        signed = headers
        if self.secret is not None:
            signed = {**headers, "tidegate-signature": signature(self.secret, self.clock.now_ms() // 1_000, body)}
        try:
            response = post(self.url, content=body, headers=signed)
        except httpx.HTTPError as error:
            _LOG.info("webhook: %s", error)
            raise _NotTakenError(f"no answer ({type(error).__name__})") from error
        if response.status_code in _AGAIN:
            raise _NotTakenError(f"the answer was {response.status_code}")
        if not response.is_success:
            raise self._failure(f"the answer was {response.status_code}")

    def _failure(self, found: str) -> FineTuneError:
        # Addresses of webhooks often carry a key in their path: only the host is shown.
        return FineTuneError(
            f"the webhook did not take it: {found}",
            "Check the receiver; it is told again at the next `tidegate finetune run`",
            place=urlsplit(self.url).hostname,
        )


class _NotTakenError(Exception):
    """A try that is worth another one."""
