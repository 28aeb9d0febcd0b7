"""What the inference of one order took."""

from __future__ import annotations

from dataclasses import dataclass, field

from refresh.engines import Usage


@dataclass(frozen=True, slots=True)
class InferenceReport:
    """Prompts, tokens, shards and time of one order.

    Attributes
    ----------
    n_rows : int          that the engine was asked for, by any worker and attempt
    n_rows_resumed : int  of them, answered in shards that an earlier attempt had finished
    n_chunks : int        1 where the order was asked for at once
    n_resumed : int       shards that an earlier attempt had finished
    n_inferred : int      shards of this process, `n_of_others` those of workers beside it
    n_damaged : int       shards that were found damaged and inferred again
    usage : Usage         of all but the resumed shards
    seconds : float       of this process, waiting for others included
    faults : rows with an answer that may not be served, by fault
    """

    n_rows: int = 0
    n_rows_resumed: int = 0
    n_chunks: int = 0
    n_resumed: int = 0
    n_inferred: int = 0
    n_of_others: int = 0
    n_damaged: int = 0
    usage: Usage = field(default_factory=Usage)
    seconds: float = 0.0
    faults: dict[str, int] = field(default_factory=dict)
