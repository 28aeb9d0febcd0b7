"""A chunk is one worker's at a time, and a dead worker's is free after its lease."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path

import pytest

from refresh.bulk.claims import Claim, Claims
from tidegate.clock import ManualClock
from tidegate.errors import OrderError


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(now_ms=1_000)


def claims(folder: Path, clock: ManualClock, owner: str = "one") -> Claims:
    return Claims(folder, owner, clock, lease_seconds=60)


def test_a_chunk_is_claimed_once(tmp_path: Path, clock: ManualClock) -> None:
    assert claims(tmp_path, clock).take(12) == Claim(12, 1)
    assert claims(tmp_path, clock, "two").take(12) is None
    assert claims(tmp_path, clock, "two").take(13) == Claim(13, 1)
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["000012.lease-0001", "000013.lease-0001"]


def test_of_many_that_reach_for_an_expired_chunk_one_gets_it(tmp_path: Path, clock: ManualClock) -> None:
    claims(tmp_path, clock).take(0)
    clock.advance_ms(60_000)
    meet, got = threading.Barrier(8), []

    def reach(owner: str) -> None:
        meet.wait(timeout=20)
        got.append(claims(tmp_path, clock, owner).take(0))

    threads = [threading.Thread(target=reach, args=(str(n),)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
    assert [claim for claim in got if claim] == [Claim(0, 2)]


def test_a_lease_that_is_renewed_holds(tmp_path: Path, clock: ManualClock) -> None:
    one, two = claims(tmp_path, clock), claims(tmp_path, clock, "two")
    claim = one.take(0)
    assert claim is not None
    for _ in range(5):
        clock.advance_ms(40_000)
        assert one.renew(claim)
        assert two.take(0) is None
    clock.advance_ms(60_000)
    assert two.take(0) == Claim(0, 2)


def test_a_zombie_cannot_renew_what_it_lost(tmp_path: Path, clock: ManualClock) -> None:
    zombie = claims(tmp_path, clock)
    claim = zombie.take(0)
    assert claim is not None
    clock.advance_ms(60_000)
    claims(tmp_path, clock, "two").take(0)
    assert not zombie.renew(claim)
    zombie.release(claim)
    assert claims(tmp_path, clock, "three").take(0) is None


def test_work_that_fails_frees_its_chunk_at_once(tmp_path: Path, clock: ManualClock) -> None:
    one = claims(tmp_path, clock)
    claim = one.take(0)
    assert claim is not None
    with pytest.raises(ZeroDivisionError), one.held(claim):
        raise ZeroDivisionError
    assert claims(tmp_path, clock, "two").take(0) == Claim(0, 2)


def test_work_that_lasts_renews_its_lease_by_itself(tmp_path: Path, clock: ManualClock) -> None:
    one = Claims(tmp_path, "one", clock, lease_seconds=0.03)
    claim = one.take(0)
    assert claim is not None
    renewed = threading.Event()
    renew = one.renew

    def note(held: Claim) -> bool:
        renewed.set()
        return renew(held)

    one.renew = note  # type: ignore[method-assign]
    with one.held(claim):
        assert renewed.wait(timeout=20)


def test_the_chunk_of_a_process_that_is_gone_is_free_at_once_on_its_host(tmp_path: Path, clock: ManualClock) -> None:
    child = os.fork()
    if not child:
        claims(tmp_path, clock).take(0)
        os._exit(0)
    os.waitpid(child, 0)
    lease = tmp_path / "000000.lease-0001"
    elsewhere = lease.read_bytes().replace(socket.gethostname().encode(), b"elsewhere")
    (tmp_path / "000001.lease-0001").write_bytes(elsewhere)
    assert claims(tmp_path, clock).take(0) == Claim(0, 2)
    assert claims(tmp_path, clock).take(1) is None


def test_a_lease_that_cannot_be_read_holds_nobody_back(tmp_path: Path, clock: ManualClock) -> None:
    (tmp_path / "000000.lease-0003").write_bytes(b'{"owner"')
    assert claims(tmp_path, clock).take(0) == Claim(0, 4)


def test_a_lease_that_cannot_be_written_fails_the_order(tmp_path: Path, clock: ManualClock) -> None:
    gone = claims(tmp_path / "gone", clock)
    with pytest.raises(OrderError, match="cannot be written"):
        gone.take(0)
    assert not gone.renew(Claim(0, 1))
    gone.release(Claim(0, 1))
