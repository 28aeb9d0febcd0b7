"""The HTML report of a backtest."""

from __future__ import annotations

from pathlib import Path

from monitoring.wording import Summary
from tidegate.errors import RequestError
from tidegate.files import write_atomically


def write_backtest_report(path: Path, summary: Summary) -> None:
    """Write the report of ``tidegate backtest`` to `path`, whole or not at all.

    Raises
    ------
    RequestError
        If it compares no policy.
    """
    if not summary["policies"]:
        raise RequestError("no policy was compared", "Name one or more with --policies", place="--policies")
    write_atomically(path, repr(dict(summary)).encode())
