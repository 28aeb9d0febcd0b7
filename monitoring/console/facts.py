"""What the console shows, as plain records; whoever wires it takes them from the run's store, tables and books.

Times are milliseconds since the Unix epoch, UTC. Texts may hold anything, names of clusters above all: pages escape
them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tidegate.contracts import Decision, DriftReport, FineTuneFlag, GateVerdict, RefreshResult, RowOrder


@dataclass(frozen=True, slots=True)
class RunFacts:
    """Which run the console is about, and how far it has come.

    Attributes
    ----------
    pane_ms, window_ms : int
    stream_ms : int | None       event time that all shards have counted
    closed_end_ms : int | None   end of the last pane that is closed
    has_ended : bool             the source has an end, and it was reached
    n_other_runs : int           further runs in the same store
    """

    run_id: str
    source: str
    policy: str
    engine: str
    pane_ms: int
    window_ms: int
    stream_ms: int | None
    closed_end_ms: int | None
    has_ended: bool
    n_other_runs: int = 0


@dataclass(frozen=True, slots=True)
class OrderFacts:
    """An order without its rows.

    Attributes
    ----------
    reasons : rows by reason
    gain_hits : float     hits that its rows are expected to regain, at least
    """

    order_id: str
    trigger: str
    n_rows: int
    is_for_all_rows: bool
    n_retired: int
    reasons: Mapping[str, int]
    gain_hits: float


@dataclass(frozen=True, slots=True)
class PaneFacts:
    """One closed pane: what was measured, decided and done. Lists of pairs and rows are left out, see `PaneDetail`.

    Attributes
    ----------
    scored, answered, hits_next, hits_sequence : int     transitions of the pane, by the table that served in it
    explanation : str | None                             why it was decided so; None where nothing was decided
    weights : int | None     version of the weights that answer: 0 where the run began with them, None without any
    weights_since_ms : int | None    end of the pane at which they took over
    """

    pane: int
    end_ms: int
    scored: int
    answered: int
    hits_next: int
    hits_sequence: int
    report: DriftReport | None
    explanation: str | None
    order: OrderFacts | None
    flag: FineTuneFlag | None
    result: RefreshResult | None
    table_version: int | None
    weights: int | None = None
    weights_since_ms: int | None = None

    @property
    def is_drifting(self) -> bool:
        """Whether the window, or its newest pane alone, drifts beyond noise."""
        report = self.report
        return report is not None and (report.alarmed or (report.front is not None and report.front.alarmed))

    @property
    def is_refused(self) -> bool:
        """Whether an order was carried out, and not published."""
        return _is_refused(self.result)

    @property
    def action(self) -> str:
        """What was decided: ``refresh``, ``backoff`` (rows that cost no call), ``nothing`` or ``undecided``."""
        if self.order is not None:
            return "refresh"
        if self.result is not None:
            return "backoff"
        return "undecided" if self.explanation is None else "nothing"


@dataclass(frozen=True, slots=True)
class AlertFacts:
    """An alert that asked for a refresh between two panes.

    Attributes
    ----------
    pane : int | None     that was answered last when it was decided
    end_ms : int          of that pane; when the alert was received, where it was not decided
    status : str          open, ordered, answered, unneeded or suppressed
    """

    number: int
    alert: str
    received_ms: int
    status: str
    pane: int | None
    end_ms: int
    order: OrderFacts | None
    result: RefreshResult | None

    @property
    def is_refused(self) -> bool:
        """Whether an order was carried out, and not published."""
        return _is_refused(self.result)


def _is_refused(result: RefreshResult | None) -> bool:
    return result is not None and result.outcome in ("gate_failed", "failed")


@dataclass(frozen=True, slots=True)
class PaneDetail:
    """Everything about one pane that is kept."""

    facts: PaneFacts
    report: DriftReport | None
    decision: Decision | None
    rows: tuple[RowOrder, ...] = ()


@dataclass(frozen=True, slots=True)
class OpenOrder:
    """An order that was placed and is not carried out yet."""

    order_id: str
    window_end_ms: int
    trigger: str
    n_rows: int


@dataclass(frozen=True, slots=True)
class ShardFacts:
    """A shard of the stream and who counts it."""

    shard: int
    owner: str
    latest_ms: int | None
    watermark_ms: int | None
    counted_ms: int | None
    is_idle: bool
    is_finished: bool


@dataclass(frozen=True, slots=True)
class ProgressFacts:
    """Ends of the last panes that the roles have answered; None where they have answered none.

    Attributes
    ----------
    decided_end_ms : int | None     by the controller, if only the order is open
    recorded_end_ms : int | None    with the result
    is_shared : bool                roles of their own answer panes, not the process that counts
    """

    closed_end_ms: int | None
    reported_end_ms: int | None
    decided_end_ms: int | None
    recorded_end_ms: int | None
    is_shared: bool


@dataclass(frozen=True, slots=True)
class VersionFacts:
    """A table version. Where it is corrupt, `problem` says so and the rest is 0 or empty."""

    version: int
    parent: int | None = None
    created_ms: int = 0
    window_end_ms: int = 0
    trigger: str = ""
    reasons: Mapping[str, int] = field(default_factory=dict)
    engine: str = ""
    rows: int = 0
    backoff_rows: int = 0
    rows_changed: int = 0
    rows_reweighted: int = 0
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class MoveFacts:
    """The pointer went to another version."""

    time_ms: int
    action: str
    from_version: int | None
    to_version: int
    who: str
    why: str


@dataclass(frozen=True, slots=True)
class TableFacts:
    """Versions, the newest first, the one that serves, and the moves of the pointer, the newest first."""

    serving: int | None
    versions: tuple[VersionFacts, ...]
    moves: tuple[MoveFacts, ...]

    def version(self, number: int | None) -> VersionFacts | None:
        """Look a version up."""
        return next((each for each in self.versions if each.version == number), None)


Ranked = tuple[tuple[str, float], ...]
"""Names and probabilities, best first."""


@dataclass(frozen=True, slots=True)
class DiffRow:
    """One row that differs: ``added``, ``removed`` or ``changed``. `c1` is None on the backoff level."""

    change: str
    c1: str | None
    c2: str
    old: Ranked
    new: Ranked


@dataclass(frozen=True, slots=True)
class DiffFacts:
    """What sets two versions apart; `rows` holds the first ones of each kind."""

    old: int
    new: int
    n_added: int
    n_removed: int
    n_changed: int
    n_reweighted: int
    rows: tuple[DiffRow, ...]


@dataclass(frozen=True, slots=True)
class CandidateFacts:
    """A candidate table that did not pass its gates, kept aside."""

    order_id: str
    window_end_ms: int
    gates: tuple[GateVerdict, ...]
    replaces: int | None
    is_publishable: bool
    published_as: int | None = None
    who: str | None = None
    why: str | None = None
    published_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Prices:
    """What calls cost; None where nobody has said so.

    Attributes
    ----------
    per_million_tokens : float | None     of prompts and answers, cached or not
    per_call : float | None               where a call has a price of its own
    currency : str                        for people
    """

    per_million_tokens: float | None = None
    per_call: float | None = None
    currency: str = ""
