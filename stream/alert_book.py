"""Refreshes that alerts ask for: one request an episode, and what became of it.

A request is written once, with the delivery that it came by; deciding and carrying out change its status, each by
compare-and-set. A decision on an alert stands between those on two panes: it names the pane that was answered last, and
the next pane is decided only once its result is there. Then every decision rests on what is written before it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, func, insert, select, update

from stream.checkpoint import bytes_of_counts, counts_of_bytes
from stream.database import add_rows
from stream.run_reader import RunReader
from stream.schema import alert_requests, pane_decisions, pane_records, runs
from tidegate.contracts import AlertEpisode, AlertStatus, encode
from tidegate.counts import BucketedCounts
from tidegate.errors import StoreUnavailableError

_WAITING = (AlertStatus.OPEN.value, AlertStatus.ORDERED.value)


@dataclass(frozen=True, slots=True)
class AlertReceipt:
    """What became of one episode of a delivery; ``is_new`` where it was not known before."""

    number: int
    status: AlertStatus
    is_new: bool


@dataclass(frozen=True, slots=True)
class AlertRequest:
    """A request as it stands.

    Attributes
    ----------
    number : int             in the run, by receipt, from 1 on
    received_ms : int        first receipt, by the receiver's clock
    pane : int | None        that was answered last when it was decided
    decision, result         bodies; None where there is none (yet)
    answered_ms : int | None
    """

    number: int
    status: AlertStatus
    received_ms: int
    episode: AlertEpisode
    pane: int | None
    decision: bytes | None
    result: bytes | None
    answered_ms: int | None


class AlertBook(RunReader):
    """Reads and writes the requests of a run."""

    def receive(self, episodes: Sequence[AlertEpisode], *, now_ms: int, cooldown_ms: int) -> list[AlertReceipt]:
        """Keep the episodes that are new, all or none of them; gives a receipt for each.

        One that comes less than the cooldown after the last one that was not suppressed is kept as suppressed.

        Raises
        ------
        StoreUnavailableError
            If the store refuses for now, or nobody has begun the run yet.
        StoreError
            If it refuses for good.
        """
        known = self._known(episodes)
        if all(episode.episode_id in known for episode in episodes):
            return [AlertReceipt(*known[episode.episode_id], is_new=False) for episode in episodes]
        with self._locked() as connection:
            known = self._known(episodes, connection)
            number, last_ms = self._last(connection)
            has_ended = self._has_ended(connection)
            receipts = []
            for episode in episodes:
                if episode.episode_id in known:
                    receipts.append(AlertReceipt(*known[episode.episode_id], is_new=False))
                    continue
                number += 1
                is_soon = last_ms is not None and now_ms - last_ms < cooldown_ms
                status = AlertStatus.SUPPRESSED if is_soon else AlertStatus.OPEN
                status = AlertStatus.UNNEEDED if has_ended else status
                last_ms = now_ms if status is AlertStatus.OPEN else last_ms
                self._insert(connection, number, status, episode, now_ms)
                known[episode.episode_id] = number, status
                receipts.append(AlertReceipt(number, status, is_new=True))
        return receipts

    def next(self) -> AlertRequest | None:
        """Find the request that is to be decided, or carried out, next."""
        found = self._requests(alert_requests.c.status.in_(_WAITING), limit=1)
        return found[0] if found else None

    def requests(self) -> list[AlertRequest]:
        """Return all requests, oldest first."""
        return self._requests()

    def answered(self, pane: int | None = None) -> list[AlertRequest]:
        """Return those that were carried out, oldest first, of all panes or of one."""
        of_pane = [] if pane is None else [alert_requests.c.pane == pane]
        return self._requests(alert_requests.c.status == AlertStatus.ANSWERED.value, *of_pane)

    def answered_after(self, number: int) -> list[AlertRequest]:
        """Return those that were carried out and have a higher number, oldest first: they are answered in order."""
        is_answered = alert_requests.c.status == AlertStatus.ANSWERED.value
        return self._requests(is_answered, alert_requests.c.number > number)

    def newest(self, number: int) -> BucketedCounts | None:
        """Read the counts of open panes that a decision rested on; None where they were dropped."""
        columns = alert_requests.c["keys"], alert_requests.c.counts
        with self.database.reading() as connection:
            row = connection.execute(select(*columns).where(*self._is(number))).one()
        return None if row[0] is None else counts_of_bytes(*row)

    def oldest_waiting_ms(self) -> int | None:
        """When the oldest request that is not answered was received."""
        is_waiting = alert_requests.c.status.in_(_WAITING)
        statement = select(func.min(alert_requests.c.received_ms)).where(*self._of_run(), is_waiting)
        with self.database.reading() as connection:
            received_ms = connection.scalar(statement)
        return None if received_ms is None else int(received_ms)

    def is_ordered(self) -> bool:
        """Whether what became of an order is awaited."""
        with self.database.reading() as connection:
            return self._is_ordered(connection)

    def dismiss(self, number: int, now_ms: int) -> bool:
        """Say that an open request needs no order; returns whether it was open."""
        with self._locked() as connection:
            return self._change(connection, number, AlertStatus.OPEN, AlertStatus.UNNEEDED, answered_ms=now_ms)

    def put_decision(self, number: int, pane: int, body: bytes, newest: BucketedCounts) -> bool:
        """Write what was decided on an open request; returns whether it stands.

        It does not where the request is not open any more, an order of another one is, or the next pane is decided.

        Parameters
        ----------
        pane : that was answered last
        newest : counts of open panes that it rests on
        """
        with self._locked() as connection:
            for table in (pane_decisions, pane_records):
                is_next = table.c.run_id == self.run_id, table.c.pane == pane + 1
                if connection.execute(select(table.c.pane).where(*is_next)).first() is not None:
                    return False
            if self._is_ordered(connection):
                return False
            values = {"pane": pane, "decision": body, **bytes_of_counts(newest)}
            return self._change(connection, number, AlertStatus.OPEN, AlertStatus.ORDERED, **values)

    def put_result(self, number: int, body: bytes, now_ms: int) -> bool:
        """Write what became of an order; returns whether it stands."""
        with self._locked() as connection:
            values = {"result": body, "answered_ms": now_ms}
            return self._change(connection, number, AlertStatus.ORDERED, AlertStatus.ANSWERED, **values)

    def put_pane_decision(self, pane: int, body: bytes, n_answered: int) -> bool:
        """Write the decision on a pane unless there is one; returns whether this one stands.

        It does not where another alert was decided on since the pane before than those that it knows of.

        Parameters
        ----------
        n_answered : alerts answered after the pane before, as far as the decision rests on them
        """
        with self._locked() as connection:
            decided = select(func.count()).where(*self._of_run(), alert_requests.c.pane == pane - 1)
            if self._is_ordered(connection) or connection.scalar(decided) != n_answered:
                return False
            return add_rows(connection, pane_decisions, [{"run_id": self.run_id, "pane": pane, "body": body}]) == 1

    @contextmanager
    def _locked(self) -> Iterator[Connection]:
        """One transaction at a time over the run's requests and the decisions beside them."""
        with self.database.writing() as connection:
            is_it = runs.c.run_id == self.run_id
            if connection.execute(select(runs.c.run_id).where(is_it).with_for_update()).first() is None:
                raise StoreUnavailableError(
                    f"there is no run {self.run_id} yet",
                    "Start it, and give all its roles one configuration",
                    place=self.database.place,
                )
            yield connection

    def _has_ended(self, connection: Connection) -> bool:
        return bool(connection.scalar(select(runs.c.has_ended).where(runs.c.run_id == self.run_id)))

    def _known(
        self, episodes: Sequence[AlertEpisode], connection: Connection | None = None
    ) -> dict[str, tuple[int, AlertStatus]]:
        if connection is None:
            with self.database.reading() as reading:
                return self._known(episodes, reading)
        columns = alert_requests.c.episode, alert_requests.c.number, alert_requests.c.status
        is_among = alert_requests.c.episode.in_(sorted({episode.episode_id for episode in episodes}))
        rows = connection.execute(select(*columns).where(*self._of_run(), is_among))
        return {row.episode: (row.number, AlertStatus(row.status)) for row in rows}

    def _last(self, connection: Connection) -> tuple[int, int | None]:
        """Highest number, and when the last request that was not suppressed was received."""
        number = connection.scalar(select(func.max(alert_requests.c.number)).where(*self._of_run()))
        is_taken = alert_requests.c.status.not_in([AlertStatus.SUPPRESSED.value, AlertStatus.UNNEEDED.value])
        last_ms = connection.scalar(select(func.max(alert_requests.c.received_ms)).where(*self._of_run(), is_taken))
        return int(number or 0), last_ms

    def _insert(
        self, connection: Connection, number: int, status: AlertStatus, episode: AlertEpisode, now_ms: int
    ) -> None:
        connection.execute(
            insert(alert_requests).values(
                run_id=self.run_id,
                number=number,
                episode=episode.episode_id,
                status=status.value,
                received_ms=now_ms,
                body=encode(episode),
            )
        )

    def _is_ordered(self, connection: Connection) -> bool:
        is_ordered = alert_requests.c.status == AlertStatus.ORDERED.value
        found = connection.execute(select(alert_requests.c.number).where(*self._of_run(), is_ordered))
        return found.first() is not None

    def _change(
        self, connection: Connection, number: int, before: AlertStatus, after: AlertStatus, **values: Any
    ) -> bool:
        is_it = *self._is(number), alert_requests.c.status == before.value
        changed = connection.execute(update(alert_requests).where(*is_it).values(status=after.value, **values))
        return changed.rowcount == 1

    def _requests(self, *conditions: ColumnElement[bool], limit: int | None = None) -> list[AlertRequest]:
        names = ("number", "status", "received_ms", "body", "pane", "decision", "result", "answered_ms")
        columns = [alert_requests.c[name] for name in names]
        statement = select(*columns).where(*self._of_run(), *conditions).order_by(alert_requests.c.number).limit(limit)
        with self.database.reading() as connection:
            return [_request(row) for row in connection.execute(statement)]

    def _of_run(self) -> tuple[ColumnElement[bool], ...]:
        return (alert_requests.c.run_id == self.run_id,)

    def _is(self, number: int) -> tuple[ColumnElement[bool], ...]:
        return *self._of_run(), alert_requests.c.number == number


def _request(row: Any) -> AlertRequest:
    return AlertRequest(
        number=row.number,
        status=AlertStatus(row.status),
        received_ms=row.received_ms,
        episode=msgspec.json.decode(row.body, type=AlertEpisode),
        pane=row.pane,
        decision=row.decision,
        result=row.result,
        answered_ms=row.answered_ms,
    )
