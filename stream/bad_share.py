"""The brake on dead letters: where most records are bad, it is the code or the settings that are wrong."""

from __future__ import annotations

from tidegate.errors import BadRecordsError

_MEMORY = 10_000  # records; half of what is remembered goes each time


class BadShare:
    """Share of recent records that could not be counted.

    Parameters
    ----------
    limit : float       share above which it refuses
    n_least : int       records before which nothing is judged

    Examples
    --------
    >>> share = BadShare(limit=0.5, n_least=10)
    >>> share.add(100, 50, place="topic[0]@7")
    >>> round(share.share, 2)
    0.5
    """

    def __init__(self, limit: float, n_least: int = 1_000) -> None:
        self._limit, self._n_least = limit, n_least
        self._n = self._n_bad = 0.0

    @property
    def share(self) -> float:
        """Share of bad records among those remembered."""
        return self._n_bad / self._n if self._n else 0.0

    def add(self, n: int, n_bad: int, *, place: str) -> None:
        """Note a batch before anything is done about it.

        Raises
        ------
        BadRecordsError
            If the share is above the limit now.
        """
        while self._n > _MEMORY:
            self._n, self._n_bad = self._n / 2, self._n_bad / 2
        self._n, self._n_bad = self._n + n, self._n_bad + n_bad
        if self._n >= self._n_least and self.share > self._limit:
            raise BadRecordsError(
                f"{self.share:.0%} of the last {round(self._n):,} records could not be counted, at most "
                f"{self._limit:.0%} may",
                "Correct the columns, the format or the producer, or allow more with --max-bad-share; "
                "nothing of this batch was dead-lettered or committed",
                place=place,
            )
