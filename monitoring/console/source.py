"""What the console asks of the run, and what it lets a person do: protocols, so that no other room is imported."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from monitoring.console.facts import (
    AlertFacts,
    CandidateFacts,
    DiffFacts,
    OpenOrder,
    PaneDetail,
    PaneFacts,
    ProgressFacts,
    RunFacts,
    ShardFacts,
    TableFacts,
)
from tidegate.contracts import FineTune


class ConsoleSource(Protocol):
    """Reads; never writes. Methods may be called from many threads, and raise a TidegateError where they cannot."""

    def run(self) -> RunFacts | None:
        """Tell which run this is; None while the store has none."""
        ...

    def panes(self) -> Sequence[PaneFacts]:
        """List the closed panes that are answered, ascending."""
        ...

    def detail(self, pane: int) -> PaneDetail | None:
        """Everything about one pane; None where there is none."""
        ...

    def cluster_names(self) -> Sequence[str]:
        """Names by cluster id."""
        ...

    def open_order(self) -> OpenOrder | None:
        """Order that is being carried out, if any."""
        ...

    def alerts(self) -> Sequence[AlertFacts]:
        """Alerts that asked for a refresh, the newest first."""
        ...

    def shards(self) -> Sequence[ShardFacts]:
        """Who counts, and how far."""
        ...

    def progress(self) -> ProgressFacts:
        """How far the roles have come that answer panes."""
        ...

    def tables(self) -> TableFacts:
        """Versions of the table."""
        ...

    def diff(self, old: int, new: int, limit: int) -> DiffFacts:
        """Compare two versions, in names."""
        ...

    def candidates(self) -> Sequence[CandidateFacts]:
        """Candidates that are kept aside, the newest first."""
        ...

    def fine_tunes(self) -> Sequence[FineTune]:
        """Fine-tunes, the newest first."""
        ...


class ConsoleActions(Protocol):
    """What a person may do. Each returns a sentence that says what was done, and raises a TidegateError otherwise."""

    def roll_back(self, to: int, *, serving: int | None, why: str, who: str) -> str:
        """Let another version serve, if `serving` still does."""
        ...

    def override(self, order_id: str, *, why: str, who: str) -> str:
        """Publish a candidate although it failed its gates."""
        ...

    def decide(self, fine_tune_id: str, verdict: str, *, revision: int | None, why: str, who: str) -> str:
        """Approve or reject new weights, if what was looked at still stands."""
        ...
