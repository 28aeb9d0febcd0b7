"""Orders come out the same in any chunks, by any number of workers, whatever happens on the way."""

from __future__ import annotations

import errno
import logging
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from refresh.bulk import BulkOptions, finish_order, infer_rows
from refresh.bulk import shards as shards_module
from refresh.bulk.orders import discard_order
from refresh.bulk.worker import help_with
from refresh.engines import Answers, Engine, Usage, open_engine
from refresh.prompts import RowContexts
from tests.refresh.bulk.engines import CountingEngine, all_pairs, keys_of
from tests.refresh.conftest import TinyModel
from tests.refresh.tiny_world import NAMES, random_contexts
from tidegate.clock import ManualClock
from tidegate.errors import EngineError, OrderError, RequestError

ROWS = all_pairs()
COLUMNS = ("clusters", "probabilities", "label_mass")


def options(**changed: Any) -> BulkOptions:
    return BulkOptions(**{"chunk_rows": 50, "clock": ManualClock(), **changed})


def infer(engine: Engine, folder: Path | None, contexts: RowContexts = ROWS, **changed: Any):
    found = infer_rows(
        engine, keys_of(engine, contexts), contexts, options(**changed), top_n=2, folder=folder, pane=3, is_by_hand=True
    )
    assert found is not None
    return found


def assert_same(some: Answers, others: Answers) -> None:
    for name in COLUMNS:
        np.testing.assert_array_equal(getattr(some, name), getattr(others, name))


@pytest.mark.parametrize("chunk_rows", [9, 50, 379, 380, 1_000])
def test_chunks_of_any_size_give_the_same_bits_in_the_order_asked_for(tmp_path: Path, chunk_rows: int) -> None:
    engine = open_engine("frequency", NAMES)
    answers, report = infer(engine, tmp_path / "order", chunk_rows=chunk_rows)
    assert_same(answers, engine.infer(ROWS, top_n=2))
    assert report.n_chunks == -(-380 // chunk_rows)


@pytest.mark.parametrize("chunk_rows", [300, 700])
def test_the_model_answers_the_same_bits_in_any_chunks(tmp_path: Path, tiny_model: TinyModel, chunk_rows: int) -> None:
    engine, contexts = open_engine("embedded", NAMES, model_folder=tiny_model.folder), random_contexts(1_100)
    answers, report = infer(engine, tmp_path / "order", contexts, chunk_rows=chunk_rows)
    assert_same(answers, engine.infer(contexts, top_n=2))
    assert report.n_inferred == -(-1_100 // chunk_rows)


def test_rows_are_asked_in_the_order_that_prefixes_are_shared_in(tmp_path: Path) -> None:
    engine = CountingEngine()
    infer(engine, tmp_path / "order")
    assert list(engine.asked) == sorted(engine.asked)
    together = CountingEngine()
    infer(together, None)
    assert list(together.asked) == sorted(together.asked)
    assert together.n_calls == 1


def test_an_order_that_fits_one_chunk_writes_nothing(tmp_path: Path) -> None:
    _, report = infer(CountingEngine(), tmp_path / "order", chunk_rows=380)
    assert not list(tmp_path.iterdir())
    assert (report.n_chunks, report.n_inferred, report.usage) == (1, 1, Usage(380, 3_800, 2_660, 380))


def test_progress_goes_up_to_all_rows(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    engine = CountingEngine()
    infer_rows(
        engine,
        keys_of(engine, ROWS),
        ROWS,
        options(),
        top_n=1,
        folder=tmp_path / "order",
        pane=0,
        on_progress=lambda *rows: told.append(rows),
    )
    assert told == sorted(told)
    assert (told[0], told[-1]) == ((0, 380), (380, 380))


def fails_at(call: int) -> CountingEngine:
    def fail(n_calls: int) -> None:
        if n_calls == call:
            raise EngineError("the server is gone", "Start it")

    return CountingEngine(fail)


def test_an_order_that_is_resumed_infers_no_finished_chunk_again(tmp_path: Path) -> None:
    first, second, whole = fails_at(3), CountingEngine(), CountingEngine()
    with pytest.raises(EngineError, match="gone"):
        infer(first, tmp_path / "order")
    answers, report = infer(second, tmp_path / "order")
    assert_same(answers, infer(whole, None)[0])
    assert first.asked + second.asked == whole.asked
    assert (report.n_resumed, report.n_inferred, report.n_chunks) == (3, 5, 8)
    assert report.usage == Usage(230, 2_300, 1_610, 230)


def test_an_order_in_which_some_rows_became_known_goes_on(tmp_path: Path) -> None:
    first, second = fails_at(3), CountingEngine()
    with pytest.raises(EngineError):
        infer(first, tmp_path / "order")
    some = ROWS[np.arange(20, 45)]
    answers, _ = infer(second, tmp_path / "order", some)
    assert_same(answers, CountingEngine().infer(some, top_n=2))
    assert not first.asked & second.asked


@pytest.mark.parametrize(
    ("changed", "differs"),
    [
        ({"chunk_rows": 60}, "--chunk-rows was 50, now 60"),
        ({"fingerprint": "2"}, "the engine's fingerprint .* was 1, now 2"),
        ({"top_n": 3}, "--top-n was 2, now 3"),
        ({"rows": random_contexts(90)}, r"other rows \(380 then, 90 now\)"),
    ],
)
def test_an_order_that_is_resumed_with_something_else_is_refused(
    tmp_path: Path, changed: dict[str, Any], differs: str
) -> None:
    folder = tmp_path / "order"
    with pytest.raises(EngineError):
        infer(fails_at(3), folder)
    engine = CountingEngine(fingerprint=changed.get("fingerprint", "1"))
    rows, chunks = changed.get("rows", ROWS), options(chunk_rows=changed.get("chunk_rows", 50))

    def again(bulk: BulkOptions) -> object:
        return infer_rows(
            engine,
            keys_of(engine, rows),
            rows,
            bulk,
            top_n=changed.get("top_n", 2),
            folder=folder,
            pane=3,
            is_by_hand=True,
        )

    with pytest.raises(RequestError, match=differs):
        again(chunks)
    assert engine.n_calls == 0
    assert again(options(chunk_rows=chunks.chunk_rows, restarts=True)) is not None
    assert sum(engine.asked.values()) == len(rows)


def test_rows_that_were_lost_meanwhile_begin_a_runs_own_order_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "order"
    few = ROWS[np.arange(100)]
    for engine, rows in ((fails_at(1), few), (CountingEngine(), ROWS)):
        try:
            infer_rows(engine, keys_of(engine, rows), rows, options(), top_n=2, folder=folder, pane=3)
        except EngineError:
            continue
    assert sum(engine.asked.values()) == 380
    assert "begun anew" in caplog.text


# --- damage --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 0.9, 0.999])
def test_a_torn_shard_is_said_and_inferred_again(
    tmp_path: Path, share: float, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(EngineError):
        infer(fails_at(3), tmp_path / "order")
    shard = tmp_path / "order" / "000001.shard"
    shard.write_bytes(shard.read_bytes()[: int(share * shard.stat().st_size)])
    engine = CountingEngine()
    with caplog.at_level(logging.WARNING):
        answers, report = infer(engine, tmp_path / "order")
    assert "000001.shard: the shard is damaged" in caplog.text
    assert (report.n_damaged, report.n_resumed, report.n_inferred) == (1, 2, 6)
    assert_same(answers, CountingEngine().infer(ROWS, top_n=2))


def test_a_shard_of_another_order_is_not_taken(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for folder, engine in ((tmp_path / "one", fails_at(3)), (tmp_path / "other", CountingEngine(fingerprint="2"))):
        try:
            infer(engine, folder)
        except EngineError:
            continue
    foreign = (tmp_path / "other" / "000005.shard").read_bytes()
    (tmp_path / "one" / "000005.shard").write_bytes(foreign)
    _, report = infer(CountingEngine(), tmp_path / "one")
    assert "the shard is foreign" in caplog.text
    assert (report.n_damaged, report.n_inferred) == (1, 5)


def test_a_shard_of_another_chunk_is_not_taken(tmp_path: Path) -> None:
    with pytest.raises(EngineError):
        infer(fails_at(3), tmp_path / "order")
    (tmp_path / "order" / "000002.shard").write_bytes((tmp_path / "order" / "000001.shard").read_bytes())
    answers, report = infer(CountingEngine(), tmp_path / "order")
    assert report.n_damaged == 1
    assert_same(answers, CountingEngine().infer(ROWS, top_n=2))


@pytest.mark.parametrize("name", ["order.json", "rows-*.npz"])
def test_an_order_whose_own_files_are_damaged_is_begun_anew(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(EngineError):
        infer(fails_at(3), tmp_path / "order")
    (path,) = (tmp_path / "order").glob(name)
    path.write_bytes(path.read_bytes()[:-40])
    engine = CountingEngine()
    answers, report = infer(engine, tmp_path / "order")
    assert "begun anew" in caplog.text
    assert (report.n_resumed, sum(engine.asked.values())) == (0, 380)
    assert_same(answers, CountingEngine().infer(ROWS, top_n=2))


def test_a_full_disk_fails_the_order_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    room = iter([True, True])
    write = shards_module.write_once

    def write_while_there_is_room(path: Path, content: bytes) -> bool:
        if not next(room, False):
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, content)

    monkeypatch.setattr(shards_module, "write_once", write_while_there_is_room)
    with pytest.raises(OrderError, match=r"cannot be written: No space left on device. Make room"):
        infer(CountingEngine(), tmp_path / "order")
    monkeypatch.undo()
    engine = CountingEngine()
    _, report = infer(engine, tmp_path / "order")
    assert (report.n_resumed, report.n_inferred) == (2, 6)


def test_a_folder_that_cannot_be_made_fails_the_order(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(OrderError, match="cannot be written"):
        infer(CountingEngine(), tmp_path / "file" / "order")


# --- several workers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_workers", [2, 3])
def test_workers_share_an_order_without_overlap(tmp_path: Path, n_workers: int) -> None:
    meet = threading.Barrier(n_workers)
    engine = CountingEngine(lambda _: None)
    found: list[Any] = []

    def work() -> None:
        meet.wait(timeout=20)
        found.append(infer(engine, tmp_path / "order", chunk_rows=10, poll_seconds=0.001))

    threads = [threading.Thread(target=work) for _ in range(n_workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert len(found) == n_workers
    assert set(engine.asked.values()) == {1}
    for answers, _ in found:
        assert_same(answers, CountingEngine().infer(ROWS, top_n=2))
    reports = [report for _, report in found]
    assert sum(report.n_inferred for report in reports) == 38
    assert {report.n_inferred + report.n_of_others + report.n_resumed for report in reports} == {38}


def test_a_helper_finishes_what_another_process_began(tmp_path: Path) -> None:
    with pytest.raises(EngineError):
        infer(fails_at(3), tmp_path / "order")
    helper, last = CountingEngine(), CountingEngine()
    help_with(tmp_path / "order", helper, options())
    _, report = infer(last, tmp_path / "order")
    assert (sum(helper.asked.values()), last.n_calls, report.n_resumed) == (230, 0, 8)


def test_a_helper_with_another_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EngineError):
        infer(fails_at(3), tmp_path / "order")
    with pytest.raises(OrderError, match=r"begun with engine counting \(1…\), this worker has counting \(2…\)"):
        help_with(tmp_path / "order", CountingEngine(fingerprint="2"))


def test_a_helper_without_an_order_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OrderError, match="the order cannot be read"):
        help_with(tmp_path / "none", CountingEngine())


def test_a_zombie_changes_nothing(tmp_path: Path) -> None:
    """A worker that slept through its lease comes back after another one has done its chunk, with other usage."""
    folder, clock = tmp_path / "order", ManualClock()
    others = CountingEngine()

    def sleep_long(n_calls: int) -> None:
        if n_calls == 0:
            clock.advance_ms(61_000)
            help_with(folder, others, options(clock=clock))

    zombie = CountingEngine(sleep_long)
    answers, report = infer(zombie, folder, clock=clock)
    assert (zombie.n_calls, others.n_calls) == (1, 8)
    assert (report.n_inferred, report.n_of_others, report.n_damaged) == (0, 8, 0)
    assert_same(answers, CountingEngine().infer(ROWS, top_n=2))


def test_a_worker_waits_for_the_chunk_of_one_that_died(tmp_path: Path) -> None:
    class KilledError(BaseException):
        """As good as a kill: nothing is released (the lease is put back below)."""

    def die(n_calls: int) -> None:
        if n_calls == 2:
            raise KilledError

    clock = ManualClock(now_ms=5_000)
    with pytest.raises(KilledError):
        infer(CountingEngine(die), tmp_path / "order", clock=clock)
    (lease,) = (tmp_path / "order").glob("000002.lease-*")
    lease.write_bytes(b'{"owner": "dead", "expires_ms": 65000}')
    engine = CountingEngine()
    _, report = infer(engine, tmp_path / "order", clock=clock)
    assert clock.now_ms() >= 65_000
    assert report.n_inferred == 6


def test_an_order_that_another_worker_has_cleaned_up_is_nobodys(tmp_path: Path) -> None:
    folder = tmp_path / "order"

    def clean_up(n_calls: int) -> None:
        if n_calls == 2:
            discard_order(folder)

    engine = CountingEngine(clean_up)
    assert infer_rows(engine, keys_of(engine, ROWS), ROWS, options(), top_n=2, folder=folder, pane=3) is None


def test_a_worker_lets_an_order_alone_that_took_the_place_of_its_own(tmp_path: Path) -> None:
    folder, others = tmp_path / "order", CountingEngine(fingerprint="2")

    def be_replaced(n_calls: int) -> None:
        if n_calls == 2:
            discard_order(folder)
            infer(others, folder)

    engine = CountingEngine(be_replaced)
    assert infer_rows(engine, keys_of(engine, ROWS), ROWS, options(), top_n=2, folder=folder, pane=3) is None
    _, report = infer(CountingEngine(fingerprint="2"), folder)
    assert (report.n_resumed, report.n_damaged) == (8, 0)


def test_a_finished_order_is_asked_anew_when_it_is_wanted_again(tmp_path: Path) -> None:
    infer(CountingEngine(), tmp_path / "order")
    finish_order(tmp_path / "order")
    engine = CountingEngine()
    infer(engine, tmp_path / "order")
    assert sum(engine.asked.values()) == 380
