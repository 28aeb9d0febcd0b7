"""What every peer has to come to, recounted from the whole log in plain Python."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

from bench.peers.answers import Answers
from bench.peers.topology import GAP_SECONDS, PANE_SECONDS, POSITIVE, Transition, top_successors


def recount(records: Iterable[tuple[str, str, int, float]]) -> Answers:
    """Count the transitions of (user, cluster, seconds, engagement), given in the order of time."""
    of_user: defaultdict[str, list[tuple[int, str]]] = defaultdict(list)
    for user, cluster, time_s, engagement in records:
        if engagement >= POSITIVE:
            of_user[user].append((time_s, cluster))
    counts = Counter(transition for mine in of_user.values() for transition in _transitions(mine))
    return Answers(counts, top_successors(counts))


def _transitions(mine: list[tuple[int, str]]) -> Iterator[Transition]:
    """Cut a user's watches at the gaps, drop repetitions, read threes."""
    cuts = [at for at in range(1, len(mine)) if mine[at][0] - mine[at - 1][0] > GAP_SECONDS]
    for start, end in zip([0, *cuts], [*cuts, len(mine)], strict=True):
        first_seen: dict[str, int] = {}
        for time_s, cluster in mine[start:end]:
            first_seen.setdefault(cluster, time_s)
        clusters = list(first_seen)
        for c1, c2, c_next in zip(clusters, clusters[1:], clusters[2:], strict=False):
            yield first_seen[c_next] // PANE_SECONDS, c1, c2, c_next
