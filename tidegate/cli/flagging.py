"""From a pane's flag to the record of a fine-tune, and from a person's answer back to the run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from refresh.fine_tune_flag import FlagAnswer
from refresh.finetune.book import FineTuneBook
from refresh.finetune.lifecycle import ANSWERED, approval, flagged
from stream.fine_tune_book import StoredFineTunes
from stream.run_reader import RunReader
from tidegate.cli.records import PaneRecord
from tidegate.contracts import FineTune


@dataclass(frozen=True, slots=True)
class FlagAnswers:
    """What persons have said to the flags of a run."""

    book: FineTuneBook
    run_id: str

    def __call__(self, flag_id: str | None) -> FlagAnswer | None:
        """Give the answer to a flag, None where there is none yet.

        Parameters
        ----------
        flag_id : the flag's; None for the open one of a run that was recorded before flags had names
        """
        known = self.book.list(self.run_id)[:1] if flag_id is None else [self.book.get(flag_id)]
        record = known[0] if known else None
        if record is None or record.status not in ANSWERED:
            return None
        return FlagAnswer.REJECTED if approval(record) is None else FlagAnswer.APPROVED


def fine_tune_of(record: PaneRecord, now_ms: int) -> FineTune | None:
    """Make the fine-tune that a pane's decision flags, if it does."""
    decision = record.decision
    if decision is None or decision.flag is None:
        return None
    return flagged(decision.flag, decision.run_id, now_ms)


def make_good(
    reader: RunReader, last: PaneRecord | None, earlier: Callable[[], Sequence[PaneRecord]], now_ms: int
) -> bool:
    """Write down the fine-tune of a flag that is open since before there were such records; returns whether it had to.

    From then on both are written in one transaction.

    Parameters
    ----------
    last : what the run has recorded last
    earlier : gives all that the run has recorded, by pane; asked where it is needed only
    """
    if last is None or last.fine_tune is None or not last.fine_tune.is_flagged:
        return False
    book = StoredFineTunes(reader.database)
    if book.list(reader.run_id):
        return False
    flags = (fine_tune_of(record, now_ms) for record in reversed(earlier()))
    newest = next((each for each in flags if each is not None), None)
    return newest is not None and book.put(newest)
