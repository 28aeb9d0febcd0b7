"""Who is logged in: sessions in memory, ended by time, and a brake on guessing.

The token itself is kept nowhere. A session is known by a random id in a cookie that no script can read; forms carry a
second secret of the session, so that another site cannot send them.
"""

from __future__ import annotations

import hmac
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from tidegate.clock import Clock
from tidegate.tokens import Tokens

COOKIE = "tidegate_console"
_MAX_SESSIONS = 1_000
_MAX_CALLERS = 10_000


@dataclass(slots=True)
class Session:
    """A person at a browser.

    Attributes
    ----------
    who : str             the name they gave, for the histories
    csrf : str            secret that forms carry
    notice : str | None   what was done, shown once
    """

    who: str
    csrf: str
    began_seconds: float
    seen_seconds: float
    notice: str | None = None


@dataclass(slots=True)
class Sessions:
    """The sessions of one console. Safe to use from many threads.

    Attributes
    ----------
    tokens : the live ones; None where nobody can log in
    idle_seconds, longest_seconds : float     after which a session ends
    attempts, attempt_seconds                 wrong tokens that a caller may give within so many seconds
    """

    clock: Clock
    tokens: Tokens | None
    idle_seconds: float = 3_600.0
    longest_seconds: float = 12 * 3_600.0
    attempts: int = 10
    attempt_seconds: float = 60.0
    make_secret: Callable[[], str] = field(default=lambda: secrets.token_urlsafe(32))
    _sessions: dict[str, Session] = field(default_factory=dict)
    _wrong: dict[str, list[float]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def find(self, session_id: str | None, *, is_touched: bool = True) -> Session | None:
        """Look a session up; None where it has ended, or never was.

        Parameters
        ----------
        is_touched : note that somebody used it, not a page that looks for news by itself
        """
        if not session_id:
            return None
        now_seconds = self.clock.monotonic_seconds()
        with self._lock:
            session = self._sessions.get(session_id)
            if session is None:
                return None
            is_over = now_seconds - session.began_seconds > self.longest_seconds
            if is_over or now_seconds - session.seen_seconds > self.idle_seconds:
                del self._sessions[session_id]
                return None
            if is_touched:
                session.seen_seconds = now_seconds
            return session

    def must_wait(self, caller: str) -> bool:
        """Whether a caller has given too many wrong tokens lately."""
        since_seconds = self.clock.monotonic_seconds() - self.attempt_seconds
        with self._lock:
            recent = [at for at in self._wrong.get(caller, ()) if at > since_seconds]
            return len(recent) >= self.attempts

    def open(self, token: str, who: str, caller: str) -> str | None:
        """Open a session; returns its id, or None where the token is not live."""
        now_seconds = self.clock.monotonic_seconds()
        is_live = self.tokens is not None and self.tokens.accepts(f"Bearer {token}")
        with self._lock:
            if not is_live:
                since_seconds = now_seconds - self.attempt_seconds
                recent = [at for at in self._wrong.pop(caller, ()) if at > since_seconds]
                self._wrong[caller] = [*recent, now_seconds][-self.attempts :]
                while len(self._wrong) > _MAX_CALLERS:
                    del self._wrong[next(iter(self._wrong))]
                return None
            self._wrong.pop(caller, None)
            while len(self._sessions) >= _MAX_SESSIONS:
                del self._sessions[next(iter(self._sessions))]
            session_id = self.make_secret()
            self._sessions[session_id] = Session(who, self.make_secret(), now_seconds, now_seconds)
            return session_id

    def close(self, session_id: str | None) -> None:
        """End a session."""
        with self._lock:
            self._sessions.pop(session_id or "", None)


def is_own_form(session: Session, given: str) -> bool:
    """Whether a form carries the session's secret; compared in constant time."""
    return hmac.compare_digest(session.csrf.encode(), given.encode("utf-8", "surrogateescape"))
