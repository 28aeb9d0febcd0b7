"""The cumulative sum of what a window's score exceeds its allowance by (Page, Biometrika 41, 1954)."""

from __future__ import annotations

from stream.drift.detectors.contract import DetectorName, DetectorState

ALLOWANCE = 0.5  # half the smallest lasting rise that is worth detecting, in standard deviations


class Cusum:
    """``S = max(0, S + x - 0.5)``: scores are standard normal under no drift, so that there is nothing to estimate.

    Parameters
    ----------
    threshold : float
    state : DetectorState

    Examples
    --------
    >>> detector = Cusum(threshold=4.0)
    >>> [detector.update(2.5) for _ in range(3)]
    [False, True, False]
    """

    name = DetectorName.CUSUM

    def __init__(self, threshold: float, state: DetectorState | None = None) -> None:
        self.threshold = threshold
        self._n_values = state.n_values if state else 0
        self._sum = state.numbers[0] if state and state.numbers else 0.0
        self.statistic: float | None = self._sum

    def update(self, value: float) -> bool:
        """Take the next score in."""
        self._sum = max(0.0, self._sum + value - ALLOWANCE)
        self._n_values += 1
        self.statistic = self._sum
        is_signalled = self._sum >= self.threshold
        if is_signalled:
            self._sum, self._n_values = 0.0, 0
        return is_signalled

    @property
    def state(self) -> DetectorState:
        """The sum."""
        return DetectorState(n_values=self._n_values, numbers=(self._sum,))
