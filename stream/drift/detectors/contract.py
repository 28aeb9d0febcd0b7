"""What every detector is: values in, signals out, and a state that can be written down.

The model is river's `DriftDetector`, with two differences. A state is a record, not an object: it is stored with each
pane, so that a run goes on bit for bit after a crash and a decision can be made again from its record. And a detector
knows nothing of its own false alarms: its threshold comes from `stream.drift.detectors.calibration`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol

import msgspec


class DetectorName(StrEnum):
    """The detectors there are."""

    CUSUM = "cusum"
    SHIRYAEV_ROBERTS = "shiryaev_roberts"
    PAGE_HINKLEY = "page_hinkley"
    ADWIN = "adwin"
    KSWIN = "kswin"


class DetectorState(msgspec.Struct, frozen=True, kw_only=True):
    """All that a detector remembers from one window to the next.

    Attributes
    ----------
    n_values : int                 values since the last signal, or since the start
    numbers : tuple of float       what they amount to; the detector knows how to read it
    """

    n_values: int = 0
    numbers: tuple[float, ...] = ()


class Detector(Protocol):
    """Watches a series of window scores (`stream.drift.detectors.score`) for a rise of its mean.

    After a signal it starts anew with the next value. Made from `state`, it goes on as if it had never stopped.
    """

    @property
    def name(self) -> DetectorName:
        """Which detector this is."""

    @property
    def threshold(self) -> float:
        """What its statistic is held against."""

    @property
    def statistic(self) -> float | None:
        """What was held against the threshold at the last update; None where the detector does not tell."""

    @property
    def state(self) -> DetectorState:
        """What it remembers."""

    def update(self, value: float) -> bool:
        """Take the next value in; True where it signals."""
