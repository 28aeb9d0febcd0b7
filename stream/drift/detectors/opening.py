"""Detectors by name."""

from __future__ import annotations

from stream.drift.detectors.contract import Detector, DetectorName, DetectorState
from stream.drift.detectors.cusum import Cusum
from stream.drift.detectors.from_river import RiverDetector
from stream.drift.detectors.shiryaev_roberts import ShiryaevRoberts


def open_detector(
    name: DetectorName, threshold: float, window_panes: int, state: DetectorState | None = None
) -> Detector:
    """Make a detector, or make it anew from what it remembered.

    Examples
    --------
    >>> open_detector(DetectorName.CUSUM, 5.0, window_panes=3).state
    DetectorState(n_values=0, numbers=(0.0,))
    """
    if name is DetectorName.CUSUM:
        return Cusum(threshold, state)
    if name is DetectorName.SHIRYAEV_ROBERTS:
        return ShiryaevRoberts(threshold, window_panes, state)
    return RiverDetector(name, threshold, state)
