"""The worlds that have a name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from stream.worlds.settings import Drift, DriftKind
from stream.worlds.world import World
from tidegate.errors import RequestError

_ABRUPT = Drift(DriftKind.ABRUPT, traffic_share=0.3, start=0.5)
_GRADUAL = Drift(DriftKind.GRADUAL, traffic_share=0.3, start=0.35, end=0.75)
_SEASONAL = Drift(DriftKind.SEASONAL, traffic_share=0.3, period_days=14)

_ALL = (
    World("flat"),
    World("diurnal", diurnal=0.9),
    World("growth", growth=3.0),
    World("heavy", pareto=0.6),
    World("abrupt", drifts=(_ABRUPT,)),
    World("gradual", drifts=(_GRADUAL,)),
    World("seasonal", drifts=(_SEASONAL,)),
    World(
        "mixed",
        growth=3.0,
        drifts=(
            replace(_ABRUPT, traffic_share=0.2),
            replace(_GRADUAL, traffic_share=0.2),
            replace(_SEASONAL, traffic_share=0.2),
        ),
    ),
    World(
        "relations",
        n_clusters=64,
        n_groups=4,
        n_successors=60,
        n_first=60,
        own_order=3.0,
        days=18,
        sessions_per_day=1_500,
        drifts=(Drift(DriftKind.RELATIONS, traffic_share=0.9, start=0.5),),
    ),
    World("demo", diurnal=0.5, drifts=(replace(_ABRUPT, start=1 / 3), replace(_ABRUPT, start=2 / 3))),
)
WORLDS: Mapping[str, World] = MappingProxyType({world.name: world for world in _ALL})
"""`flat`, `diurnal`, `growth` and `heavy` have no drift, and must not look as if they had."""


def world_named(name: str) -> World:
    """Look up a world.

    Raises
    ------
    RequestError
        If no world has that name.

    Examples
    --------
    >>> world_named("growth").growth
    3.0
    """
    if name not in WORLDS:
        raise RequestError(f"there is no world {name!r}", f"Choose one of {', '.join(WORLDS)}", place="--world")
    return WORLDS[name]
