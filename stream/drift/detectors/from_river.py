"""river's detectors behind the contract. river is imported when one of them is made: it takes seconds to import.

Their objects cannot be written down without pickling them. So the state is the series since the last signal, and the
object is made anew by feeding it that series again. The series is bounded: once it is full and there was no signal, the
older half is forgotten, by the object too.
"""

from __future__ import annotations

from collections.abc import Callable
from math import log10
from typing import Protocol

from stream.drift.detectors.contract import DetectorName, DetectorState

MAX_VALUES = 256
PAGE_HINKLEY_ALLOWANCE = 0.25
KSWIN_VALUES, KSWIN_NEWEST, KSWIN_SEED = 36, 12, 7
MAX_KSWIN_VALUES = 2 * KSWIN_VALUES  # it looks no further back, and takes milliseconds a value


class _River(Protocol):
    """What is used of river's objects, which are typed in part only."""

    @property
    def drift_detected(self) -> bool: ...

    def update(self, x: float) -> object: ...


class _RiverAdwin(_River, Protocol):
    @property
    def estimation(self) -> float: ...


class _RiverKswin(_River, Protocol):
    @property
    def p_value(self) -> float: ...


class _Watch(Protocol):
    """One of river's objects, and what it does not tell by itself: whether a change was a rise."""

    max_values: int
    has_changed: bool
    statistic: float | None

    def rises(self, value: float) -> bool:
        """Feed one value; True where the object finds a change and it is a rise."""


class RiverDetector:
    """One of river's detectors, as the contract wants it.

    Only a rise is a signal: that drift has ended is none. A fall that the object finds makes it start anew.

    Parameters
    ----------
    name : DetectorName
    threshold : float      Page and Hinkley's lambda; minus the logarithm, to base 10, of ADWIN's delta and of KSWIN's
                           alpha, so that for each of them a higher threshold means fewer signals
    state : DetectorState
    """

    def __init__(self, name: DetectorName, threshold: float, state: DetectorState | None = None) -> None:
        self.name, self.threshold = name, threshold
        self.statistic: float | None = None
        self._make(list(state.numbers) if state else [])

    def update(self, value: float) -> bool:
        """Take the next score in."""
        is_signalled = self._watch.rises(value)
        self.statistic = self._watch.statistic
        self._series.append(value)
        if self._watch.has_changed:
            self._make([])
        elif len(self._series) == self._watch.max_values:
            self._make(self._series[len(self._series) // 2 :])
        return is_signalled

    @property
    def state(self) -> DetectorState:
        """The series since the last signal, or what is kept of it."""
        return DetectorState(n_values=len(self._series), numbers=tuple(self._series))

    def _make(self, series: list[float]) -> None:
        self._watch = _WATCHES[self.name](self.threshold)
        self._series = series
        for value in series:
            self._watch.rises(value)


class _PageHinkleyWatch:
    max_values, statistic = MAX_VALUES, None

    def __init__(self, threshold: float) -> None:
        from river.drift import PageHinkley

        make: Callable[..., _River] = PageHinkley
        self.has_changed = False
        self._river = make(min_instances=1, delta=PAGE_HINKLEY_ALLOWANCE, threshold=threshold, alpha=1.0, mode="up")

    def rises(self, value: float) -> bool:
        self._river.update(value)
        self.has_changed = self._river.drift_detected
        return self.has_changed


class _AdwinWatch:
    max_values, statistic = MAX_VALUES, None

    def __init__(self, threshold: float) -> None:
        from river.drift import ADWIN

        make: Callable[..., _RiverAdwin] = ADWIN
        self.has_changed = False
        # By default it looks at every 32nd value only, and not before the tenth.
        self._river = make(delta=10.0**-threshold, clock=1, min_window_length=1, grace_period=1)

    def rises(self, value: float) -> bool:
        before = self._river.estimation
        self._river.update(value)
        self.has_changed = self._river.drift_detected
        return self.has_changed and self._river.estimation > before


class _KswinWatch:
    max_values = MAX_KSWIN_VALUES

    def __init__(self, threshold: float) -> None:
        from river.drift import KSWIN

        make: Callable[..., _RiverKswin] = KSWIN
        self.has_changed, self.statistic = False, 0.0
        self._values: list[float] = []
        self._river = make(alpha=10.0**-threshold, window_size=KSWIN_VALUES, stat_size=KSWIN_NEWEST, seed=KSWIN_SEED)

    def rises(self, value: float) -> bool:
        kept = [] if self.has_changed else self._values  # the object has started anew
        self._values = [*kept, value][-KSWIN_VALUES:]
        self._river.update(value)
        self.has_changed = self._river.drift_detected
        if len(self._values) < KSWIN_VALUES:
            return False
        older, newest = self._values[:-KSWIN_NEWEST], self._values[-KSWIN_NEWEST:]
        is_rise = sum(newest) / len(newest) > sum(older) / len(older)
        self.statistic = -log10(self._river.p_value) if is_rise else 0.0
        return self.has_changed and is_rise


_WATCHES: dict[DetectorName, type[_PageHinkleyWatch] | type[_AdwinWatch] | type[_KswinWatch]] = {
    DetectorName.PAGE_HINKLEY: _PageHinkleyWatch,
    DetectorName.ADWIN: _AdwinWatch,
    DetectorName.KSWIN: _KswinWatch,
}
