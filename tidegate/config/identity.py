"""What tells runs apart: all settings but these."""

from __future__ import annotations

ENGINE_ACCESS = (
    "engine_url",
    "api_key",
    "engine_concurrency",
    "engine_timeout",
    "engine_patience",
    "engine_options",
)
"""How an engine is reached."""

# What a run is not known by: where its files lie and how it is watched.
NOT_IDENTITY = {
    "source",  # known by what it is (an absolute path, a topic), not by how it was written
    "home",
    "serve",
    "alert_tokens",
    "alert_cooldown",
    "host",
    "port",
    "expose",
    "metrics_port",
    "metrics_host",
    "expose_metrics",
    "hit_rate_objective",
    "follow",
    "from_earliest",
    "kafka",
    "schema_registry",
    "registry",
    "checkpoint_records",
    "keep_versions",
    # What a table must show to be published: a person may loosen it, and the run goes on where it was.
    "min_coverage",
    "coverage_tolerance",
    "max_invalid_share",
    "min_label_mass",
    "min_exact_match",
    "max_changed_selective",
    "max_changed_full",
    "hit_loss_z",
    "tables",
    "publish_topic",
    "chunk_rows",
    # Rows are known by what the engine says of itself, whichever way it is reached.
    *ENGINE_ACCESS,
}

# Not part of it at their default, so that runs from before there were such settings are still known.
IDENTITY_IF_SET = {
    "engine_model",
    "scoring",
    "described_by",
    "template",
    "retrieval",
    "retrieval_by",
    "retrieval_support",
    "n_retrieved",
    "event_id_column",
    "duplicates",
    "message_format",
    "max_calls",
    "max_calls_per_day",
    "false_alarm_windows",
    "detector",
}
