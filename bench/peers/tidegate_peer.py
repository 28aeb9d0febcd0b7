"""``tidegate worker``, with a meter where it fetches.

``python -m bench.peers.tidegate_peer BOOTSTRAP TOPIC N_MESSAGES FOLDER``. Nothing else is changed: checkpoints every
second, SQLite on the disk. What it committed is read from the store afterwards.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from sqlalchemy import select

import tidegate.cli.worker
from bench.peers.answers import write_answers
from bench.peers.meter import Meter
from bench.peers.topology import Transition
from stream.database import Database
from stream.pane_merge import parts_of
from stream.run_reader import RunReader
from stream.schema import pane_parts
from stream.sources.kafka_group import KafkaGroup
from tidegate.cli.main import cli
from tidegate.counts import pair_of_key, successor_of_key, unpack_pairs


def main(bootstrap: str, topic: str, n_messages: int, folder: Path) -> None:
    """Run the worker to the end of the topic and hand back what the store holds."""
    meter = Meter(n_messages)
    tidegate.cli.worker.KafkaGroup = _metered(meter)  # type: ignore[misc]
    home, report = folder / "home", folder / "worker.json"
    source = ("--source", f"kafka://{bootstrap}/{topic}", "--home", str(home))
    counting = ("--positive", "engagement >= 0.5", "--gap", "1d", "--pane", "1d", "--gate", "none", "--until-end")
    cli(["worker", *source, *counting, "--json", str(report)], standalone_mode=False)
    meter.write(folder)
    write_answers(folder, _counts(home / "runs.db", json.loads(report.read_bytes())["run_id"]))


def _metered(meter: Meter) -> type[KafkaGroup]:
    class MeteredGroup(KafkaGroup):
        """Knows that what one poll fetched is processed when the next one is asked for, or when the group is left."""

        _n_fetched = 0

        def poll(self, assignee: Any) -> Any:
            self._advance()
            fetched = super().poll(assignee)
            self._n_fetched = sum(len(records.values) for records in fetched.records)
            return fetched

        def close(self, assignee: Any) -> None:
            self._advance()
            super().close(assignee)

        def _advance(self) -> None:
            if self._n_fetched:
                meter.advance(self._n_fetched)
            self._n_fetched = 0

    return MeteredGroup


def _counts(store: Path, run_id: str) -> Counter[Transition]:
    database = Database(store)
    names = {code: name for name, code in RunReader(database, run_id).cluster_codes().items()}
    counts: Counter[Transition] = Counter()
    with database.reading() as connection:
        of_run = select(pane_parts.c.pane).where(pane_parts.c.run_id == run_id).distinct()
        for pane in connection.scalars(of_run).all():
            merged = parts_of(connection, run_id, pane)  # by user bucket: parts of one count
            columns = (*unpack_pairs(pair_of_key(merged.keys)), successor_of_key(merged.keys), merged.counts)
            for c1, c2, c_next, n in zip(*(column.tolist() for column in columns), strict=True):
                counts[pane, names[c1], names[c2], names[c_next]] += n
    database.close()
    return counts


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]))
