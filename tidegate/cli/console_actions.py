"""What a person does in the console, done the way that the command line does it, under the name that they gave."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from refresh.finetune.mlflow_registry import MlflowRegistry
from refresh.gates.aside import Candidates
from tidegate.cli.console_source import StoreSource
from tidegate.cli.finetuning import Bench
from tidegate.cli.refresh_gate import publish_candidate
from tidegate.clock import Clock
from tidegate.contracts import FineTuneAction
from tidegate.errors import RequestError


@dataclass(frozen=True, slots=True)
class StoreActions:
    """Rolls back, overrides and decides on fine-tunes; what it returns says what was done.

    Attributes
    ----------
    registry : MlflowRegistry, optional     told of weights that go into service
    """

    source: StoreSource
    home: Path
    clock: Clock
    registry: MlflowRegistry | None = None

    def roll_back(self, to: int, *, serving: int | None, why: str, who: str) -> str:
        """Let another version serve, if `serving` still does.

        Raises
        ------
        RequestError
            If another version serves by now, or there is no version `to`.
        TableError
            If it is corrupt, or a publisher is at work.
        """
        tables = self.source.tables_place
        current = tables.current()
        if current != serving:
            raise RequestError(
                f"version {current or 'none'} serves by now, and you looked at version {serving or 'none'}",
                "Look again, and decide anew",
            )
        version = tables.rollback(to, why=why, who=who)
        self.source.forget()
        return f"Version {version} serves."

    def override(self, order_id: str, *, why: str, who: str) -> str:
        """Publish a candidate although it failed its gates; raises as `publish_candidate` does."""
        candidates = Candidates(self.home / "candidates", self.clock)
        tables = self.source.tables_place
        version = publish_candidate(candidates, tables, order_id, why, self.clock.now_ms(), who=who)
        self.source.forget()
        return f"The candidate of order {order_id} serves, as version {version}."

    def decide(self, fine_tune_id: str, verdict: str, *, revision: int | None, why: str, who: str) -> str:
        """Approve or reject new weights.

        Raises
        ------
        RequestError
            If there is no store, or the verdict is none.
        FineTuneError
            If it is not where that can be decided, or another revision than the one that was looked at.
        """
        database = self.source.database()
        if database is None or verdict not in ("approve", "reject"):
            raise RequestError(f"there is nothing to {verdict or 'decide'}", "Open the page again")
        desk = Bench(self.home, database, self.clock, self.registry).desk
        record = desk.decide(fine_tune_id, FineTuneAction(verdict), by=who, reason=why, revision=revision)
        self.source.forget()
        return f"Fine-tune {record.fine_tune_id} is {record.status}."
