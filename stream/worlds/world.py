"""A synthetic world: settings, what follows from them, and its days."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

from stream.worlds.draws import WORLD_STREAM, generator
from stream.worlds.interests import Interests, PlantedDrift, make_interests
from stream.worlds.population import Population, make_population
from stream.worlds.sessions import DayOfEvents, make_day
from stream.worlds.settings import SECONDS_PER_DAY, WorldSettings


class World(WorldSettings):
    """A world that can be watched day by day; `dataclasses.replace` makes another like it.

    Until the first drift, worlds that differ in their drifts alone show the same events.

    Examples
    --------
    >>> day = next(World("flat", sessions_per_day=100).days_of_events())
    >>> bool((day.time_s[1:] >= day.time_s[:-1]).all())
    True
    """

    @cached_property
    def population(self) -> Population:
        """Its users."""
        return make_population(self, generator(self.seed, WORLD_STREAM, 0))

    @cached_property
    def interests(self) -> Interests:
        """What follows what in it."""
        starts = self.population.start_shares(self.loyalty)
        return make_interests(self, starts, generator(self.seed, WORLD_STREAM, 1))

    @property
    def end_s(self) -> int:
        """The midnight after its last day, Unix seconds."""
        return self.midnight_s(self.days)

    def midnight_s(self, day: int) -> int:
        """When `day` starts, Unix seconds."""
        return self.start_s + day * SECONDS_PER_DAY

    def days_of_events(self) -> Iterator[DayOfEvents]:
        """Yield its days in order."""
        for day in range(self.days):
            yield make_day(self, self.population, self.interests, day)


def expected_drift(world: World) -> tuple[PlantedDrift, ...]:
    """List what drifts in a world, when, and to what: its ground truth."""
    return world.interests.planted
