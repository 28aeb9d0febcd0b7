"""Messages to events on one core: JSON, Avro and Protobuf, by our decoder and by the libraries that read one by one.

``python -m bench.decoding [--quick]``. The messages are watch events of 761 clusters and 200,000 users, framed as
Confluent's serializers do (a zero, the schema's id, for Protobuf the message's place in it). Our figure is of the
whole decoder: parsing, hashing of users, times, cluster codes and the engagement rule. The libraries' is of parsing
alone, which gives a Python object of each message: what a consumer would begin with.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

from bench.processes import BenchError, measure, python
from bench.table import Figure, publish

N_CLUSTERS, N_USERS, BATCH, SEED = 761, 200_000, 32_768, 7
FULL_BATCHES, QUICK_BATCHES, N_REPETITIONS = 8, 2, 5
GOAL = ">= 300,000"
TOPIC = "watches"
LIBRARIES = {"json": "msgspec", "avro": "fastavro", "protobuf": "protobuf"}
AVRO = {
    "type": "record",
    "name": "Watch",
    "fields": [
        {"name": "user_id", "type": "string"},
        {"name": "category", "type": ["null", "string"]},
        {"name": "timestamp", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "engagement", "type": "float"},
        {"name": "device", "type": "string"},
    ],
}
PROTOBUF = """
syntax = "proto3";
import "google/protobuf/timestamp.proto";
message Watch {
  string user_id = 1;
  optional string category = 2;
  google.protobuf.Timestamp timestamp = 3;
  float engagement = 4;
  string device = 5;
}
"""
_Side = tuple[list[bytes], Callable[[bytes], object]]  # messages, and how a library reads one of them


def main() -> None:
    """Measure every format in a process of its own and publish the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.decoding", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a quarter of the messages")
    parser.add_argument("--format", help=argparse.SUPPRESS)
    given = parser.parse_args()
    n_batches = QUICK_BATCHES if given.quick else FULL_BATCHES
    if given.format:
        print(json.dumps(_measured(given.format, n_batches)))
        return
    figures: list[Figure] = []
    for name, library in LIBRARIES.items():
        more = ("--quick",) if given.quick else ()
        measured = json.loads(measure(python("-m", "bench.decoding", "--format", name, *more), one_core=True).output)
        n_messages, n_bytes = measured["n_messages"], measured["bytes"]
        of = f"1 core, {n_messages:,} messages of {n_bytes:.0f} bytes, CPU time, median of {N_REPETITIONS}"
        alone = f"{library} {version(library)}, a Python object a message"
        ratio = measured["ours"] / measured["library"]
        figures += [
            Figure(f"{name}: decoder", measured["ours"], "messages/s", GOAL, of),
            Figure(f"{name}: library alone", measured["library"], "messages/s", "", alone),
            Figure(f"{name}: decoder to library", ratio, "ratio", "", "ours does all that follows as well"),
        ]
    publish("decoding", figures)


def _measured(name: str, n_batches: int) -> dict[str, float]:
    import numpy as np

    from tests.schema_registry import FakeRegistry

    watches = _watches(n_batches * BATCH)
    offsets = np.arange(BATCH)
    with FakeRegistry() as registry:
        messages, read_one = SIDES[name](watches, registry)
        batches = [messages[start : start + BATCH] for start in range(0, len(messages), BATCH)]
        decoder = _decoder(name, registry.url)

        def ours() -> int:
            n_positive = 0
            for batch in batches:
                events = decoder.decode(batch, topic=TOPIC, partition=0, offsets=offsets, next_offset=BATCH)
                n_positive += events.users.shape[0]
            return n_positive

        def library() -> None:
            for message in messages:
                read_one(message)

        n_expected = sum(watch["engagement"] >= 0.5 for watch in watches)
        if ours() != n_expected:  # also fetches the schema and loads kernels
            raise BenchError(f"{name}: {ours()} messages are positive, not {n_expected}")
        return {
            "n_messages": len(messages),
            "bytes": sum(map(len, messages)) / len(messages),
            "ours": len(messages) / _seconds(ours),
            "library": len(messages) / _seconds(library),
        }


def _seconds(work: Callable[[], object]) -> float:
    def once() -> float:
        started = time.process_time()  # of this process alone: others on the machine do not count
        work()
        return time.process_time() - started

    return statistics.median(once() for _ in range(N_REPETITIONS))


def _watches(n: int) -> list[dict[str, Any]]:
    import numpy as np

    rng = np.random.default_rng(SEED)
    users, clusters = rng.integers(0, N_USERS, n).tolist(), rng.integers(0, N_CLUSTERS, n).tolist()
    engagements = np.round(rng.random(n), 3).tolist()
    return [
        {
            "user_id": f"u{user:07d}",
            "category": f"interest-{cluster:03d}",
            "timestamp": 1_704_067_200_000 + 20 * i,
            "engagement": engagement,
            "device": "phone",
        }
        for i, (user, cluster, engagement) in enumerate(zip(users, clusters, engagements, strict=True))
    ]


def _decoder(name: Any, url: str) -> Any:
    from stream.decoding.columns import DecodeOptions
    from stream.decoding.engagement import PositiveRule
    from stream.decoding.messages import MessageDecoder
    from stream.decoding.messages.formats import MessageFormat, RegistryOptions
    from tidegate.clock import SystemClock

    options = DecodeOptions(positive=PositiveRule.parse("engagement >= 0.5"), time_unit="ms")
    return MessageDecoder(options, SystemClock(), format_=MessageFormat(name, RegistryOptions(url)))


def _json(watches: list[dict[str, Any]], _: Any) -> _Side:
    import msgspec

    return [msgspec.json.encode(watch) for watch in watches], msgspec.json.decode


def _avro(watches: list[dict[str, Any]], registry: Any) -> _Side:
    from fastavro import parse_schema, schemaless_reader

    from tests.avro_records import encoded, framed

    schema = parse_schema(AVRO)
    number = registry.register(f"{TOPIC}-value", json.dumps(AVRO))
    messages = [framed(number, encoded(schema, watch)) for watch in watches]
    return messages, lambda message: schemaless_reader(io.BytesIO(message[5:]), schema, None)


def _protobuf(watches: list[dict[str, Any]], registry: Any) -> _Side:
    from tests.avro_records import framed
    from tests.protobuf_messages import message_class

    watch_class = message_class(PROTOBUF, "Watch")
    number = registry.register(f"{TOPIC}-value", PROTOBUF, "PROTOBUF")

    def message_of(watch: dict[str, Any]) -> bytes:
        message = watch_class(**watch | {"timestamp": None})
        message.timestamp.FromMilliseconds(watch["timestamp"])
        return framed(number, message.SerializeToString(), b"\0")

    return [message_of(watch) for watch in watches], lambda message: watch_class.FromString(message[6:])


SIDES: dict[str, Callable[[list[dict[str, Any]], Any], _Side]] = {"json": _json, "avro": _avro, "protobuf": _protobuf}

if __name__ == "__main__":
    main()
