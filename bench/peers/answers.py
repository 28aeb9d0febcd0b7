"""What a peer hands back: its counts and its top successors, as text that every language writes easily.

``counts.tsv`` has a line ``pane c1 c2 c_next n`` for each count, in any order (a key may come in parts, one line each),
``top.tsv`` a line ``c1 c2 first,second,…`` for each pair; columns are parted by tabs. Standard library only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.peers.topology import Transition, top_successors

COUNTS, TOP = "counts.tsv", "top.tsv"


@dataclass(frozen=True, slots=True)
class Answers:
    """What was counted, and each pair's five most frequent successors."""

    counts: Mapping[Transition, int]
    top: Mapping[tuple[str, str], list[str]]


def write_answers(folder: Path, counts: Mapping[Transition, int]) -> None:
    """Answer from `counts` and write both."""
    with (folder / COUNTS).open("w") as lines:
        lines.writelines(f"{pane}\t{c1}\t{c2}\t{c_next}\t{n}\n" for (pane, c1, c2, c_next), n in counts.items())
    with (folder / TOP).open("w") as lines:
        lines.writelines(f"{c1}\t{c2}\t{','.join(best)}\n" for (c1, c2), best in top_successors(counts).items())


def read_answers(folder: Path) -> Answers:
    """Read what a peer wrote, whichever it is."""
    counts: Counter[Transition] = Counter()
    with (folder / COUNTS).open() as lines:
        for line in lines:
            pane, c1, c2, c_next, n = line.rstrip("\n").split("\t")
            counts[int(pane), c1, c2, c_next] += int(n)
    with (folder / TOP).open() as lines:
        split = (line.rstrip("\n").split("\t") for line in lines)
        return Answers(counts, {(c1, c2): best.split(",") for c1, c2, best in split})


def fault(found: Answers, expected: Answers) -> str:
    """Say what is wrong with `found`, in a few words; empty where nothing is."""
    if found.counts != expected.counts:
        n_wrong = sum(found.counts.get(key, 0) != n for key, n in expected.counts.items())
        n_wrong += len(found.counts.keys() - expected.counts.keys())
        return f"{n_wrong:,} of {len(expected.counts):,} counts are wrong"
    if found.top != expected.top:
        n_wrong = sum(found.top.get(pair) != best for pair, best in expected.top.items())
        n_wrong += len(found.top.keys() - expected.top.keys())
        return f"the answers of {n_wrong:,} of {len(expected.top):,} pairs are wrong"
    return ""
