"""What the fine-tune commands work with: the book in the store, the desk, and the runner with its parts."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from rich.console import Console

from refresh.finetune.candidate import open_candidate
from refresh.finetune.desk import Desk
from refresh.finetune.gates.bounds import CandidateBounds
from refresh.finetune.lifecycle import NEEDS_PERSON, WORKING, Actor
from refresh.finetune.mlflow_registry import MlflowRegistry, open_registry
from refresh.finetune.runner import OnProgress, Runner
from refresh.finetune.webhook import Webhook, read_secret
from stream.database import Database
from stream.fine_tune_book import StoredFineTunes
from tidegate.cli.fine_tune_bars import FineTuneBars
from tidegate.cli.mlflow_alias import FOLDER, candidate_folder, move_alias
from tidegate.cli.weights_serving import weights_serving_of
from tidegate.clock import Clock, SystemClock
from tidegate.contracts import FineTune, FineTuneStatus
from tidegate.errors import ConfigError, FineTuneError, RequestError

_MOVES_WEIGHTS = (FineTuneStatus.APPROVED, FineTuneStatus.SERVING, FineTuneStatus.RETIRED)


@dataclass(frozen=True, slots=True)
class Messages:
    """Where persons are told that they are needed.

    Attributes
    ----------
    url : str, optional             None: nowhere
    secret_file : Path, optional    of the secret that messages are signed with
    """

    url: str | None = None
    secret_file: Path | None = None

    def webhook(self, clock: Clock) -> Webhook | None:
        """Make the webhook.

        Raises
        ------
        ConfigError
            If the address is none, the secret cannot be read, or there is nothing to sign.
        """
        if self.url is None and self.secret_file is not None:
            raise ConfigError(
                "there is a secret and no address", "Give --webhook-url, too", place="--webhook-secret-file"
            )
        secret = None if self.secret_file is None else read_secret(self.secret_file)
        return None if self.url is None else Webhook(self.url, secret, clock=clock)


@dataclass(frozen=True, slots=True)
class MlflowOptions:
    """The registry of models, and the names in it.

    Attributes
    ----------
    url : str, optional    of MLflow's server; None: nothing is registered
    model, alias : str
    """

    url: str | None = None
    model: str = "tidegate"
    alias: str = "serving"

    def registry(self) -> MlflowRegistry | None:
        """Open the registry; raises as `refresh.finetune.mlflow_registry.open_registry` does."""
        return None if self.url is None else open_registry(self.url, self.model, self.alias)


@dataclass(frozen=True, slots=True)
class Bench:
    """An opened store and home folder, ready to work on fine-tunes.

    Attributes
    ----------
    registry : MlflowRegistry, optional    where the alias names the weights that serve
    """

    home: Path
    database: Database
    clock: Clock
    registry: MlflowRegistry | None = None

    @property
    def book(self) -> StoredFineTunes:
        """The fine-tunes of the store."""
        return StoredFineTunes(self.database)

    @property
    def desk(self) -> Desk:
        """Where persons decide, and what they decide is carried out."""
        return Desk(self.book, self.clock, self.check_candidate, self._carry_out)

    def _carry_out(self, record: FineTune, actor: Actor) -> FineTune:
        """Put weights into service or out of it, and let the registry's alias follow what serves then."""
        after = weights_serving_of(self.database, self.home, self.clock).carry_out(record, actor)
        if self.registry is not None and record.status in _MOVES_WEIGHTS:
            mend = f"It is {record.status} all the same; decide the same again to move the alias"
            move_alias(self.registry, self.home, self.book, record.run_id, mend=mend)
        return after

    def check_candidate(self, record: FineTune) -> None:
        """Verify that the candidate is byte for byte what the gates judged.

        Raises
        ------
        EngineError
            If a file is missing or changed.
        FineTuneError
            If it is another candidate.
        """
        found = open_candidate(candidate_folder(self.home, record)).fingerprint
        if found != record.candidate_fingerprint:
            raise FineTuneError(
                f"the candidate is {found[:12]}, and {(record.candidate_fingerprint or 'none')[:12]} was judged",
                "Let it run again (tidegate finetune rerun)",
                place=record.fine_tune_id,
            )

    def waiting(self, *, tells: bool) -> list[str]:
        """Names of the fine-tunes that a machine can go on with, the oldest flag first.

        Parameters
        ----------
        tells : bool    there is a webhook: those are among them that persons were not told of yet
        """
        return [each.fine_tune_id for each in reversed(self.book.list()) if _waits(each, tells=tells)]

    def runner(
        self,
        messages: Messages,
        kind: str | None = None,
        bounds: CandidateBounds | None = None,
        engine: Mapping[str, object] = MappingProxyType({}),
        on_progress: OnProgress = lambda *_: None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> Runner:
        """Make the runner, with its parts.

        Parameters
        ----------
        kind : ``full`` or ``lora``; None: what fits the model
        bounds : of the gates; None: the defaults
        engine : settings of how the engine is reached that gates ask
        """
        from tidegate.cli.fine_tune_work import FineTuneWork, Kind  # what trains is not loaded to look at a list

        held = bounds or CandidateBounds()
        learns = None if kind is None else Kind(kind)
        work = FineTuneWork(self.database, self.home, learns, bounds=held, engine=engine)
        return Runner(
            self.book,
            self.home / FOLDER,
            work.curate,
            work.train,
            work.judge,
            self.clock,
            by=f"tidegate@{socket.gethostname()}:{os.getpid()}",
            tell=messages.webhook(self.clock),
            should_stop=should_stop,
            on_progress=on_progress,
            bounds=held.loosened_or_tightened(),
        )

    @contextmanager
    def progress(self, console: Console) -> Iterator[OnProgress]:
        """Show on a terminal what is being done."""
        with FineTuneBars(console) as bars:
            yield bars.show


def _waits(record: FineTune, *, tells: bool) -> bool:
    if record.status is FineTuneStatus.FLAGGED or record.status in WORKING:
        return True
    return tells and record.status in NEEDS_PERSON and record.n_told_steps < len(record.steps)


@contextmanager
def open_bench(
    home: Path, store: str | None, clock: Clock | None = None, *, mlflow: MlflowOptions | None = None
) -> Iterator[Bench]:
    """Open the store of a home folder, or the one that is named; closed again at the end.

    Raises
    ------
    RequestError
        If there is none in the home folder.
    StoreError
        If it cannot be opened.
    """
    path = home / "runs.db"
    if store is None and not path.exists():
        raise RequestError(f"there is no store {path}", "Give the --home or the --store of the run", place="--home")
    with closing(Database(store or path)) as database:
        yield Bench(home, database, clock or SystemClock(), mlflow.registry() if mlflow else None)
