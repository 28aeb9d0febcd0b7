"""How many false alarms a run may have, and which look at drift may spend how much of them.

Windows overlap, so their p-values depend on each other, and tests of sequences that need them independent (LORD, alpha
spending as it is mostly meant) do not apply. They are not needed either: by linearity of expectation ``n`` windows,
each judged at the level ``a``, show ``n a`` false alarms on average, however they depend on each other. A monitor that
shall never tire must not lower its level as it goes on; it has a rate to keep, and divides it between its three looks:

- the window as a whole, by its permutation p-value;
- the newest pane alone, by its own (`stream.drift.front`). A look at few events: there its p-values are up to half too
  small, so that a share that is left to nobody covers it;
- the course over windows, by a detector (`stream.drift.course`), whose expected run time is the inverse of its share.

An alarm is no decision yet: that needs pairs in the flagged set, too, and a gain. So the rate is a bound.
"""

from __future__ import annotations

from dataclasses import dataclass

from tidegate.errors import ConfigError

_OF_WINDOW, _OF_FRONT, _OF_COURSE = 0.1, 0.2, 0.5
_MIN_WINDOWS, _MAX_WINDOWS = 10, 100_000
_MIN_PERMUTATIONS = 100_000


@dataclass(frozen=True, slots=True)
class FalseAlarmBudget:
    """One false alarm in so many windows, at most, if nothing drifts.

    Attributes
    ----------
    windows : float

    Raises
    ------
    ConfigError
        If p-values or thresholds cannot be found for that many.

    Examples
    --------
    >>> budget = FalseAlarmBudget(1_000)
    >>> budget.window_p, budget.front_p, budget.course_windows
    (0.0001, 0.0002, 2000.0)
    """

    windows: float = 1_000.0

    def __post_init__(self) -> None:
        if not _MIN_WINDOWS <= self.windows <= _MAX_WINDOWS:
            raise ConfigError(
                f"one false alarm in {self.windows:g} windows",
                f"Choose {_MIN_WINDOWS} to {_MAX_WINDOWS:,}",
                place="--false-alarm-windows",
            )

    @property
    def window_p(self) -> float:
        """Level of the window as a whole."""
        return _OF_WINDOW / self.windows

    @property
    def front_p(self) -> float:
        """Level of the newest pane."""
        return _OF_FRONT / self.windows

    @property
    def course_windows(self) -> float:
        """Windows until the detector of the course is expected to be wrong."""
        return self.windows / _OF_COURSE

    @property
    def table_permutations(self) -> int:
        """Exchanges of users behind a p-value that can be as small as the levels."""
        return max(_MIN_PERMUTATIONS, round(self.windows / _OF_WINDOW))
