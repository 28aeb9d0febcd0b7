"""What every request passes before a page sees it, and what every answer carries.

Pages hold no inline script or style, so the policy forbids both: text of logs that came through unescaped could do
nothing. Forms are read here, whole and bounded, so that pages never wait for a client.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tidegate.tokens import is_loopback

MAX_FORM_BYTES = 16 * 1024
_MAX_FIELDS = 20
_FORM = "application/x-www-form-urlencoded"
_SAFE = ("GET", "HEAD")
POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    # "no-referrer" would make browsers send `Origin: null` with our own forms.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}


class Guard:
    """Checks host, origin, size and time of requests to an app.

    Parameters
    ----------
    app : ASGI app
    host : str
        What is listened on. On loopback only names of loopback are answered: another name that leads here is how a
        page of another site would read this one.
    form_seconds, answer_seconds : float
        For a form to arrive, and for a page to be made.
    """

    def __init__(self, app: ASGIApp, host: str, *, form_seconds: float = 10.0, answer_seconds: float = 30.0) -> None:
        self._app, self._is_local = app, is_loopback(host)
        self._form_seconds, self._answer_seconds = form_seconds, answer_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        sent = _Sent(send)
        headers = Headers(scope=scope)
        refused = self._refusal(scope, headers)
        if refused is None and scope["method"] not in _SAFE:
            refused = await self._read_form(scope, headers, receive)
        if refused is not None:
            await _refuse(*refused)(scope, receive, sent)
            return
        try:
            async with asyncio.timeout(self._answer_seconds):
                await self._app(scope, receive, sent)
        except TimeoutError:
            if not sent.has_begun:
                await _refuse(503, "The page took too long. Try again.")(scope, receive, sent)

    def _refusal(self, scope: Scope, headers: Headers) -> tuple[int, str] | None:
        host = headers.get("host", "")
        if self._is_local and not is_loopback(_name_of(host)):
            return 421, "This console answers to names of this machine only."
        if scope["method"] in _SAFE:
            return None
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != host:
            return 403, "The form came from another site."
        if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return 403, "The form came from another site."
        if headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM:
            return 415, f"Send a form as {_FORM}."
        return None

    async def _read_form(self, scope: Scope, headers: Headers, receive: Receive) -> tuple[int, str] | None:
        """Read the form into the scope."""
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > MAX_FORM_BYTES:
            return 413, f"The form is larger than {MAX_FORM_BYTES} bytes."
        body = bytearray()
        try:
            async with asyncio.timeout(self._form_seconds):
                while True:
                    message = await receive()
                    if message["type"] != "http.request":
                        return 400, "The form was cut short."
                    body += message.get("body", b"")
                    if len(body) > MAX_FORM_BYTES:
                        return 413, f"The form is larger than {MAX_FORM_BYTES} bytes."
                    if not message.get("more_body"):
                        break
        except TimeoutError:
            return 408, "The form took too long to arrive."
        try:
            fields = parse_qsl(body.decode("utf-8"), keep_blank_values=True, max_num_fields=_MAX_FIELDS)
        except ValueError:  # no UTF-8, or too many fields
            return 400, "The form cannot be read."
        scope["tidegate.form"] = _once(fields)
        return None


class _Sent:
    """Adds the headers to an answer, and knows whether it has begun."""

    def __init__(self, send: Send) -> None:
        self._send, self.has_begun = send, False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.has_begun = True
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
            headers.setdefault("cache-control", "no-store")
        await self._send(message)


def form_of(scope: Any) -> dict[str, str]:
    """Fields of the form that a request carried, by name; the first where one is repeated."""
    found: dict[str, str] = scope.get("tidegate.form", {})
    return found


def _once(fields: Sequence[tuple[str, str]]) -> dict[str, str]:
    return dict(reversed(fields))


def _name_of(host: str) -> str:
    """Name or address in a ``Host`` header, without its port."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] if ":" in host else host


def _refuse(status: int, text: str) -> PlainTextResponse:
    return PlainTextResponse(f"{status} {HTTPStatus(status).phrase}. {text}\n", status, {"connection": "close"})
