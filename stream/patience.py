"""Waiting for a store that refuses for now: down, locked, full, or on its way to another host."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_exponential

from tidegate.clock import Clock
from tidegate.errors import StoreUnavailableError

_LOG = logging.getLogger("tidegate.store")
_T = TypeVar("_T")
LONGEST_PAUSE_SECONDS = 1.0
STOPPING_SECONDS = 1.5
"""How long a process that was told to stop still waits: it has two seconds, and what it cannot commit is read again."""


class StorePatience:
    """Tries an action again and again until the store does not refuse it for now any more.

    Parameters
    ----------
    clock : Clock
    seconds : float                 how long a store may be away
    should_stop : () -> bool        whether the process was told to stop

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

    def __call__(self, action: Callable[[], _T]) -> _T:
        """Do `action`.

        Raises
        ------
        StoreUnavailableError
            If the store was away for longer than the patience, or a moment while the process is to stop.
        """
        began_seconds = self._clock.monotonic_seconds()

        def is_over(_: RetryCallState) -> bool:
            waited_seconds = self._clock.monotonic_seconds() - began_seconds
            return waited_seconds >= (min(self._seconds, STOPPING_SECONDS) if self._should_stop() else self._seconds)

        retrying = Retrying(
            retry=retry_if_exception_type(StoreUnavailableError),
            wait=wait_exponential(multiplier=0.05, max=LONGEST_PAUSE_SECONDS),
            stop=is_over,
            sleep=self._clock.sleep,
            before_sleep=_tell_first_refusal,
            reraise=True,
        )
        result: _T = retrying(action)
        return result


def _tell_first_refusal(state: RetryCallState) -> None:
    """Say once why nothing happens; when the store answers again, what follows says so by itself."""
    if state.attempt_number == 1 and state.outcome is not None:
        _LOG.warning("the store refuses for now; trying again: %s", state.outcome.exception())
