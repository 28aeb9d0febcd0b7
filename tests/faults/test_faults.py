"""The short form of ``make faults``: workers of a shared run under faults, on a real broker and a real store."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.broker import KafkaBroker
from tests.faults.account import differences
from tests.faults.ambush import Ambush
from tests.faults.disk_full import fill_up_files
from tests.faults.nursery import Nursery
from tests.faults.orderly import end_in_order
from tests.faults.schedule import go_through, kill_at_writes, scheduled
from tests.faults.siege import Siege
from tests.faults.watches import Watches, truth_of
from tests.postgres import PostgresServer

SEED = 4


@pytest.fixture(scope="module")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    with Nursery(tmp_path_factory.mktemp("nursery")) as nursery:
        yield nursery


def test_killed_halted_and_cut_off_workers_count_like_a_recount(
    kafka: KafkaBroker, postgres: PostgresServer, nursery: Nursery, tmp_path: Path
) -> None:
    faults = scheduled(SEED, n_kills=6, n_zombies=2, n_broker_restarts=1, n_store_restarts=1)
    with Siege("short-siege", tmp_path, kafka, postgres, nursery, seed=SEED, rate=2_000) as siege:
        go_through(siege, faults, longest_pause_seconds=1.0)
        n_records, found = siege.finish()
    assert differences(found.truth, truth_of(siege.watches, n_records)) == []
    assert found.panes_reported == sorted(found.truth.figures)
    expected = {"kills": 6, "zombies": 2, "broker restarts": 1, "store restarts": 1}
    assert {name: siege.tally.done[name] for name in expected} == expected
    assert found.n_takeovers > siege.watches.n_partitions


def test_workers_that_are_wrong_on_purpose_are_found_out(
    kafka: KafkaBroker, postgres: PostgresServer, nursery: Nursery, tmp_path: Path
) -> None:
    def differences_of(control: str) -> list[str]:
        name = f"short-{control}"
        with Siege(name, tmp_path, kafka, postgres, nursery, seed=SEED, rate=1_000, control=control) as siege:
            kill_at_writes(siege, 8, 20)
            n_records, found = siege.finish()
        return differences(found.truth, truth_of(siege.watches, n_records))

    controls = ("offsets-first", "kafka-offsets")
    with ThreadPoolExecutor(len(controls)) as side_by_side:
        for control, lines in zip(controls, side_by_side.map(differences_of, controls), strict=True):
            assert any(line.startswith("counts") for line in lines), control


def test_a_store_without_room_is_waited_for(kafka: KafkaBroker, nursery: Nursery, tmp_path: Path) -> None:
    with Siege("short-full", tmp_path, kafka, None, nursery, seed=SEED, rate=1_000) as siege:
        siege.rest(30.0, lambda: sum(siege.recoveries.look().values()) > 1_000)
        n_waiting = fill_up_files(siege)
        n_records, found = siege.finish()
    assert n_waiting > 0
    assert siege.tally.gave_up == []
    assert differences(found.truth, truth_of(siege.watches, n_records)) == []


def test_a_worker_that_is_asked_to_end_commits_all_it_read(
    kafka: KafkaBroker, postgres: PostgresServer, nursery: Nursery, tmp_path: Path
) -> None:
    store = postgres.create_database("short-orderly")
    exits = end_in_order("short-orderly", tmp_path, kafka, store, nursery, n_exits=2)
    assert exits.codes == [0, 0]
    assert (exits.n_uncommitted, exits.n_reprocessed) == (0, 0)
    assert exits.n_records > 6_000


def test_an_ambush_strikes_at_the_point_it_was_laid_for_and_only_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    struck: list[tuple[int, int]] = []
    monkeypatch.setattr("os.kill", lambda pid, number: struck.append((n_passed, number)))
    theirs, ours = Ambush(tmp_path / "ambush"), Ambush(tmp_path / "ambush")
    ours.lay(signal.SIGKILL, 3)
    for n_passed in range(1, 10):
        theirs.point(is_door=n_passed % 2 == 0)
    ours.lay(signal.SIGSTOP, 2, at_the_door=True)
    for n_passed in range(1, 10):
        theirs.point(is_door=n_passed % 2 == 0)
    ours.lay(signal.SIGSTOP, 1)
    ours.lift()
    theirs.point()
    assert struck == [(3, signal.SIGKILL), (4, signal.SIGSTOP)]


def test_the_log_is_the_same_each_time_and_holds_all_that_a_worker_must_tell_apart() -> None:
    watches = Watches(seed=1, n_partitions=3)
    assert list(watches.records(1_700)) == list(watches.records(2_000))[:1_700]
    truth = truth_of(watches, 20_000)
    assert sum(truth.outcomes.values()) == 20_000
    assert set(truth.outcomes) == {"counted", "negative", "late", "malformed"}
    assert sum(truth.counts.values()) == sum(figures[0] for figures in truth.figures.values()) > 1_000


def test_differences_name_what_is_wrong() -> None:
    truth = truth_of(Watches(seed=1, n_partitions=3), 5_000)
    key, n = next(iter(truth.counts.items()))
    other = truth._replace(counts=truth.counts | {key: n + 1})
    assert differences(truth, truth) == []
    assert differences(other, truth) == [f"counts of {key}: {n + 1} instead of {n}"]
