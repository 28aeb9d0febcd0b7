"""From records of a partition to events of its shard; what cannot be counted becomes dead letters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from stream.bad_share import BadShare
from stream.broker import DeadLetter, DeadLetterSink, PartitionRecords
from stream.events import EventBatch, Outcome
from stream.group.figures import WorkerFigures
from stream.group.standing import Owned
from stream.shard import Admission
from tidegate.clock import Clock


class BatchDecoder(Protocol):
    """Makes events of one partition's messages (`stream.decoding.messages`)."""

    @property
    def cluster_names(self) -> list[str]:
        """Names by code, so far."""
        ...

    def decode(
        self,
        values: Sequence[bytes],
        *,
        topic: str,
        partition: int,
        offsets: NDArray[np.int64],
        next_offset: int,
        at_end: bool = False,
    ) -> EventBatch:
        """Decode messages that lie at `offsets`."""
        ...


class Intake:
    """Decodes what was read, lets its shard admit it, and writes dead letters of the rest.

    Parameters
    ----------
    topic : str
    decoder : BatchDecoder
    dead_letters : DeadLetterSink
    bad_share : BadShare                 the brake on dead letters
    clock : Clock
    figures : WorkerFigures              counts records, batches and dead letters
    """

    def __init__(
        self,
        topic: str,
        decoder: BatchDecoder,
        dead_letters: DeadLetterSink,
        bad_share: BadShare,
        clock: Clock,
        figures: WorkerFigures,
    ) -> None:
        self._topic, self._decoder, self._dead_letters = topic, decoder, dead_letters
        self._bad_share, self._clock, self._figures = bad_share, clock, figures

    def admit(self, owned: Owned, records: PartitionRecords) -> None:
        """Decode records that were not read before, and hand them to their shard.

        Raises
        ------
        BadRecordsError
            If too many are bad; none of them is dead-lettered then.
        """
        if self._figures.first_seconds is None:
            self._figures.first_seconds = self._clock.monotonic_seconds()
        if owned.news_since is None:
            owned.news_since = self._clock.monotonic_seconds()
        next_offset = int(records.offsets[-1]) + 1
        batch = self._decoder.decode(
            records.values,
            topic=self._topic,
            partition=records.partition,
            offsets=records.offsets,
            next_offset=next_offset,
        )
        n_bad = sum(n for outcome, n in batch.set_aside.items() if outcome is not Outcome.NEGATIVE)
        place = f"{self._topic}[{records.partition}]@{int(records.offsets[0])}"
        self._bad_share.add(batch.n_records, n_bad, place=place)
        admission = owned.shard.admit(batch, self._decoder.cluster_names)
        self._bury(records, batch, admission)
        self._figures.add(admission.outcomes)
        self._figures.n_batches += 1
        owned.position, owned.at_end_since, owned.is_idle, owned.is_read_up = next_offset, None, False, False

    def _bury(self, records: PartitionRecords, batch: EventBatch, admission: Admission) -> None:
        """Make dead letters of what was set aside, and of what came too late."""
        letters = [
            self._letter(records, issue.position, issue.outcome, f"{issue.found}. {issue.mend}")
            for issue in batch.issues
        ]
        letters += [
            self._letter(records, position, Outcome.LATE, "It came behind the watermark")
            for position in ([] if batch.positions is None else batch.positions[admission.is_late].tolist())
        ]
        if letters:
            self._dead_letters.send(letters)
            self._figures.n_dead_letters += len(letters)

    def _letter(self, records: PartitionRecords, position: int, outcome: Outcome, error: str) -> DeadLetter:
        offset = int(records.offsets[position])
        key, value = records.key_of(position), records.values[position]
        return DeadLetter(self._topic, records.partition, offset, outcome, error, key, value)
