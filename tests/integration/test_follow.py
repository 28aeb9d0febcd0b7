"""``--follow``: a topic that goes on, and a stop while nothing happens on it."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from sqlalchemy.exc import NoResultFound

from stream.database import Database
from stream.run_reader import RunReader, run_id_of
from tests.broker import KafkaBroker
from tests.integration.test_kafka_run import messages, rows_of
from tests.runs import SYNTHETIC, result_of, small_log
from tidegate.cli.run import run
from tidegate.config import load_settings
from tidegate.errors import StoreError


def follow_until(flags: dict[str, Any], n_records: int) -> dict[str, Any]:
    """Follow until so many records are read, then stop as a signal does."""
    stop, summaries = threading.Event(), []
    thread = threading.Thread(
        target=lambda: summaries.append(run(load_settings(flags), Console(quiet=True), stop)), daemon=True
    )
    thread.start()
    deadline = time.monotonic() + 60
    while _n_read(flags) < n_records and time.monotonic() < deadline:
        stop.wait(0.1)
    stop.set()
    thread.join(30)
    assert not thread.is_alive()
    return summaries[0]


def _n_read(flags: dict[str, Any]) -> int:
    """Records that the run has committed."""
    database = flags["home"] / "runs.db"
    if not database.exists():
        return 0
    reader = RunReader(Database(database), run_id_of(flags["source"], load_settings(flags).identity()))
    try:
        return sum(reader.outcomes().values())
    except (NoResultFound, StoreError):  # the run is just being opened
        return 0
    finally:
        reader.close()


def test_a_followed_topic_is_stopped_at_rest_and_gone_on_with(kafka: KafkaBroker, tmp_path: Path):
    rows = list(rows_of(small_log(tmp_path)))
    half = len(rows) // 2
    kafka.create_topic("followed", partitions=2)
    kafka.produce("followed", messages(rows[:half]))
    flags = {"source": f"kafka://{kafka.bootstrap}/followed", "home": tmp_path / "home", "follow": True, **SYNTHETIC}
    first = follow_until({**flags, "checkpoint_records": 1}, half)
    assert first["events"] == half
    assert not first["is_finished"]
    kafka.produce("followed", messages(rows[half:]))
    second = follow_until({**flags, "checkpoint_records": 1}, len(rows))
    assert second["events"] == len(rows)
    assert second["run_id"] == first["run_id"]
    # What both read to the end of the last whole pane is what a finite run of the same topic counts.
    finite = result_of(flags["source"], tmp_path / "finite", **SYNTHETIC)
    whole = second["by_pane"]
    assert whole == finite.summary["by_pane"][: len(whole)]
    assert len(whole) == len(finite.summary["by_pane"]) - 1
