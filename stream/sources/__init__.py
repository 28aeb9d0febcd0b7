"""Where events come from: CSV, JSON lines, Parquet and Kafka, all behind `stream.events.Source`."""

from stream.sources.opening import open_source

__all__ = ["open_source"]
