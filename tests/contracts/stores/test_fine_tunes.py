"""Fine-tunes on each database: written once, changed by compare-and-set."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest

from refresh.finetune.lifecycle import take
from stream import store as store_module
from stream.fine_tune_book import StoredFineTunes
from stream.ledger import RECORDS
from stream.store import RunStore
from tests.contracts.stores.world import Store
from tests.fine_tunes import ANN, MACHINE, in_status
from tidegate.contracts import FineTuneAction, FineTuneStatus


def test_a_fine_tune_is_written_once_and_changed_by_compare_and_set(store: Store) -> None:
    book, record = StoredFineTunes(store.database), in_status(FineTuneStatus.FLAGGED, 7, store.run_id)
    assert book.get(record.fine_tune_id) is None
    assert [book.put(record) for _ in range(2)] == [True, True]  # what stands may be put again
    other = msgspec.structs.replace(record, run_id="another")
    assert not book.put(other)
    begun = take(record, FineTuneAction.BEGIN, MACHINE, "")
    rejected = take(record, FineTuneAction.REJECT, ANN, "not now")
    assert [book.put(each) for each in (begun, rejected, begun)] == [True, False, True]
    assert book.get(record.fine_tune_id) == begun
    assert not book.put(msgspec.structs.replace(begun, revision=9))
    assert not StoredFineTunes(store.open()).put(in_status(FineTuneStatus.CURATING, 8, store.run_id))  # no such yet


def test_fine_tunes_are_listed_by_run_the_latest_flag_first(store: Store) -> None:
    book = StoredFineTunes(store.database)
    for number in (3, 9, 5):
        book.put(in_status(FineTuneStatus.FLAGGED, number, store.run_id))
    other = in_status(FineTuneStatus.FLAGGED, 7, f"{store.run_id}-other")
    book.put(other)
    assert [each.flag.window_end_ms for each in book.list(store.run_id)] == [9, 5, 3]
    assert other in book.list()


def test_of_competing_decisions_one_stands(store: Store) -> None:
    books = [StoredFineTunes(store.open()) for _ in range(2)]
    start = threading.Barrier(2)

    def decide(book: StoredFineTunes, action: FineTuneAction) -> bool:
        start.wait()
        return [book.put(take(record, action, ANN, "why")) for record in records].count(True) == 10

    records = [in_status(FineTuneStatus.FLAGGED, number, store.run_id) for number in range(10)]
    assert all(books[0].put(record) for record in records)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(decide, books, (FineTuneAction.BEGIN, FineTuneAction.REJECT)))
    found = [book.list(store.run_id) for book in books]
    assert found[0] == found[1]
    assert all(len(each.steps) == 2 for each in found[0])


def test_a_flag_and_its_fine_tune_are_recorded_together_or_not_at_all(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunStore(store.database, f"log of {store.run_id}", "{}")
    record = in_status(FineTuneStatus.FLAGGED, 1, run.run_id)
    book = StoredFineTunes(store.database)
    with monkeypatch.context() as patch:
        patch.setattr(store_module, "add_flagged", _refuse_to_add)
        with pytest.raises(RuntimeError, match="killed"):
            run.record_pane(1, b"body", record)
    assert (run.records(), book.get(record.fine_tune_id)) == ({}, None)
    run.record_pane(1, b"body", record)
    run.record_pane(1, b"body", record)  # the pane is done again: its fine-tune is there
    assert (run.records(), book.get(record.fine_tune_id)) == ({1: b"body"}, record)


def _refuse_to_add(*_: object) -> bool:
    raise RuntimeError("killed")


def test_whoever_records_a_pane_flags_its_fine_tune_and_nobody_else(store: Store) -> None:
    ledger, book = store.ledger, StoredFineTunes(store.database)
    first, second = (in_status(FineTuneStatus.FLAGGED, number, store.run_id) for number in (1, 2))
    assert ledger.put(RECORDS, 1, b"one", first)
    assert not ledger.put(RECORDS, 1, b"other", second)
    assert book.list(store.run_id) == [first]


def test_a_run_that_is_begun_anew_finds_what_persons_have_answered(store: Store) -> None:
    source = f"log of {store.run_id} again"
    run = RunStore(store.database, source, "{}")
    answered = in_status(FineTuneStatus.REJECTED, 1, run.run_id)
    flagged = in_status(FineTuneStatus.FLAGGED, 1, run.run_id)
    book = StoredFineTunes(store.database)
    assert book.put(flagged)
    assert book.put(answered)
    run.finish()
    again = RunStore(store.database, source, "{}")
    again.record_pane(1, b"body", flagged)
    assert book.list(run.run_id) == [answered]
