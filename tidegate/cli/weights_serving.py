"""Letting approved weights serve, and going back: the versions in the home folder, and the fine-tunes in the store.

1. Keep what serves as a version, so that there is a way back (the first time only).
2. Make the candidate that was judged a version.
3. Move the pointer: runs take it on at their next pane.
4. Note it in the records: the one serves, the one that it replaces is retired.

Each step finds what an attempt before it has done, so doing it all again after a crash is doing it once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from refresh.finetune.book import FineTuneBook, changed, known
from refresh.finetune.candidate import open_candidate
from refresh.finetune.lifecycle import Actor, approval, take
from refresh.weights import WeightsStore, WeightsVersion
from stream.database import Database
from stream.fine_tune_book import StoredFineTunes
from stream.run_reader import RunReader
from tidegate.cli.records import PaneRecord, decode_record
from tidegate.clock import Clock
from tidegate.contracts import FineTune, FineTuneAction, FineTuneStatus
from tidegate.errors import FineTuneError, TransitionError


class _Samples(msgspec.Struct, frozen=True):
    """What is read of the manifest of samples."""

    last_pane: int


@dataclass(frozen=True, slots=True)
class WeightsServing:
    """The weights of the runs of one home.

    Attributes
    ----------
    home : Path
    book : FineTuneBook
    last_record : gives what a run has recorded last; None where there is no such run
    """

    home: Path
    book: FineTuneBook
    clock: Clock
    last_record: Callable[[str], PaneRecord | None]

    def store(self, run_id: str) -> WeightsStore:
        """Give the weights of a run."""
        return WeightsStore(self.home / "models" / run_id, self.clock)

    def serve(self, record: FineTune, last: PaneRecord, *, by: str, why: str) -> WeightsVersion:
        """Let an approved fine-tune serve from the run's next pane on; the module's docstring numbers the steps.

        Parameters
        ----------
        record : approved, or retired and wanted back
        last : what the run has recorded last: the weights that serve it

        Raises
        ------
        TransitionError
            If no person has approved it, or it is not where it can be let serve.
        FineTuneError
            If the candidate is not the one that was judged, or the run has no weights to come from.
        EngineError
            If files are damaged, or an adapter is for another base.
        """
        place = f"serve {record.fine_tune_id}"
        if approval(record) is None:
            raise TransitionError("no person has approved it", "Approve it first", place=place)
        if last.model is None:
            raise FineTuneError(
                "the run knows no weights that it could go back to",
                "Name the folder of the model that is served (--model)",
                place=place,
            )
        candidate = self.home / "finetunes" / record.fine_tune_id / "candidate"
        if open_candidate(candidate).fingerprint != record.candidate_fingerprint:
            raise FineTuneError(
                "the candidate is not the one that was judged", "Run the fine-tune again", place=str(candidate)
            )
        store = self.store(record.run_id)
        tuned_ms = last.fine_tune.tuned_window_end_ms if last.fine_tune else last.window_end_ms
        base = store.add_base(Path(last.model), tuned_ms)  # 1
        serving = store.serving()
        version = store.add(  # 2
            candidate,
            parent=(serving or base).version,
            fine_tune_id=record.fine_tune_id,
            window_end_ms=_tuned_window_end_ms(candidate.parent, record, last),
        )
        if serving is None or serving.version != version.version:
            store.move(version.version, by=by, why=why)  # 3
        self._note(record.run_id, version, by=by, why=why)  # 4
        return version

    def carry_out(self, record: FineTune, actor: Actor) -> FineTune:
        """Do what a person has decided on a fine-tune: let it serve, or put back what it replaced; gives the record.

        Raises
        ------
        TidegateError
            If it cannot be done; deciding the same again tries again.
        """
        why = record.steps[-1].why
        serving = self.store(record.run_id).serving()
        if record.status is FineTuneStatus.APPROVED:
            self.serve(record, self._last(record), by=actor.name, why=why)
        elif record.status is FineTuneStatus.RETIRED and serving and serving.fine_tune_id == record.fine_tune_id:
            self.rollback(record.run_id, by=actor.name, why=why)
        return known(self.book, record.fine_tune_id)

    def _last(self, record: FineTune) -> PaneRecord:
        found = self.last_record(record.run_id)
        if found is None:
            raise FineTuneError(
                f"the store no longer has the run {record.run_id}", "Name its store with --store",
                place=record.fine_tune_id,
            )  # fmt: skip
        return found

    def rollback(self, run_id: str, *, by: str, why: str, to: int | None = None) -> WeightsVersion:
        """Let the version serve that the present one replaced, or the one that is named; raises as the store does."""
        store = self.store(run_id)
        serving = store.serving()
        if serving is not None:  # what a crash between pointer and records left behind is made good first
            self._note(run_id, serving, by=by, why=why)
        version = store.rollback(by=by, why=why, to=to)
        self._note(run_id, version, by=by, why=why)
        return version

    def _note(self, run_id: str, version: WeightsVersion, *, by: str, why: str) -> None:
        """Let the records say what the pointer says: one fine-tune of the run serves at the most."""
        actor = Actor(by, self.clock.now_ms(), is_person=True)
        numbers = {"weights_version": float(version.version)}

        def step(record: FineTune) -> FineTune:
            serves = record.fine_tune_id == version.fine_tune_id
            if (record.status is FineTuneStatus.SERVING) == serves:
                return record
            action = FineTuneAction.SERVE if serves else FineTuneAction.RETIRE
            return take(record, action, actor, why, numbers=numbers)

        for each in self.book.list(run_id):
            if each.status is FineTuneStatus.SERVING or each.fine_tune_id == version.fine_tune_id:
                changed(self.book, each.fine_tune_id, step)


def weights_serving_of(database: Database, home: Path, clock: Clock) -> WeightsServing:
    """Put it together for an opened store."""

    def last_record(run_id: str) -> PaneRecord | None:
        bodies = RunReader(database, run_id).records()
        return decode_record(bodies[max(bodies)]) if bodies else None

    return WeightsServing(home, StoredFineTunes(database), clock, last_record)


def _tuned_window_end_ms(folder: Path, record: FineTune, last: PaneRecord) -> int:
    """End of the window that the samples end with; that of the flag where they do not tell."""
    pane_ms = last.window_end_ms // (last.pane + 1)
    try:
        content = (folder / "samples" / "manifest.json").read_bytes()
        return (msgspec.json.decode(content, type=_Samples).last_pane + 1) * pane_ms
    except (OSError, msgspec.MsgspecError):
        return record.flag.window_end_ms
