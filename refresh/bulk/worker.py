"""A worker of an order: claims a chunk, infers it, writes its shard, until every chunk has one."""

from __future__ import annotations

import socket
from collections.abc import Callable
from os import getpid
from pathlib import Path
from threading import get_ident

import numpy as np

from refresh.bulk.claims import Claim, Claims
from refresh.bulk.options import BulkOptions
from refresh.bulk.orders import BulkOrder, holds_order, read_order
from refresh.bulk.report import InferenceReport
from refresh.bulk.shards import Shards
from refresh.engines import Answers, Engine, Usage
from refresh.validation import require_contract
from tidegate.errors import OrderError

OnProgress = Callable[[int, int], None]
"""Called with the rows answered so far, by all workers, and the rows of the order."""


class OrderGoneError(Exception):
    """The order's folder was removed: its answers are in the row cache, or nobody wants them any more."""


class BulkWorker:
    """Works on one order, beside any number of others.

    Parameters
    ----------
    folder : of the order
    order : BulkOrder that is in it
    engine : the one that the order was begun with
    options : BulkOptions
    on_progress : told how far all workers have come
    """

    def __init__(
        self,
        folder: Path,
        order: BulkOrder,
        engine: Engine,
        options: BulkOptions,
        on_progress: OnProgress | None = None,
    ) -> None:
        self._folder, self._order, self._engine, self._options = folder, order, engine, options
        self._on_progress = on_progress or (lambda *_: None)
        self._owner = options.owner or f"{socket.gethostname()}:{getpid()}:{get_ident()}"
        self._shards = Shards(folder, order)
        self._claims = Claims(folder, self._owner, options.clock, options.lease_seconds)
        self._resumed: set[int] | None = None
        self._inferred: set[int] = set()

    def work(self) -> None:
        """Work until every chunk has a sound shard, whoever made it.

        Raises
        ------
        EngineError
            If the engine fails; the chunk is free for others, finished ones stay.
        OrderError
            If a shard cannot be written.
        OrderGoneError
            If the order was removed meanwhile.
        """
        missing = self._missing()
        if self._resumed is None:
            self._resumed = set(self._shards.facts())
        self._tell()
        while missing:
            self._advance(missing)
            missing = self._missing()
            self._tell()

    def assemble(self) -> Answers:
        """Put the answers of all shards together, in the order's order; damaged ones are inferred again.

        Raises
        ------
        OrderGoneError
            If the order was removed meanwhile; else as `work`.
        """
        self.work()
        n_chunks = self._order.manifest.n_chunks
        while True:
            parts = [self._shards.load(chunk) for chunk in range(n_chunks)]
            whole = [part for part in parts if part is not None]
            if len(whole) == n_chunks:
                break
            self.work()
        clusters, probabilities, label_mass = (
            np.concatenate([getattr(part, name) for part in whole])
            for name in ("clusters", "probabilities", "label_mass")
        )
        return Answers(clusters, probabilities, label_mass, self._usage())

    def report(self, seconds: float) -> InferenceReport:
        """Say what was done, and by whom."""
        facts, manifest = self._shards.facts(), self._order.manifest
        return InferenceReport(
            n_rows=manifest.n_rows,
            n_rows_resumed=sum(facts[chunk].n_rows for chunk in self._earlier & facts.keys()),
            n_chunks=manifest.n_chunks,
            n_resumed=len(self._earlier & facts.keys()),
            n_inferred=len(self._inferred),
            n_of_others=len(facts.keys() - self._earlier - self._inferred),
            n_damaged=self._shards.n_damaged,
            usage=self._usage(),
            seconds=seconds,
        )

    def _usage(self) -> Usage:
        facts = self._shards.facts()
        return sum((Usage(**facts[chunk].usage) for chunk in facts.keys() - self._earlier), Usage())

    @property
    def _earlier(self) -> set[int]:
        """Chunks that had a shard before this worker began."""
        return (self._resumed or set()) - self._inferred

    def _missing(self) -> list[int]:
        if not holds_order(self._folder, self._order):  # before a shard of another order is taken for a foreign one
            raise OrderGoneError
        return self._shards.missing()

    def _advance(self, missing: list[int]) -> None:
        """Infer one of the missing chunks or, where others are at all of them, wait a little."""
        try:
            claim = self._claim_one(missing)
            if claim is not None:
                self._infer(claim)
                return
        except OrderError as error:
            if not holds_order(self._folder, self._order):
                raise OrderGoneError from error
            raise
        self._options.clock.sleep(self._options.poll_seconds)  # they finish, or their leases run out

    def _claim_one(self, missing: list[int]) -> Claim | None:
        """Claim the first chunk that can be had."""
        return next((claim for chunk in missing if (claim := self._claims.take(chunk)) is not None), None)

    def _infer(self, claim: Claim) -> None:
        if self._shards.load(claim.chunk) is not None:
            return  # its shard came between the look and the claim
        rows, clock = self._order.chunk(claim.chunk), self._options.clock
        started = clock.monotonic_seconds()
        with self._claims.held(claim):
            answers = self._engine.infer(
                self._order.contexts[rows],
                top_n=self._order.manifest.top_n,
                on_progress=self._tell,
            )
            require_contract(answers, rows.stop - rows.start, self._order.manifest.top_n)
            if not holds_order(self._folder, self._order):
                raise OrderGoneError
            if self._shards.write(claim.chunk, answers, self._owner, clock.monotonic_seconds() - started):
                self._inferred.add(claim.chunk)

    def _tell(self, n_of_chunk: int = 0) -> None:
        n_finished = sum(facts.n_rows for facts in self._shards.facts().values())
        self._on_progress(n_finished + n_of_chunk, self._order.manifest.n_rows)


def help_with(folder: Path, engine: Engine, options: BulkOptions | None = None) -> None:
    """Work on an order that another process has begun, until it is done.

    Raises
    ------
    OrderError
        If the order cannot be read, or was begun with another engine.
    """
    order = read_order(folder)
    if engine.fingerprint != order.manifest.engine_fingerprint:
        raise OrderError(
            f"the order was begun with engine {order.manifest.engine_name} ({order.manifest.engine_fingerprint[:12]}…),"
            f" this worker has {engine.name} ({engine.fingerprint[:12]}…)",
            "Start all workers with the same flags and the same model",
            place=str(folder),
        )
    try:
        BulkWorker(folder, order, engine, options or BulkOptions()).work()
    except OrderGoneError:
        return  # it was finished without this worker
