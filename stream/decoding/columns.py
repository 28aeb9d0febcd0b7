"""Which column of an input is the user, the item, the cluster and the time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from stream.decoding.engagement import PositiveRule
from stream.decoding.item_map import ItemClusters
from stream.decoding.times import check_time_unit
from tidegate.errors import ConfigError, MissingColumnError

USER_COLUMNS = ("user_id", "user")
ITEM_COLUMNS = ("item_id", "item")
CLUSTER_COLUMNS = ("category", "cluster")
TIME_COLUMNS = ("timestamp", "time", "event_time", "ts")
DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class DecodeOptions:
    """How records become events.

    Attributes
    ----------
    user_column, item_column, cluster_column, time_column : str, optional
        None takes the first usual name that the input has (`USER_COLUMNS` and so on).
    time_unit : {'s', 'ms', 'us', 'ns', 'iso'}
        Of numeric and textual times; timestamp columns carry their own.
    positive : PositiveRule, optional
        None holds every event positive.
    item_clusters : ItemClusters, optional
        Gives clusters to items where the input has no cluster column.
    known_clusters : frozenset of str, optional
        The catalogue; None takes every name that appears.
    event_id_column : str, optional
        Ids by which a producer's duplicates are told; None where there are none.
    max_ahead_ms : int
        How far ahead of the clock an event may be before it is set aside as FUTURE.

    Raises
    ------
    ConfigError
        If the unit is unknown or the bound negative.
    """

    user_column: str | None = None
    item_column: str | None = None
    cluster_column: str | None = None
    time_column: str | None = None
    time_unit: str = "s"
    positive: PositiveRule | None = None
    item_clusters: ItemClusters | None = None
    known_clusters: frozenset[str] | None = None
    event_id_column: str | None = None
    max_ahead_ms: int = DAY_MS

    def __post_init__(self) -> None:
        check_time_unit(self.time_unit)
        if self.max_ahead_ms < 0:
            raise ConfigError(f"the bound is {self.max_ahead_ms} ms", "Give zero or more", place="max_ahead_ms")


@dataclass(frozen=True, slots=True)
class ColumnMap:
    """The columns that are read.

    Attributes
    ----------
    user, time : str
    label : str             the cluster's column, or the item's where `label_is_item`
    label_is_item : bool
    rule : tuple of str     what the engagement rule reads
    event_id : str or None
    """

    user: str
    time: str
    label: str
    label_is_item: bool
    rule: tuple[str, ...] = ()
    event_id: str | None = None

    @property
    def needed(self) -> tuple[str, ...]:
        """Every column once, in a fixed order."""
        event_id = () if self.event_id is None else (self.event_id,)
        return tuple(dict.fromkeys((self.user, self.time, self.label, *self.rule, *event_id)))


def map_columns(available: Iterable[str], options: DecodeOptions, place: str) -> ColumnMap:
    """Find the columns that `options` name, or the usual ones.

    Raises
    ------
    MissingColumnError
        Naming the columns that `place` does have and the flag that maps another one.
    """
    found = tuple(available)
    rule = options.positive.columns if options.positive else ()
    for name in rule:
        _pick(found, name, (), "--positive", place)
    event_id = options.event_id_column
    if event_id is not None:
        _pick(found, event_id, (), "--event-id-column", place)
    user = _pick(found, options.user_column, USER_COLUMNS, "--user-column", place)
    time = _pick(found, options.time_column, TIME_COLUMNS, "--time-column", place)
    has_cluster = options.cluster_column is not None or any(name in found for name in CLUSTER_COLUMNS)
    is_item = options.item_clusters is not None and not has_cluster
    if is_item:
        label = _pick(found, options.item_column, ITEM_COLUMNS, "--item-column", place)
    else:
        label = _pick(found, options.cluster_column, CLUSTER_COLUMNS, "--cluster-column", place)
    return ColumnMap(user, time, label, is_item, rule, event_id)


def candidate_columns(options: DecodeOptions) -> tuple[ColumnMap, dict[str, tuple[str, ...]]]:
    """Map the columns of messages, which have no header to look at: each role reads the first name that a message has.

    With an item map, clusters come from items unless the cluster's column is named.

    Returns
    -------
    columns : ColumnMap          named by the first candidates
    candidates : dict            column of the map -> names to look for, in this order
    """
    is_item = options.item_clusters is not None and options.cluster_column is None
    label = _candidates(options.item_column, ITEM_COLUMNS) if is_item else None
    roles = (
        _candidates(options.user_column, USER_COLUMNS),
        _candidates(options.time_column, TIME_COLUMNS),
        label or _candidates(options.cluster_column, CLUSTER_COLUMNS),
    )
    rule = options.positive.columns if options.positive else ()
    event_id = options.event_id_column
    alone = (*rule, *((event_id,) if event_id is not None else ()))
    candidates = {name: (name,) for name in alone} | {names[0]: names for names in roles}
    return ColumnMap(roles[0][0], roles[1][0], roles[2][0], is_item, rule, event_id), candidates


def _candidates(chosen: str | None, usual: tuple[str, ...]) -> tuple[str, ...]:
    return (chosen,) if chosen is not None else usual


def _pick(found: tuple[str, ...], chosen: str | None, usual: tuple[str, ...], flag: str, place: str) -> str:
    for name in _candidates(chosen, usual):
        if name in found:
            return name
    wanted = " or ".join(_candidates(chosen, usual))
    listed = ", ".join(found) if found else "none"
    mend = f"Name existing columns in {flag}" if flag == "--positive" else f"Name the column with {flag}"
    raise MissingColumnError(f"there is no column {wanted}; the columns are: {listed}", mend, place=place)
