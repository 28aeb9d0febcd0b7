"""From a request's text to an answer's bytes: pure, and never an exception, whatever is asked.

One answer, also one of many pairs, is of one snapshot of the table, so it cannot mix versions.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Generator, Iterator, Sequence
from urllib.parse import unquote_plus

import msgspec
import numpy as np

from refresh.lookup import Lookup
from refresh.served_table import LEVELS, Histories, ServedTable
from refresh.serving.records import (
    MAX_ANSWERS,
    BatchRequest,
    ClusterName,
    NextAnswer,
    NextCluster,
    PairAnswer,
    Refusal,
    Reply,
    ServiceState,
)
from refresh.serving.tally import Tally
from tidegate.errors import RequestError, TableError, TidegateError

_LOG = logging.getLogger(__name__)
_PART_PAIRS = 200
_ONCE = ("c1", "c2", "n")
_KNOWN = (*_ONCE, "exclude", "history")
_encode = msgspec.json.Encoder().encode
_decode_batch = msgspec.json.Decoder(BatchRequest).decode


class Answers:
    """Answers from whatever version serves when it is asked.

    Parameters
    ----------
    lookup : Lookup
    tally : Tally, optional
        Counts what is answered.
    """

    def __init__(self, lookup: Lookup, tally: Tally | None = None) -> None:
        self.lookup = lookup
        self.tally = tally or Tally()

    def next_of_one(self, query: bytes) -> Reply:
        """Answer ``GET /v1/next`` by its query string."""
        started = time.perf_counter()
        version = 0
        try:
            served = self._served()
            version = served.version
            reply = Reply(200, version, self._one(served, query))
        except Exception as error:
            reply = refused(error, version)
        self.tally.add("next", reply.status, seconds=time.perf_counter() - started)
        return reply

    def next_of_many(self, body: bytes | bytearray) -> Reply:
        """Answer ``POST /v1/next:batch`` by its body."""
        steps = self.steps_of_many(body)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                reply: Reply = end.value
                return reply

    def steps_of_many(self, body: bytes | bytearray) -> Generator[None, None, Reply]:
        """Answer as `next_of_many`, in steps of about a millisecond, so that others can be answered in between."""
        started = time.perf_counter()
        version = 0
        try:
            served = self._served()
            version = served.version
            answers = []
            for part in self._many(served, body):
                answers.append(part)
                yield
            body = b'{"version":%d,"answers":[%b]}' % (version, b",".join(answers))
            reply = Reply(200, version, body)
        except Exception as error:
            reply = refused(error, version)
        self.tally.add("batch", reply.status, seconds=time.perf_counter() - started)
        return reply

    def health(self) -> Reply:
        """Answer that the process lives."""
        version = self.lookup.version
        return Reply(200, version, _encode(ServiceState("ok", version)))

    def readiness(self) -> Reply:
        """Answer whether a table serves, and why the newest does not where an older one has to."""
        version, rejected = self.lookup.snapshot().version, self.lookup.rejected
        detail = str(rejected) if rejected else ""
        state = ServiceState("ready" if version else "no table", version, detail)
        return Reply(200 if version else 503, version, _encode(state))

    def _served(self) -> ServedTable:
        served = self.lookup.snapshot()
        if served.version == 0:
            raise TableError("no table version serves yet", "Publish a first table, then ask again", place="table")
        return served

    def _one(self, served: ServedTable, query: bytes) -> bytes:
        given = parse_query(query)
        c1, c2 = (_cluster_of(served, given.get(name), name) for name in ("c1", "c2"))
        passed: Sequence[int] | set[int] = ()
        if len(given) > 2:
            passed = {_cluster_of(served, [text], "exclude") for text in given.get("exclude", ())}
            passed |= {_known_or_none(served, text) for text in given.get("history", ())}
        answer = served.one(c1, c2, _positive(given["n"][0]) if "n" in given else 1, passed)
        self.tally.add_levels(**{answer.level: 1})
        names = served.cluster_names
        found = [
            NextCluster(cluster, names[cluster], weight)
            for cluster, weight in zip(answer.clusters, answer.probabilities, strict=True)
        ]
        return _encode(NextAnswer(served.version, names[c1], names[c2], answer.level, found))

    def _many(self, served: ServedTable, body: bytes | bytearray) -> Iterator[bytes]:
        """Yield the answers as JSON, without the brackets of their list, a part at a time."""
        asked = _batch(body)
        ids = _ids_of(served, asked.pairs)
        found = served.many_ranked(
            ids[:, 0], ids[:, 1], min(asked.n, served.table.top_n), _histories_of(served, asked, ids.shape[0])
        )
        n_by_level = np.bincount(found.levels, minlength=len(LEVELS)).tolist()
        self.tally.add_levels(**{LEVELS[level]: n for level, n in enumerate(n_by_level)})
        names = served.cluster_names
        for at in range(0, ids.shape[0], _PART_PAIRS):
            part = slice(at, at + _PART_PAIRS)
            columns = (found.clusters[part].tolist(), found.probabilities[part].tolist(), found.levels[part].tolist())
            answers = [
                PairAnswer(
                    LEVELS[level], [NextCluster(c, names[c], p) for c, p in zip(ranked, weights, strict=True) if c >= 0]
                )
                for ranked, weights, level in zip(*columns, strict=True)
            ]
            yield _encode(answers)[1:-1]


def refused(error: Exception, version: int) -> Reply:
    """Turn an error into its answer: 400 for the request, 503 for the table, 500 for a fault of ours (it is logged)."""
    if isinstance(error, TidegateError):
        status = 400 if isinstance(error, RequestError) else 503
        return refusal(status, error.found, error.mend, error.place, version)
    _LOG.error("a request could not be answered", exc_info=error)
    return refusal(500, "this request could not be answered", "See the service's log; it is a fault of Tidegate")


def refusal(status: int, error: str, mend: str, place: str | None = None, version: int = 0) -> Reply:
    """Say what was found, and what to do."""
    return Reply(status, version, _encode(Refusal(error, mend, place, version)))


def parse_query(query: bytes) -> dict[str, list[str]]:
    """Read a query string; what is no UTF-8 is replaced, and then is no cluster's name.

    Raises
    ------
    RequestError
        If there is an unknown parameter, or one twice that can be once only.

    Examples
    --------
    >>> parse_query(b"c1=jazz&c2=hip+hop&history=R%26B")
    {'c1': ['jazz'], 'c2': ['hip hop'], 'history': ['R&B']}
    """
    given: dict[str, list[str]] = {}
    for part in query.decode("utf-8", "replace").split("&"):
        name, _, value = part.partition("=")
        if name not in _KNOWN:
            if not part:
                continue
            name = unquote_plus(name)
            if name not in _KNOWN:
                raise RequestError(f"there is no parameter {name!r}", f"Use {', '.join(sorted(_KNOWN))}", place=name)
        if "%" in value or "+" in value:
            value = unquote_plus(value)
        if name in given:
            if name in _ONCE:
                raise RequestError(f"{name} is given twice", "Give it once", place=name)
            given[name].append(value)
        else:
            given[name] = [value]
    return given


def _cluster_of(served: ServedTable, given: list[str] | None, place: str) -> int:
    """Id of a cluster in a URL: a name of the catalogue, else an id (names may be numbers, so they go first)."""
    if given is None:
        raise RequestError(f"{place} is missing", "Name the cluster: /v1/next?c1=NAME&c2=NAME", place=place)
    found = _known_or_none(served, given[0])
    if found < 0:
        text = given[0]
        return served.id_of(int(text) if _is_id(text) else text, place)  # which refuses it
    return found


def _known_or_none(served: ServedTable, text: str) -> int:
    """Id of a cluster in a URL, -1 where this table does not know it."""
    found = served.id_of_name.get(text)
    if found is not None:
        return found
    return int(text) if _is_id(text) and int(text) < served.n_clusters else -1


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 5


def _positive(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 4 and int(text) > 0):
        raise RequestError(
            f"{text!r} is not a number from 1 to {MAX_ANSWERS}", "Write how many clusters you want", place="n"
        )
    return int(text)


def _batch(body: bytes | bytearray) -> BatchRequest:
    try:
        return _decode_batch(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        mend = 'Send {"pairs": [[C1, C2], …], "n": N} with ids (numbers) or names (strings)'
        raise RequestError(f"the body cannot be read: {error}", mend, place="body") from error


def _ids_of(served: ServedTable, pairs: list[tuple[ClusterName, ClusterName]]) -> np.ndarray:
    """Ids of pairs: int32[n, 2]."""
    known, n = served.id_of_name, served.n_clusters
    flat = [known.get(c, -1) if isinstance(c, str) else c for pair in pairs for c in pair]
    for at, cluster in enumerate(flat):
        if not 0 <= cluster < n:
            i, side = divmod(at, 2)
            served.id_of(pairs[i][side], f"pairs[{i}][{side}]")  # which refuses it
    return np.array(flat, dtype=np.int32).reshape(-1, 2)


def _histories_of(served: ServedTable, asked: BatchRequest, n_pairs: int) -> Histories | None:
    if not asked.exclude and not asked.history:
        return None
    excluded = [served.id_of(cluster, f"exclude[{i}]") for i, cluster in enumerate(asked.exclude)]
    if not asked.history:
        return Histories.of([excluded] * n_pairs)
    known, n = served.id_of_name, served.n_clusters
    lists = []
    for history in asked.history:
        ids = (known.get(c, -1) if isinstance(c, str) else c for c in history)
        lists.append([*excluded, *(cluster for cluster in ids if 0 <= cluster < n)])
    return Histories.of(lists)
