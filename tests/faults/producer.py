"""A producer that writes steadily while faults go on, so that there is always something in flight to lose."""

from __future__ import annotations

import threading
import time
from typing import Any

from confluent_kafka import Producer

from tests.faults.watches import CHUNK, Watches

_FLUSH_SECONDS = 120.0


class SteadyProducer:
    """Writes a log at a set rate until it is told to stop.

    Parameters
    ----------
    rate : float      records a second

    Attributes
    ----------
    ends : dict       partition -> offset after its last acknowledged record
    """

    def __init__(self, bootstrap: str, topic: str, watches: Watches, rate: float) -> None:
        self._topic, self._watches, self._rate = topic, watches, rate
        # Without idempotence a batch that is sent again overtakes the next one, and the log's order is lost.
        config = {"bootstrap.servers": bootstrap, "enable.idempotence": True, "linger.ms": 5, "log_level": 0}
        self._producer = Producer(config | {"reconnect.backoff.max.ms": 500})
        self.ends = dict.fromkeys(range(watches.n_partitions), 0)
        self._n_chunks = 0
        self._refused: list[Any] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._write, daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    @property
    def n_produced(self) -> int:
        """Records handed to the client so far."""
        return self._n_chunks * CHUNK

    def finish(self) -> int:
        """Stop writing, and return how many records the topic holds once all are acknowledged."""
        self._stop.set()
        self._thread.join()
        n_left = self._producer.flush(_FLUSH_SECONDS)
        if self._refused or n_left:
            raise RuntimeError(f"{n_left} records were not acknowledged, refused: {self._refused[:1]}")
        return self.n_produced

    def _write(self) -> None:
        began = time.monotonic()
        while not self._stop.is_set():
            for record in self._watches.chunk(self._n_chunks):
                self._put(record.value, self._watches.partition_of(record))
            self._n_chunks += 1
            ahead_seconds = self.n_produced / self._rate - (time.monotonic() - began)
            self._producer.poll(max(0.0, ahead_seconds))
            self._stop.wait(max(0.0, self.n_produced / self._rate - (time.monotonic() - began)))

    def _put(self, value: bytes, partition: int) -> None:
        while True:
            try:
                self._producer.produce(self._topic, value, partition=partition, on_delivery=self._on_delivery)
                return
            except BufferError:  # the broker is away: let the queue drain
                self._producer.poll(0.5)

    def _on_delivery(self, error: Any, message: Any) -> None:
        if error is not None:
            self._refused.append(error)
        else:
            self.ends[message.partition()] = max(self.ends[message.partition()], message.offset() + 1)
