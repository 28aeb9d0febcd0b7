"""An e-detector: the Shiryaev-Roberts recursion over the e-values of windows (Shin, Ramdas, Rinaldo: arXiv 2203.03532).

An e-value is a bet against "no drift" that gains nothing on average if there is none. Windows that overlap are no fair
bets after one another: who has seen the last window knows half of the next one. So there are ``2 w`` recursions, each
fed every ``2 w``-th window (window and reference span ``2 w`` panes, so its windows share none), and the detector
signals as soon as one of them reaches the threshold `c`.

Then its false alarms need no simulation. For each recursion ``E[M at a stopping time] <= E[its number of windows]``,
so by Markov one of them reaches `c` within `n` windows of its own with a chance of ``n / c`` at most, one of all within
`N` windows with ``N / c`` at most, and the expected run time to a false alarm is ``c / 2`` at least. All that is
assumed is that a window's p-value is valid given the windows that share no pane with it.
"""

from __future__ import annotations

from stream.drift.detectors.contract import DetectorName, DetectorState
from stream.drift.detectors.score import tail_of

_POWER = 0.1  # about 1 / -log(p) of the p-values that shall be worth most


def e_value(score: float) -> float:
    """Bet ``k p^(k - 1)`` on the p-value of a score (Vovk and Wang, Annals of Statistics 49, 2021), k = 0.1.

    Examples
    --------
    >>> round(e_value(0.0), 2), round(e_value(4.0))
    (0.19, 1120)
    """
    return float(_POWER * tail_of(score) ** (_POWER - 1.0))


class ShiryaevRoberts:
    """``M = (M + 1) e``, one for each of the ``2 w`` sets of windows that share no pane.

    Parameters
    ----------
    threshold : float      twice the expected run time to a false alarm, in windows
    window_panes : int     w
    state : DetectorState

    Examples
    --------
    >>> detector = ShiryaevRoberts(threshold=2_000.0, window_panes=1)
    >>> [detector.update(score) for score in (4.0, 0.0, 4.0)]
    [False, False, True]
    """

    name = DetectorName.SHIRYAEV_ROBERTS

    def __init__(self, threshold: float, window_panes: int, state: DetectorState | None = None) -> None:
        self.threshold = threshold
        self._n_values = state.n_values if state else 0
        n_phases = 2 * window_panes
        self._sums = list(state.numbers) if state and state.numbers else [0.0] * n_phases
        self.statistic: float | None = max(self._sums)

    def update(self, value: float) -> bool:
        """Take the next score in."""
        phase = self._n_values % len(self._sums)
        self._sums[phase] = (self._sums[phase] + 1.0) * e_value(value)
        self._n_values += 1
        self.statistic = max(self._sums)
        is_signalled = self.statistic >= self.threshold
        if is_signalled:
            self._sums, self._n_values = [0.0] * len(self._sums), 0
        return is_signalled

    @property
    def state(self) -> DetectorState:
        """The recursions, that of the oldest window first since the last signal."""
        return DetectorState(n_values=self._n_values, numbers=tuple(self._sums))
