"""Settings: which layer wins, what is refused, and what a run is known by."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tidegate.config import RunSettings, load_settings
from tidegate.errors import ConfigError, RequestError


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("TIDEGATE_"):
            monkeypatch.delenv(name)


@pytest.fixture
def toml(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = tmp_path / "tidegate.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_defaults_are_those_of_the_design() -> None:
    settings = load_settings({"source": "log.csv"})
    assert (settings.pane, settings.window, settings.gap) == ("1d", "3d", "1d")
    assert (settings.engine, settings.dedup, settings.allow_return) == ("embedded", "first", False)
    assert (settings.home, settings.min_support, settings.gap_ms) == (Path(".tidegate"), 20, 86_400_000)


def test_a_flag_wins_over_the_environment_over_the_file_over_the_default(
    monkeypatch: pytest.MonkeyPatch, toml: Callable[[str], Path]
) -> None:
    path = toml('pane = "2d"\nwindow = "4d"\nseed = 2\nport = 2\n')
    monkeypatch.setenv("TIDEGATE_PANE", "3d")
    monkeypatch.setenv("TIDEGATE_WINDOW", "6d")
    monkeypatch.setenv("TIDEGATE_SEED", "3")
    settings = load_settings({"source": "log.csv", "pane": "1h"}, path)
    assert (settings.pane, settings.window, settings.seed, settings.port, settings.top_n) == ("1h", "6d", 3, 2, 5)


@pytest.mark.parametrize(
    ("text", "mend"),
    [("windo = '3d'", "Did you mean 'window'"), ("zzz = 1", "tidegate run --help")],
)
def test_an_unknown_key_is_named_with_its_nearest(toml: Callable[[str], Path], text: str, mend: str) -> None:
    path = toml(text)
    with pytest.raises(ConfigError, match="unknown key") as refused:
        load_settings({"source": "log.csv"}, path)
    assert mend in refused.value.mend
    assert refused.value.place == str(path)


@pytest.mark.parametrize("content", ["pane = ", "pane = '1d"])
def test_a_file_that_is_not_toml_is_refused(toml: Callable[[str], Path], content: str) -> None:
    with pytest.raises(ConfigError, match="the file cannot be read"):
        load_settings({"source": "log.csv"}, toml(content))


def test_a_file_that_is_missing_or_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    for name in ("none.toml", "binary.toml"):
        with pytest.raises(ConfigError, match="the file cannot be read"):
            load_settings({"source": "log.csv"}, tmp_path / name)


@pytest.mark.parametrize("field", ["pane", "window", "gap", "lateness", "max_ahead"])
@pytest.mark.parametrize("text", ["", "3", "3x", "-1d", "0s", "none", "1d 2h"])
def test_a_bad_duration_names_its_flag(field: str, text: str) -> None:
    if (field, text) == ("gap", "none"):
        assert load_settings({"source": "log.csv", "gap": "none"}).gap_ms is None
        return
    with pytest.raises(RequestError, match="is not a duration") as refused:
        load_settings({"source": "log.csv", field: text})
    assert refused.value.place == f"--{field.replace('_', '-')}"
    assert refused.value.exit_code == 2


@pytest.mark.parametrize(
    ("field", "value"),
    [("port", "many"), ("port", 65_536), ("seed", -1), ("fdr", 1), ("dedup", "last"), ("top_n", 0), ("time_unit", "h")],
)
def test_an_impossible_value_names_its_flag(field: str, value: Any) -> None:
    with pytest.raises(ConfigError) as refused:
        load_settings({"source": "log.csv", field: value})
    assert refused.value.place == f"--{field.replace('_', '-')}"


def test_a_run_without_a_source_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"--source: Field required\. Give --source, or 'source' in the c\w+$"):
        load_settings({})


def test_a_secret_is_read_from_the_file_that_the_environment_names(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "password").write_text("hush\n")
    (tmp_path / "source").write_text("secret.csv\n")
    monkeypatch.setenv("TIDEGATE_KAFKA__SASL_PASSWORD_FILE", str(tmp_path / "password"))
    monkeypatch.setenv("TIDEGATE_SOURCE_FILE", str(tmp_path / "source"))
    monkeypatch.setenv("TIDEGATE_UNRELATED_FILE", str(tmp_path / "none"))
    settings = load_settings({})
    assert settings.source == "secret.csv"
    assert {name: value.get_secret_value() for name, value in settings.kafka.items()} == {"sasl.password": "hush"}


def test_properties_come_from_all_layers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, toml: Callable[[str], Path]
) -> None:
    path = toml('[kafka]\n"sasl.password" = "file"\n"sasl.username" = "file"\n"log_level" = "3"\n')
    (tmp_path / "password").write_text("secret file")
    monkeypatch.setenv("TIDEGATE_KAFKA__SASL_USERNAME", "environment")
    monkeypatch.setenv("TIDEGATE_KAFKA__SASL_PASSWORD_FILE", str(tmp_path / "password"))
    settings = load_settings({"source": "log.csv", "kafka": {"client.id": "flag"}}, path)
    assert {name: value.get_secret_value() for name, value in settings.kafka.items()} == {
        "sasl.password": "secret file",
        "sasl.username": "environment",
        "log_level": "3",
        "client.id": "flag",
    }


def test_the_key_of_a_server_comes_from_a_file_and_is_never_shown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "key").write_text("hush\n")
    monkeypatch.setenv("TIDEGATE_API_KEY_FILE", str(tmp_path / "key"))
    settings = load_settings({"source": "log.csv", "engine": "openai", "engine_url": "http://there"})
    assert settings.api_key is not None
    assert settings.api_key.get_secret_value() == "hush"
    assert "hush" not in settings.identity() + repr(settings) + settings.model_dump_json()


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_a_secret_that_cannot_be_read_names_its_variable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes | None
) -> None:
    if content is not None:
        (tmp_path / "secret").write_bytes(content)
    monkeypatch.setenv("TIDEGATE_KAFKA__SASL_PASSWORD_FILE", str(tmp_path / "secret"))
    with pytest.raises(ConfigError, match="the secret cannot be read") as refused:
        load_settings({"source": "log.csv"})
    assert refused.value.place == "TIDEGATE_KAFKA__SASL_PASSWORD_FILE"


def test_a_table_in_the_environment_that_is_no_json_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEGATE_KAFKA", "sasl.password=hush")
    with pytest.raises(ConfigError, match="kafka") as refused:
        load_settings({"source": "log.csv"})
    assert "hush" not in str(refused.value)


def test_a_run_is_not_known_by_where_it_lies_or_how_it_is_watched() -> None:
    plain = load_settings({"source": "log.csv"})
    elsewhere = load_settings(
        {
            "source": "log.csv",
            "home": "elsewhere",
            "serve": True,
            "host": "0.0.0.0",
            "port": 1,
            "expose": True,
            "follow": True,
            "from_earliest": True,
            "checkpoint_records": 5,
            "kafka": {"sasl.password": "hush"},
        }
    )
    assert plain.identity() == elsewhere.identity()
    assert "hush" not in elsewhere.identity() + repr(elsewhere)
    assert "sasl" not in elsewhere.identity()


CHANGED = {
    "positive": "x > 1", "pane": "2d", "window": "4d", "gap": "none", "lateness": "1m",
    "max_ahead": "2d", "user_column": "u", "item_column": "i", "cluster_column": "c", "time_column": "t",
    "time_unit": "ms", "items": "i.csv", "catalogue": "c.csv", "dedup": "adjacent", "allow_return": True,
    "engine": "frequency", "model": "m", "policy": "never", "price": 2.0, "horizon_windows": 3.0, "confidence_z": 2.0,
    "cooldown_panes": 3, "backoff": "engine", "min_support": 5, "permutations": 50, "fdr": 0.2, "top_n": 4, "seed": 9,
    "event_id_column": "id", "duplicates": "2h", "message_format": "avro", "max_calls": 9, "max_calls_per_day": 9,
    "false_alarm_windows": 50.0, "detector": "adwin", "engine_model": "m", "scoring": "description",
    "described_by": "keywords", "template": "t", "retrieval": "global", "retrieval_by": "trend", "retrieval_support": 1,
    "n_retrieved": 2,
}  # fmt: skip
NEEDED = {"message_format": {"source": "kafka://there/watches", "schema_registry": "http://there"}}


@pytest.mark.parametrize("field", sorted(CHANGED))
def test_a_run_is_known_by_every_flag_that_changes_its_result(field: str) -> None:
    plain = {"source": "log.csv"} | NEEDED.get(field, {})
    if field in NEEDED:
        assert (
            load_settings(plain | {field: "protobuf"}).identity() != load_settings(plain | {field: "avro"}).identity()
        )
        return
    assert load_settings(plain).identity() != load_settings(plain | {field: CHANGED[field]}).identity()


def test_every_setting_is_either_part_of_the_identity_or_knowingly_not() -> None:
    apart = {"source", "home", "serve", "host", "port", "expose", "follow", "from_earliest", "kafka"}
    apart |= {
        "checkpoint_records",
        "chunk_rows",
        "keep_versions",
        "tables",
        "publish_topic",
        "schema_registry",
        "registry",
    }
    apart |= {"max_invalid_share", "min_label_mass", "min_exact_match", "min_coverage", "coverage_tolerance"}
    apart |= {"max_changed_selective", "max_changed_full", "hit_loss_z"}
    apart |= {"engine_url", "api_key", "engine_concurrency", "engine_timeout", "engine_patience", "engine_options"}
    apart |= {"metrics_port", "metrics_host", "expose_metrics", "hit_rate_objective", "alert_tokens", "alert_cooldown"}
    assert set(RunSettings.model_fields) == set(CHANGED) | apart


FRAMED = {"source": "kafka://there/watches", "message_format": "avro", "schema_registry": "http://ann:hush@there:8081"}


def test_the_registry_and_its_secrets_are_no_part_of_what_a_run_is_known_by(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "user").write_text("ann:hush\n")
    plain = load_settings(FRAMED)
    monkeypatch.setenv("TIDEGATE_REGISTRY__BASIC_AUTH_USER_INFO_FILE", str(tmp_path / "user"))
    monkeypatch.setenv("TIDEGATE_SCHEMA_REGISTRY", "http://elsewhere")
    elsewhere = load_settings({"source": FRAMED["source"], "message_format": "avro", "registry": {"timeout": "5"}})
    assert {name: value.get_secret_value() for name, value in elsewhere.registry.items()} == {
        "basic.auth.user.info": "ann:hush",
        "timeout": "5",
    }
    assert plain.identity() == elsewhere.identity()
    for settings in (plain, elsewhere):
        assert "hush" not in settings.identity() + repr(settings) + settings.model_dump_json()


def test_json_and_no_bound_on_calls_are_no_part_of_what_a_run_is_known_by() -> None:
    """Runs from before there were formats, or bounds, are still known."""
    identity = load_settings({"source": "log.csv"}).identity()
    assert "message_format" not in identity
    assert "max_calls" not in identity


@pytest.mark.parametrize(
    ("changed", "place", "mend"),
    [
        ({"schema_registry": None}, "--message-format", "--schema-registry"),
        ({"source": "log.csv"}, "--message-format", "known by its suffix"),
        ({"message_format": "json"}, "--schema-registry", "--message-format avro or protobuf"),
        ({"message_format": "json", "schema_registry": None, "registry": {"timeout": "5"}}, "--registry", "avro"),
    ],
)
def test_a_format_and_a_registry_belong_together(changed: dict[str, Any], place: str, mend: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load_settings(FRAMED | changed)
    assert refused.value.place == place
    assert mend in refused.value.mend
    assert "hush" not in str(refused.value)
