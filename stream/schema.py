"""Tables of the store (SQLAlchemy Core), the same on every database that it runs on.

A *run* is one source counted by one set of flags. Its partitions are counted by *shards*: one shard of all partitions
in a process of its own, or one a partition where workers share them. A shard has one owner; its counts, sequences,
waiting events and offsets change together, in one transaction.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

SCHEMA_VERSION = 4
WHOLE_RUN = -1
"""The shard that holds all partitions of a run."""

metadata = MetaData()


def _of_run(name: str, *columns: Column[object] | UniqueConstraint) -> Table:
    return Table(name, metadata, Column("run_id", String(32), primary_key=True), *columns)


def _key(name: str) -> Column[object]:
    return Column(name, BigInteger, primary_key=True, autoincrement=False)


store_info = Table("store_info", metadata, Column("schema_version", Integer, primary_key=True))

runs = _of_run(
    "runs",
    Column("source", Text, nullable=False),
    Column("flags", Text, nullable=False),
    Column("is_finished", Boolean, nullable=False),
    # What is true of all shards together. A pane is closed by whoever moves `closed_pane` on from the pane before.
    Column("n_partitions", Integer),
    Column("stream_ms", BigInteger),
    Column("first_pane", BigInteger),
    Column("closed_pane", BigInteger),
    Column("has_ended", Boolean, nullable=False),
)

shards = _of_run(
    "shards",
    _key("shard"),
    Column("owner", Text, nullable=False),
    # Compare-and-set: a commit names the epoch of its owner and the number of the commit before it.
    Column("epoch", BigInteger, nullable=False),
    Column("commit_number", BigInteger, nullable=False),
    Column("progress", LargeBinary, nullable=False),
    # What the others need to know of it.
    Column("earliest_ms", BigInteger),
    Column("latest_ms", BigInteger),
    Column("watermark_ms", BigInteger, nullable=False),
    Column("counted_ms", BigInteger, nullable=False),
    Column("is_idle", Boolean, nullable=False),
    Column("is_finished", Boolean, nullable=False),
)

offsets = _of_run(
    "offsets",
    _key("partition"),
    Column("shard", BigInteger, nullable=False),
    Column("next_offset", BigInteger, nullable=False),
    Column("latest_ms", BigInteger, nullable=False),
)

# Shards count by `code`, handed out at first sight by whichever saw it first. A closed pane speaks in `cluster_id`s, in
# the order of first event time and then name, so that ids do not depend on how partitions interleave.
clusters = _of_run(
    "clusters",
    _key("code"),
    Column("name", Text, nullable=False),
    Column("first_ms", BigInteger),
    Column("cluster_id", BigInteger),
    UniqueConstraint("run_id", "name"),
)

# A segment is what one commit wrote, in pieces of so many users that none takes much memory.
sequence_segments = _of_run(
    "sequence_segments",
    _key("shard"),
    _key("commit_number"),
    _key("piece"),
    Column("body", LargeBinary, nullable=False),
)

waiting_segments = _of_run(
    "waiting_segments",
    _key("shard"),
    _key("commit_number"),
    Column("latest_ms", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
)

event_id_segments = _of_run(
    "event_id_segments",
    _key("shard"),
    _key("commit_number"),
    Column("latest_ms", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
)

# Counts of panes that are still open, by shard and in codes; `pane_counts` has the closed ones, in cluster ids.
pane_parts = _of_run(
    "pane_parts",
    _key("pane"),
    _key("shard"),
    _key("commit_number"),
    Column("keys", LargeBinary, nullable=False),
    Column("counts", LargeBinary, nullable=False),
)

pane_counts = _of_run(
    "pane_counts",
    _key("pane"),
    Column("keys", LargeBinary, nullable=False),
    Column("counts", LargeBinary, nullable=False),
)

pane_stats = _of_run("pane_stats", _key("shard"), _key("pane"), Column("figures", LargeBinary, nullable=False))

# A window that evaluators measure together, until it is reported: who took which part on, and what it showed.
drift_parts = _of_run(
    "drift_parts",
    _key("pane"),
    _key("part"),
    Column("owner", Text, nullable=False),
    Column("taken_ms", BigInteger, nullable=False),
    Column("body", LargeBinary),
)

# What became of a closed pane, each written once: report, decision, result, and the record of all three.
pane_reports = _of_run("pane_reports", _key("pane"), Column("body", LargeBinary, nullable=False))
pane_decisions = _of_run("pane_decisions", _key("pane"), Column("body", LargeBinary, nullable=False))
pane_results = _of_run("pane_results", _key("pane"), Column("body", LargeBinary, nullable=False))
pane_records = _of_run("pane_records", _key("pane"), Column("body", LargeBinary, nullable=False))

# Refreshes that alerts ask for, numbered by receipt: an episode of an alert makes one request. `keys` and `counts` are
# what a decision knew of panes that were open then.
alert_requests = _of_run(
    "alert_requests",
    _key("number"),
    Column("episode", String(32), nullable=False),
    Column("status", String(16), nullable=False),
    Column("received_ms", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("pane", BigInteger),
    Column("decision", LargeBinary),
    Column("keys", LargeBinary),
    Column("counts", LargeBinary),
    Column("result", LargeBinary),
    Column("answered_ms", BigInteger),
    UniqueConstraint("run_id", "episode"),
)

# What persons decide outlives a run that is begun anew: it is found again under the same name.
fine_tunes = Table(
    "fine_tunes",
    metadata,
    Column("fine_tune_id", String(64), primary_key=True),
    Column("run_id", String(32), nullable=False, index=True),
    Column("window_end_ms", BigInteger, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
)

OF_A_RUN = tuple(table for table in metadata.sorted_tables if table not in (store_info, runs, fine_tunes))
