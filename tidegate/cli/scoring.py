"""The serving table as the stream scores with it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from refresh.table_store import TableStore
from stream.predictions import Predictions, hit_microbits, index_predictions, no_predictions
from tidegate.cli.measuring import Measuring
from tidegate.cli.records import PaneRecord
from tidegate.contracts import Trigger
from tidegate.counts import pack_pairs, unpack_pairs


class Scoring:
    """Turns the table that a pane's record left into predictions."""

    def __init__(self, measuring: Measuring, tables: TableStore) -> None:
        self._measuring, self._tables = measuring, tables
        self._microbits: NDArray[np.int64] | None = None

    def predictions(
        self, record: PaneRecord | None, first_pane: int | None, codes: Mapping[str, int] | None = None
    ) -> Predictions:
        """Give what serves after `record`'s pane, in cluster ids or, where shards count in codes, in those."""
        version = serving_version(self._tables, record)
        if version is None or first_pane is None:
            return no_predictions()
        if self._microbits is None:
            window = self._measuring.window(first_pane + self._measuring.window_panes - 1).without_buckets()
            n_clusters = int(window.successors.max(initial=-1)) + 1
            self._microbits = hit_microbits(window.successor_totals(n_clusters))
        table = self._tables.load(version)
        predictions = index_predictions(table.pairs, table.clusters[:, 0], table.backoff_clusters, self._microbits)
        if codes is None:
            return predictions
        return in_codes(predictions, table.pairs, np.array([codes[name] for name in table.cluster_names], np.int32))


def in_codes(predictions: Predictions, pairs: NDArray[np.int64], code_of_id: NDArray[np.int32]) -> Predictions:
    """Translate predictions from cluster ids into the codes that shards count with.

    Parameters
    ----------
    pairs : int64[r]            pair keys of the answers, in their order
    code_of_id : int32[C]       codes of all clusters that the table knows
    """
    c1, c2 = unpack_pairs(pairs)
    answers, backoff = predictions.answers, predictions.backoff
    coded = np.r_[code_of_id, np.int32(-1)]  # -1 (no answer) finds itself
    n_codes = int(code_of_id.max(initial=-1)) + 1
    coded_backoff = np.full((n_codes, backoff.shape[1]), -1, np.int32)
    coded_backoff[code_of_id[: backoff.shape[0]]] = coded[backoff]
    microbits = np.full(n_codes + 1, predictions.microbits[-1], np.int64)
    n_known = min(predictions.microbits.shape[0] - 1, code_of_id.shape[0])
    microbits[code_of_id[:n_known]] = predictions.microbits[:n_known]
    return index_predictions(pack_pairs(code_of_id[c1], code_of_id[c2]), coded[answers], coded_backoff, microbits)


def serving_version(tables: TableStore, record: PaneRecord | None) -> int | None:
    """Tell what a pane's record left serving, or the version that a person lets serve since.

    That is an older one after a rollback, a newer one after a gate was overridden. A newer one that no person
    published is that of a refresh which was interrupted before its record: it is made again from the same table.
    """
    mine = record.table_version if record else None
    if mine is None:
        return None
    current = tables.current()
    if current is None or current == mine:
        return mine
    return current if current < mine or is_chosen_by_a_person(tables, current) else mine


def is_chosen_by_a_person(tables: TableStore, version: int) -> bool:
    """Whether the pointer's last move was to `version`, and not that of a refresh that the run itself ordered."""
    moves = tables.history()
    if not moves or moves[-1].to_version != version:
        return False
    return moves[-1].action != "publish" or moves[-1].why in (Trigger.OPERATOR, Trigger.ALERT)
