"""Orders: which rows a refresh shall infer, and why."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Reason(StrEnum):
    """Why a row is worth a call (or why it is dropped)."""

    FIRST_TABLE = "first_table"  # there was no table yet
    FIRST_SIGHT = "first_sight"  # the pair had no row yet
    DRIFT = "drift"  # the pair is in the window's flagged set and the window as a whole drifts
    EVIDENCE = "evidence"  # the context changed and pays, though drift is not proven
    SCHEDULE = "schedule"  # a calendar policy asked
    PROBE = "probe"  # asked to learn what the weights know beyond the counts
    FINE_TUNE = "fine_tune"  # new weights answer all rows anew
    OPERATOR = "operator"  # a person or an alert asked
    RETIRED = "retired"  # the pair's backoff serves it better now: the row is dropped, no call


class Trigger(StrEnum):
    """What a refresh, as a whole, came from."""

    FIRST_TABLE = "first_table"
    POLICY = "policy"
    SCHEDULE = "schedule"
    FINE_TUNE = "fine_tune"
    OPERATOR = "operator"  # a person
    ALERT = "alert"

    @property
    def is_apart(self) -> bool:
        """Whether it was asked for from outside, apart from what the run itself decides at the ends of panes."""
        return self in (Trigger.OPERATOR, Trigger.ALERT)


class RowOrder(msgspec.Struct, frozen=True, kw_only=True):
    """One row that a refresh shall infer, and what was expected of it.

    ``c1`` is -1 for a row of the backoff level. ``gain_hits`` is the lower confidence bound of the hits regained
    over the horizon.
    """

    c1: int
    c2: int
    reason: Reason
    gain_hits: float
    replaces: int = -1
    """The best answer that was free before: the row's own or the backoff's; -1 where there was none."""


class RefreshOrder(msgspec.Struct, frozen=True, kw_only=True):
    """A request to refresh, with the rows and the reason.

    A calendar asks for every pair of the window (``all_rows``) instead of naming them.
    """

    order_id: str
    window_end_ms: int
    trigger: Trigger
    rows: tuple[RowOrder, ...] = ()
    all_rows: bool = False
    retired: tuple[tuple[int, int], ...] = ()
    """Pairs whose row is dropped, because their backoff serves them better: no call."""


class OrderPlaced(msgspec.Struct, frozen=True, kw_only=True):
    """Tells refreshers that an order is open. The order itself, with its rows, is in the store.

    ``trigger`` is None where only rows that cost no call are brought up to date.
    """

    run_id: str
    order_id: str
    pane: int
    window_end_ms: int
    trigger: Trigger | None
    n_rows: int
    all_rows: bool
