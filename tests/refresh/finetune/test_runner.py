"""The runner drives the work as far as a machine may, whatever breaks on the way."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest

from refresh.finetune import lifecycle
from refresh.finetune.lifecycle import Actor, take
from refresh.finetune.runner import Curated, Job, Runner, Trained, make_room
from tests.fine_tunes import ANN, LOST, PASSED, MemoryBook, flag, in_status
from tidegate.clock import ManualClock
from tidegate.contracts import FineTune, FineTuneAction, FineTuneStatus, GateVerdict
from tidegate.errors import ConflictError, FineTuneError, StoreUnavailableError, UnknownFineTuneError

S, A = FineTuneStatus, FineTuneAction
ID = "run-1"


@dataclass
class Work:
    """Work that writes what it did into the folder, and breaks where it is told to."""

    verdicts: tuple[GateVerdict, ...] = (PASSED,)
    breaks: dict[str, BaseException] = field(default_factory=dict)
    during: Callable[[str, Job], None] = lambda *_: None
    done: list[str] = field(default_factory=list)

    def _do(self, what: str, job: Job) -> None:
        self.during(what, job)
        if what in self.breaks:
            raise self.breaks.pop(what)
        self.done.append(what)

    def curate(self, job: Job) -> Curated:
        self._do("curate", job)
        (job.folder / "samples").mkdir(exist_ok=True)
        (job.folder / "samples" / "a.npy").write_text(f"attempt {job.record.attempt}")
        return Curated("samples", "base", {"n": 3.0})

    def train(self, job: Job) -> Trained:
        self._do("train", job)
        (job.folder / "candidate").mkdir(exist_ok=True)
        return Trained(f"candidate {job.record.attempt}", {"recall": 0.4})

    def judge(self, job: Job) -> tuple[GateVerdict, ...]:
        self._do("judge", job)
        return self.verdicts


@dataclass
class World:
    """A book, a folder, work to do."""

    folder: Path
    book: MemoryBook = field(default_factory=lambda: MemoryBook(lifecycle.flagged(flag(), "run", 0)))
    work: Work = field(default_factory=Work)
    clock: ManualClock = field(default_factory=ManualClock)
    told: list[FineTune] = field(default_factory=list)
    tell: Callable[[FineTune], None] | None = None
    is_to_end: bool = False

    def run(self) -> FineTune:
        work = self.work
        runner = Runner(
            self.book,
            self.folder,
            work.curate,
            work.train,
            work.judge,
            self.clock,
            by="tidegate@host:1",
            tell=self.tell or self.told.append,
            should_stop=lambda: self.is_to_end,
        )
        return runner.run(ID)

    def person(self, action: FineTuneAction, why: str = "because") -> None:
        record = self.book.get(ID)
        assert record is not None
        assert self.book.put(take(record, action, ANN, why))


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_flagged_one_is_curated_trained_judged_and_left_to_a_person(world: World) -> None:
    record = world.run()
    assert record.status is S.PENDING_REVIEW
    assert world.work.done == ["curate", "train", "judge"]
    assert [step.action for step in record.steps] == [A.FLAG, A.BEGIN, A.CURATED, A.TRAINED, A.PASS]
    assert (record.base_fingerprint, record.sample_checksum, record.candidate_fingerprint) == (
        *("base", "samples", "candidate 1"),
    )
    assert (record.steps[2].numbers, record.steps[3].numbers) == ({"n": 3.0}, {"recall": 0.4})
    assert all(step.by == "tidegate@host:1" and not step.is_person for step in record.steps[1:])


def test_running_again_does_nothing_and_tells_nobody_twice(world: World) -> None:
    first = world.run()
    assert world.run() == first
    assert len(world.work.done) == 3
    assert [(record.status, record.n_told_steps) for record in world.told] == [(S.PENDING_REVIEW, 0)]
    assert first.n_told_steps == 5


def test_a_gate_halts_with_its_rows_and_a_rerun_keeps_what_was_made_aside(world: World) -> None:
    world.work.verdicts = (PASSED, LOST)
    record = world.run()
    assert (record.status, record.gates) == (S.HALTED, (PASSED, LOST))
    assert world.told == [msgspec.structs.replace(record, n_told_steps=0, revision=record.revision - 1)]
    world.person(A.RERUN)
    world.work.verdicts = (PASSED,)
    again = world.run()
    assert (again.status, again.attempt, again.candidate_fingerprint) == (S.PENDING_REVIEW, 2, "candidate 2")
    folder = world.folder / ID
    assert (folder / "attempt-1" / "samples" / "a.npy").read_text() == "attempt 1"
    assert (folder / "samples" / "a.npy").read_text() == "attempt 2"


@pytest.mark.parametrize("moved", [0, 1, 2])
def test_putting_an_attempt_aside_may_be_cut_short_anywhere(tmp_path: Path, moved: int) -> None:
    for name in ("samples", "training", "candidate"):
        (tmp_path / name).mkdir()
    partial = tmp_path / "attempt-1.partial"
    partial.mkdir()
    for name in ("samples", "training", "candidate")[:moved]:
        (tmp_path / name).rename(partial / name)
    make_room(tmp_path, 2)
    (tmp_path / "samples").mkdir()  # of the new attempt
    make_room(tmp_path, 2)
    assert sorted(path.name for path in (tmp_path / "attempt-1").iterdir()) == ["candidate", "samples", "training"]
    assert [path.name for path in tmp_path.iterdir() if path.name != "attempt-1"] == ["samples"]


@pytest.mark.parametrize("step", ["curate", "train", "judge"])
@pytest.mark.parametrize("error", [FineTuneError("the disk is full", "Free space"), ValueError("no such key")])
def test_a_fault_is_recorded_as_the_failure_and_a_rerun_goes_on_from_its_step(
    world: World, step: str, error: Exception
) -> None:
    world.work.breaks = {step: error}
    record = world.run()
    problem = str(error) if isinstance(error, FineTuneError) else f"ValueError: {error}"
    assert (record.status, record.problem, record.steps[-1].why) == (S.FAILED, problem, problem)
    assert world.told[-1].status is S.FAILED
    n_done = len(world.work.done)
    world.person(A.RERUN)
    assert world.run().status is S.PENDING_REVIEW
    assert world.work.done[n_done:] == ["curate", "train", "judge"][n_done:]


def test_gates_that_say_nothing_are_a_failure_and_no_pass(world: World) -> None:
    world.work.verdicts = ()
    record = world.run()
    assert (record.status, record.problem) == (S.FAILED, "run-1: no gate has judged the candidate. Let the gates run")


@pytest.mark.parametrize("step", ["curate", "train", "judge"])
def test_an_interrupted_process_leaves_its_step_to_the_next_one(world: World, step: str) -> None:
    world.work.breaks = {step: KeyboardInterrupt()}
    with pytest.raises(KeyboardInterrupt):
        world.run()
    assert world.run().status is S.PENDING_REVIEW
    assert world.work.done == ["curate", "train", "judge"]


@pytest.mark.parametrize("step", ["curate", "train", "judge"])
def test_a_process_that_is_to_end_leaves_its_step_to_the_next_one(world: World, step: str) -> None:
    def end(what: str, job: Job) -> None:
        if what == step:
            world.is_to_end = True
            assert job.should_stop()
            raise FineTuneError("stopped at a checkpoint", "Nothing is to be done")

    world.work.during = end
    stopped = world.run()
    assert stopped.status in lifecycle.WORKING
    assert world.run() == stopped  # it is still to end
    world.is_to_end, world.work.during = False, lambda *_: None
    assert world.run().status is S.PENDING_REVIEW
    assert world.work.done == ["curate", "train", "judge"]


def test_a_person_who_rejects_meanwhile_wins_and_the_work_is_told_to_stop(world: World) -> None:
    noticed = []

    def reject(what: str, job: Job) -> None:
        if what == "train":
            assert not job.should_stop()
            world.person(A.REJECT, "not needed any more")
            assert not job.should_stop()  # it does not look at the store all the time
            world.clock.advance_ms(5_000)
            noticed.append(job.should_stop())

    world.work.during = reject
    with pytest.raises(ConflictError, match=r"ann has taken the step reject meanwhile \(not needed any more\)"):
        world.run()
    record = world.book.get(ID)
    assert record is not None
    assert (record.status, record.steps[-1].action, noticed) == (S.REJECTED, A.REJECT, [True])


def test_a_failure_after_a_rejection_is_not_recorded_over_it(world: World) -> None:
    def reject(what: str, job: Job) -> None:
        if what == "train":
            world.person(A.REJECT)
            raise FineTuneError("stopped", "Nothing is to be done")

    world.work.during = reject
    with pytest.raises(ConflictError):
        world.run()
    record = world.book.get(ID)
    assert record is not None
    assert record.status is S.REJECTED


def test_work_that_finds_itself_overtaken_is_no_failure(world: World) -> None:
    world.work.breaks = {"train": ConflictError("somebody was faster", "Wait")}
    with pytest.raises(ConflictError, match="somebody was faster"):
        world.run()
    record = world.book.get(ID)
    assert record is not None
    assert record.status is S.TRAINING


def test_a_store_that_is_away_stops_no_work_on_its_account(world: World) -> None:
    def away(what: str, job: Job) -> None:
        world.clock.advance_ms(6_000)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(world.book, "get", _refuse)
            assert not job.should_stop()

    world.work.during = away
    assert world.run().status is S.PENDING_REVIEW


def _refuse(_: str) -> FineTune | None:
    raise StoreUnavailableError("it is down", "Wait", place="store")


def test_two_processes_do_not_work_on_one_fine_tune(world: World) -> None:
    def second(what: str, job: Job) -> None:
        with pytest.raises(ConflictError, match="another process works on it"):
            world.run()

    world.work.during = second
    assert world.run().status is S.PENDING_REVIEW


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FineTuneError, match="its folder cannot be written"):
        World(tmp_path / "file").run()


def test_an_unknown_fine_tune_is_refused_with_the_names_of_the_known(world: World) -> None:
    world.book = MemoryBook(*(lifecycle.flagged(flag(n), "run", 0) for n in range(2, 9)))
    with pytest.raises(UnknownFineTuneError, match="Name one of these: run-8, run-7, run-6, run-5, run-4, …"):
        world.run()
    world.book = MemoryBook()
    with pytest.raises(UnknownFineTuneError, match="Name one of these: none"):
        world.run()


def test_who_cannot_be_told_now_is_told_at_the_next_run(world: World) -> None:
    def refuse(_: FineTune) -> None:
        raise FineTuneError("nobody answers", "Wait")

    world.tell = refuse
    assert world.run().n_told_steps == 0
    world.tell = None
    assert world.run().n_told_steps == 5
    assert len(world.told) == 1


def test_news_that_came_while_persons_were_told_are_told_too(world: World) -> None:
    def decide(record: FineTune) -> None:
        if record.status is S.PENDING_REVIEW:
            world.person(A.REJECT)

    world.tell = decide
    record = world.run()
    assert (record.status, record.n_told_steps) == (S.REJECTED, 0)


class FolderBook(MemoryBook):
    """A book that outlives the process: one file, replaced whole."""

    def __init__(self, path: Path) -> None:
        records = msgspec.json.decode(path.read_bytes(), type=list[FineTune]) if path.exists() else []
        super().__init__(*records)
        self._path = path

    def put(self, record: FineTune) -> bool:
        stands = super().put(record)
        scratch = self._path.with_suffix(".tmp")
        scratch.write_bytes(msgspec.json.encode(self.list()))
        scratch.rename(self._path)
        return stands


def _killed_run(folder: Path, fatal: str, is_after: bool) -> None:
    """Run in a process of its own, which is killed before or after it has done `fatal`."""

    def kill(what: str, _: Job) -> None:
        if what == fatal and not is_after:
            os.kill(os.getpid(), signal.SIGKILL)

    def killing_step(record: FineTune) -> None:
        if is_after and record.steps[-1].action == fatal:
            os.kill(os.getpid(), signal.SIGKILL)

    work = Work(during=kill)
    book = FolderBook(folder / "book.json")
    clock = ManualClock()
    runner = Runner(
        book, folder, work.curate, work.train, work.judge, clock, by="killed", on_step=killing_step, tell=lambda _: None
    )
    runner.run(ID)


@pytest.mark.parametrize(
    ("fatal", "is_after"),
    [
        *((each, False) for each in ("curate", "train", "judge")),
        *((each, True) for each in ("begin", "curated", "trained", "pass")),
    ],
)
def test_a_killed_process_is_answered_by_running_again(tmp_path: Path, fatal: str, is_after: bool) -> None:
    FolderBook(tmp_path / "book.json").put(lifecycle.flagged(flag(), "run", 0))
    process = multiprocessing.get_context("fork").Process(target=_killed_run, args=(tmp_path, fatal, is_after))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    told: list[FineTune] = []
    book, work = FolderBook(tmp_path / "book.json"), Work()
    runner = Runner(book, tmp_path, work.curate, work.train, work.judge, ManualClock(), by="next", tell=told.append)
    record = runner.run(ID)
    assert record.status is S.PENDING_REVIEW
    assert [step.action for step in record.steps] == [A.FLAG, A.BEGIN, A.CURATED, A.TRAINED, A.PASS]
    assert len(told) == 1


def test_what_a_person_has_answered_is_left_alone(world: World) -> None:
    actor = Actor("ann", 1, is_person=True)
    record = take(in_status(S.PENDING_REVIEW), A.APPROVE, actor, "fine")
    world.book = MemoryBook(record)
    assert world.run() is record
    assert world.told == []
