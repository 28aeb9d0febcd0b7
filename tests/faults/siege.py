"""Workers of one run on a real broker and a real store, a producer that never rests, and everything that can go wrong.

The harness is the supervisor too: a worker that was killed, or gave up, is started again at once.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from stream.database import Database
from stream.ledger import Ledger
from stream.run_reader import run_id_of
from tests.broker import KafkaBroker
from tests.faults.account import Found, Recoveries, Tally, found_in
from tests.faults.ambush import Ambush
from tests.faults.nursery import Member, Starter
from tests.faults.producer import SteadyProducer
from tests.faults.watches import FLAGS, Watches
from tests.faults.witness import FENCED, LOST
from tests.postgres import PostgresServer
from tests.roles import arguments
from tidegate.config import load_settings
from tidegate.group_config import GroupSettings

SESSION_SECONDS = 2.0
_KAFKA = {
    "session.timeout.ms": str(int(SESSION_SECONDS * 1_000)),
    "heartbeat.interval.ms": "300",
    "reconnect.backoff.max.ms": "500",
}
N_WORKERS, N_STATIC = 3, 2
_TICK_SECONDS = 0.03
_AMBUSH_SECONDS = 5.0
_VERDICT_SECONDS = 4.0
_REPLACED_SECONDS = 10.0
_DRAIN_SECONDS = 90.0
_WRONG_DRAIN_SECONDS = 4.0  # a worker that is wrong on purpose may never be done


class SiegeError(Exception):
    """Something did not come to its end in time; the message says where it stood."""


@dataclass(slots=True)
class Zombie:
    """A worker that is halted, or was; its log tells from `log_at` on what became of it."""

    member: Member
    slot: int
    wakes: float
    log_at: int
    is_replaced: bool
    is_awake: bool = False


class Siege:
    """One run under faults.

    Parameters
    ----------
    name : str           of topic, database and folder
    postgres             None where the store is another one
    rate : float         records a second
    control : str        one of `tests.faults.wrong.CONTROLS`, where the workers are to be wrong
    store : str          default: a new database of `postgres`, or SQLite
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        broker: KafkaBroker,
        postgres: PostgresServer | None,
        starter: Starter,
        *,
        seed: int = 0,
        rate: float = 5_000,
        control: str | None = None,
        store: str | None = None,
    ) -> None:
        self.broker, self._postgres, self._starter, self._control = broker, postgres, starter, control
        self._folder = folder / name
        self._folder.mkdir(parents=True)
        self.random = random.Random(seed)
        self.watches = Watches(seed, n_partitions=6)
        broker.create_topic(name, partitions=self.watches.n_partitions)
        self.producer = SteadyProducer(broker.bootstrap, name, self.watches, rate)
        if store is None:
            store = postgres.create_database(name) if postgres else str(self._folder / "runs.db")
        self._flags = run_flags(f"kafka://{broker.bootstrap}/{name}", store, self._folder)
        settings = load_settings(self._flags, None, GroupSettings)
        self._stack = ExitStack()
        database = Database(self._flags["store"])
        self._stack.callback(database.close)
        self.ledger = Ledger(database, run_id_of(settings.source, settings.identity()))
        self.recoveries, self.tally = Recoveries(self.ledger), Tally()
        self._workers: dict[int, Member] = {}
        self._evaluator: Member | None = None
        self._zombies: list[Zombie] = []
        self._replaced: list[tuple[Member, float]] = []

    def __enter__(self) -> Self:
        self.producer.start()
        self._evaluator = self._start("evaluator")
        for slot in range(N_WORKERS):
            self.start_worker(slot)
        return self

    def __exit__(self, *_: object) -> None:
        odd = [*(zombie.member for zombie in self._zombies), *(member for member, _ in self._replaced)]
        for member in [*self._workers.values(), *odd, self._evaluator]:
            if member is not None and member.is_alive:
                member.kill()
        self._stack.close()

    def start_worker(self, slot: int, **flags: Any) -> None:
        """Start the worker of a slot; the first slots have a name that outlives a restart (static membership)."""
        instance = f"slot-{slot}" if slot < N_STATIC else None
        self._workers[slot] = self._start("worker", ambush=self._ambush_path(slot), instance=instance, **flags)

    def _start(self, command: str, ambush: Path | None = None, **flags: Any) -> Member:
        args = [command, *arguments(self._flags | flags)]
        control = self._control if command == "worker" else None
        return self._starter.start(args, control=control, ambush=ambush)

    def _ambush_path(self, slot: int) -> Path:
        return self._folder / f"ambush-{slot}"

    # What the harness does between faults.

    def rest(self, seconds: float, until: Callable[[], bool] = lambda: False) -> bool:
        """Let it run, look after it, and tell whether `until` came true within `seconds`."""
        deadline = time.monotonic() + seconds
        while not until():
            if time.monotonic() >= deadline:
                return False
            self._supervise()
            self._look_after_zombies()
            self.recoveries.look()
            time.sleep(_TICK_SECONDS)
        return True

    def _supervise(self) -> None:
        """Start again what has ended by itself."""
        for slot, member in list(self._workers.items()):
            if not member.is_alive:
                self._give_up(member)
                self.start_worker(slot)
        if self._evaluator is not None and not self._evaluator.is_alive:
            self._give_up(self._evaluator)
            self._evaluator = self._start("evaluator")

    def _give_up(self, member: Member) -> None:
        last = member.log.read_text(errors="replace").strip().splitlines()[-1:]
        self.tally.gave_up.append(f"{member.key} ended with {member.code}: {''.join(last)[:300]}")

    def _look_after_zombies(self) -> None:
        now = time.monotonic()
        for zombie in list(self._zombies):
            if not zombie.is_awake and now >= zombie.wakes:
                zombie.member.send(signal.SIGCONT)
                zombie.is_awake = True
            elif zombie.is_awake:
                told = zombie.member.log.read_text(errors="replace")[zombie.log_at :]
                verdict = _verdict(told, has_ended=not zombie.member.is_alive)
                if FENCED in told or now >= zombie.wakes + _VERDICT_SECONDS:
                    self.tally.verdicts[verdict] += 1
                    self._zombies.remove(zombie)
                    if zombie.is_replaced:
                        self._replaced.append((zombie.member, now + _REPLACED_SECONDS))
        self._bury_replaced(now)

    def _bury_replaced(self, now: float) -> None:
        """Of two processes with one name, Kafka lets the latest to join live; the other should end by itself."""
        for member, deadline in list(self._replaced):
            if not member.is_alive or now >= deadline:
                self.tally.verdicts["ended by themselves" if not member.is_alive else "outlived their name"] += 1
                member.kill()
                self._replaced.remove((member, deadline))

    @property
    def members(self) -> list[Member]:
        """Everyone who writes to the store now."""
        return [*self._workers.values(), *([self._evaluator] if self._evaluator else [])]

    def free_slot(self) -> int:
        """Pick a slot whose worker is not a zombie; waits for one."""

        def free() -> list[int]:
            halted = {zombie.slot for zombie in self._zombies if not zombie.is_replaced}
            return [slot for slot, member in self._workers.items() if slot not in halted and member.is_alive]

        if not self.rest(60, lambda: bool(free())):
            raise SiegeError("no worker stays alive:\n" + "\n".join(self.tally.gave_up[-5:]))
        return self.random.choice(free())

    # Faults.

    def kill(self) -> None:
        """SIGKILL a worker wherever it is."""
        slot = self.free_slot()
        self._workers[slot].kill()
        self._after_kill(slot)

    def kill_in_ambush(self) -> None:
        """SIGKILL a worker at one of its next writes."""
        slot = self.free_slot()
        self.tally.done["kills at a write"] += self._spring(slot, signal.SIGKILL, lambda member: not member.is_alive)
        self._workers[slot].kill()
        self._after_kill(slot)

    def kill_in_recovery(self) -> None:
        """SIGKILL a worker, and the next one while it takes over: two kills."""
        slot = self.free_slot()
        self._workers[slot].kill()
        self._after_kill(slot)
        ambush = Ambush(self._ambush_path(slot))
        if self.random.random() < 0.5:
            ambush.lay(signal.SIGKILL, self.random.randint(1, 12))
        newborn = self._workers[slot]
        newborn.wait(self.random.uniform(0.05, 1.0))
        ambush.lift()
        newborn.kill()
        self._after_kill(slot)

    def _after_kill(self, slot: int) -> None:
        self.recoveries.note(self.producer.ends, has_name=slot < N_STATIC)
        self.tally.done["kills"] += 1
        self.start_worker(slot)

    def _spring(self, slot: int, number: int, has_happened: Callable[[Member], bool]) -> bool:
        """Lay an ambush for a worker, and wait until it walks into it."""
        ambush, member = Ambush(self._ambush_path(slot)), self._workers[slot]
        at_the_door = number == signal.SIGSTOP  # inside a transaction it would only hold the next owner up
        ambush.lay(number, self.random.randint(1, 10 if at_the_door else 20), at_the_door=at_the_door)
        deadline = time.monotonic() + _AMBUSH_SECONDS
        while time.monotonic() < deadline and not has_happened(member):
            time.sleep(0.005)
        ambush.lift()
        return has_happened(member)

    def make_zombie(self) -> None:
        """Halt a worker for longer than its session, most at the door of a write; wake it when others have its work.

        The place of one with a name is taken by a new process of that name half the times.
        """
        slot = self.free_slot()
        member = self._workers[slot]
        if not (self.random.random() < 0.75 and self._spring(slot, signal.SIGSTOP, lambda m: m.is_stopped)):
            member.send(signal.SIGSTOP)
        self.tally.done["zombies"] += 1
        self.recoveries.disturb()
        is_replaced = slot < N_STATIC and self.random.random() < 0.5
        wakes = time.monotonic() + SESSION_SECONDS * self.random.uniform(1.5, 2.5)
        self._zombies.append(Zombie(member, slot, wakes, member.log.stat().st_size, is_replaced))
        if is_replaced:
            self.start_worker(slot)

    def kill_evaluator(self) -> None:
        """SIGKILL the evaluator."""
        assert self._evaluator is not None
        self._evaluator.kill()
        self.tally.done["evaluator kills"] += 1
        self._evaluator = self._start("evaluator")

    def restart_broker(self, *, crash: bool) -> None:
        """Stop or kill the broker, and start it with its data."""
        (self.broker.kill if crash else self.broker.stop)()
        self.rest(self.random.uniform(0.2, 2.0))
        self.broker.start()
        self.recoveries.disturb()
        self.tally.done["broker restarts"] += 1

    def restart_store(self, how: str) -> None:
        """Take the store away for a while: ``fast`` or ``immediate`` shutdown, or ``crash``."""
        assert self._postgres is not None
        if how == "immediate" and self._postgres.pid:
            os.kill(self._postgres.pid, signal.SIGQUIT)
        (self._postgres.kill if how == "crash" else self._postgres.stop)()
        self.rest(self.random.uniform(0.5, 4.0))
        self._postgres.start()
        self.recoveries.disturb()
        self.tally.done["store restarts"] += 1

    # The end.

    def finish(self) -> tuple[int, Found]:
        """Stop producing, let everything be counted, close the last panes; returns records and what was found."""
        self.rest(60, lambda: not self._zombies and not self._replaced)
        n_records = self.producer.finish()
        drain_seconds = _WRONG_DRAIN_SECONDS if self._control else _DRAIN_SECONDS
        self.rest(drain_seconds, lambda: self.recoveries.look() == self.producer.ends)
        for member in self._workers.values():
            self._end(member)
        for slot in list(self._workers):
            self.start_worker(slot, until_end=True)
        enders, self._workers = list(self._workers.values()), {}
        # What is wrong on purpose need not end: what it has left in the store is judged then.
        for member in enders:
            if (not member.wait(_DRAIN_SECONDS) or member.code) and not self._control:
                raise SiegeError(f"{member.key} ended with {member.code}\n{member.log.read_text()[-3_000:]}")
        has_ended = self._evaluator is not None and self._evaluator.wait(_DRAIN_SECONDS)
        if not has_ended and not self._control:
            raise SiegeError(f"the evaluator does not end: {self.ledger.state()}, {self.ledger.marks()}")
        return n_records, found_in(self.ledger)

    def _end(self, member: Member) -> None:
        began = time.monotonic()
        member.send(signal.SIGTERM)
        # One that has not come to install its handler yet ends at once; how one ends that is wrong does not matter.
        has_ended = member.wait(_DRAIN_SECONDS)
        if not has_ended or (member.code not in (0, -signal.SIGTERM) and not self._control):
            raise SiegeError(f"{member.key} ended with {member.code} at SIGTERM\n{member.log.read_text()[-3_000:]}")
        self.tally.exit_seconds.append(time.monotonic() - began)


def run_flags(source: str, store: str, folder: Path) -> dict[str, Any]:
    """Flags of all roles: frequent commits, short sessions, nothing that waits for a controller."""
    return {
        **FLAGS,
        "source": source,
        "store": store,
        "home": folder / "home",
        "topics": folder.name,
        "kafka": _KAFKA,
        "gate": "none",
        "checkpoint_interval": "0.1s",
        "idle_after": "1h",  # a partition that rests for a fault must not make its records late
        "retention": "none",
        "engine": "frequency",
        "permutations": 20,
        "min_support": 50,
    }


def _verdict(told: str, *, has_ended: bool) -> str:
    if FENCED in told:
        return "fenced by the store"
    if LOST in told:
        return "let go by the group"
    return "refused by the group" if has_ended else "unharmed"
