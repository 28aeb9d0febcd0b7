"""What the console reads of a real store, before it is there, while it grows and when it starts over."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner
from sqlalchemy import delete

from refresh.table_store import TableStore
from stream.alert_book import AlertBook
from stream.database import Database
from stream.fine_tune_book import StoredFineTunes
from stream.ledger import DECISIONS, RECORDS, Ledger
from stream.run_reader import RunReader
from stream.schema import pane_decisions, pane_records, runs
from stream.sequence_kernel import N_STATS
from tests.monitoring.console_world import fine_tune
from tests.roles import PROGRAM
from tests.runs import SYNTHETIC, run_quietly, small_log
from tidegate.cli import finetuning
from tidegate.cli.console import console_command
from tidegate.cli.console_actions import StoreActions
from tidegate.cli.console_facts import facts_of
from tidegate.cli.console_source import StoreSource
from tidegate.cli.records import PaneDecision, PaneRecord, decode_record
from tidegate.clock import ManualClock
from tidegate.contracts import AlertEpisode, FineTune, FineTuneStatus, encode
from tidegate.errors import ConfigError, RequestError, StoreUnavailableError, TransitionError

Opened = Callable[..., StoreSource]


@pytest.fixture(scope="module")
def run_of_a_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("console")
    run_quietly(small_log(home, days=7, sessions=400), home, **SYNTHETIC, window="2d")
    return home


@pytest.fixture
def home(run_of_a_world: Path, tmp_path: Path) -> Path:
    """A copy, for each test to change."""
    return shutil.copytree(run_of_a_world, tmp_path / "home")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1_800_000_000_000)


@pytest.fixture
def opened(home: Path, clock: ManualClock) -> Iterator[Opened]:
    sources: list[StoreSource] = []

    def open_source(at: Path = home, run_id: str | None = None) -> StoreSource:
        sources.append(StoreSource(at, None, None, run_id, clock))
        return sources[-1]

    yield open_source
    for source in sources:
        source.close()


def ledger_of(home: Path) -> Ledger:
    database = Database(home / "runs.db")
    return Ledger(database, next(iter(Ledger.known_runs(database))))


def test_before_there_is_a_store_nothing_is_made_and_nothing_is_known(
    tmp_path: Path, opened: Opened, home: Path, clock: ManualClock
) -> None:
    source = opened(tmp_path / "none")
    assert source.run() is None
    assert source.open_order() is None
    assert source.detail(1) is None
    assert source.progress().closed_end_ms is None
    for read in (
        source.panes,
        source.cluster_names,
        source.shards,
        source.candidates,
        source.fine_tunes,
        source.alerts,
    ):
        assert list(read()) == []
    assert source.tables().serving is None
    assert not (tmp_path / "none" / "runs.db").exists()
    with pytest.raises(RequestError, match="there is nothing to approve"):
        StoreActions(source, tmp_path / "none", clock).decide("ft-1", "approve", revision=1, why="x", who="Ana")
    shutil.copytree(home, tmp_path / "none")
    clock.advance_ms(2_000)
    assert source.run() is not None


def test_a_run_is_read_as_it_was_recorded(opened: Opened, home: Path) -> None:
    source = opened()
    found = source.run()
    assert found is not None
    assert (found.policy, found.engine, found.pane_ms, found.window_ms) == (
        "adaptive",
        "frequency",
        86_400_000,
        172_800_000,
    )
    assert found.has_ended
    assert found.n_other_runs == 0
    with closing(ledger_of(home)) as ledger:
        records = [decode_record(body) for body in ledger.records().values()]
        stats = ledger.stats()
        names = ledger.cluster_names()
    panes = source.panes()
    assert [pane.pane for pane in panes] == [record.pane for record in records]
    for pane, record in zip(panes, records, strict=True):
        assert pane.scored == stats[pane.pane][2]
        assert pane.explanation == (record.decision.explanation if record.decision else None)
        assert pane.result == record.result
        assert pane.report is None or pane.report.flagged == ()
        detail = source.detail(pane.pane)
        assert detail is not None
        assert (detail.report, detail.decision, detail.facts) == (record.report, record.decision, pane)
        if pane.order is not None and record.decision and record.decision.order:
            assert sum(pane.order.reasons.values()) == pane.order.n_rows == len(record.decision.order.rows)
            assert detail.rows == record.decision.order.rows
    assert list(source.cluster_names()) == names
    (shard,) = source.shards()
    assert (shard.shard, shard.is_finished, shard.latest_ms) == (-1, True, found.stream_ms)
    assert source.open_order() is None
    assert source.progress().recorded_end_ms == panes[-1].end_ms
    assert not source.progress().is_shared


def test_a_store_that_is_away_is_asked_once_a_second(
    opened: Opened, home: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, asked = opened(), []
    known_runs = RunReader.known_runs

    def away(_: Database) -> dict[str, tuple[str, str]]:
        asked.append(1)
        raise StoreUnavailableError("the store is locked", "Wait")

    monkeypatch.setattr(RunReader, "known_runs", away)
    for read in (source.run, source.panes, source.shards, source.progress, source.open_order):
        with pytest.raises(StoreUnavailableError):
            read()
    assert len(asked) == 1
    monkeypatch.setattr(RunReader, "known_runs", known_runs)
    clock.advance_ms(1_500)
    assert source.run() is not None


def test_new_panes_are_read_and_a_run_that_starts_over_is_read_anew(
    opened: Opened, home: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = opened()
    with closing(ledger_of(home)) as ledger:
        last = ledger.last_pane(RECORDS)
        assert last is not None
        body = ledger.get(RECORDS, last)
        assert body is not None
        with ledger.database.writing() as connection:
            connection.execute(delete(pane_records).where(pane_records.c.pane == last))
        n_before = len(source.panes())
        ledger.put(RECORDS, last, body)
        assert len(source.panes()) == n_before  # looked at within this second
        clock.advance_ms(1_500)
        with monkeypatch.context() as patch:
            patch.setattr(Ledger, "records", None)  # what was read once is not read again
            assert len(source.panes()) == n_before + 1
        with ledger.database.writing() as connection:
            connection.execute(delete(pane_records))
        ledger.put(RECORDS, last - 3, body)
        clock.advance_ms(1_500)
        assert len(source.panes()) == 1


def test_of_several_runs_that_with_the_newest_event_is_shown_unless_one_is_named(opened: Opened, home: Path) -> None:
    with closing(ledger_of(home)) as ledger, ledger.database.writing() as connection:
        old = {"run_id": "older", "source": "s.csv", "flags": "{}", "is_finished": False, "has_ended": False}
        connection.execute(runs.insert().values(**old))
        known = ledger.run_id
    found = opened().run()
    assert found is not None
    assert (found.run_id, found.n_other_runs) == (known, 1)
    named = opened(run_id=known).run()
    assert named is not None
    assert named.run_id == known
    with pytest.raises(RequestError, match=r"there is no run nobody. Name one of these with --run: .*older \(s.csv\)"):
        opened(run_id="nobody").run()


def test_an_order_of_a_shared_run_is_open_until_its_result_is_there(opened: Opened, home: Path) -> None:
    with closing(ledger_of(home)) as ledger:
        ordered = next(
            record
            for record in map(decode_record, reversed(ledger.records().values()))
            if record.decision is not None and record.decision.order is not None
        )
        with ledger.database.writing() as connection:
            connection.execute(delete(pane_records).where(pane_records.c.pane >= ordered.pane))
        ledger.put(DECISIONS, ordered.pane, encode(PaneDecision(record=ordered, asks_for_refresh=True)))
    order = opened().open_order()
    assert order is not None
    assert ordered.decision is not None
    assert ordered.decision.order is not None
    assert (order.order_id, order.n_rows) == (ordered.decision.order.order_id, len(ordered.decision.order.rows))
    with closing(ledger_of(home)) as ledger, ledger.database.writing() as connection:
        connection.execute(delete(pane_decisions))
    assert opened().open_order() is None


def test_alerts_are_read_with_what_became_of_them(opened: Opened, home: Path) -> None:
    with closing(ledger_of(home)) as ledger:
        book = AlertBook(ledger.database, ledger.run_id)
        episode = AlertEpisode(group_key="g", fingerprint="f", starts_at="2024-01-01T00:00:00.000000Z", alert="Drift")
        book.receive([episode], now_ms=5_000, cooldown_ms=0)
    (found,) = opened().alerts()
    assert (found.alert, found.status, found.received_ms, found.end_ms, found.order) == (
        "Drift",
        "unneeded",  # the run has ended
        5_000,
        5_000,
        None,
    )


def test_versions_are_compared_once_and_read_as_they_are(
    opened: Opened, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = opened()
    diff = source.diff(1, 2, 5)
    monkeypatch.setattr(TableStore, "load", None)
    assert source.diff(1, 2, 5) is diff
    assert diff.n_added + diff.n_changed > 0
    assert {row.change for row in diff.rows} <= {"added", "removed", "changed"}
    assert all(row.old or row.new for row in diff.rows)
    (home / "tables" / "v00000001" / "manifest.json").write_bytes(b"{}")
    tables = opened().tables()
    problem = tables.versions[-1].problem
    assert problem is not None
    assert "manifest.json" in problem
    assert tables.version(tables.serving) == tables.versions[0]
    assert [move.to_version for move in tables.moves] == [each.version for each in tables.versions]


def test_a_rollback_is_seen_at_once_and_refused_where_another_version_serves(
    opened: Opened, home: Path, clock: ManualClock
) -> None:
    source = opened()
    actions = StoreActions(source, home, clock)
    serving = source.tables().serving
    assert actions.roll_back(1, serving=serving, why="hits fell", who="Ana") == "Version 1 serves."
    assert source.tables().serving == 1
    assert source.tables().moves[0].who == "Ana"
    with pytest.raises(RequestError, match=f"version 1 serves by now, and you looked at version {serving}"):
        actions.roll_back(2, serving=serving, why="x", who="Ana")
    with pytest.raises(RequestError, match="you looked at version none"):
        actions.roll_back(2, serving=None, why="x", who="Ana")


def test_a_pane_is_shown_with_the_weights_that_answered_it() -> None:
    record = PaneRecord(pane=6, window_end_ms=7_000, model="models/run/v000002", weights=2, weights_since_pane=5)
    facts = facts_of(record, np.zeros(N_STATS, np.int64))
    assert (facts.weights, facts.weights_since_ms) == (2, 6_000)


@dataclass
class Sealed:
    fingerprint: str | None


class Service:
    """Stands for what puts weights into service."""

    def carry_out(self, record: FineTune, _: object) -> FineTune:
        return record


def test_a_fine_tune_is_approved_in_the_name_of_who_logged_in_and_only_as_it_was_seen(
    opened: Opened, home: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(ledger_of(home)) as ledger:
        record = msgspec.structs.replace(fine_tune(), run_id=ledger.run_id, revision=1)
        assert StoredFineTunes(ledger.database).put(record)
    monkeypatch.setattr(finetuning, "open_candidate", lambda _: Sealed(record.candidate_fingerprint))
    monkeypatch.setattr(finetuning, "weights_serving_of", lambda *_: Service())
    source = opened()
    actions = StoreActions(source, home, clock)
    with pytest.raises(RequestError, match="there is nothing to serve"):
        actions.decide("ft-1", "serve", revision=1, why="x", who="Ana")
    with pytest.raises(TransitionError, match="2 was looked at"):
        actions.decide("ft-1", "approve", revision=2, why="x", who="Ana")
    assert actions.decide("ft-1", "approve", revision=1, why="good", who="Ana") == "Fine-tune ft-1 is approved."
    (found,) = source.fine_tunes()
    assert found.status is FineTuneStatus.APPROVED
    assert (found.steps[-1].by, found.steps[-1].why, found.steps[-1].is_person) == ("Ana", "good", True)


def test_beyond_loopback_a_console_needs_a_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TIDEGATE_CONSOLE_TOKENS", raising=False)
    found = CliRunner().invoke(console_command, ["--home", str(tmp_path), "--host", "0.0.0.0", "--port", "0"])
    assert isinstance(found.exception, ConfigError)
    assert "TIDEGATE_CONSOLE_TOKENS_FILE" in str(found.exception)


def test_the_command_serves_until_it_is_told_to_end(home: Path) -> None:
    with (home / "log").open("w") as log:
        process = subprocess.Popen(
            [*PROGRAM, "console", "--home", str(home), "--port", "0"],
            stderr=log,
            env={**os.environ, "NUMBA_NUM_THREADS": "1"},
        )
    try:
        deadline = time.monotonic() + 90
        while "console on http" not in (said := (home / "log").read_text()):
            assert process.poll() is None, said
            assert time.monotonic() < deadline, said
            time.sleep(0.05)
        url = said.partition("console on ")[2].split()[0]
        with urllib.request.urlopen(url, timeout=30) as answer:
            assert "Is it fresh?" in answer.read().decode()
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait(20)
