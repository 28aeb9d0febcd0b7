"""Where fine-tunes are written down, as the rooms see it: the store has the real one (`stream.fine_tune_book`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from tidegate.contracts import FineTune
from tidegate.errors import ConflictError, UnknownFineTuneError

_TURNS = 20
_SHOWN = 5


class FineTuneBook(Protocol):
    """The fine-tunes of a store, changed by compare-and-set."""

    def list(self, run_id: str | None = None) -> list[FineTune]:
        """Return all fine-tunes, or those of a run: the latest flag first."""
        ...

    def get(self, fine_tune_id: str) -> FineTune | None:
        """Read one; None where there is no such."""
        ...

    def put(self, record: FineTune) -> bool:
        """Write `record` if it is the next revision of what is there (1: if there is none); returns whether it stands.

        What stands already may be put again: an answer that got lost is not a conflict.
        """
        ...


def known(book: FineTuneBook, fine_tune_id: str) -> FineTune:
    """Read a fine-tune that must be there.

    Raises
    ------
    UnknownFineTuneError
        If there is none of that name.
    """
    record = book.get(fine_tune_id)
    if record is None:
        names = [each.fine_tune_id for each in book.list()]
        listed = ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "") if names else "none"
        raise UnknownFineTuneError(
            f"there is no fine-tune {fine_tune_id!r}", f"Name one of these: {listed}", place="fine-tune"
        )
    return record


def changed(book: FineTuneBook, fine_tune_id: str, change: Callable[[FineTune], FineTune]) -> FineTune:
    """Apply a change to what is there, again where somebody else came first; returns what stands.

    Parameters
    ----------
    change : pure; gives the record back as it is where nothing is to be changed, and refuses by raising

    Raises
    ------
    UnknownFineTuneError
        If there is no such fine-tune.
    TransitionError
        If `change` refuses.
    ConflictError
        If others were faster every time.
    """
    for _ in range(_TURNS):
        record = known(book, fine_tune_id)
        after = change(record)
        if after is record or book.put(after):
            return after
    raise ConflictError("it is changed all the time", "Find out who does, and try again", place=fine_tune_id)
