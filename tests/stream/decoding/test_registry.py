"""A schema registry that is there, away, shut, or none at all."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

import pytest

from stream.decoding.columns import DecodeOptions
from stream.decoding.messages import MessageDecoder
from stream.decoding.messages.formats import MessageFormat, RegistryOptions
from stream.decoding.messages.registry import PATIENCE_SECONDS, SchemaRegistry
from tests.broker import free_ports
from tests.schema_registry import FakeRegistry
from tidegate.clock import ManualClock
from tidegate.errors import ConfigError, RegistryError

SCHEMA = '"string"'


def load(url: str, schema_id: int, clock: ManualClock | None = None, **properties: str) -> str:
    asked = SchemaRegistry(RegistryOptions(url, properties), clock or ManualClock())
    return asked.load(schema_id, None, lambda schema, _: f"read {schema.schema_str}")


def test_a_schema_is_fetched_once(registry: FakeRegistry) -> None:
    number = registry.register("watches-value", SCHEMA)
    asked = SchemaRegistry(RegistryOptions(registry.url), ManualClock())
    for _ in range(3):
        assert asked.load(number, None, lambda schema, _: schema.schema_str) == SCHEMA
    assert registry.requests == [f"GET /schemas/ids/{number}"]


def test_an_unknown_schema_is_no_error_of_the_registry(registry: FakeRegistry) -> None:
    assert load(registry.url, 7) == "the registry does not know schema 7, or one that it refers to"


def test_a_schema_that_cannot_be_read_says_why(registry: FakeRegistry) -> None:
    number = registry.register("watches-value", SCHEMA)

    def fail(*_: Any) -> str:
        raise KeyError("fields")

    asked = SchemaRegistry(RegistryOptions(registry.url), ManualClock())
    assert asked.load(number, None, fail) == "schema 1 cannot be read: 'fields'"


def test_a_registry_that_stumbles_is_asked_again(registry: FakeRegistry) -> None:
    number = registry.register("watches-value", SCHEMA)
    registry.failures = [503, 429, 500]
    clock = ManualClock()
    assert load(registry.url, number, clock) == f"read {SCHEMA}"
    assert 0 < clock.monotonic_seconds() < PATIENCE_SECONDS


def test_a_registry_that_stays_away_is_named_without_its_password() -> None:
    (port,) = free_ports(1)
    clock = ManualClock()
    with pytest.raises(RegistryError, match="was away for 60 s") as refused:
        load(f"http://ann:hush@127.0.0.1:{port}", 1, clock)
    assert refused.value.place == f"http://127.0.0.1:{port}"
    assert "hush" not in str(refused.value)
    assert "goes on from there" in refused.value.mend
    assert clock.monotonic_seconds() >= PATIENCE_SECONDS


def test_a_registry_that_only_stumbles_is_away(registry: FakeRegistry) -> None:
    registry.failures = [503] * 1_000
    with pytest.raises(RegistryError, match=r"was away for 60 s .as the test wants it .HTTP status code 503"):
        load(registry.url, 1)


def test_credentials_open_a_registry_that_is_shut() -> None:
    with FakeRegistry(user_info="ann:hush") as shut:
        number = shut.register("watches-value", SCHEMA)
        with pytest.raises(RegistryError, match="does not let us in") as refused:
            load(shut.url, number)
        assert "TIDEGATE_REGISTRY__BASIC_AUTH_USER_INFO" in refused.value.mend
        assert load(shut.url, number, **{"basic.auth.user.info": "ann:hush"}) == f"read {SCHEMA}"
        assert load(shut.url.replace("://", "://ann:hush@"), number) == f"read {SCHEMA}"


def test_what_is_logged_of_requests_holds_no_password(caplog: pytest.LogCaptureFixture) -> None:
    with FakeRegistry(user_info="ann:hush@home") as shut, caplog.at_level(logging.DEBUG):
        number = shut.register("watches-value", SCHEMA)
        assert load(shut.url.replace("://", "://ann:hush%40home@"), number) == f"read {SCHEMA}"
    assert f"schemas/ids/{number}" in caplog.text
    assert "hush" not in caplog.text


@pytest.mark.parametrize("suffix", ["/elsewhere", "/subjects/x?"])
def test_a_server_that_is_no_registry_is_named(registry: FakeRegistry, suffix: str) -> None:
    with pytest.raises(RegistryError, match="does not answer as one") as refused:
        load(registry.url + suffix, 1)
    assert "--schema-registry" in refused.value.mend


@pytest.mark.parametrize(
    ("url", "properties"),
    [
        ("registry:8081", {}),
        ("http://registry:8081", {"basic.auth.user.info": "hush"}),
        ("http://registry:8081", {"timeout": "soon"}),
        ("http://registry:8081", {"colour": "red"}),
        ("http://registry:8081", {"ssl.ca.location": "/no/such/file"}),
        ("http://ann:hush@registry:8081", {"basic.auth.user.info": "ann:hush"}),
    ],
)
def test_settings_that_the_client_refuses_are_named(url: str, properties: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="refuses its settings") as refused:
        SchemaRegistry(RegistryOptions(url, properties), ManualClock())
    assert "--registry" in refused.value.mend
    assert "hush" not in str(refused.value)


def test_secrets_do_not_show_in_dumps() -> None:
    shown = repr(MessageFormat("avro", RegistryOptions("http://ann:hush@registry", {"basic.auth.user.info": "a:hush"})))
    assert "hush" not in shown


def test_a_format_without_its_registry_is_refused() -> None:
    with pytest.raises(ConfigError, match="avro messages need a schema registry"):
        MessageDecoder(DecodeOptions(), ManualClock(), format_=MessageFormat("avro"))


def test_libraries_that_are_not_installed_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [each for each in sys.modules if each.startswith("stream.decoding.messages.avro_schema")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "fastavro", None)
    with pytest.raises(ConfigError, match=r"pip install 'tidegate\[registry\]'") as refused:
        MessageDecoder(DecodeOptions(), ManualClock(), format_=MessageFormat("avro", RegistryOptions("http://there")))
    assert refused.value.place == "--message-format"


def test_json_loads_nothing_of_the_registry(tmp_path: Path) -> None:
    import subprocess

    code = (
        "import sys, tidegate.cli.worker; from stream.decoding.columns import DecodeOptions;"
        "from stream.decoding.messages import MessageDecoder; from tidegate.clock import SystemClock;"
        "MessageDecoder(DecodeOptions(), SystemClock());"
        "sys.exit(any(name in sys.modules for name in ('httpx', 'fastavro', 'confluent_kafka.schema_registry')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=120).returncode == 0
