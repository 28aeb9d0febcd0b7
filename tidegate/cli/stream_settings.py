"""Settings of the stream's parts, from the settings of a run. Loads nothing of the other rooms."""

from __future__ import annotations

from stream.decoding.catalogue_file import load_catalogue
from stream.decoding.columns import DecodeOptions
from stream.decoding.engagement import PositiveRule
from stream.decoding.item_map import load_item_clusters
from stream.decoding.messages.formats import MessageFormat, RegistryOptions
from stream.drift.budget import FalseAlarmBudget
from stream.drift.course import CourseOptions
from stream.drift.detectors.contract import DetectorName
from stream.drift.options import DriftOptions
from stream.sequences import Dedup, SequenceOptions
from stream.shard import ShardOptions
from tidegate.config import RunSettings
from tidegate.durations import parse_duration


def sequence_options(settings: RunSettings) -> SequenceOptions:
    """How watches become transitions."""
    return SequenceOptions(
        pane_ms=parse_duration(settings.pane, name="--pane"),
        window_ms=parse_duration(settings.window, name="--window"),
        gap_ms=settings.gap_ms,
        dedup=Dedup(settings.dedup),
        allow_return=settings.allow_return,
    )


def shard_options(settings: RunSettings, sequences: SequenceOptions) -> ShardOptions:
    """How events are admitted."""
    has_ids = settings.event_id_column is not None
    return ShardOptions(
        sequences=sequences,
        lateness_ms=parse_duration(settings.lateness, name="--lateness"),
        follows=settings.follow,
        duplicates_ms=parse_duration(settings.duplicates, name="--duplicates") if has_ids else None,
    )


def catalogue_of(settings: RunSettings) -> tuple[str, ...]:
    """Names of the known clusters; empty where all names are taken as they come."""
    return tuple(load_catalogue(settings.catalogue).names) if settings.catalogue else ()


def decode_options(settings: RunSettings, catalogue: tuple[str, ...]) -> DecodeOptions:
    """How records become events."""
    return DecodeOptions(
        user_column=settings.user_column,
        item_column=settings.item_column,
        cluster_column=settings.cluster_column,
        time_column=settings.time_column,
        time_unit=settings.time_unit,
        positive=PositiveRule.parse(settings.positive) if settings.positive else None,
        item_clusters=load_item_clusters(settings.items, settings.item_column or "item_id", settings.cluster_column)
        if settings.items
        else None,
        known_clusters=frozenset(catalogue) if catalogue else None,
        event_id_column=settings.event_id_column,
        max_ahead_ms=parse_duration(settings.max_ahead, name="--max-ahead"),
    )


def kafka_properties(settings: RunSettings) -> dict[str, str]:
    """Properties of librdkafka, secrets opened."""
    return {key: secret.get_secret_value() for key, secret in settings.kafka.items()}


def message_format(settings: RunSettings) -> MessageFormat:
    """Say what a topic's messages are, secrets of the registry opened."""
    if settings.schema_registry is None:
        return MessageFormat()
    properties = {key: secret.get_secret_value() for key, secret in settings.registry.items()}
    registry = RegistryOptions(settings.schema_registry.get_secret_value(), properties)
    return MessageFormat(settings.message_format, registry)


def drift_options(settings: RunSettings) -> DriftOptions:
    """How drift is measured."""
    budget = FalseAlarmBudget(settings.false_alarm_windows)
    return DriftOptions(
        min_support=settings.min_support,
        n_permutations=settings.permutations,
        max_permutations=max(20_000, settings.permutations),
        fdr=settings.fdr,
        alarm_p=budget.window_p,
        front_p=budget.front_p,
        table_permutations=budget.table_permutations,
        seed=settings.seed,
    )


def course_options(settings: RunSettings, sequences: SequenceOptions) -> CourseOptions:
    """How the course of drift is watched."""
    return CourseOptions(
        detector=DetectorName(settings.detector),
        false_alarm_windows=FalseAlarmBudget(settings.false_alarm_windows).course_windows,
        window_panes=sequences.window_panes,
    )
