"""Quix Streams: two stateful operations, as its documentation writes such a program.

``python -m bench.peers.quix_peer BOOTSTRAP TOPIC N_MESSAGES FOLDER``, in the peers' environment. State is RocksDB's
with changelog topics, every setting of the application is the default of Quix Streams. State belongs to the key of a
message, so transitions are grouped anew; from a topic of one partition no repartition topic is needed for that.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from quixstreams import Application, State

from bench.peers.answers import write_answers
from bench.peers.meter import Meter
from bench.peers.topology import extend, is_positive, key_of, transition_of


def main(bootstrap: str, topic: str, n_messages: int, folder: Path) -> None:
    """Run the application until the last message is processed."""
    meter = Meter(n_messages)
    app = Application(
        broker_address=bootstrap,
        consumer_group=f"quix-{folder.name}",
        auto_offset_reset="earliest",
        state_dir=folder / "quix",
        loglevel="WARNING",
        on_message_processed=lambda _topic, _partition, _offset: _advance(),
    )

    def _advance() -> None:
        if meter.advance():
            app.stop()

    watches = app.dataframe(app.topic(topic, value_deserializer="json", key_deserializer="str"))
    transitions = watches.filter(is_positive).apply(_transition, stateful=True).filter(lambda key: key is not None)
    last: dict[str, int] = {}
    counted = transitions.group_by(lambda key: key, name="transition", key_serializer="str", key_deserializer="str")
    counted.apply(_count, stateful=True).update(lambda counted: last.update([counted]))
    app.run()
    meter.write(folder)
    write_answers(folder, {transition_of(key): n for key, n in last.items()})


def _transition(watch: dict[str, Any], state: State) -> str | None:
    sequence, transition = extend(state.get("sequence"), watch["category"], watch["timestamp"])
    state.set("sequence", sequence)
    return None if transition is None else key_of(transition)


def _count(key: str, state: State) -> tuple[str, int]:
    n = state.get("n", 0) + 1
    state.set("n", n)
    return key, n


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]))
