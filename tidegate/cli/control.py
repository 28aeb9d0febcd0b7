"""``tidegate control``: the controller, a Faust app on the topics between roles.

Its agents hear of drift reports and results; what they do about it follows from the store (`tidegate.cli.answering`),
so no state is in Faust's tables, a message that comes twice changes nothing, and one that is lost is made up for by
the next look. Faust loads here only: it wants older libraries than some engines do.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from stream.ledger import RECORDS
from tidegate.cli.alert_answering import AlertController
from tidegate.cli.alert_assembly import alert_planning_of
from tidegate.cli.answering import Controller, is_over
from tidegate.cli.assembly import deciding_of, weights_of
from tidegate.cli.flagging import make_good
from tidegate.cli.observing import ControlObserver
from tidegate.cli.options import given_flags, settings_options
from tidegate.cli.records import decode_record
from tidegate.cli.roles import Role, open_role, seldom, show_log
from tidegate.cli.stopping import stop_signal
from tidegate.clock import SystemClock
from tidegate.config import load_settings
from tidegate.errors import StoreUnavailableError
from tidegate.group_config import GroupSettings

_LOG = logging.getLogger("tidegate.control")
_LOOK_SECONDS = 0.5
_REMIND_SECONDS = 60.0


@click.command("control")
@settings_options(kind=GroupSettings)
@click.option("--config", type=click.Path(path_type=Path), help="TOML file with the same keys.")
def control_command(config: Path | None, **flags: Any) -> None:
    """Decide what drift is worth, place orders, and record what became of them.

    One is enough; a second one takes over at once where the first ends. Ends when a run that has an end is answered.
    """
    settings = load_settings(given_flags(flags), config, GroupSettings)
    show_log()
    with stop_signal() as stop, open_role(settings, SystemClock(), stop.is_set) as role:
        role.topics.create()
        control(role, stop)


def control(role: Role, stop: threading.Event) -> None:
    """Run the controller until `stop`, or until the run is answered where it has an end.

    Raises
    ------
    TidegateError
        Whatever stopped it; the store says how far it came.
    """
    observer = ControlObserver(role)
    controller = Controller(
        role.ledger,
        deciding_of(
            role.settings,
            role.measuring,
            role.tables,
            role.sequences,
            role.row_cache(),
            weights_of(role.settings, role.run_id),
        ),
        role.topics.announce,
        observer.on_record,
        role.clock,
    )
    planning = alert_planning_of(role.settings, controller.deciding)
    controller = replace(controller, alerts=AlertController(planning, role.clock, role.topics.announce))
    _make_good(role)
    observer.begin()
    with role.exporting(observer.metrics.registry, "control"):
        asyncio.run(_serve(role, Attention(role, controller, observer.look), stop))


def _make_good(role: Role) -> None:
    pane = role.ledger.last_pane(RECORDS)
    body = None if pane is None else role.ledger.get(RECORDS, pane)
    last = None if body is None else decode_record(body)
    make_good(
        role.ledger,
        last,
        lambda: [decode_record(each) for each in role.ledger.records().values()],
        role.clock.now_ms(),
    )


class Attention:
    """Looks after the panes, one look at a time, whoever asks for it.

    Parameters
    ----------
    controller : asked in a thread: a decision takes seconds, and messages are to be heard meanwhile
    observe : looks, every few seconds at most, how far the run has come
    """

    def __init__(self, role: Role, controller: Controller, observe: Callable[[], None] = lambda: None) -> None:
        self._role, self._controller = role, controller
        self._observe = seldom(role.clock, observe)
        self._lock = asyncio.Lock()
        self._away_since: float | None = None
        self._reminded_seconds = role.clock.monotonic_seconds()

    async def look(self) -> None:
        """Answer all that can be answered now.

        Raises
        ------
        StoreUnavailableError
            If the store was away for longer than the patience.
        """
        async with self._lock:
            now_seconds = self._role.clock.monotonic_seconds()
            try:
                await asyncio.to_thread(self._answer, now_seconds)
                self._away_since = None
                self._role.pulse.beat()
            except StoreUnavailableError as error:
                self._away_since = now_seconds if self._away_since is None else self._away_since
                if (now_seconds - self._away_since) * 1_000 >= (self._role.settings.duration_ms("store_patience") or 0):
                    raise
                self._role.pulse.store_is_away()
                _LOG.warning("the store is away: %s", error)

    def _answer(self, now_seconds: float) -> None:
        while self._controller.advance():
            self._reminded_seconds = now_seconds
            self._role.pulse.progress()
        self._observe()
        if now_seconds - self._reminded_seconds >= _REMIND_SECONDS:
            self._controller.remind()
            self._reminded_seconds = now_seconds


async def _serve(role: Role, attention: Attention, stop: threading.Event) -> None:
    from tidegate.cli.control_app import build_app

    app = build_app(role, attention.look)
    await app.start()
    try:
        while not stop.is_set() and not await asyncio.to_thread(is_over, role.ledger):
            await attention.look()
            await asyncio.sleep(_LOOK_SECONDS)
    finally:
        await app.stop()
