"""A flag becomes a fine-tune, and what a person answers comes back to the run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from refresh.fine_tune_flag import FineTuneState, FlagAnswer
from stream.database import Database
from stream.fine_tune_book import StoredFineTunes
from stream.run_reader import RunReader
from tests.fine_tunes import MemoryBook, flag, in_status
from tidegate.cli.flagging import FlagAnswers, fine_tune_of, make_good
from tidegate.cli.records import PaneRecord
from tidegate.contracts import Decision, FineTuneFlag, FineTuneStatus

S = FineTuneStatus


def record(pane: int, raised: FineTuneFlag | None = None, *, is_flagged: bool = False) -> PaneRecord:
    decision = Decision(
        run_id="run", window_end_ms=pane, policy="p", inputs={}, order=None, flag=raised, explanation="why"
    )
    state = FineTuneState(tuned_window_end_ms=0, is_flagged=is_flagged)
    return PaneRecord(pane=pane, window_end_ms=pane, decision=decision, fine_tune=state)


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[RunReader]:
    reader = RunReader(Database(tmp_path / "runs.db"), "run")
    yield reader
    reader.close()


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        *((each, None) for each in (S.FLAGGED, S.CURATING, S.TRAINING, S.GATED, S.PENDING_REVIEW, S.HALTED, S.FAILED)),
        *((each, FlagAnswer.APPROVED) for each in (S.APPROVED, S.SERVING, S.RETIRED)),
        (S.REJECTED, FlagAnswer.REJECTED),
    ],
)
def test_a_flag_is_answered_once_a_person_has_decided(status: FineTuneStatus, answer: FlagAnswer | None) -> None:
    answers = FlagAnswers(MemoryBook(in_status(status)), "run")
    assert answers("run-1") is answer
    assert answers(None) is answer  # the run's latest, for records from before flags had names
    assert answers("run-2") is None
    assert FlagAnswers(MemoryBook(in_status(status)), "other")(None) is None


def test_only_a_pane_that_flags_makes_a_fine_tune() -> None:
    made = fine_tune_of(record(1, flag()), 8)
    assert made is not None
    assert (made.fine_tune_id, made.run_id, made.status, made.steps[0].at_ms) == ("run-1", "run", S.FLAGGED, 8)
    assert fine_tune_of(record(1), 8) is None
    assert fine_tune_of(msgspec.structs.replace(record(1), decision=None), 8) is None


def test_a_flag_from_before_there_were_fine_tunes_is_made_good_once(reader: RunReader) -> None:
    records = [record(1, flag(1), is_flagged=True), record(2), record(3, flag(3), is_flagged=True)]
    records.append(record(4, is_flagged=True))
    assert make_good(reader, records[-1], lambda: records, 9)
    assert not make_good(reader, records[-1], lambda: records, 10)
    (made,) = StoredFineTunes(reader.database).list()
    assert (made.fine_tune_id, made.steps[0].at_ms) == ("run-3", 9)


def test_nothing_is_made_good_where_no_flag_is_open(reader: RunReader) -> None:
    def unasked() -> list[PaneRecord]:
        raise AssertionError

    assert not make_good(reader, None, unasked, 1)
    assert not make_good(reader, record(4), unasked, 1)
    assert not make_good(reader, msgspec.structs.replace(record(4), fine_tune=None), unasked, 1)
    assert not make_good(reader, record(4, is_flagged=True), list, 1)
    assert StoredFineTunes(reader.database).list() == []
