"""Results: what became of an order, and what the gates said of its table."""

from __future__ import annotations

import msgspec

from tidegate.contracts.orders import Trigger


class GateVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """What one gate before publishing says of a candidate table.

    ``found`` is held against ``required`` (at least, or at most: the sentence says which); both are None where the gate
    does not apply, which passes.
    """

    gate: str
    found: float | None
    required: float | None
    is_passed: bool
    sentence: str


class RefreshResult(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an order.

    ``outcome`` is ``completed``, ``backoff_only`` (no order, rows that cost no call), ``gate_failed`` (the candidate is
    not good enough, so ``table_version`` goes on serving) or ``failed`` (likewise; ``problem`` says why).
    ``llm_calls`` counts the rows that the engine was asked for; ``reused`` those whose row key was known. ``model`` is
    the folder of the weights that answered, None for an engine without weights; ``rows_beyond_codebook`` were ordered
    but name a cluster that the model has no code for, so their backoff serves them. ``faults`` counts the rows that
    were invalid by what was wrong with them.
    """

    order_id: str
    window_end_ms: int
    trigger: Trigger
    outcome: str
    table_version: int
    llm_calls: int
    reused: int
    rows_changed: int
    rows_invalid: int
    rows_retired: int
    rows_beyond_codebook: int = 0
    model: str | None = None
    duration_seconds: float = 0.0
    gates: tuple[GateVerdict, ...] = ()
    """What was said of the candidate before it was published; empty where nothing changed."""
    candidate: int | None = None
    """Number that a candidate which failed is kept aside under, see ``tidegate refresh-gate``."""
    problem: str | None = None
    faults: dict[str, int] = {}
    prompt_tokens: int | None = None
    """In the prompts of the rows asked for, those from cache included; None where the engine does not tell."""
    cached_tokens: int | None = None
    output_tokens: int | None = None
