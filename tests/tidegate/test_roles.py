"""What all roles have in common: what they open, and how long they wait for an absent store."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import faust
import pytest

from stream.database import Database
from tidegate.cli import roles
from tidegate.cli.control import Attention
from tidegate.cli.control_app import _credentials
from tidegate.cli.roles import Role, advance_until_over, open_role
from tidegate.clock import ManualClock
from tidegate.config import load_settings
from tidegate.errors import ConfigError, RequestError, StoreUnavailableError
from tidegate.group_config import GroupSettings


def _settings(home: Path, **flags: Any) -> GroupSettings:
    given = {"source": "kafka://localhost:1/watches", "home": home, "store_patience": "60s"}
    return load_settings(given | flags, None, GroupSettings)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def role(tmp_path: Path, clock: ManualClock) -> Iterator[Role]:
    with open_role(_settings(tmp_path), clock) as role:
        yield role


def _away() -> StoreUnavailableError:
    return StoreUnavailableError("the database refused", "Wait", place="store")


def test_a_role_knows_its_run_by_source_and_flags_and_itself_by_host_and_process(role: Role, tmp_path: Path) -> None:
    assert (role.brokers, role.topic, role.source) == ("localhost:1", "watches", "kafka://localhost:1/watches")
    assert role.database.place == str(tmp_path / "runs.db")
    assert ":" in role.owner
    with open_role(_settings(tmp_path, instance="worker-7", topics="other"), ManualClock()) as same:
        assert (same.run_id, same.owner) == (role.run_id, "worker-7")
    with open_role(_settings(tmp_path, pane="2h", window="4h"), ManualClock()) as another:
        assert another.run_id != role.run_id


def test_roles_that_are_given_a_file_are_sent_to_run(tmp_path: Path) -> None:
    with (
        pytest.raises(RequestError, match=r"watches\.csv: workers share a topic, and this is none") as refused,
        open_role(_settings(tmp_path, source="watches.csv"), ManualClock()),
    ):
        pass
    assert "tidegate run" in refused.value.mend


def test_a_role_that_starts_while_the_store_is_away_waits_for_it(
    tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = [_away() for _ in range(5)]

    def open_database(url: Path) -> Database:
        if answers:
            raise answers.pop()
        return Database(url)

    monkeypatch.setattr(roles, "Database", open_database)
    with open_role(_settings(tmp_path), clock) as role:
        assert role.ledger.state().first_pane is None
    assert clock.monotonic_seconds() > 0
    answers += [_away() for _ in range(500)]
    began_seconds = clock.monotonic_seconds()
    with pytest.raises(StoreUnavailableError), open_role(_settings(tmp_path), clock):
        pass
    assert 60 <= clock.monotonic_seconds() - began_seconds < 65
    began_seconds = clock.monotonic_seconds()
    with pytest.raises(StoreUnavailableError), open_role(_settings(tmp_path), clock, lambda: True):
        pass
    assert clock.monotonic_seconds() - began_seconds < 3


def test_a_role_rests_where_nothing_is_to_do_and_ends_where_all_is_done(role: Role) -> None:
    done, rests = iter([True, False, True, False]), []
    n_rests = iter([False, True])
    advance_until_over(role, threading.Event(), lambda: next(done), lambda: next(n_rests), rests.append)
    assert rests == [0.2]


def test_a_role_waits_for_an_absent_store_and_gives_up_when_patience_is_over(role: Role, clock: ManualClock) -> None:
    class Stop(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            clock.sleep(timeout or 0)
            return self.is_set()

    answers: list[Exception | bool] = [_away()] * 30 + [True] + [_away()] * 30 + [False]

    def advance() -> bool:
        answer = answers.pop(0) if answers else _away()
        if isinstance(answer, Exception):
            raise answer
        return answer

    advance_until_over(role, Stop(), advance, lambda: True)
    assert clock.monotonic_seconds() == 60  # each absence was shorter than the patience
    with pytest.raises(StoreUnavailableError):
        advance_until_over(role, Stop(), advance, lambda: True)
    assert clock.monotonic_seconds() == 120


class Answers:
    """A controller whose store is away at first."""

    def __init__(self, n_away: int) -> None:
        self.n_away, self.n_reminders, self._is_fresh = n_away, 0, True

    def advance(self) -> bool:
        if self.n_away:
            self.n_away -= 1
            raise _away()
        self._is_fresh, was_fresh = not self._is_fresh, self._is_fresh
        return was_fresh

    def remind(self) -> None:
        self.n_reminders += 1


def test_the_controller_waits_for_an_absent_store_and_gives_up_when_patience_is_over(
    role: Role, clock: ManualClock
) -> None:
    async def look_twice_a_minute(n_away: int) -> None:
        attention = Attention(role, Answers(n_away))  # type: ignore[arg-type]
        for _ in range(4):
            await attention.look()
            clock.sleep(30)

    asyncio.run(look_twice_a_minute(2))
    with pytest.raises(StoreUnavailableError):
        asyncio.run(look_twice_a_minute(3))


def test_the_controller_reminds_of_an_order_that_is_open_for_long(role: Role, clock: ManualClock) -> None:
    answers = Answers(0)
    attention = Attention(role, answers)  # type: ignore[arg-type]

    async def look() -> None:
        await attention.look()  # something was done
        answers._is_fresh = False
        clock.sleep(59)
        await attention.look()
        assert answers.n_reminders == 0
        answers._is_fresh = False
        clock.sleep(1)
        await attention.look()

    asyncio.run(look())
    assert answers.n_reminders == 1


SASL = {"sasl.mechanism": "SCRAM-SHA-512", "sasl.username": "tide", "sasl.password": "gate"}


def test_the_controllers_client_is_given_the_same_security_as_the_others() -> None:
    assert _credentials({}) is None
    assert isinstance(_credentials({"security.protocol": "ssl"}), faust.SSLCredentials)
    plain = _credentials({"security.protocol": "SASL_PLAINTEXT", **SASL})
    assert isinstance(plain, faust.SASLCredentials)
    assert (plain.username, plain.password, plain.ssl_context) == ("tide", "gate", None)
    encrypted = _credentials({"security.protocol": "SASL_SSL", **SASL})
    assert encrypted is not None
    assert encrypted.ssl_context is not None


def test_a_mechanism_that_the_controllers_client_does_not_speak_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"kafka sasl\.mechanism: .*does not speak GSSAPI") as refused:
        _credentials({"security.protocol": "SASL_SSL", "sasl.mechanism": "GSSAPI"})
    assert "SCRAM-SHA-512" in refused.value.mend
