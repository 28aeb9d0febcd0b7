"""What an order would take, before it is begun: from a probe of its own rows, or from a rate that is given."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from refresh.bulk.options import BulkOptions
from refresh.engines import Engine
from refresh.prompts import RowContexts, sort_for_prefix


@dataclass(frozen=True, slots=True)
class Probe:
    """A few rows of an order, asked for and forgotten.

    Attributes
    ----------
    n_rows : int
    seconds : float
    tokens_per_prompt : float      output tokens not among them
    outputs_per_prompt : float     output tokens
    cached_share : float | None    of prompt tokens; None where the engine does not tell
    """

    n_rows: int
    seconds: float
    tokens_per_prompt: float
    outputs_per_prompt: float
    cached_share: float | None

    @property
    def rows_per_second(self) -> float:
        """Rows a second."""
        return self.n_rows / self.seconds if self.seconds > 0 else float("inf")


@dataclass(frozen=True, slots=True)
class Estimate:
    """What is to come. None where nothing tells.

    Attributes
    ----------
    n_calls : int               rows to ask for, those of finished shards left out
    n_chunks : int              of the order, `n_chunks_finished` of them by an earlier attempt
    prompt_tokens : int | None
    cached_share : float | None
    rows_per_second : float | None
    seconds : float | None      with one worker
    cost : float | None         in the unit of the price
    """

    n_calls: int
    n_chunks: int
    n_chunks_finished: int
    prompt_tokens: int | None
    cached_share: float | None
    rows_per_second: float | None
    seconds: float | None
    cost: float | None


def probe_rows(engine: Engine, contexts: RowContexts, options: BulkOptions, *, top_n: int, n_rows: int) -> Probe | None:
    """Time a run of neighbouring rows, after a first one that starts what has to be started; None for no rows.

    Parameters
    ----------
    contexts : rows to be asked for
    n_rows : rows of the probe at most
    """
    n_rows = min(n_rows, len(contexts))
    if n_rows <= 0:
        return None
    begin = (len(contexts) - n_rows) // 2  # the middle: the first rows of all may be a cluster's own or a rare kind
    chosen = contexts[sort_for_prefix(contexts)[begin : begin + n_rows]]
    engine.infer(chosen[:1], top_n=top_n)
    started = options.clock.monotonic_seconds()
    usage = engine.infer(chosen, top_n=top_n).usage
    seconds = options.clock.monotonic_seconds() - started
    has_usage = usage.n_prompts > 0
    return Probe(
        n_rows=n_rows,
        seconds=seconds,
        tokens_per_prompt=usage.n_prompt_tokens / n_rows if has_usage else _words(engine, chosen),
        outputs_per_prompt=usage.n_output_tokens / n_rows if has_usage else 1.0,
        cached_share=usage.n_cached_tokens / usage.n_prompt_tokens if usage.n_prompt_tokens else None,
    )


def estimate_order(
    n_rows: int,
    options: BulkOptions,
    *,
    folder: Path | None = None,
    probe: Probe | None = None,
    rows_per_second: float | None = None,
    price_per_million_tokens: float | None = None,
) -> Estimate:
    """Reckon what asking for `n_rows` rows takes. Pure but for counting the shards that `folder` holds.

    Parameters
    ----------
    n_rows : rows to ask for, finished shards included
    rows_per_second : in place of the probe's

    Examples
    --------
    >>> estimate_order(10_000, BulkOptions(chunk_rows=4_000), rows_per_second=500.0).seconds
    20.0
    """
    n_finished = len(list(folder.glob("*.shard"))) if folder is not None and not (folder / "done").exists() else 0
    n_calls = max(0, n_rows - n_finished * options.chunk_rows)
    rate = rows_per_second or (probe.rows_per_second if probe is not None else None)
    n_tokens = None if probe is None else round(n_calls * probe.tokens_per_prompt)
    cost = None
    if n_tokens is not None and probe is not None and price_per_million_tokens is not None:
        cost = (n_tokens + n_calls * probe.outputs_per_prompt) * price_per_million_tokens / 1e6
    return Estimate(
        n_calls=n_calls,
        n_chunks=-(-n_rows // options.chunk_rows),
        n_chunks_finished=n_finished,
        prompt_tokens=n_tokens if n_calls else 0,
        cached_share=None if probe is None else probe.cached_share,
        rows_per_second=rate,
        seconds=0.0 if not n_calls else (n_calls / rate if rate else None),
        cost=cost,
    )


def _words(engine: Engine, contexts: RowContexts) -> float:
    """Tokens of a prompt whose every word is one, as for the project's own model."""
    return float(len(engine.prompts.texts(contexts[:1])[0].split()))
