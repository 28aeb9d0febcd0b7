"""Partitions that another process keeps from this one, though the group gave them to it."""

from __future__ import annotations

from tidegate.errors import FencedError

_RIVAL_SECONDS = 120.0  # a group needs its session timeout (45 s by default) and a rebalance to take a partition back


class Rivals:
    """Remembers since when partitions are fenced: the group takes them back soon, or two groups count one run.

    Parameters
    ----------
    topic : str
    """

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._fenced_since: dict[int, float] = {}

    def add(self, partition: int, now_seconds: float) -> None:
        """Take in that a commit of the partition was fenced."""
        self._fenced_since[partition] = now_seconds

    def discard(self, partition: int) -> None:
        """Forget the partition: the group has had its say."""
        self._fenced_since.pop(partition, None)

    def refuse(self, now_seconds: float) -> None:
        """Refuse a partition that stays fenced.

        Raises
        ------
        FencedError
            If one is fenced for longer than a group needs to take it back.
        """
        for partition, since in self._fenced_since.items():
            if now_seconds - since >= _RIVAL_SECONDS:
                raise FencedError(
                    f"another process has owned the partition for {now_seconds - since:.0f} s, though the group gave "
                    "it to this one",
                    "Let all workers of a run join one group (--group), and no other process count it",
                    place=f"{self._topic}[{partition}]",
                )
