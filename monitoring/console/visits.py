"""One request as a page sees it: who asks, what for, and what could not be read for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar
from urllib.parse import quote, urlsplit

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from monitoring.console.guard import form_of
from monitoring.console.sessions import COOKIE, Session, Sessions
from tidegate.errors import TidegateError

_T = TypeVar("_T")
LIVE_HEADER = "tidegate-live"


@dataclass(slots=True)
class Visit:
    """A request.

    Attributes
    ----------
    is_live : bool        the page looks for news by itself: nobody touched it
    problems : list       what could not be read, in words
    """

    path: str
    target: str
    query: Mapping[str, str]
    form: Mapping[str, str]
    session: Session | None
    session_id: str | None
    if_none_match: str | None
    caller: str
    is_live: bool
    problems: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, request: Request, sessions: Sessions) -> Visit:
        """Read a request."""
        session_id, is_live = request.cookies.get(COOKIE), LIVE_HEADER in request.headers
        query = request.url.query
        return cls(
            path=request.url.path,
            target=f"{request.url.path}?{query}" if query else request.url.path,
            query=request.query_params,
            form=form_of(request.scope),
            session=sessions.find(session_id, is_touched=not is_live),
            session_id=session_id,
            if_none_match=request.headers.get("if-none-match"),
            caller=request.client.host if request.client else "",
            is_live=is_live,
        )

    def read(self, what: Callable[[], _T]) -> _T | None:
        """Read something; what cannot be read now is said on the page, which shows the rest."""
        try:
            return what()
        except TidegateError as error:
            if str(error) not in self.problems:
                self.problems.append(str(error))
            return None

    def read_all(self, what: Callable[[], Sequence[_T]]) -> Sequence[_T]:
        """Read a list likewise; an empty one where it cannot be read."""
        return self.read(what) or ()

    def number(self, name: str) -> int | None:
        """Whole number in the query; None where there is none."""
        text = self.query.get(name, "")
        return int(text) if text.isascii() and text.isdigit() and len(text) <= 15 else None


def to_login(visit: Visit) -> Response:
    """Send a visitor to the login, and back afterwards."""
    return seeing(f"/login?next={quote(visit.target, safe='/')}")


def seeing(path: str) -> Response:
    """Send a visitor to another page, by GET."""
    return RedirectResponse(path, status_code=303)


def own_path(text: str) -> str:
    r"""Take a path of this console; anything that could lead elsewhere becomes the first page.

    Examples
    --------
    >>> own_path("/tables?x=1"), own_path("//evil.example"), own_path("https://evil.example/"), own_path("/\\evil")
    ('/tables?x=1', '/', '/', '/')
    """
    try:
        parts = urlsplit(text)
    except ValueError:
        return "/"
    is_own = text.startswith("/") and not text.startswith("//") and text.isprintable() and "\\" not in text
    return text if is_own and not parts.scheme and not parts.netloc else "/"
