"""Alerts of a run of one process: between its batches, also after a crash, and when answering fails."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from monitoring.pane_metrics import PaneMetrics
from stream.alert_book import AlertBook
from stream.database import Database
from stream.events import EventBatch
from stream.run_reader import RunReader
from stream.sources.csv import CsvSource
from tests.runs import SYNTHETIC, run_quietly, small_log
from tidegate.cli import assembly as assembly_module
from tidegate.cli.alert_planning import decision_of, result_of
from tidegate.cli.assembly import Assembly, assemble
from tidegate.cli.decisions import _replaying
from tidegate.cli.pipeline import Pipeline
from tidegate.cli.records import decode_record
from tidegate.cli.replaying import Outcome
from tidegate.cli.run_alerts import RunAlerts
from tidegate.cli.stream_settings import catalogue_of, decode_options
from tidegate.clock import Clock, SystemClock
from tidegate.config import RunSettings, load_settings
from tidegate.contracts import AlertEpisode, AlertStatus
from tidegate.errors import EngineError, StoreUnavailableError

FLAGS: dict[str, Any] = {**SYNTHETIC, "window": "2d", "permutations": 20}
EPISODE = AlertEpisode(group_key="g", fingerprint="f", starts_at="2026-01-01T00:00:00Z", alert="drift")


class Stop(BaseException):
    """The process dies here."""


class ChoppedSource(CsvSource):
    """A log in small batches, after each of which something may happen."""

    between: Callable[[int], None] = staticmethod(lambda _: None)

    def batches(self, start: Mapping[int, int]) -> Iterator[EventBatch]:
        for number, batch in enumerate(super().batches(start)):
            yield batch
            type(self).between(number)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_log(tmp_path_factory.mktemp("log"), days=6, sessions=150)


@pytest.fixture(autouse=True)
def chopped(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def open_source(settings: RunSettings, catalogue: tuple[str, ...], clock: Clock) -> ChoppedSource:
        return ChoppedSource(settings.source, decode_options(settings, catalogue), clock, batch_records=100)

    monkeypatch.setattr(assembly_module, "_open_source", open_source)
    yield
    ChoppedSource.between = staticmethod(lambda _: None)


@contextmanager
def opened(log: Path, home: Path, **parts: Any) -> Iterator[tuple[RunSettings, Assembly, RunAlerts, Pipeline]]:
    settings: RunSettings = load_settings({"source": str(log), "home": home, **FLAGS})
    assert catalogue_of(settings) == ()
    with assemble(settings, SystemClock(), **parts) as assembly:
        alerts = RunAlerts(settings, assembly.parts, SystemClock())
        yield settings, assembly, alerts, Pipeline(assembly.parts, assembly.last_record, amended=alerts.amended)


def receive(alerts: RunAlerts) -> None:
    alerts.book.receive([EPISODE], now_ms=0, cooldown_ms=0)


def is_inside_a_pane(assembly: Assembly) -> bool:
    """Whether a table serves, and the pane after the last answered one has begun to be counted."""
    worker = assembly.parts.worker
    pane = worker.unanswered_pane
    return pane is not None and pane.pane >= pane.first_pane + 3


def test_an_alert_is_answered_between_two_batches_and_the_run_goes_on_from_it(log: Path, tmp_path: Path) -> None:
    answered: list[int] = []
    metrics, n_open = PaneMetrics(CollectorRegistry()), []

    @contextmanager
    def in_hand() -> Iterator[None]:
        with metrics.order_in_hand():
            n_open.append(metrics.registry.get_sample_value("tidegate_orders_open"))
            yield

    with opened(log, tmp_path, in_hand=in_hand) as (settings, assembly, alerts, pipeline):

        def between(number: int) -> None:
            if is_inside_a_pane(assembly) and number % 7 == 0 and not alerts.book.requests():
                receive(alerts)
                alerts.look(pipeline)
                answered.append(number)

        ChoppedSource.between = staticmethod(between)
        assert assembly.parts.worker.run(pipeline.on_pane, pipeline.resume())
        (request,) = alerts.book.requests()
        decision = decision_of(request)
        assert (len(answered), request.status) == (1, AlertStatus.ANSWERED)
        assert decision.record.decision is not None
        assert int(decision.record.decision.inputs["open_transitions"] or 0) > 0
        record = assembly.parts.store.records()
        of_panes = [body for body in map(decode_record, record.values()) if body.result is not None]
        assert n_open == [1] * (len(of_panes) + 1)
        assert metrics.registry.get_sample_value("tidegate_orders_open") == 0
        assert decision.pane in record
        assert decision.pane + 1 in record
        replays = list(_replaying(RunReader(assembly.parts.store.database, alerts.book.run_id), settings).replay())
        assert [replay.outcome for replay in replays] == [Outcome.SAME] * len(replays)
        assert sum("asked for by the alert drift" in replay.detail for replay in replays) == 1


def test_an_order_that_a_crash_has_left_open_is_carried_out_by_the_next_process(log: Path, tmp_path: Path) -> None:
    with opened(log, tmp_path) as (_, assembly, alerts, pipeline):

        def between(_: int) -> None:
            if is_inside_a_pane(assembly):
                receive(alerts)
                with assembly.parts.worker.turn:
                    assembly.parts.worker.checkpoint()
                    assert alerts._controller.advance()
                raise Stop

        ChoppedSource.between = staticmethod(between)
        with pytest.raises(Stop):
            assembly.parts.worker.run(pipeline.on_pane, pipeline.resume())
        assert alerts.book.requests()[0].status is AlertStatus.ORDERED
        run_id = alerts.book.run_id
    ChoppedSource.between = staticmethod(lambda _: None)
    summary = run_quietly(log, tmp_path, **FLAGS)
    with closing(Database(tmp_path / "runs.db")) as database:
        (request,) = AlertBook(database, run_id).requests()
        assert request.status is AlertStatus.ANSWERED
        result = result_of(request)
    assert (summary["run_id"], summary["is_finished"]) == (run_id, True)
    of_panes = sum(pane["llm_calls"] for pane in summary["by_pane"])
    assert summary["llm_calls"] == of_panes + result.llm_calls


def test_a_failure_in_answering_ends_the_run_and_nothing_more_is_committed(log: Path, tmp_path: Path) -> None:
    with opened(log, tmp_path) as (_, assembly, alerts, pipeline):

        def fail() -> bool:
            raise EngineError("no answer", "Mend it")

        def between(_: int) -> None:
            if is_inside_a_pane(assembly) and not alerts.book.requests():
                receive(alerts)
                with pytest.raises(EngineError):
                    alerts.look(pipeline)

        object.__setattr__(alerts, "_controller", type("Broken", (), {"advance": staticmethod(fail)})())
        ChoppedSource.between = staticmethod(between)
        with pytest.raises(EngineError, match="no answer"):
            assembly.parts.worker.run(pipeline.on_pane, pipeline.resume())
        assert assembly.parts.worker.has_failed
        assert alerts.book.requests()[0].status is AlertStatus.OPEN


def test_the_thread_looks_until_the_block_ends_and_outlives_a_store_that_is_away(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidegate.cli.run_alerts._LOOK_SECONDS", 0.01)
    looks: list[str] = []
    ended = threading.Event()

    def look(_: Pipeline) -> None:
        looks.append("look")
        if len(looks) == 1:
            raise StoreUnavailableError("away", "Wait")
        if len(looks) == 3:
            raise EngineError("no answer", "Mend it")

    with opened(log, tmp_path) as (_, _, alerts, pipeline):
        monkeypatch.setattr(alerts, "look", look)
        with alerts.answering(pipeline, ended.set):
            assert ended.wait(10)
    assert looks == ["look"] * 3
