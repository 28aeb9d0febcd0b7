"""Candidates that did not pass their gates, kept aside: a person may look at them, and let one serve all the same.

::

    candidates/
    ├── v00000003/ …         the candidate, as a table version: arrays, manifest, checksums
    └── v00000003.json       which order it is of, what it would have replaced, what the gates said

A folder of its own, always beside the run and never where tables are served from: nothing reads it but
``tidegate refresh-gate``. Its numbers have nothing to do with those of versions.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from refresh.table import TransitionTable
from refresh.table_manifest import Manifest
from refresh.table_store import TableStore
from tidegate.clock import Clock
from tidegate.contracts import GateVerdict, Trigger
from tidegate.errors import CorruptTableError, RequestError
from tidegate.files import write_atomically

_KEPT = 5  # a table each: enough to look at what went wrong lately


class KeptCandidate(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a candidate beside its manifest.

    ``replaces`` was serving when it was refused, None where nothing was; ``published_as`` is the version that a person
    made of it, for the reason ``why``.
    """

    number: int
    order_id: str
    window_end_ms: int
    replaces: int | None
    gates: tuple[GateVerdict, ...]
    content_checksum: str
    published_as: int | None = None
    who: str | None = None
    why: str | None = None
    published_ms: int | None = None


class Candidates:
    """The candidates of one home folder.

    Parameters
    ----------
    folder : Path
        Created when the first one is kept.
    """

    def __init__(self, folder: Path, clock: Clock | None = None) -> None:
        self._folder = folder
        self._store = TableStore(folder, clock)

    def keep(
        self,
        table: TransitionTable,
        *,
        order_id: str,
        replaces: int | None,
        gates: tuple[GateVerdict, ...],
        window_end_ms: int,
        trigger: Trigger,
        reasons: Mapping[str, int],
        engine_name: str,
        engine_fingerprint: str,
        template: str = "",
    ) -> int:
        """Keep a candidate, the newest ones only; returns its number, the same one if it is kept again.

        Raises
        ------
        TableError
            If it cannot be written.
        """
        checksum = table.content_checksum()
        for known in self.all():
            if (known.order_id, known.content_checksum) == (order_id, checksum):
                return known.number
        number = self._store.publish(
            table,
            window_end_ms=window_end_ms,
            trigger=trigger,
            reasons=reasons,
            engine_name=engine_name,
            engine_fingerprint=engine_fingerprint,
            template=template,
        )
        self._write(
            KeptCandidate(
                number=number,
                order_id=order_id,
                window_end_ms=window_end_ms,
                replaces=replaces,
                gates=gates,
                content_checksum=checksum,
            )
        )
        for gone in self._store.retain(_KEPT):
            self._path(gone).unlink(missing_ok=True)
        return number

    def all(self) -> list[KeptCandidate]:
        """Candidates that are there, the newest first.

        Raises
        ------
        CorruptTableError
            If what is known of one cannot be read.
        """
        return [self._read(path) for path in sorted(self._folder.glob("v*.json"), reverse=True)]

    def of_order(self, order_id: str) -> KeptCandidate:
        """Find the candidate of an order.

        Raises
        ------
        RequestError
            If there is none.
        """
        known = self.all()
        for each in known:
            if each.order_id == order_id:
                return each
        listed = ", ".join(each.order_id for each in known) or "none"
        raise RequestError(
            f"no candidate of an order {order_id!r} is kept aside", f"Name one of these: {listed}", place="ORDER"
        )

    def load(self, kept: KeptCandidate) -> tuple[Manifest, TransitionTable]:
        """Verify a candidate and map it into memory.

        Raises
        ------
        CorruptTableError
            If a byte of it is not what was kept.
        """
        try:
            manifest = self._store.verify(kept.number)
            if manifest.content_checksum != kept.content_checksum:
                found = f"its checksum is {manifest.content_checksum}, {kept.content_checksum} was kept"
                raise CorruptTableError(found, "", place=str(self._path(kept.number)))
            return manifest, self._store.load(kept.number, verify=False)
        except CorruptTableError as error:
            # What the store says to do is about tables that serve.
            mend = "It cannot be published; the next order is made and judged anew"
            raise CorruptTableError(error.found, mend, place=error.place) from error

    def note_published(self, kept: KeptCandidate, *, version: int, who: str, why: str, now_ms: int) -> None:
        """Record that a person let a candidate serve."""
        self._write(msgspec.structs.replace(kept, published_as=version, who=who, why=why, published_ms=now_ms))

    def _path(self, number: int) -> Path:
        return self._folder / f"v{number:08d}.json"

    def _write(self, kept: KeptCandidate) -> None:
        write_atomically(self._path(kept.number), msgspec.json.format(msgspec.json.encode(kept), indent=2) + b"\n")

    def _read(self, path: Path) -> KeptCandidate:
        try:
            return msgspec.json.decode(path.read_bytes(), type=KeptCandidate)
        except (OSError, msgspec.MsgspecError) as error:
            raise CorruptTableError(
                f"what is known of the candidate cannot be read ({error})", "Remove the file", place=str(path)
            ) from error
