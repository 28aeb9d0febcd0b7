"""What orders that failed have left: finished chunks are paid for, and worth as much to the next order."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from refresh.bulk.orders import left_orders, read_order
from refresh.bulk.shards import Shards
from refresh.engines import Answers
from refresh.engines.joining import joined
from refresh.prompts import RowContexts
from tidegate.errors import OrderError

_LOG = logging.getLogger(__name__)


def finished_chunks(
    root: Path, *, pane: int, is_by_hand: bool, top_n: int
) -> Iterator[tuple[NDArray[np.uint64], RowContexts, Answers]]:
    """Go over orders that nobody will ask for again: row keys, contexts and answers of their finished chunks.

    Answers of another number of ranks are left out, and so is what cannot be read; `orders.sweep_orders` removes all.
    """
    for folder in left_orders(root, pane=pane, is_by_hand=is_by_hand):
        try:
            order = read_order(folder)
        except OrderError as error:
            _LOG.warning("%s: what it has finished is lost", error)
            continue
        if order.manifest.top_n != top_n:
            continue
        shards = Shards(folder, order)
        loaded = [(order.chunk(chunk), shards.load(chunk)) for chunk in range(order.manifest.n_chunks)]
        finished = [(rows, answers) for rows, answers in loaded if answers is not None]
        if finished:
            at = np.concatenate([np.arange(rows.start, rows.stop) for rows, _ in finished])
            yield (
                order.keys[at],
                order.contexts[at],
                joined([answers for _, answers in finished], top_n, np.arange(at.size)),
            )
