"""Fine-tunes over HTTP: look at them, decide on them, have them run. Routes to be mounted, or an app of their own.

Every request carries a bearer token: one that may decide, or one that may only look. The token says that the caller
may; who decided is in the body, and recorded.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import msgspec
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ExceptionHandler

from refresh.finetune.desk import DECISIONS, Desk
from refresh.finetune.messages import PREFIX, DecisionRequest, FineTuneList, FineTuneRefusal
from refresh.finetune.openapi import openapi_document
from tidegate.contracts import FineTune, FineTuneAction, FineTuneStatus, encode
from tidegate.errors import (
    EngineError,
    FineTuneError,
    RequestError,
    StoreUnavailableError,
    TidegateError,
    TransitionError,
    UnknownFineTuneError,
)
from tidegate.tokens import Tokens

MAX_BODY_BYTES = 64 * 1024
_STATUS_OF = (
    (UnknownFineTuneError, 404),
    (TransitionError, 409),
    (FineTuneError, 409),
    (EngineError, 409),  # the candidate is not what was judged
    (StoreUnavailableError, 503),
    (RequestError, 422),
)


@dataclass(frozen=True, slots=True)
class Access:
    """Who may look, and who may decide; a token that may decide may look, too.

    Attributes
    ----------
    decide : Tokens, optional    None: nobody decides over HTTP
    read : Tokens, optional      None: no token only looks
    """

    decide: Tokens | None
    read: Tokens | None = None

    def refusal(self, request: Request, *, decides: bool) -> Response | None:
        """Give the answer to a request that may not do what it asks; None where it may."""
        given = request.headers.get("authorization")
        if self.decide is not None and self.decide.accepts(given):
            return None
        may_read = self.read is not None and self.read.accepts(given)
        if may_read and not decides:
            return None
        if may_read:
            return _refused(403, "this token may only look", "Use one that may decide")
        if self.decide is None and (decides or self.read is None):
            return _refused(403, "no token is set up for that", "Set TIDEGATE_FINETUNE_TOKENS_FILE where it is served")
        response = _refused(401, "there is no live bearer token", "Send Authorization: Bearer TOKEN")
        response.headers["www-authenticate"] = 'Bearer realm="tidegate"'
        return response


class _Handlers:
    def __init__(self, desk: Desk, access: Access, start: Callable[[str], None] | None) -> None:
        self._desk, self._access, self._start = desk, access, start

    async def all(self, request: Request) -> Response:
        """List."""
        refusal = self._access.refusal(request, decides=False)
        return refusal or await _answered(lambda: self._listed(request))

    async def one(self, request: Request) -> Response:
        """Show."""
        refusal = self._access.refusal(request, decides=False)
        return refusal or await _answered(lambda: self._desk.show(request.path_params["fine_tune_id"]))

    async def run(self, request: Request) -> Response:
        """Start the work."""
        refusal = self._access.refusal(request, decides=True)
        return refusal or await _answered(lambda: self._started(request.path_params["fine_tune_id"]), status=202)

    def deciding(self, action: FineTuneAction) -> Callable[[Request], Awaitable[Response]]:
        """Make the handler of one decision."""

        async def decide(request: Request) -> Response:
            refusal = self._access.refusal(request, decides=True)
            if refusal is not None:
                return refusal
            body = await _body(request)
            if isinstance(body, Response):
                return body
            asked = _decoded(body)
            if isinstance(asked, Response):
                return asked
            name = request.path_params["fine_tune_id"]
            return await _answered(
                lambda: self._desk.decide(name, action, by=asked.by, reason=asked.reason, revision=asked.revision)
            )

        return decide

    def _listed(self, request: Request) -> FineTuneList:
        text = request.query_params.get("status")
        if text is not None and text not in set(FineTuneStatus):
            raise RequestError(
                f"there is no status {text!r}", f"Use one of {', '.join(FineTuneStatus)}", place="status"
            )
        status = None if text is None else FineTuneStatus(text)
        return FineTuneList(self._desk.list(request.query_params.get("run"), status))

    def _started(self, fine_tune_id: str) -> FineTune:
        record = self._desk.show(fine_tune_id)
        if self._start is None:
            raise FineTuneError(
                "nothing is trained here", "Use `tidegate finetune run` where there is room", place="run"
            )
        self._start(fine_tune_id)
        return record


def fine_tune_routes(
    desk: Desk, access: Access, *, start: Callable[[str], None] | None = None, prefix: str = PREFIX
) -> list[BaseRoute]:
    """Make the routes.

    Parameters
    ----------
    desk : Desk
    access : Access
    start : begins the work on a fine-tune elsewhere and returns at once; None: this place trains nothing
    prefix : str     path before all of them
    """
    handlers = _Handlers(desk, access, start)
    one = f"{prefix}/{{fine_tune_id}}"
    routes: list[BaseRoute] = [
        Route(prefix, handlers.all, methods=["GET"]),
        Route(one, handlers.one, methods=["GET"]),
        Route(f"{one}/run", handlers.run, methods=["POST"]),
    ]
    return routes + [Route(f"{one}/{action}", handlers.deciding(action), methods=["POST"]) for action in DECISIONS]


def build_app(desk: Desk, access: Access, *, start: Callable[[str], None] | None = None) -> Starlette:
    """Make an app that serves nothing else; its description is at ``/openapi.json``."""
    description = msgspec.json.encode(openapi_document())

    async def openapi(_: Request) -> Response:
        return Response(description, media_type="application/json")

    async def refused_by_route(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return _refused(error.status_code, error.detail, f"See /openapi.json for the paths under {PREFIX}")

    errors: dict[type[Exception], ExceptionHandler] = {HTTPException: refused_by_route}
    routes = [*fine_tune_routes(desk, access, start=start), Route("/openapi.json", openapi, methods=["GET"])]
    app = Starlette(routes=routes, exception_handlers=errors)
    app.router.redirect_slashes = False  # to wherever the request's own Host header says
    return app


async def _answered(work: Callable[[], msgspec.Struct], status: int = 200) -> Response:
    """Do the work in a thread, for the store may have to be waited for; say what kept it from being done."""
    try:
        return _json(status, await run_in_threadpool(work))
    except TidegateError as error:
        code = next((code for kind, code in _STATUS_OF if isinstance(error, kind)), 500)
        return _refused(code, error.found, error.mend, error.place)


async def _body(request: Request) -> bytes | Response:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            response = _refused(413, f"the body is larger than {MAX_BODY_BYTES} bytes", "Give a shorter reason", "body")
            response.headers["connection"] = "close"  # the rest of the body is not read
            return response
    return bytes(body)


def _decoded(body: bytes) -> DecisionRequest | Response:
    wanted = 'Send {"by": WHO, "reason": WHY}, and "revision" where it matters'
    try:
        return msgspec.json.decode(body, type=DecisionRequest)
    except msgspec.ValidationError as error:
        return _refused(422, str(error), wanted, "body")
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return _refused(400, f"the body is no JSON: {error}", wanted, "body")


def _refused(status: int, found: str, mend: str, place: str | None = None) -> Response:
    return _json(status, FineTuneRefusal(found, mend, place))


def _json(status: int, record: msgspec.Struct) -> Response:
    return Response(encode(record), status, {"cache-control": "no-store"}, media_type="application/json")
