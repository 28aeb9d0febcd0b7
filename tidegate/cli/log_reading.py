"""A finite log read whole, as the settings of a run say: for commands that go over it many times."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from stream.sources import open_source
from stream.watch_log import WatchLog, read_watch_log
from tidegate.cli.stream_settings import (
    catalogue_of,
    decode_options,
    kafka_properties,
    message_format,
    sequence_options,
    shard_options,
)
from tidegate.cli.watching import Bars
from tidegate.clock import SystemClock
from tidegate.config import RunSettings


def read_log(settings: RunSettings, bars: Bars) -> tuple[WatchLog, str]:
    """Read the source to its end; returns the log and the source's short name.

    Raises
    ------
    SourceError
        If it cannot be read, or holds no positive watch.
    """
    catalogue = catalogue_of(settings)
    source = open_source(
        settings.source,
        decode_options(settings, catalogue),
        SystemClock(),
        follow=False,
        from_earliest=False,
        kafka_properties=kafka_properties(settings),
        message_format=message_format(settings),
    )
    with closing(source):
        bars.begin(0, source.n_records_expected)
        options = shard_options(settings, sequence_options(settings))
        return read_watch_log(source, options, catalogue, bars.on_records), Path(source.identity).name
