"""Table versions as the console shows them."""

from __future__ import annotations

import threading
from collections import OrderedDict

from monitoring.console.facts import DiffFacts, DiffRow, MoveFacts, TableFacts, VersionFacts
from refresh.table_store import TableStore
from tidegate.cli.table_changes import ANY, changes_between
from tidegate.errors import CorruptTableError, RequestError

_KEPT_DIFFS = 8


class ShownTables:
    """Reads manifests once, and keeps the last comparisons; safe to use from many threads.

    Parameters
    ----------
    place : TableStore
    """

    def __init__(self, place: TableStore) -> None:
        self._place, self._lock = place, threading.RLock()
        self._manifests: dict[int, VersionFacts] = {}
        self._diffs: OrderedDict[tuple[int, int, int], DiffFacts] = OrderedDict()

    def facts(self) -> TableFacts:
        """Read the versions, the newest first, and every move of the pointer."""
        store = self._place
        numbers = store.numbers()
        for gone in self._manifests.keys() - set(numbers):
            del self._manifests[gone]
        moves = tuple(
            MoveFacts(each.time_ms, each.action, each.from_version, each.to_version, each.who, each.why)
            for each in reversed(store.history())
        )
        return TableFacts(store.current(), tuple(map(self._version, reversed(numbers))), moves)

    def _version(self, number: int) -> VersionFacts:
        known = self._manifests.get(number)
        if known is not None:
            return known
        try:
            found = self._place.manifest(number)
        except (CorruptTableError, RequestError) as error:
            return VersionFacts(number, problem=str(error))
        self._manifests[number] = VersionFacts(
            version=number,
            parent=found.parent,
            created_ms=found.created_ms,
            window_end_ms=found.window_end_ms,
            trigger=str(found.trigger),
            reasons=found.reasons,
            engine=found.engine_name,
            rows=found.rows,
            backoff_rows=found.backoff_rows,
            rows_changed=found.rows_changed,
            rows_reweighted=found.rows_reweighted,
        )
        return self._manifests[number]

    def diff(self, old: int, new: int, limit: int) -> DiffFacts:
        """Compare two versions, in names."""
        with self._lock:
            known = self._diffs.get((old, new, limit))
        if known is not None:
            return known
        before, after = self._place.load(old), self._place.load(new)
        changes = changes_between(before, after, limit)
        found = DiffFacts(
            old=old,
            new=new,
            n_added=changes.counts["added"],
            n_removed=changes.counts["removed"],
            n_changed=changes.counts["changed"],
            n_reweighted=changes.n_reweighted,
            rows=tuple(
                DiffRow(
                    row["change"],
                    None if row["c1"] == ANY else row["c1"],
                    row["c2"],
                    *(tuple((each["name"], each["probability"]) for each in row[side]) for side in ("old", "new")),
                )
                for row in changes.rows
            ),
        )
        with self._lock:
            self._diffs[old, new, limit] = found
            while len(self._diffs) > _KEPT_DIFFS:
                self._diffs.popitem(last=False)
        return found
