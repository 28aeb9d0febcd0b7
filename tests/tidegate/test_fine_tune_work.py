"""The work of a fine-tune finds its run, its panes and its weights in the store, or says what is missing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from refresh.finetune.runner import Job
from stream.database import Database
from stream.ledger import RECORDS, Ledger
from stream.shard_store import join_run
from tests.fine_tunes import in_status
from tidegate.cli import fine_tune_work as module
from tidegate.cli.fine_tune_work import Base, FineTuneWork, Kind, flagged_run, serving_weights
from tidegate.cli.records import PaneRecord
from tidegate.config import RunSettings, load_settings
from tidegate.contracts import FineTune, FineTuneStatus, encode
from tidegate.errors import FineTuneError
from tidegate.group_config import GroupSettings

HOUR_MS = 3_600_000
FLAGGED = in_status(FineTuneStatus.TRAINING, 5 * HOUR_MS)
FLAGS: dict[str, Any] = {"source": "log.csv", "pane": "1h", "window": "2h"}


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(tmp_path / "runs.db")
    yield database
    database.close()


def put_run(database: Database, settings: RunSettings, *panes: int, model: str | None = None) -> None:
    join_run(database, "run", settings.source, settings.identity(), 1)
    for pane in panes:
        record = PaneRecord(pane=pane, window_end_ms=(pane + 1) * HOUR_MS, model=model, n_clusters=pane)
        assert Ledger(database, "run").put(RECORDS, pane, encode(record))


def job(folder: Path, record: FineTune = FLAGGED) -> Job:
    return Job(record, folder, lambda: False)


@pytest.mark.parametrize("kind", [RunSettings, GroupSettings])
def test_a_run_is_opened_as_it_was_at_the_flag(database: Database, tmp_path: Path, kind: type[RunSettings]) -> None:
    flags = FLAGS | ({} if kind is RunSettings else {"source": "kafka://h:1/t"})
    put_run(database, load_settings(flags, None, kind), 3, 4, 5)
    run = flagged_run(database, tmp_path, FLAGGED)
    assert (run.flag.pane, run.pane_ms, run.window_panes, run.settings.home) == (4, HOUR_MS, 2, tmp_path)
    assert [each.pane for each in run.panes()] == [3, 4]  # nothing later than the flag


def test_what_the_store_no_longer_has_is_named(database: Database, tmp_path: Path) -> None:
    with pytest.raises(FineTuneError, match="the store no longer has the run run"):
        flagged_run(database, tmp_path, FLAGGED)
    put_run(database, load_settings(FLAGS), 5)
    with pytest.raises(FineTuneError, match="the store no longer has the pane that flagged it"):
        flagged_run(database, tmp_path, FLAGGED)


def test_an_engine_without_weights_has_none_to_tune(database: Database, tmp_path: Path) -> None:
    put_run(database, load_settings(FLAGS | {"engine": "frequency"}), 4)
    with pytest.raises(FineTuneError, match="the frequency engine has no weights to tune"):
        flagged_run(database, tmp_path, FLAGGED)


def test_the_weights_that_serve_are_those_of_the_last_pane_or_those_that_were_given(
    database: Database, tmp_path: Path
) -> None:
    put_run(database, load_settings(FLAGS), 4)
    assert serving_weights(flagged_run(database, tmp_path, FLAGGED)) is None
    put_run(database, load_settings(FLAGS), 5, model=str(tmp_path / "of-the-run"))
    found = serving_weights(flagged_run(database, tmp_path, FLAGGED))
    assert found is not None
    assert found.base == tmp_path / "of-the-run"


def test_the_model_that_a_run_was_given_serves_before_its_first_pane_says_so(
    database: Database, tmp_path: Path
) -> None:
    put_run(database, load_settings(FLAGS | {"model": tmp_path / "given"}), 4)
    found = serving_weights(flagged_run(database, tmp_path, FLAGGED))
    assert found is not None
    assert found.base == tmp_path / "given"


def test_other_samples_than_those_that_were_taken_are_not_taught(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_run(database, load_settings(FLAGS), 4)
    monkeypatch.setattr(module, "read_samples", lambda _: (None, "others"))
    with pytest.raises(FineTuneError, match="the samples are others, and samples were taken"):
        FineTuneWork(database, tmp_path).train(job(tmp_path))


def test_an_adapter_needs_weights_to_be_put_on(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_run(database, load_settings(FLAGS), 4)
    monkeypatch.setattr(module, "read_samples", lambda _: (None, "samples"))
    (tmp_path / "base.json").write_bytes(msgspec.json.encode(Base(None, Kind.LORA)))
    with pytest.raises(FineTuneError, match="an adapter needs weights to be put on, and none serve yet"):
        FineTuneWork(database, tmp_path).train(job(tmp_path))


def test_how_the_engine_is_reached_is_taken_as_it_is_given_and_what_the_run_is_known_by_stays(
    database: Database, tmp_path: Path
) -> None:
    settings = load_settings({"source": "log.csv", "home": tmp_path, "pane": "1h", "window": "2h", "engine": "vllm"})
    put_run(database, settings, 3, 4, 5)
    given = {"engine_options": {"max_model_len": "64"}, "engine": "embedded"}
    opened = flagged_run(database, tmp_path, FLAGGED, given).settings
    assert (opened.engine_options, opened.engine) == ({"max_model_len": "64"}, "vllm")
