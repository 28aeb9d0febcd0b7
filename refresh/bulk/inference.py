"""Rows to answers: at once where they fit one chunk, else chunk by chunk in the order's folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from refresh.bulk.options import BulkOptions
from refresh.bulk.orders import BulkOrder, begin_order, is_unfinished
from refresh.bulk.report import InferenceReport
from refresh.bulk.worker import BulkWorker, OrderGoneError
from refresh.engines import Answers, Engine
from refresh.prompts import RowContexts, sort_for_prefix
from refresh.validation import require_contract


def infer_rows(
    engine: Engine,
    keys: NDArray[np.uint64],
    contexts: RowContexts,
    options: BulkOptions,
    *,
    top_n: int,
    folder: Path | None,
    pane: int,
    is_by_hand: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[Answers, InferenceReport] | None:
    """Answer rows, sorted for prefix caching; returns their answers in the order asked for.

    None where another worker has finished the order, and its folder is gone: its answers are in the row cache.

    Parameters
    ----------
    keys : uint64[n, 2]        row keys
    contexts : RowContexts     of n rows
    top_n : ranks asked for
    folder : of the order; None answers in memory only
    pane, is_by_hand : of the order
    on_progress : called with the rows answered so far and the rows asked for

    Raises
    ------
    EngineError
        If the engine fails; finished chunks are kept.
    RequestError
        If the order was begun with something else.
    OrderError
        If rows cannot be kept.
    """
    fits_one_chunk = len(contexts) <= options.chunk_rows
    if folder is None or (fits_one_chunk and not is_unfinished(folder)):
        return _infer_at_once(engine, contexts, options, top_n, on_progress)
    order = BulkOrder.of(
        engine,
        keys,
        contexts,
        order_id=folder.name,
        pane=pane,
        is_by_hand=is_by_hand,
        top_n=top_n,
        chunk_rows=options.chunk_rows,
    )
    begun = begin_order(folder, order, restarts=options.restarts)
    options.on_begin(folder)
    started = options.clock.monotonic_seconds()
    worker = BulkWorker(folder, begun, engine, options, on_progress)
    try:
        answers = worker.assemble()
    except OrderGoneError:
        return None
    at = begun.places(keys)
    assert at is not None  # begin_order has refused an order of other rows
    report = worker.report(options.clock.monotonic_seconds() - started)
    return _picked(answers, at), report


def _infer_at_once(
    engine: Engine,
    contexts: RowContexts,
    options: BulkOptions,
    top_n: int,
    on_progress: Callable[[int, int], None] | None,
) -> tuple[Answers, InferenceReport]:
    n_rows, at = len(contexts), sort_for_prefix(contexts)
    started = options.clock.monotonic_seconds()
    answers = engine.infer(
        contexts[at], top_n=top_n, on_progress=on_progress and (lambda n_done: on_progress(n_done, n_rows))
    )
    require_contract(answers, n_rows, top_n)
    seconds = options.clock.monotonic_seconds() - started
    report = InferenceReport(n_rows=n_rows, n_chunks=1, n_inferred=1, usage=answers.usage, seconds=seconds)
    back = np.empty(n_rows, np.int64)
    back[at] = np.arange(n_rows)
    return _picked(answers, back), report


def _picked(answers: Answers, at: NDArray[np.int64]) -> Answers:
    return Answers(answers.clusters[at], answers.probabilities[at], answers.label_mass[at], answers.usage)
