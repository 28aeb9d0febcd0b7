"""One world: processes, a clock, a broker and a store, and one generator of random numbers that drives them all.

One thread. A process takes a step at a time; within a step, at each of its points (before and after every transaction,
look, poll, delivery of dead letters and wait), it may die, or be held up while others take steps, are given its
partitions, and commit. What it then goes on with is a zombie's work.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from random import Random
from unittest.mock import patch

from stream import part_levels
from stream import shard as shard_module
from stream.broker import DeadLetter
from tests.simulation.coordinator import Coordinator, GroupMember
from tests.simulation.invariants import InvariantError, Invariants
from tests.simulation.processes import ControllerProcess, EvaluatorProcess, Letters, Process, WorkerProcess
from tests.simulation.scenario import Scenario, scenario_of
from tests.simulation.store_faults import Disk, Fate, FaultyDatabase, SimulatedCrashError
from tests.simulation.topic import NOW_MS, logs_of
from tidegate.errors import BrokerError, FencedError, StoreUnavailableError

_DEEPEST = 3
_CALM_ROUNDS = 150
_CRASH_RATE, _HOLD_RATE = 0.002, 0.03  # by point
_FATES = {Fate.REFUSED: 0.03, Fate.TORN: 0.012, Fate.HUNG_UP: 0.012, Fate.LOST_ANSWER: 0.04}


@dataclass
class SkewedClock:
    """One host's clock, ahead of or behind the world's; to sleep is to let the others go on."""

    world: World
    skew_ms: int

    def now_ms(self) -> int:
        """Milliseconds since the Unix epoch, as this host sees it."""
        return self.world.now_ms + self.skew_ms

    def monotonic_seconds(self) -> float:
        """Seconds that never go back."""
        return self.world.now_ms / 1_000

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.world.now_ms += round(seconds * 1_000)
        self.world.point("in a wait")


class World:
    """A simulated run of one seed.

    Attributes
    ----------
    trace : what happened, in order
    happened : how often each kind of thing happened
    """

    def __init__(self, seed: int, disk: Disk) -> None:
        self.scenario: Scenario = scenario_of(seed)
        self.random = Random(f"schedule {seed}")
        self.now_ms = NOW_MS
        self.trace: list[str] = []
        self.happened: Counter[str] = Counter()
        self.logs = logs_of(self.scenario)
        self.is_calm = False
        self._disk, self._away_until_ms = disk, 0
        disk.wipe()
        self._stack: list[Process] = []
        self.coordinator = Coordinator(self.logs, self.random, self.note)
        self._arrived: list[DeadLetter] = []
        self.invariants = Invariants(self.scenario, self.logs, disk.raw(), self._arrived)
        self._workers: list[WorkerProcess | None] = [None] * self.scenario.n_workers
        self._n_started = 0
        self._held_up: dict[str, int] = {}
        self._taken: dict[int, tuple[int, int, Process]] = {}
        self._usurped: set[int] = set()
        self._controller = ControllerProcess("controller", self._database())
        self._evaluators = [
            EvaluatorProcess(f"evaluator {number}", self.scenario, self._database())
            for number in range(self.scenario.n_evaluators)
        ]

    def _database(self) -> FaultyDatabase:
        return FaultyDatabase(self._disk, self)

    # What goes wrong.

    def note(self, what: str) -> None:
        """Count and trace something that happened."""
        self.happened[what.partition(":")[0]] += 1
        who = self._stack[-1].name if self._stack else "world"
        self.trace.append(f"{self.now_ms - NOW_MS:>8} ms {'  ' * len(self._stack)}{who}: {what}")

    def point(self, where: str) -> None:
        """Let the running process die here, or hold it up while others go on; see `store_faults.Faults`."""
        if self.is_calm or not self._stack:
            return
        process, roughness = self._stack[-1], self.scenario.roughness
        hold_rate = _HOLD_RATE * (8 if where == "in a wait" else 1)
        crash_rate = _CRASH_RATE
        if isinstance(process, WorkerProcess) and process.letters.late:
            crash_rate *= 6  # dead letters may have arrived that nothing is committed for: that is where it hurts
        roll = self.random.random()
        if roll < crash_rate * roughness:
            process.is_doomed = True
        elif roll < (crash_rate + hold_rate) * roughness and len(self._stack) < _DEEPEST:
            self.note(f"held up: {where}")
            for _ in range(self.random.randint(1, 12)):
                self.tick()
        if process.is_doomed:
            self.note(f"dies: {where}")
            raise SimulatedCrashError

    def fate(self) -> Fate:
        """Decide on a transaction."""
        if self.is_calm:
            return Fate.WELL
        roll = self.random.random()
        for fate, rate in _FATES.items():
            roll -= rate * self.scenario.roughness
            if roll < 0:
                self.note(fate)
                return fate
        return Fate.WELL

    def is_store_away(self) -> bool:
        """Whether there is an outage now."""
        return not self.is_calm and self.now_ms < self._away_until_ms

    def n_statements(self) -> int:
        """Statements of a torn transaction that are carried out: BEGIN at least."""
        return self.random.randint(1, 12)

    def committed(self) -> None:
        """Check what a transaction has left."""
        process = self._stack[-1]
        self.happened["transactions"] += 1
        self.invariants.committed(process.letters.late if isinstance(process, WorkerProcess) else {})
        self._check_owners(process)
        if self.random.random() < self.scenario.check_share:
            self.invariants.check_all()

    def _check_owners(self, process: Process) -> None:
        """Only who took a shard over last may commit it.

        A member that was held up while it was given a partition may take it over although another one has it by now.

        Raises
        ------
        InvariantError
            If another process has committed.
        """
        for partition, (epoch, number) in self.invariants.commits().items():
            known_epoch, known_number, taker = self._taken.get(partition, (0, 0, process))
            if epoch != known_epoch:
                taker = process
                if self.coordinator.owner.get(partition) != process.name:
                    self.note(f"usurped: {partition}")
                    self._usurped.add(partition)
            if number != known_number and taker is not process:
                raise InvariantError(f"{process.name} committed shard {partition}, which {taker.name} has taken over")
            self._taken[partition] = epoch, number, taker

    # Who does what.

    def run(self) -> None:
        """Take all actions, then let everything complete in a calm world.

        Raises
        ------
        InvariantError
            If anything does not hold, or does not complete.
        """
        with (
            patch.object(shard_module, "MAX_SEGMENTS", self.scenario.max_segments),
            patch.object(part_levels, "FAN", 2),  # merge parts at nearly every commit: schedules are short
        ):
            for _ in range(self.scenario.n_ticks):
                self.tick()
            self._calm_down()
        self.invariants.check_end()
        self.happened["fenced"] += sum(process.n_fenced for process in self._workers if process is not None)

    def tick(self) -> None:
        """Let one thing happen."""
        rough = self.scenario.roughness
        actions = {
            self._step_worker: 40.0,
            self._step_evaluator: 8.0,
            self._step_controller: 8.0 if self.scenario.scores else 0.0,
            self._write_records: 10.0 if self.scenario.follows else 0.0,
            self._pass_time: 6.0,
            self._kill: 0.7 * rough,
            self._expel: 1.5 * rough,
            self._stop: 0.5 * rough,
            self._rebalance: 1.0 * rough,
            self._hold_up: 1.5 * rough,
            self._take_store_away: 0.4 * rough,
        }
        (action,) = self.random.choices(list(actions), list(actions.values()))
        action()

    def _act(self, process: Process) -> None:
        self._stack.append(process)
        try:
            process.step()
        except SimulatedCrashError:
            self.note("crash")
            self._bury(process)
        except (StoreUnavailableError, BrokerError) as error:
            self.note(f"gives up: {type(error).__name__}")
            self._give_up(process)
        except FencedError as error:
            if not self._may_be_refused(process, str(error.place)):
                raise
            self.note("gives up: FencedError")
            self._give_up(process)
        finally:
            self._stack.pop()

    def _may_be_refused(self, process: Process, place: str) -> bool:
        """Whether a worker may end because another one has had its partition for long.

        It may where it was expelled, and has not heard of it yet; and where a usurper took over what is its own. The
        usurper hears from the group that it has lost the partition, and the owner gets it anew.
        """
        is_expelled = isinstance(process, WorkerProcess) and process.member.is_expelled
        return is_expelled or place in {f"topic[{partition}]" for partition in self._usurped}

    def _give_up(self, process: Process) -> None:
        if isinstance(process, WorkerProcess):
            try:
                process.abandon()
            except SimulatedCrashError:
                self.note("crash")
        self._bury(process)

    def _bury(self, process: Process) -> None:
        """A process is gone; an evaluator or controller is started again at once."""
        process.is_doomed = False
        if isinstance(process, WorkerProcess):
            self.happened["fenced"] += process.n_fenced
            process.letters.arrive(self.random.randint(0, len(process.letters.queued)))
            self._workers[self._workers.index(process)] = None

    def _step_worker(self) -> None:
        slot = self.random.randrange(len(self._workers))
        process = self._workers[slot]
        if process is None:
            process = self._workers[slot] = self._new_worker(slot)
        held_up = self._held_up.get(process.name, 0)
        if held_up and not self.is_calm:
            self._held_up[process.name] = held_up - 1
        elif process not in self._stack:
            self.now_ms += self.random.randint(0, 600)
            self._act(process)

    def _new_worker(self, slot: int) -> WorkerProcess:
        self._n_started += 1
        name = f"worker {slot}" if self.scenario.is_static else f"worker {slot}.{self._n_started}"
        letters = Letters(self._arrived, self.point, self._refuses_letters, self._stream_ms)
        member = GroupMember(
            name,
            self.coordinator,
            self.point,
            letters.forget,
            self.invariants.mirrored,
        )
        clock = SkewedClock(self, self.random.randint(-5_000, 5_000))
        return WorkerProcess(
            name,
            self.scenario,
            self._database(),
            clock,
            member,
            letters,
            self.logs,
            lambda: self._controller.decided,
        )

    def _refuses_letters(self) -> bool:
        return not self.is_calm and self.random.random() < 0.03 * self.scenario.roughness

    def _stream_ms(self) -> int | None:
        return self.invariants.snapshot().run.stream_ms

    def _step_evaluator(self) -> None:
        process = self.random.choice(self._evaluators)
        if process not in self._stack:
            self._act(process)

    def _step_controller(self) -> None:
        if self._controller not in self._stack:
            self._act(self._controller)

    def _write_records(self) -> None:
        # Some partitions are written to rarely: they idle, and come back behind the others.
        (log,) = self.random.choices(self.logs, [1 / (1 + 3 * log.partition) for log in self.logs])
        log.n_visible = min(len(log.records), log.n_visible + self.random.choice([1, 2, 5, 12]))

    def _pass_time(self) -> None:
        self.now_ms += self.random.choice([500, 1_000, 3_000, 10_000, 40_000])

    def _some_worker(self) -> WorkerProcess | None:
        return self.random.choice(self._workers)

    def _kill(self) -> None:
        process = self._some_worker()
        if process is None:
            return
        if process in self._stack:
            process.is_doomed = True  # once it goes on
            return
        self.note(f"crash: {process.name}")
        self._bury(process)

    def _expel(self) -> None:
        """The session of a member times out: it is dead, or too slow, or paused."""
        members = list(self.coordinator.members.values())
        if members:
            member = self.random.choice(members)
            if any(process is not None and process.member is member for process in self._workers):
                self.happened["zombie"] += 1
            self.coordinator.expel(member)

    def _stop(self) -> None:
        """SIGTERM."""
        process = self._some_worker()
        if process is None or process in self._stack:
            return
        self.note(f"stopped: {process.name}")
        self._stack.append(process)
        try:
            process.close()
        except SimulatedCrashError:
            self.note("crash")
        except (StoreUnavailableError, BrokerError) as error:
            self.note(f"gives up: {type(error).__name__}")
        finally:
            self._stack.pop()
        self._bury(process)

    def _rebalance(self) -> None:
        self.coordinator.rebalance()

    def _hold_up(self) -> None:
        process = self._some_worker()
        if process is not None:
            self._held_up[process.name] = self.random.randint(3, 15)
            self.note(f"paused process: {process.name}")

    def _take_store_away(self) -> None:
        self._away_until_ms = self.now_ms + self.random.choice([100, 1_000, 4_000, 30_000])
        self.note("outage")

    # The end.

    def _calm_down(self) -> None:
        """Let everything complete: all are alive, nothing fails, everything is written.

        Raises
        ------
        InvariantError
            If it does not complete in many rounds.
        """
        self.is_calm = True
        self.note("calm")
        for log in self.logs:
            log.n_visible = len(log.records)
        alive = [process.member for process in self._workers if process is not None]
        for member in list(self.coordinator.members.values()):
            if member not in alive:
                self.coordinator.expel(member)
        missing: str | None = ""
        for _ in range(_CALM_ROUNDS):
            for slot, former in enumerate(self._workers):
                self._workers[slot] = process = former or self._new_worker(slot)
                process.is_doomed = False
                self._act(process)
            self._act(self._evaluators[0])
            self._act(self._controller)
            self.now_ms += max(1_000, round(400 * self.scenario.idle_after_seconds))
            missing = self.invariants.what_is_missing()
            if missing is None:
                return
        raise InvariantError(f"a calm world waits for {missing} for ever")

    def digest(self) -> str:
        """Return a hash of everything that happened and of all that is stored."""
        dump = "\n".join([*self.trace, *self._disk.raw().iterdump()])
        return hashlib.sha256(dump.encode()).hexdigest()
