"""What a person may do: log in, roll back, override, approve, reject. Each is asked twice, with a reason.

1. The page of the deed says what will happen, and asks why. It is of no use without a session.
2. The form carries the session's secret and what was looked at; it is refused without them.
3. What was done is said on the page that follows, and is in the histories with name and reason.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from starlette.responses import Response

from monitoring.console.sessions import COOKIE, Sessions, is_own_form
from monitoring.console.source import ConsoleActions, ConsoleSource
from monitoring.console.visits import Visit, own_path, seeing, to_login
from monitoring.console.words import instant
from tidegate.contracts import FineTuneStatus
from tidegate.errors import RequestError, TidegateError

_LOG = logging.getLogger("tidegate.console")
_LONGEST_REASON, _LONGEST_NAME = 500, 60
_NOTHING_SERVES = "none"
_ANSWERED = (FineTuneStatus.APPROVED, FineTuneStatus.REJECTED, FineTuneStatus.SERVING, FineTuneStatus.RETIRED)

Handler = Callable[[Visit], Response]


class Render(Protocol):
    """Makes a page."""

    def __call__(self, visit: Visit, template: str, status: int = 200, **context: Any) -> Response:
        """Render `template`."""
        ...


@dataclass(frozen=True, slots=True)
class Deed:
    """A form that asks for one deed.

    Attributes
    ----------
    path : str          of form and deed
    title, button : str
    back : str          page to return to
    effects : what will happen, in sentences
    fields : hidden ones, by name
    is_grave : bool     it changes what users are served
    """

    path: str
    title: str
    button: str
    back: str
    effects: tuple[str, ...]
    fields: dict[str, str]
    is_grave: bool = True


class Acting:
    """Forms and deeds.

    Parameters
    ----------
    render : makes pages
    is_https : the cookie goes over TLS only
    """

    def __init__(
        self,
        source: ConsoleSource,
        actions: ConsoleActions,
        sessions: Sessions,
        render: Render,
        *,
        is_https: bool,
    ) -> None:
        self._source, self._actions, self._sessions = source, actions, sessions
        self._render, self._is_https = render, is_https

    def forms(self) -> dict[str, Handler]:
        """Pages that ask, by path."""
        return {
            "/login": self.login_page,
            "/tables/rollback": lambda visit: self._asked(visit, self._rollback_of),
            "/orders/override": lambda visit: self._asked(visit, self._override_of),
            "/fine-tunes/decide": lambda visit: self._asked(visit, self._verdict_of),
        }

    def deeds(self) -> dict[str, Handler]:
        """Give what forms are sent to, by path."""
        return {
            "/login": self.log_in,
            "/logout": self.log_out,
            "/tables/rollback": lambda visit: self._done(visit, self._rollback_of, self._roll_back),
            "/orders/override": lambda visit: self._done(visit, self._override_of, self._override),
            "/fine-tunes/decide": lambda visit: self._done(visit, self._verdict_of, self._decide),
        }

    def login_page(self, visit: Visit, error: str | None = None, status: int = 200, who: str = "") -> Response:
        """Ask for a name and the token."""
        path = own_path(visit.form.get("next", "") or visit.query.get("next", "") or "/")
        return self._render(visit, "login", status, next_path=path, error=error, who=who)

    def log_in(self, visit: Visit) -> Response:
        """Open a session for whoever has the token."""
        who = visit.form.get("who", "").strip()[:_LONGEST_NAME]
        if self._sessions.must_wait(visit.caller):
            return self.login_page(visit, "Too many wrong tokens from this address. Wait a minute.", 429, who)
        if not who:
            return self.login_page(visit, "Give your name: the histories say who did what.", 422)
        session_id = self._sessions.open(visit.form.get("token", "").strip(), who, visit.caller)
        if session_id is None:
            _LOG.warning("a login from %s was refused", visit.caller)
            return self.login_page(visit, "This token is not valid.", 403, who)
        self._sessions.close(visit.session_id)
        _LOG.info("%r logged in from %s", who, visit.caller)
        answer = seeing(own_path(visit.form.get("next", "/")))
        answer.set_cookie(
            COOKIE,
            session_id,
            max_age=int(self._sessions.longest_seconds),
            path="/",
            secure=self._is_https,
            httponly=True,
            samesite="strict",
        )
        return answer

    def log_out(self, visit: Visit) -> Response:
        """End the session."""
        if visit.session is None or not is_own_form(visit.session, visit.form.get("csrf", "")):
            return seeing("/")
        self._sessions.close(visit.session_id)
        answer = seeing("/")
        answer.delete_cookie(COOKIE, path="/", secure=self._is_https, httponly=True, samesite="strict")
        return answer

    def _asked(self, visit: Visit, deed_of: Callable[[Visit], Deed]) -> Response:
        if visit.session is None:
            return to_login(visit)
        try:
            deed = deed_of(visit)
        except RequestError as error:
            return self._render(visit, "problem", 404, sentence=str(error))
        return self._render(visit, "confirm", deed=deed, error=None, why="")

    def _done(self, visit: Visit, deed_of: Callable[[Visit], Deed], do: Callable[[Visit, str, str], str]) -> Response:
        session = visit.session
        if session is None:
            return self._render(visit, "problem", 403, sentence="You are not logged in any more. Nothing was changed.")
        if not is_own_form(session, visit.form.get("csrf", "")):
            sentence = "The form is not of this session. Nothing was changed; open the page again."
            return self._render(visit, "problem", 403, sentence=sentence)
        try:
            deed = deed_of(visit)
        except RequestError as error:
            return self._render(visit, "problem", 404, sentence=str(error))
        why = visit.form.get("why", "").strip()
        try:
            if not why or len(why) > _LONGEST_REASON:
                raise RequestError("the reason is empty or too long", f"Say why, in at most {_LONGEST_REASON} letters")
            session.notice = do(visit, why, session.who)
        except TidegateError as error:
            status = 422 if isinstance(error, RequestError) else 503
            return self._render(visit, "confirm", status, deed=deed, error=str(error), why=why)
        _LOG.info("%r from %s: %s (%r)", session.who, visit.caller, session.notice, why)
        return seeing(deed.back)

    def _rollback_of(self, visit: Visit) -> Deed:
        tables = self._source.tables()
        to = _given(visit, "to")
        target = tables.version(int(to)) if _is_number(to) else None
        if target is None or target.problem is not None:
            raise RequestError(f"there is no sound version {to!r}", "Choose one of the table of versions")
        serving = _NOTHING_SERVES if tables.serving is None else str(tables.serving)
        return Deed(
            path="/tables/rollback",
            title=f"Let version {target.version} serve",
            button=f"Let version {target.version} serve",
            back="/tables",
            effects=(
                f"Version {serving} serves now. Version {target.version}, published {instant(target.created_ms)} of "
                f"the window that ended {instant(target.window_end_ms)}, will be verified and serve within seconds.",
                f"The next refresh of the run starts from version {target.version}.",
                "Nothing is deleted: you can go forward again in the same way.",
            ),
            fields={"to": str(target.version), "serving": serving},
        )

    def _roll_back(self, visit: Visit, why: str, who: str) -> str:
        serving = visit.form.get("serving", "")
        to = visit.form.get("to", "")
        if not _is_number(to):
            raise RequestError("no version is named", "Open the page again")
        looked_at = int(serving) if _is_number(serving) else None
        return self._actions.roll_back(int(to), serving=looked_at, why=why, who=who)

    def _override_of(self, visit: Visit) -> Deed:
        order_id = _given(visit, "order")
        kept = next((each for each in self._source.candidates() if each.order_id == order_id), None)
        if kept is None:
            raise RequestError(
                f"no candidate of an order {order_id!r} is kept aside", "Choose one of those on the page"
            )
        failed = tuple(f"{verdict.gate}: {verdict.sentence}" for verdict in kept.gates if not verdict.is_passed)
        replaced = "no version" if kept.replaces is None else f"version {kept.replaces}"
        return Deed(
            path="/orders/override",
            title=f"Serve the candidate of order {order_id} all the same",
            button="Serve it all the same",
            back="/orders",
            effects=(
                *failed,
                f"It will be verified, and replace {replaced} within seconds. It is refused where another version "
                "serves by now.",
            ),
            fields={"order": order_id},
        )

    def _override(self, visit: Visit, why: str, who: str) -> str:
        return self._actions.override(visit.form.get("order", ""), why=why, who=who)

    def _verdict_of(self, visit: Visit) -> Deed:
        fine_tune_id, verdict = _given(visit, "id"), _given(visit, "verdict")
        found = next((each for each in self._source.fine_tunes() if each.fine_tune_id == fine_tune_id), None)
        if found is None or verdict not in ("approve", "reject"):
            raise RequestError(
                f"there is no fine-tune {fine_tune_id!r} to decide on", "Choose one of those on the page"
            )
        is_open = found.status is FineTuneStatus.PENDING_REVIEW or (
            verdict == "reject" and found.status not in _ANSWERED
        )
        state = () if is_open else (f"It does not wait for that: it is {found.status}.",)
        approving = (
            "The candidate's weights will serve, and rows of the table will be inferred anew by them.",
            "The weights that serve now are kept, and can be returned to.",
        )
        rejecting = ("No new weights come of it. Those that serve now go on serving.",)
        return Deed(
            path="/fine-tunes/decide",
            title=f"{verdict.capitalize()} fine-tune {fine_tune_id}",
            button=f"{verdict.capitalize()} it",
            back="/fine-tunes",
            effects=(*state, *(approving if verdict == "approve" else rejecting)),
            fields={"id": fine_tune_id, "verdict": verdict, "revision": str(found.revision)},
            is_grave=verdict == "approve",
        )

    def _decide(self, visit: Visit, why: str, who: str) -> str:
        revision = visit.form.get("revision", "")
        looked_at = int(revision) if _is_number(revision) else None
        fine_tune_id, verdict = visit.form.get("id", ""), visit.form.get("verdict", "")
        return self._actions.decide(fine_tune_id, verdict, revision=looked_at, why=why, who=who)


def _given(visit: Visit, name: str) -> str:
    return visit.form.get(name) or visit.query.get(name, "")


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 15
