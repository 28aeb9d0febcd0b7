"""The broker: who of the group may read which partition, and what a poll brings.

Rebalances are cooperative: a partition that moves is first given back by its owner, at the owner's next poll, and
given on after that. A member that does not poll in time is expelled: its partitions are given away at once, and it
hears that they were lost when it polls again. Meanwhile it works on with what it has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

import numpy as np

from stream.broker import Assignee, Fetched, PartitionRecords
from tests.simulation.topic import Log, Record


@dataclass
class Coordinator:
    """The group's books.

    Attributes
    ----------
    members : names, in the order of joining
    target : partition -> member that shall have it
    owner : partition -> member that has it, as far as the group knows
    mirror : partition -> offset that was shown to lag tools last
    """

    logs: Sequence[Log]
    random: Random
    note: Callable[[str], None]
    members: dict[str, GroupMember] = field(default_factory=dict)
    target: dict[int, str] = field(default_factory=dict)
    owner: dict[int, str] = field(default_factory=dict)
    mirror: dict[int, int] = field(default_factory=dict)

    def hears_late(self) -> bool:
        """Whether a member that was expelled does not know yet."""
        return self.random.random() < 0.5

    def join(self, member: GroupMember) -> None:
        """Admit a member; one of the same name is replaced, and its partitions stay where they are."""
        former = self.members.get(member.name)
        if former is member:
            return
        if former is not None:
            former.is_expelled = True
        member.is_expelled = False
        self.members[member.name] = member
        self.note("joined")
        if former is None or not set(self.target.values()) <= set(self.members):
            self.rebalance()

    def expel(self, member: GroupMember) -> None:
        """Take a member for dead: its partitions are free."""
        if self.members.get(member.name) is member:
            member.is_expelled = True
            self._forget(member)
            self.note("expelled")

    def leave(self, member: GroupMember) -> None:
        """Let a member go, which has given everything back."""
        if self.members.get(member.name) is member:
            self._forget(member)

    def _forget(self, member: GroupMember) -> None:
        del self.members[member.name]
        self.owner = {partition: name for partition, name in self.owner.items() if name != member.name}
        self.rebalance()

    def rebalance(self) -> None:
        """Share the partitions out anew; who has one mostly keeps it."""
        names = list(self.members)
        self.note("rebalance")
        self.target = {}
        for log in self.logs:
            had = self.owner.get(log.partition)
            if had in names and self.random.random() < 0.6:
                self.target[log.partition] = had
            elif names:
                self.target[log.partition] = self.random.choice(names)


@dataclass
class Fetching:
    """Where a member reads one partition."""

    position: int
    told_end: int | None = None
    is_paused: bool = False


@dataclass
class GroupMember:
    """One process's membership: `stream.broker.Broker`.

    Attributes
    ----------
    point : where -> None           may kill the process, or hold it up
    on_given : partition -> None    called before the process takes it over
    on_mirror : offsets -> None     called before they are shown
    """

    name: str
    coordinator: Coordinator
    point: Callable[[str], None]
    on_given: Callable[[int], None]
    on_mirror: Callable[[Mapping[int, int]], None]
    held: dict[int, Fetching] = field(default_factory=dict)
    is_expelled: bool = False
    is_closed: bool = False

    def poll(self, assignee: Assignee) -> Fetched:
        """Hand out and take back, then fetch a little; see `stream.broker.Broker`."""
        self.point("before a poll")
        if self.is_expelled and self.coordinator.hears_late():
            return self._fetch()  # what was fetched ahead comes first
        if self.is_expelled:
            self._lose(assignee)
        self.coordinator.join(self)
        self._give_back(assignee)
        self._take(assignee)
        return self._fetch()

    def _lose(self, assignee: Assignee) -> None:
        lost = sorted(self.held)
        if lost:
            self.coordinator.note("lost")
            assignee.on_lost(lost)
        self.held.clear()

    def _give_back(self, assignee: Assignee) -> None:
        books = self.coordinator
        for partition, name in list(books.owner.items()):
            if name == self.name and partition not in self.held and books.target.get(partition) != name:
                del books.owner[partition]  # of a former process of this name
        moving = sorted(p for p in self.held if books.target.get(p) != self.name)
        if moving and not self.is_expelled:
            books.note("revoked")
            assignee.on_revoked(moving)
            for partition in moving:
                del self.held[partition]
                if not self.is_expelled and books.owner.get(partition) == self.name:
                    del books.owner[partition]

    def _take(self, assignee: Assignee) -> None:
        books = self.coordinator
        given = [p for p, name in books.target.items() if name == self.name and p not in self.held]
        given = sorted(p for p in given if books.owner.get(p) in (None, self.name))
        if not given or self.is_expelled:
            return
        if len(given) > 1 and books.random.random() < 0.3:
            given = given[:1]
        for partition in given:
            books.owner[partition] = self.name
            self.on_given(partition)
        books.note("assigned")
        self.held |= {p: Fetching(position) for p, position in assignee.on_assigned(given).items()}

    def _fetch(self) -> Fetched:
        random, brought, ends = self.coordinator.random, [], {}
        for partition, fetching in sorted(self.held.items()):
            log = self.coordinator.logs[partition]
            if fetching.is_paused or random.random() < 0.15:
                continue
            position = fetching.position
            if position > log.earliest and random.random() < 0.04:
                position -= min(position - log.earliest, random.randint(1, 4))
                self.coordinator.note("delivered again")
            records = log.fetch(position, random.choice([1, 3, 8, 20]))
            if records:
                brought.append(_records(partition, records))
                fetching.position = max(fetching.position, records[-1].offset + 1)
            if not log.fetch(fetching.position, 1) and fetching.told_end != log.end_now:
                ends[partition] = fetching.told_end = log.end_now
        return Fetched(brought, ends)

    def start_of(self, partition: int, stored: int | None) -> int:
        """Read on at the stored offset, or at the earliest."""
        return self.coordinator.logs[partition].earliest if stored is None else stored

    def pause(self, partitions: Iterable[int]) -> None:
        """Fetch no more of them."""
        for partition in partitions:
            if partition in self.held:
                self.held[partition].is_paused = True
                self.coordinator.note("paused")

    def resume(self, partitions: Iterable[int]) -> None:
        """Fetch them again; the end is told anew."""
        for partition in partitions:
            if partition in self.held:
                self.held[partition].is_paused, self.held[partition].told_end = False, None

    def mirror(self, offsets: Mapping[int, int]) -> None:
        """Show offsets, or lose them on the way."""
        self.on_mirror(offsets)
        if self.coordinator.random.random() < 0.7:
            self.coordinator.mirror.update(offsets)

    def close(self, assignee: Assignee) -> None:
        """Give everything back and leave."""
        if self.is_closed:
            return
        self.is_closed = True
        if self.is_expelled:
            self._lose(assignee)
        elif self.held:
            assignee.on_revoked(sorted(self.held))
        self.held.clear()
        self.coordinator.leave(self)


def _records(partition: int, records: Sequence[Record]) -> PartitionRecords:
    offsets = np.array([record.offset for record in records], np.int64)
    return PartitionRecords(partition, [record.value for record in records], offsets, lambda at: records[at].key)
