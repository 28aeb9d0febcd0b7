"""What is looked up for many who ask at once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar, cast

from tidegate.clock import Clock
from tidegate.errors import TidegateError

_T = TypeVar("_T")
_FRESH_SECONDS = 1.0


class Kept(Generic[_T]):
    """A value that is looked up at most once a second, whoever asks; so is what kept it from being looked up.

    A store that is away takes seconds to say so, and a page asks a dozen times.
    """

    def __init__(self, clock: Clock, look_up: Callable[[], _T]) -> None:
        self._clock, self._look_up = clock, look_up
        self._lock = threading.Lock()
        self._found: tuple[float, _T | None, TidegateError | None] | None = None

    def __call__(self) -> _T:
        """Give the value, or raise what kept it from being looked up."""
        with self._lock:
            if self._found is None or self._clock.monotonic_seconds() - self._found[0] >= _FRESH_SECONDS:
                self._found = self._looked_up()
            _, value, error = self._found
            if error is not None:
                raise error
            return cast(_T, value)

    def _looked_up(self) -> tuple[float, _T | None, TidegateError | None]:
        try:
            value = self._look_up()
        except TidegateError as error:
            return self._clock.monotonic_seconds(), None, error
        return self._clock.monotonic_seconds(), value, None

    def forget(self) -> None:
        """Look it up anew for whoever asks next."""
        with self._lock:
            self._found = None
