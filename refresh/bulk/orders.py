"""An order on disk: its rows, in the order that they are asked, and all that determines their answers.

::

    orders/ORDER_ID/
    ├── rows-0f3a….npz     keys and contexts of all rows, sorted by (c1, c2)
    ├── order.json         the manifest: engine, template, codebook, chunk bounds, SHA-256 of the rows
    ├── 000012.shard       answers of one chunk (`refresh.bulk.shards`)
    ├── 000012.lease-0001  who works on it, and until when (`refresh.bulk.claims`)
    └── done               all answers are in the row cache: the folder may go
"""

from __future__ import annotations

import hashlib
import io
import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import msgspec
import numpy as np
from numpy.typing import NDArray

from refresh.engines import Engine
from refresh.prompts import RowContexts, sort_for_prefix
from tidegate.errors import OrderError, RequestError
from tidegate.files import write_once

_LOG = logging.getLogger(__name__)
_MANIFEST, _DONE = "order.json", "done"
_DAMAGES = (ValueError, KeyError, IndexError, EOFError, RuntimeError, BadZipFile, msgspec.MsgspecError)


class OrderManifest(msgspec.Struct, frozen=True, kw_only=True):
    """What an order was begun with. `n_chunks` chunks of `chunk_rows` rows, the last one shorter."""

    order_id: str
    pane: int
    is_by_hand: bool
    engine_name: str
    engine_fingerprint: str
    template_name: str
    template_sha256: str
    codebook_fingerprint: str
    top_n: int
    chunk_rows: int
    n_rows: int
    n_chunks: int
    rows_sha256: str


_MUST_AGREE = {
    "engine_name": "the engine",
    "engine_fingerprint": "the engine's fingerprint (weights, tokenizer, codebook)",
    "template_name": "the template",
    "template_sha256": "the template's text",
    "codebook_fingerprint": "the codebook",
    "top_n": "--top-n",
    "chunk_rows": "--chunk-rows",
}


@dataclass(frozen=True, slots=True)
class BulkOrder:
    """The rows of an order, sorted for prefix caching.

    Attributes
    ----------
    manifest : OrderManifest
    keys : uint64[n, 2]        row keys
    contexts : RowContexts     of n rows
    """

    manifest: OrderManifest
    keys: NDArray[np.uint64]
    contexts: RowContexts

    @classmethod
    def of(
        cls,
        engine: Engine,
        keys: NDArray[np.uint64],
        contexts: RowContexts,
        *,
        order_id: str,
        pane: int,
        is_by_hand: bool,
        top_n: int,
        chunk_rows: int,
    ) -> BulkOrder:
        """Make an order of rows in any order."""
        at = sort_for_prefix(contexts)
        keys, contexts, prompts = keys[at], contexts[at], engine.prompts
        manifest = OrderManifest(
            order_id=order_id,
            pane=pane,
            is_by_hand=is_by_hand,
            engine_name=engine.name,
            engine_fingerprint=engine.fingerprint,
            template_name=prompts.template.name,
            template_sha256=prompts.template.sha256,
            codebook_fingerprint=prompts.codebook.fingerprint,
            top_n=top_n,
            chunk_rows=chunk_rows,
            n_rows=len(contexts),
            n_chunks=-(-len(contexts) // chunk_rows),
            rows_sha256=hashlib.sha256(_rows_of(keys, contexts)).hexdigest(),
        )
        return cls(manifest, keys, contexts)

    @property
    def digest(self) -> str:
        """Name of the order with all that determines its answers: what shards carry."""
        return hashlib.sha256(msgspec.json.encode(self.manifest)).hexdigest()

    def chunk(self, number: int) -> slice:
        """Rows of one chunk."""
        start = number * self.manifest.chunk_rows
        return slice(start, min(start + self.manifest.chunk_rows, self.manifest.n_rows))

    def places(self, keys: NDArray[np.uint64]) -> NDArray[np.int64] | None:
        """Where rows stand in the order: int64[k]; None where one is not of it."""
        if np.array_equal(keys, self.keys):
            return np.arange(keys.shape[0])
        place = {key: at for at, key in enumerate(map(bytes, np.ascontiguousarray(self.keys)))}
        found = np.array([place.get(bytes(key), -1) for key in np.ascontiguousarray(keys)], np.int64)
        return None if (found < 0).any() else found


def begin_order(folder: Path, order: BulkOrder, *, restarts: bool = False) -> BulkOrder:
    """Begin an order in its folder, or go on with the one that is there; returns what is worked on.

    An order that was begun may hold rows beside those that are asked for now (they have become known since).

    Raises
    ------
    RequestError
        If it was begun with something else; the message says what.
    OrderError
        If it cannot be written.
    """
    if restarts or (folder / _DONE).exists():
        discard_order(folder)
    begun = _found(folder)
    if begun is not None and not order.manifest.is_by_hand and _has_other_rows_only(begun, order):
        # No flag of a person's: a damaged file of known rows was dropped since, say.
        _LOG.warning("%s: the order was begun with other rows; it is begun anew", folder)
        discard_order(folder)
        begun = None
    if begun is None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_once(folder / _rows_name(order.manifest), _rows_of(order.keys, order.contexts))
            if write_once(folder / _MANIFEST, msgspec.json.format(msgspec.json.encode(order.manifest)) + b"\n"):
                return order
        except OSError as error:
            raise cannot_be_kept(error, folder) from error
        begun = read_order(folder)  # another worker was faster
    differences = _differences(begun, order)
    if differences:
        raise RequestError(
            f"the order was begun with something else: {'; '.join(differences)}",
            "Give the flags that it was begun with, or begin anew with --restart (or remove the folder)",
            place=str(folder),
        )
    return begun


def read_order(folder: Path) -> BulkOrder:
    """Read an order that was begun.

    Raises
    ------
    OrderError
        If it is not there, or its files are not what was written.
    """
    try:
        manifest = msgspec.json.decode((folder / _MANIFEST).read_bytes(), type=OrderManifest)
        content = (folder / _rows_name(manifest)).read_bytes()
        if hashlib.sha256(content).hexdigest() != manifest.rows_sha256:
            raise ValueError("the rows are not those of the manifest")
        with np.load(io.BytesIO(content), allow_pickle=False) as columns:
            share = columns.get("retrieved_share")
            contexts = RowContexts(columns["c1"], columns["c2"], columns["retrieved"], share)
            return BulkOrder(manifest, columns["keys"], contexts)
    except (OSError, *_DAMAGES) as error:
        raise OrderError(
            f"the order cannot be read: {error}", "Begin it anew: give --restart", place=str(folder)
        ) from error


def is_begun(folder: Path) -> bool:
    """Whether there is an order in a folder."""
    return (folder / _MANIFEST).exists()


def holds_order(folder: Path, order: BulkOrder) -> bool:
    """Whether the order in a folder is this one still, and not one that was begun after it."""
    try:
        return msgspec.json.decode((folder / _MANIFEST).read_bytes(), type=OrderManifest) == order.manifest
    except (OSError, msgspec.MsgspecError):
        return False


def is_unfinished(folder: Path) -> bool:
    """Whether there is an order in a folder whose answers nobody keeps yet."""
    return is_begun(folder) and not (folder / _DONE).exists()


def finish_order(folder: Path) -> None:
    """Mark an order whose answers are kept elsewhere: whoever still reads its shards may go on."""
    if folder.is_dir():
        write_once(folder / _DONE, b"")


def discard_order(folder: Path) -> None:
    """Remove an order with all that was inferred for it."""
    # The manifest first: shards without one are never taken for another order's.
    (folder / _MANIFEST).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def sweep_orders(root: Path, *, pane: int, is_by_hand: bool) -> None:
    """Remove finished orders, and unfinished ones of earlier panes that nobody will ask for again."""
    for folder in sorted(root.iterdir()) if root.is_dir() else ():
        if (folder / _DONE).exists():
            discard_order(folder)
    for folder in left_orders(root, pane=pane, is_by_hand=is_by_hand):
        discard_order(folder)


def left_orders(root: Path, *, pane: int, is_by_hand: bool) -> list[Path]:
    """Folders of unfinished orders of earlier panes: theirs failed, or was given up."""
    left = []
    for folder in sorted(root.iterdir()) if root.is_dir() else ():
        try:
            manifest = msgspec.json.decode((folder / _MANIFEST).read_bytes(), type=OrderManifest)
        except (OSError, msgspec.MsgspecError):
            continue  # being begun, or damaged: whoever begins it next sees to it
        if is_unfinished(folder) and manifest.is_by_hand == is_by_hand and manifest.pane < pane:
            left.append(folder)
    return left


def cannot_be_kept(error: OSError, place: Path) -> OrderError:
    """Say that the disk refused; nothing was published."""
    return OrderError(
        f"inferred rows cannot be written: {error.strerror or error}",
        "Make room (or mend the folder) and give the same command again: finished chunks are kept",
        place=str(place),
    )


def _found(folder: Path) -> BulkOrder | None:
    """Order that was begun in a folder; None where there is none that can be read."""
    if not is_begun(folder):
        return None
    try:
        return read_order(folder)
    except OrderError as error:
        _LOG.warning("%s: it is begun anew", error)
        discard_order(folder)
        return None


def _has_other_rows_only(begun: BulkOrder, order: BulkOrder) -> bool:
    return not _other_settings(begun, order) and begun.places(order.keys) is None


def _other_settings(begun: BulkOrder, order: BulkOrder) -> list[str]:
    return [
        f"{meaning} was {_shown(then)}, now {_shown(now)}"
        for name, meaning in _MUST_AGREE.items()
        if (then := getattr(begun.manifest, name)) != (now := getattr(order.manifest, name))
    ]


def _differences(begun: BulkOrder, order: BulkOrder) -> list[str]:
    differences = _other_settings(begun, order)
    if not differences and begun.places(order.keys) is None:
        differences.append(f"it has other rows ({begun.manifest.n_rows} then, {order.manifest.n_rows} now)")
    return differences


def _shown(value: Any) -> str:
    return str(value) if len(str(value)) <= 24 else f"{str(value)[:12]}…"


def _rows_name(manifest: OrderManifest) -> str:
    return f"rows-{manifest.rows_sha256[:16]}.npz"


def _rows_of(keys: NDArray[np.uint64], contexts: RowContexts) -> bytes:
    columns: dict[str, NDArray[Any]] = {
        "keys": keys,
        "c1": contexts.c1,
        "c2": contexts.c2,
        "retrieved": contexts.retrieved,
    }
    if contexts.retrieved_share is not None:
        columns["retrieved_share"] = contexts.retrieved_share
    content = io.BytesIO()
    np.savez(content, allow_pickle=False, **columns)
    return content.getvalue()
