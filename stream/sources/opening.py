"""From what ``--source`` says to a source."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from stream.decoding.columns import DecodeOptions
from stream.decoding.messages.formats import MessageFormat
from stream.events import Source
from stream.sources.csv import CsvSource
from stream.sources.jsonl import JsonlSource
from stream.sources.parquet import ParquetSource
from tidegate.clock import Clock
from tidegate.errors import RequestError

_KAFKA = "kafka://"
_BY_SUFFIX: dict[str, Callable[[Path, DecodeOptions, Clock], Source]] = {
    ".csv": CsvSource,
    ".csv.gz": CsvSource,
    ".jsonl": JsonlSource,
    ".jsonl.gz": JsonlSource,
    ".ndjson": JsonlSource,
    ".ndjson.gz": JsonlSource,
    ".parquet": ParquetSource,
}


def open_source(
    url_or_path: str | Path,
    options: DecodeOptions,
    clock: Clock,
    *,
    follow: bool = False,
    from_earliest: bool = False,
    kafka_properties: Mapping[str, str | int | float | bool] | None = None,
    message_format: MessageFormat | None = None,
) -> Source:
    """Open a file by its suffix, or a topic by ``kafka://host:port[,host:port]/topic``.

    Parameters
    ----------
    url_or_path : str or Path
    options : DecodeOptions
    clock : Clock
    follow : bool
        Go on waiting for new records at the end (Kafka only).
    from_earliest : bool
        Where the log no longer holds a stored offset, go on from the earliest record that it does hold: an
        operator's decision to give up what lies between (Kafka only).
    kafka_properties : mapping, optional
        Properties of librdkafka, which override Tidegate's defaults.
    message_format : MessageFormat, optional
        What a topic's messages are (Kafka only); default: JSON.

    Raises
    ------
    RequestError
        If the suffix or the URL is not understood, there is no such file, a file is to be followed, or the libraries
        for a topic's format are not installed.
    SourceError
        If it cannot be read, is empty, or lacks a column.
    """
    if str(url_or_path).startswith(_KAFKA):
        from stream.sources.kafka import KafkaSource  # loads librdkafka, which files do not need

        brokers, topic = parse_kafka_url(str(url_or_path))
        return KafkaSource(
            brokers,
            topic,
            options,
            clock,
            follow=follow,
            from_earliest=from_earliest,
            properties=kafka_properties,
            format_=message_format,
        )
    path = Path(url_or_path)
    for suffix, source in _BY_SUFFIX.items():
        if path.name.lower().endswith(suffix):
            if follow:
                raise RequestError("a file cannot be followed", "Drop --follow, or read a topic", place=str(path))
            return source(path, options, clock)
    raise RequestError(
        "its format is not known by its name",
        f"Use one of {', '.join(_BY_SUFFIX)}, or {_KAFKA}host:port/topic",
        place=str(path),
    )


def parse_kafka_url(url: str) -> tuple[str, str]:
    """Split a URL into brokers and topic.

    Raises
    ------
    RequestError
        If one of the two is missing.

    Examples
    --------
    >>> parse_kafka_url("kafka://one:9092,two:9092/watches")
    ('one:9092,two:9092', 'watches')
    """
    brokers, _, topic = url.removeprefix(_KAFKA).partition("/")
    if not brokers.strip(",") or not topic or "/" in topic:
        raise RequestError(
            "the address needs brokers and one topic", f"Write {_KAFKA}host:port[,host:port]/topic", place=url
        )
    return brokers, topic
