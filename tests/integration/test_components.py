from __future__ import annotations

from pathlib import Path

import pytest

from tests.components import (
    COMPONENTS,
    KAFKA,
    POSTGRES,
    PROMETHEUS,
    PROMETHEUS_PROGRAMS,
    PROMTOOL,
    REAL_LOGS,
    Account,
    Component,
    ComponentMissingError,
    component_named,
    find_kafka,
    find_postgres,
    find_prometheus,
    find_promtool,
    find_real_logs,
    require,
)


def absent() -> Path:
    raise ComponentMissingError("run scripts/fetch-it")


ABSENT = Component("thing", "thing", absent)
PRESENT = Component("other", "other", lambda: Path("/there"))


def test_a_missing_component_skips_the_test_with_what_would_bring_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    account = Account()
    with pytest.raises(pytest.skip.Exception, match="thing: run scripts/fetch-it"):
        require(ABSENT, account)
    assert account.lines()[0] == "missing    thing (1 test): run scripts/fetch-it"


def test_a_missing_component_fails_the_test_under_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="CI must have thing: run scripts/fetch-it"):
        require(ABSENT, Account())


def test_a_component_that_is_there_is_counted_by_test() -> None:
    account = Account()
    assert require(PRESENT, account) == require(PRESENT, account) == Path("/there")
    assert account.lines()[0] == "exercised  other (2 tests)"


def test_components_that_no_test_asked_for_are_named() -> None:
    assert Account().lines() == [f"not asked  {component.name}" for component in COMPONENTS]


def test_kafka_without_java_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ComponentMissingError, match="no java on PATH"):
        find_kafka()


def test_kafka_that_was_not_fetched_names_the_script(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tests.components.KAFKA_LIBS", tmp_path / "libs")
    monkeypatch.setattr("shutil.which", lambda _: "/bin/java")
    with pytest.raises(ComponentMissingError, match="fetch-kafka"):
        find_kafka()


def test_promtool_on_path_goes_before_the_unpacked_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tests.components.TOOLS", tmp_path)
    monkeypatch.setattr("shutil.which", lambda _: None)
    with pytest.raises(ComponentMissingError, match="fetch-promtool"):
        find_promtool()
    unpacked = tmp_path / "prometheus" / "usr" / "bin" / "promtool"
    unpacked.parent.mkdir(parents=True)
    unpacked.touch()
    assert find_promtool() == unpacked
    monkeypatch.setattr("shutil.which", lambda _: "/bin/promtool")
    assert find_promtool() == Path("/bin/promtool")


def test_the_programs_of_prometheus_are_all_there_or_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tests.components.TOOLS", tmp_path)
    folder = tmp_path / "prometheus"
    folder.mkdir()
    for name in PROMETHEUS_PROGRAMS[:2]:
        (folder / name).touch()
    with pytest.raises(ComponentMissingError, match="no alertmanager, amtool; run scripts/fetch-promtool"):
        find_prometheus()
    for name in PROMETHEUS_PROGRAMS[2:]:
        (folder / name).touch()
    assert find_prometheus() == folder


def install_postgres(folder: Path, answer: str = "postgres (PostgreSQL) 15.18") -> Path:
    folder.mkdir(parents=True)
    for name in ("postgres", "initdb"):
        (folder / name).write_text(f"#!/bin/sh\necho '{answer}'\n")
        (folder / name).chmod(0o755)
    return folder


def test_postgres_is_where_path_leads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    programs = install_postgres(tmp_path / "programs")
    (tmp_path / "link").symlink_to(programs / "postgres")
    monkeypatch.setattr("shutil.which", lambda _: str(tmp_path / "link"))
    assert find_postgres() == programs


def test_a_postgres_on_path_that_is_no_server_is_passed_over_for_the_newest_of_debian(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shim = install_postgres(tmp_path / "shim", answer="not installed")
    monkeypatch.setattr("shutil.which", lambda _: str(shim / "postgres"))
    monkeypatch.setattr("tests.components.DEBIAN_POSTGRES", tmp_path / "debian")
    with pytest.raises(ComponentMissingError, match="run scripts/setup"):
        find_postgres()
    for version in ("9.6", "15"):
        install_postgres(tmp_path / "debian" / version / "bin")
    assert find_postgres() == tmp_path / "debian" / "15" / "bin"


def test_a_postgres_that_cannot_be_run_is_passed_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    programs = install_postgres(tmp_path / "programs")
    (programs / "postgres").chmod(0o644)
    monkeypatch.setattr("shutil.which", lambda _: str(programs / "postgres"))
    monkeypatch.setattr("tests.components.DEBIAN_POSTGRES", tmp_path / "debian")
    with pytest.raises(ComponentMissingError, match="no server on PATH"):
        find_postgres()


def test_real_logs_are_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("TIDEGATE_DATA", raising=False)
    with pytest.raises(ComponentMissingError, match="TIDEGATE_DATA is not set"):
        find_real_logs()
    monkeypatch.setenv("TIDEGATE_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(ComponentMissingError, match="which is no folder"):
        find_real_logs()
    monkeypatch.setenv("TIDEGATE_DATA", str(tmp_path))
    assert find_real_logs() == tmp_path


@pytest.mark.parametrize("component", [KAFKA, PROMTOOL, PROMETHEUS, POSTGRES, REAL_LOGS])
def test_components_are_found_by_their_name(component: Component) -> None:
    assert component_named(component.name) is component


def test_accounts_of_several_processes_add_up() -> None:
    one, other = Account(), Account()
    one.exercised["Kafka"] = 2
    other.exercised["Kafka"], other.missed["vLLM", "not installed"] = 1, 4
    one.add_plain(other.to_plain())
    assert one.lines()[:2] == ["exercised  Kafka (3 tests)", "missing    vLLM (4 tests): not installed"]
