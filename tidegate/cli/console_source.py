"""What the console shows, read from a run's store, tables, candidates and fine-tunes.

Nothing is written and nothing has to be there yet: a store that is to come is looked for at each visit. What cannot
change any more (recorded panes, manifests) is read once.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from monitoring.console.facts import (
    AlertFacts,
    CandidateFacts,
    DiffFacts,
    OpenOrder,
    PaneDetail,
    PaneFacts,
    ProgressFacts,
    RunFacts,
    ShardFacts,
    TableFacts,
)
from refresh.gates.aside import Candidates
from refresh.table_place import open_tables
from refresh.table_store import TableStore
from stream.alert_book import AlertBook
from stream.database import Database
from stream.fine_tune_book import StoredFineTunes
from stream.ledger import DECISIONS, RECORDS, REPORTS, RESULTS, Ledger
from stream.reorder import BEGINNING_OF_TIME_MS
from stream.run_reader import RunReader, RunState
from stream.sequence_kernel import N_STATS
from tidegate.cli.answering import next_unrecorded
from tidegate.cli.console_facts import alert_facts, facts_of, with_stats
from tidegate.cli.console_kept import Kept
from tidegate.cli.console_tables import ShownTables
from tidegate.cli.records import PaneDecision, decode_record
from tidegate.clock import Clock
from tidegate.contracts import AlertStatus, FineTune
from tidegate.durations import parse_duration
from tidegate.errors import RequestError

_NO_STATS = np.zeros(N_STATS, np.int64)


class StoreSource:
    """Reads one run for the console; safe to use from many threads.

    Parameters
    ----------
    home : Path
    store : str, optional        URL of the store; default: runs.db in the home folder
    tables : str, optional       place of the versions; default: tables/ in the home folder
    run_id : str, optional       default: the only run or, of several, the one with the newest event
    """

    def __init__(self, home: Path, store: str | None, tables: str | None, run_id: str | None, clock: Clock) -> None:
        self._home, self._store, self._wanted, self._clock = home, store, run_id, clock
        self.tables_place: TableStore = open_tables(home, tables, clock)
        self._lock = threading.RLock()
        self._database: Database | None = None
        self._records: OrderedDict[int, tuple[bytes, PaneFacts]] = OrderedDict()
        self._records_of = ""
        self._shown = ShownTables(self.tables_place)
        self._chosen = Kept(clock, self._choose)
        self._panes = Kept(clock, self._read_panes)
        self._tables = Kept(clock, self._shown.facts)
        self._alerts = Kept(clock, self._read_alerts)

    def database(self) -> Database | None:
        """Open the store, once it is there."""
        with self._lock:
            path = self._home / "runs.db"
            if self._database is None and (self._store is not None or path.exists()):
                self._database = Database(self._store or path)
            return self._database

    def close(self) -> None:
        """Release the store."""
        with self._lock:
            if self._database is not None:
                self._database.close()
                self._database = None

    def forget(self) -> None:
        """Look everything up anew: somebody has just changed it."""
        for kept in (self._chosen, self._panes, self._tables, self._alerts):
            kept.forget()

    def run(self) -> RunFacts | None:
        """Tell which run this is; None while the store has none."""
        chosen = self._chosen()
        if chosen is None:
            return None
        ledger, source, flags, n_runs = chosen
        settings, state = _settings_of(flags), ledger.state()
        pane_ms = _duration_of(settings, "pane")
        closed = state.closed_pane
        return RunFacts(
            run_id=ledger.run_id,
            source=source,
            policy=str(settings.get("policy", "?")),
            engine=str(settings.get("engine", "?")),
            pane_ms=pane_ms,
            window_ms=_duration_of(settings, "window"),
            stream_ms=_counted_ms(ledger, state),
            closed_end_ms=None if closed is None else (closed + 1) * pane_ms,
            has_ended=state.has_ended,
            n_other_runs=n_runs - 1,
        )

    def panes(self) -> Sequence[PaneFacts]:
        """List the recorded panes, ascending."""
        return self._panes()

    def detail(self, pane: int) -> PaneDetail | None:
        """Everything about one pane; None where it is not recorded."""
        chosen = self._chosen()
        body = None if chosen is None else chosen[0].get(RECORDS, pane)
        if chosen is None or body is None:
            return None
        record = decode_record(body)
        order = record.decision.order if record.decision else None
        facts = facts_of(record, chosen[0].stats_of_pane(pane))
        return PaneDetail(facts, record.report, record.decision, order.rows if order else ())

    def cluster_names(self) -> Sequence[str]:
        """Names by cluster id."""
        chosen = self._chosen()
        return [] if chosen is None else chosen[0].cluster_names()

    def open_order(self) -> OpenOrder | None:
        """Order that a refresher is at, or will be; a process that does all in one is never seen at it."""
        chosen = self._chosen()
        if chosen is None:
            return None
        ledger = chosen[0]
        by_alert = next((each for each in self.alerts() if each.status == AlertStatus.ORDERED), None)
        if by_alert is not None and by_alert.order is not None:
            order = by_alert.order
            return OpenOrder(order.order_id, by_alert.end_ms, order.trigger, order.n_rows)
        pane = next_unrecorded(ledger)
        body = None if pane is None else ledger.get(DECISIONS, pane)
        if pane is None or body is None or ledger.get(RESULTS, pane) is not None:
            return None
        decision = msgspec.json.decode(body, type=PaneDecision)
        placed = decision.record.decision.order if decision.record.decision else None
        if not decision.asks_for_refresh or placed is None:
            return None
        return OpenOrder(placed.order_id, decision.record.window_end_ms, str(placed.trigger), len(placed.rows))

    def alerts(self) -> Sequence[AlertFacts]:
        """Alerts that asked for a refresh, the newest first."""
        return self._alerts()

    def _read_alerts(self) -> Sequence[AlertFacts]:
        chosen = self._chosen()
        if chosen is None:
            return []
        book = AlertBook(chosen[0].database, chosen[0].run_id)
        return [alert_facts(each) for each in reversed(book.requests())]

    def shards(self) -> Sequence[ShardFacts]:
        """Who counts, and how far."""
        chosen = self._chosen()
        if chosen is None:
            return []
        owners = chosen[0].owners()
        return [
            ShardFacts(
                shard=shard,
                owner=owners.get(shard, ""),
                latest_ms=mark.latest_ms,
                watermark_ms=_known_ms(mark.watermark_ms),
                counted_ms=_known_ms(mark.counted_ms),
                is_idle=mark.is_idle,
                is_finished=mark.is_finished,
            )
            for shard, mark in chosen[0].marks().items()
        ]

    def progress(self) -> ProgressFacts:
        """How far the roles have come that answer panes."""
        chosen = self._chosen()
        if chosen is None:
            return ProgressFacts(None, None, None, None, is_shared=False)
        ledger, _, flags, _ = chosen
        pane_ms = _duration_of(_settings_of(flags), "pane")
        recorded = ledger.last_pane(RECORDS)
        is_shared = flags.startswith("workers ")
        # One process that does all records a pane in the transaction that closes it for good.
        closed = ledger.state().closed_pane if is_shared else recorded

        def end_ms(pane: int | None) -> int | None:
            return None if pane is None else (pane + 1) * pane_ms

        return ProgressFacts(
            closed_end_ms=end_ms(closed),
            reported_end_ms=end_ms(ledger.last_pane(REPORTS)),
            decided_end_ms=end_ms(ledger.last_pane(DECISIONS)),
            recorded_end_ms=end_ms(recorded),
            is_shared=is_shared,
        )

    def tables(self) -> TableFacts:
        """Versions of the table."""
        return self._tables()

    def diff(self, old: int, new: int, limit: int) -> DiffFacts:
        """Compare two versions, in names."""
        return self._shown.diff(old, new, limit)

    def candidates(self) -> Sequence[CandidateFacts]:
        """Candidates that are kept aside, the newest first."""
        kept = Candidates(self._home / "candidates").all()
        serving = self._tables().serving if kept else None
        return [
            CandidateFacts(
                order_id=each.order_id,
                window_end_ms=each.window_end_ms,
                gates=each.gates,
                replaces=each.replaces,
                is_publishable=each.published_as is None and (serving is None or each.replaces == serving),
                published_as=each.published_as,
                who=each.who,
                why=each.why,
                published_ms=each.published_ms,
            )
            for each in kept
        ]

    def fine_tunes(self) -> Sequence[FineTune]:
        """Fine-tunes of the run, the newest first."""
        chosen = self._chosen()
        return [] if chosen is None else StoredFineTunes(chosen[0].database).list(chosen[0].run_id)

    def _choose(self) -> tuple[Ledger, str, str, int] | None:
        """Find the run, with its source, its flags and the number of runs there are.

        Raises
        ------
        RequestError
            If the one that is wanted is not there.
        """
        database = self.database()
        known = {} if database is None else RunReader.known_runs(database)
        if database is None or not known:
            return None
        if self._wanted is not None and self._wanted not in known:
            listed = ", ".join(f"{each} ({source})" for each, (source, _) in known.items())
            raise RequestError(
                f"there is no run {self._wanted}", f"Name one of these with --run: {listed}", place="--run"
            )
        run_id = self._wanted or max(known, key=lambda each: _newest_ms(Ledger(database, each)))
        return Ledger(database, run_id), *known[run_id], len(known)

    def _read_panes(self) -> Sequence[PaneFacts]:
        chosen = self._chosen()
        if chosen is None:
            return []
        ledger = chosen[0]
        with self._lock:
            self._catch_up(ledger)
            stats = ledger.stats()
            return [with_stats(facts, stats.get(pane, _NO_STATS)) for pane, (_, facts) in self._records.items()]

    def _catch_up(self, ledger: Ledger) -> None:
        """Read the records that are new. A run that started over has another record where we were."""
        last = next(reversed(self._records), None)
        is_same = last is not None and self._records_of == ledger.run_id
        if last is None or not is_same or ledger.get(RECORDS, last) != self._records[last][0]:
            self._records.clear()
            self._records_of = ledger.run_id
            new = ledger.records()
        else:
            newest = ledger.last_pane(RECORDS)
            found = {pane: ledger.get(RECORDS, pane) for pane in range(last + 1, (newest or last) + 1)}
            new = {pane: body for pane, body in found.items() if body is not None}
        for pane, body in new.items():
            self._records[pane] = body, facts_of(decode_record(body), _NO_STATS)
        for pane in list(self._records)[:-1]:
            self._records[pane] = b"", self._records[pane][1]


def _newest_ms(ledger: Ledger) -> int:
    return max((mark.latest_ms or BEGINNING_OF_TIME_MS for mark in ledger.marks().values()), default=-(2**62))


def _counted_ms(ledger: Ledger, state: RunState) -> int | None:
    """Event time up to which all is counted; that of the newest event once the source has ended."""
    marks = ledger.marks().values()
    if state.has_ended:
        return max((mark.latest_ms for mark in marks if mark.latest_ms is not None), default=None)
    known = [_known_ms(mark.counted_ms) for mark in marks if not mark.is_idle]
    return _known_ms(state.stream_ms) or min((each for each in known if each is not None), default=None)


def _settings_of(flags: str) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(flags.removeprefix("workers "))
    return found


def _duration_of(settings: dict[str, Any], name: str) -> int:
    return parse_duration(str(settings[name]), name=f"--{name}")


def _known_ms(time_ms: int | None) -> int | None:
    """Time that is one: the beginning of all times, or its end, stands for none yet."""
    return time_ms if time_ms is not None and 0 < time_ms < 2**53 else None
