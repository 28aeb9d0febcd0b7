"""Tables of the run store (SQLAlchemy Core), shared by every database it runs on."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Integer, LargeBinary, MetaData, String, Table, Text

SCHEMA_VERSION = 1

metadata = MetaData()

store_info = Table("store_info", metadata, Column("schema_version", Integer, primary_key=True))

runs = Table(
    "runs",
    metadata,
    Column("run_id", String(32), primary_key=True),
    Column("source", Text, nullable=False),
    Column("flags", Text, nullable=False),
    Column("is_finished", Integer, nullable=False),
    # Compare-and-set: a commit names the epoch of its owner and the number of the commit before it.
    Column("epoch", BigInteger, nullable=False),
    Column("commit_number", BigInteger, nullable=False),
    Column("progress", LargeBinary, nullable=False),
)

offsets = Table(
    "offsets",
    metadata,
    Column("run_id", String(32), primary_key=True),
    Column("partition", Integer, primary_key=True),
    Column("next_offset", BigInteger, nullable=False),
    Column("latest_ms", BigInteger, nullable=False),
)

clusters = Table(
    "clusters",
    metadata,
    Column("run_id", String(32), primary_key=True),
    Column("cluster_id", Integer, primary_key=True),
    Column("name", Text, nullable=False),
)

sequence_segments = Table(
    "sequence_segments",
    metadata,
    Column("run_id", String(32), primary_key=True),
    Column("commit_number", BigInteger, primary_key=True),
    Column("body", LargeBinary, nullable=False),
)

pane_counts = Table(
    "pane_counts",
    metadata,
    Column("run_id", String(32), primary_key=True),
    Column("pane", BigInteger, primary_key=True),
    Column("commit_number", BigInteger, primary_key=True),
    Column("keys", LargeBinary, nullable=False),
    Column("counts", LargeBinary, nullable=False),
)

pane_stats = Table(
    "pane_stats",
    metadata,
    Column("run_id", String(32), primary_key=True),
    Column("pane", BigInteger, primary_key=True),
    Column("figures", LargeBinary, nullable=False),
)

pane_records = Table(
    "pane_records",
    metadata,
    Column("run_id", String(32), primary_key=True),
    Column("pane", BigInteger, primary_key=True),
    Column("body", LargeBinary, nullable=False),
)
