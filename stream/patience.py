"""Waiting for a service that refuses for now: a store or a registry that is down, locked, full, or on its way."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception, wait_exponential

from tidegate.clock import Clock
from tidegate.errors import StoreUnavailableError

_LOG = logging.getLogger("tidegate.store")
_T = TypeVar("_T")
LONGEST_PAUSE_SECONDS = 1.0
STOPPING_SECONDS = 1.5
"""How long a process that was told to stop still waits: it has two seconds, and what it cannot commit is read again."""


def try_patiently(
    action: Callable[[], _T],
    *,
    is_passing: Callable[[BaseException], bool],
    is_over: Callable[[float], bool],
    pauses: tuple[float, float],
    clock: Clock,
    before_pause: Callable[[RetryCallState], None] | None = None,
) -> _T:
    """Try an action again and again while its errors pass by themselves; raises the last error.

    Parameters
    ----------
    is_passing : error -> bool     whether another try may mend it
    is_over : seconds -> bool      whether that much waiting is enough
    pauses : (float, float)        seconds: the first one, which doubles each time, and the longest
    """
    began_seconds = clock.monotonic_seconds()
    first_pause, longest_pause = pauses
    retrying = Retrying(
        retry=retry_if_exception(is_passing),
        wait=wait_exponential(multiplier=first_pause, max=longest_pause),
        stop=lambda _: is_over(clock.monotonic_seconds() - began_seconds),
        sleep=clock.sleep,
        before_sleep=before_pause,
        reraise=True,
    )
    result: _T = retrying(action)
    return result


class StorePatience:
    """Tries an action again and again until the store does not refuse it for now any more.

    Parameters
    ----------
    clock : Clock
    seconds : float                 how long a store may be away
    should_stop : () -> bool        whether the process was told to stop

    Attributes
    ----------
    n_outages : int                 actions that were refused at first

    Examples
    --------
    >>> from tidegate.clock import ManualClock
    >>> answers = [StoreUnavailableError("away", "Wait", place="store"), 7]
    >>> def ask():
    ...     answer = answers.pop(0)
    ...     if isinstance(answer, Exception):
    ...         raise answer
    ...     return answer
    >>> StorePatience(ManualClock(), 60.0)(ask)
    7
    """

    def __init__(self, clock: Clock, seconds: float, should_stop: Callable[[], bool] = lambda: False) -> None:
        self._clock, self._seconds, self._should_stop = clock, seconds, should_stop
        self.n_outages = 0
        self._away_since_seconds: float | None = None

    @property
    def away_seconds(self) -> float:
        """How long the action in hand has been refused; 0 where none is. May be asked for by another thread."""
        since_seconds = self._away_since_seconds
        return 0.0 if since_seconds is None else self._clock.monotonic_seconds() - since_seconds

    def __call__(self, action: Callable[[], _T]) -> _T:
        """Do `action`.

        Raises
        ------
        StoreUnavailableError
            If the store was away for longer than the patience, or a moment while the process is to stop.
        """
        try:
            return try_patiently(
                action,
                is_passing=lambda error: isinstance(error, StoreUnavailableError),
                is_over=self._is_over,
                pauses=(0.05, LONGEST_PAUSE_SECONDS),
                clock=self._clock,
                before_pause=self._note_refusal,
            )
        finally:
            self._away_since_seconds = None

    def _is_over(self, waited_seconds: float) -> bool:
        return waited_seconds >= (min(self._seconds, STOPPING_SECONDS) if self._should_stop() else self._seconds)

    def _note_refusal(self, state: RetryCallState) -> None:
        """Say once why nothing happens; when the store answers again, what follows says so by itself."""
        if state.attempt_number == 1 and state.outcome is not None:
            self.n_outages += 1
            self._away_since_seconds = self._clock.monotonic_seconds()
            _LOG.warning("the store refuses for now; trying again: %s", state.outcome.exception())
