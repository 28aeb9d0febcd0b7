"""Shards: the answers of one chunk, whole and checksummed, or not there.

A shard is three parts: the SHA-256 of all that follows in hexadecimal and a line feed; one line of JSON (`ShardFacts`);
the arrays as ``.npz``. ``head -2`` shows where it comes from. The first shard of a chunk stands: one that a slower
worker brings later is dropped, so that everybody assembles the same bytes.
"""

from __future__ import annotations

import hashlib
import io
import logging
from dataclasses import asdict
from pathlib import Path
from zipfile import BadZipFile

import msgspec
import numpy as np

from refresh.bulk.orders import BulkOrder, cannot_be_kept
from refresh.engines import Answers, Usage
from tidegate.files import write_once

_LOG = logging.getLogger(__name__)
_SHA_BYTES = 64
_DAMAGES = (ValueError, KeyError, IndexError, EOFError, RuntimeError, BadZipFile, msgspec.MsgspecError)


class ShardFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Which chunk of which order a shard is, and what it took. ``order`` is `BulkOrder.digest`."""

    order: str
    chunk: int
    n_rows: int
    owner: str
    seconds: float
    usage: dict[str, int]


class Shards:
    """The shards of one order.

    Attributes
    ----------
    n_damaged : int     shards that were found damaged or foreign, and removed
    """

    def __init__(self, folder: Path, order: BulkOrder) -> None:
        self._folder, self._order, self._digest = folder, order, order.digest
        self._sound: dict[int, ShardFacts] = {}
        self.n_damaged = 0

    def path(self, chunk: int) -> Path:
        """Where the shard of a chunk lies."""
        return self._folder / f"{chunk:06d}.shard"

    def missing(self) -> list[int]:
        """List chunks without a sound shard, ascending. Each is verified once; a damaged one is removed and said so."""
        names = {path.name for path in self._folder.glob("*.shard")}
        for chunk in range(self._order.manifest.n_chunks):
            if chunk not in self._sound and self.path(chunk).name in names:
                self._verify(chunk)
        return [chunk for chunk in range(self._order.manifest.n_chunks) if chunk not in self._sound]

    def facts(self) -> dict[int, ShardFacts]:
        """Give what is known of the sound shards, by chunk."""
        return dict(self._sound)

    def write(self, chunk: int, answers: Answers, owner: str, seconds: float) -> bool:
        """Keep the answers of a chunk; False where another worker's shard is there already, and stands.

        Raises
        ------
        OrderError
            If it cannot be written.
        """
        facts = ShardFacts(
            order=self._digest,
            chunk=chunk,
            n_rows=int(answers.clusters.shape[0]),
            owner=owner,
            seconds=seconds,
            usage=asdict(answers.usage),
        )
        content = io.BytesIO()
        np.savez(
            content,
            allow_pickle=False,
            clusters=answers.clusters,
            probabilities=answers.probabilities,
            label_mass=answers.label_mass,
        )
        body = msgspec.json.encode(facts) + b"\n" + content.getvalue()
        try:
            is_first = write_once(self.path(chunk), hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
        except OSError as error:
            raise cannot_be_kept(error, self._folder) from error
        if not is_first and self._verify(chunk) is None:  # what stood there was no shard
            return self.write(chunk, answers, owner, seconds)
        self._sound[chunk] = facts if is_first else self._sound[chunk]
        return is_first

    def load(self, chunk: int) -> Answers | None:
        """Answers of a chunk; None where its shard is missing or damaged (and then removed)."""
        return self._verify(chunk)

    def _verify(self, chunk: int) -> Answers | None:
        try:
            facts, answers = self._read(chunk)
        except FileNotFoundError:
            self._sound.pop(chunk, None)
            return None
        except (OSError, *_DAMAGES) as error:
            _LOG.warning("%s: %s; the chunk is inferred again", self.path(chunk), error)
            self.path(chunk).unlink(missing_ok=True)
            self._sound.pop(chunk, None)
            self.n_damaged += 1
            return None
        self._sound[chunk] = facts
        return answers

    def _read(self, chunk: int) -> tuple[ShardFacts, Answers]:
        content = self.path(chunk).read_bytes()
        body = content[_SHA_BYTES + 1 :]
        if content[:_SHA_BYTES] != hashlib.sha256(body).hexdigest().encode():
            raise ValueError(f"the shard is damaged: its {len(body)} bytes do not have the SHA-256 that it begins with")
        head, _, arrays = body.partition(b"\n")
        facts = msgspec.json.decode(head, type=ShardFacts)
        rows = self._order.chunk(chunk)
        if (facts.order, facts.chunk, facts.n_rows) != (self._digest, chunk, rows.stop - rows.start):
            raise ValueError(f"the shard is foreign: chunk {facts.chunk} of order {facts.order[:12]}…")
        with np.load(io.BytesIO(arrays), allow_pickle=False) as columns:
            usage = Usage(**facts.usage)
            return facts, Answers(columns["clusters"], columns["probabilities"], columns["label_mass"], usage)
