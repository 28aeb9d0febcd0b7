"""Settings of the roles that share a run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tidegate.config import RunSettings, load_settings
from tidegate.errors import ConfigError, RequestError
from tidegate.group_config import GroupSettings

SOURCE = "kafka://localhost:9092/watches"


def _load(**flags: object) -> GroupSettings:
    return load_settings({"source": SOURCE, **flags}, None, GroupSettings)


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("TIDEGATE_"):
            monkeypatch.delenv(name)


def test_defaults_wait_ten_minutes_at_a_pane_and_keep_panes_for_ninety_days() -> None:
    settings = _load()
    names = ("gate", "checkpoint_interval", "idle_after", "store_patience", "retention")
    minute_ms = 60_000
    assert [settings.duration_ms(name) for name in names] == [
        10 * minute_ms,
        1_000,
        30_000,
        5 * minute_ms,
        90 * 24 * 60 * minute_ms,
    ]
    assert (settings.store, settings.group, settings.instance, settings.dead_letters) == (None, None, None, None)
    assert (settings.max_bad_share, settings.max_waiting, settings.topics) == (0.05, 500_000, "tidegate")
    assert not settings.until_end


def test_gate_and_retention_may_be_none_and_no_other_duration_may() -> None:
    settings = _load(gate="none", retention="none")
    assert (settings.duration_ms("gate"), settings.duration_ms("retention")) == (None, None)
    for name in ("checkpoint_interval", "idle_after", "store_patience"):
        with pytest.raises(RequestError, match=name.replace("_", "-")):
            _load(**{name: "none"})


@pytest.mark.parametrize("name", ["gate", "checkpoint_interval", "idle_after", "store_patience", "retention"])
def test_a_duration_that_is_none_of_these_is_refused(name: str) -> None:
    with pytest.raises(RequestError, match=f"--{name.replace('_', '-')}"):
        _load(**{name: "soon"})


@pytest.mark.parametrize(("name", "value"), [("max_bad_share", 0), ("max_bad_share", 1.5), ("max_waiting", 0)])
def test_a_number_out_of_range_is_refused(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=name.replace("_", ".")):
        _load(**{name: value})


def test_a_store_comes_from_the_environment_or_a_file_and_is_not_shown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TIDEGATE_STORE", "postgresql://me:hush-hush@host/runs")
    monkeypatch.setenv("TIDEGATE_IDLE_AFTER", "5s")
    settings = _load()
    assert settings.store is not None
    assert settings.store.get_secret_value() == "postgresql://me:hush-hush@host/runs"
    assert settings.duration_ms("idle_after") == 5_000
    assert "hush-hush" not in f"{settings!r} {settings} {settings.identity()}"
    monkeypatch.delenv("TIDEGATE_STORE")
    (tmp_path / "store").write_text("postgresql://me:from-a-file@host/runs\n")
    monkeypatch.setenv("TIDEGATE_STORE_FILE", str(tmp_path / "store"))
    settings = _load()
    assert settings.store is not None
    assert settings.store.get_secret_value() == "postgresql://me:from-a-file@host/runs"
    assert "from-a-file" not in repr(settings)


def test_a_run_is_known_by_what_it_counts_and_not_by_how_its_roles_work() -> None:
    plain = _load().identity()
    own: dict[str, object] = {
        "store": "runs.db",
        "group": "g",
        "instance": "i",
        "gate": "none",
        "until_end": True,
        "dead_letters": "d",
        "max_bad_share": 0.5,
        "checkpoint_interval": "2s",
        "max_waiting": 7,
        "idle_after": "1s",
        "store_patience": "1s",
        "topics": "t",
        "retention": "none",
        "drift_parts": 4,
    }
    assert set(own) == set(GroupSettings.model_fields) - set(RunSettings.model_fields)
    assert _load(**own).identity() == plain
    assert _load(pane="2d", window="4d").identity() != plain


def test_a_shared_run_is_never_taken_for_one_of_one_process() -> None:
    assert load_settings({"source": SOURCE}).identity() != _load().identity()
