"""Settings of a run, field by field, and what it is known by."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

import msgspec
from pydantic import Field, SecretStr, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from tidegate.config.identity import IDENTITY_IF_SET, NOT_IDENTITY
from tidegate.config.names import NEVER, PREFIX, flag_of
from tidegate.durations import parse_duration
from tidegate.errors import ConfigError


class RunSettings(BaseSettings):
    """What ``tidegate run`` is told. Durations are texts such as ``1d``; see `tidegate.durations`."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True)

    source: str = Field(description="a file (.csv, .jsonl, .parquet, also .gz) or kafka://HOST:PORT/TOPIC")
    home: Path = Field(Path(".tidegate"), description="folder of the store, tables, models and rows")
    positive: str | None = Field(None, description="rule of positive engagement, e.g. 'engagement >= 0.5'")
    pane: str = Field("1d", description="smallest unit of event time that is counted")
    window: str = Field("3d", description="rolling span that a decision looks at, a multiple of the pane")
    gap: str = Field("1d", description="inactivity that starts a new sequence; 'none' never does")
    lateness: str = Field("5m", description="how far events may lag behind the latest one of their partition")
    max_ahead: str = Field("1h", description="how far timestamps may be ahead of the wall clock")
    user_column: str | None = Field(None, description="default: user_id, then user")
    item_column: str | None = Field(None, description="default: item_id, then item")
    cluster_column: str | None = Field(None, description="default: category, then cluster")
    time_column: str | None = Field(None, description="default: timestamp, time, event_time, then ts")
    time_unit: Literal["s", "ms", "us", "ns", "iso"] = Field("s", description="unit of numeric times")
    event_id_column: str | None = Field(None, description="id by which a producer's duplicates are dropped")
    duplicates: str = Field("1h", description="how far behind the latest event an event id is remembered")
    items: Path | None = Field(None, description="item -> cluster mapping, for events that carry items only")
    catalogue: Path | None = Field(None, description="the known clusters (with keywords); others are set aside")
    dedup: Literal["first", "adjacent"] = Field("first", description="which repeats a sequence leaves out")
    allow_return: bool = Field(False, description="let c_next equal c1 (adjacent de-duplication only)")
    engine: str = Field("embedded", description="what infers rows: embedded, frequency, openai or vllm")
    model: Path | None = Field(
        None,
        description="model folder; default: trained in the run (embedded, vllm), or only the server has it (openai)",
    )
    engine_url: str | None = Field(None, description="URL of the openai engine's server, e.g. http://localhost:8000/v1")
    engine_model: str | None = Field(None, description="that server's name for the model; default: its only one")
    api_key: SecretStr | None = Field(None, description="that server's key; better in the environment or a file")
    engine_concurrency: int = Field(8, ge=1, le=1_024, description="requests to that server at once")
    engine_timeout: str = Field("2m", description="how long that server may take for one request")
    engine_patience: str = Field("5m", description="how long one request is repeated before the refresh fails")
    engine_options: dict[str, str] = Field(
        default_factory=dict, description="arguments of vllm.LLM, e.g. tensor_parallel_size=2"
    )
    scoring: Literal["codes", "description"] = Field(
        "codes", description="what a model answers: one of the allowed codes, or freely a cluster's description"
    )
    described_by: Literal["name", "keywords"] = Field(
        "name", description="what describes a cluster in such an answer; its code, where Tidegate trained the model"
    )
    template: str | None = Field(
        None, description="how a model is asked, and one trained here is taught: a packaged template, or NAME.vN.txt"
    )
    retrieval: Literal["instance", "global"] = Field(
        "instance", description="whose successors a prompt's line names: the pair's own, or everybody's"
    )
    retrieval_by: Literal["frequency", "trend"] = Field(
        "frequency", description="which of them: those of the largest share, or of the largest growth of it"
    )
    retrieval_support: int = Field(
        5, ge=0, description="transitions below which the line of a pair is that of c2, where it is retrieved by trend"
    )
    n_retrieved: int | None = Field(
        None, ge=1, le=8, description="clusters in the line; default: 1, or as many as the given model was taught"
    )
    policy: str = Field(
        "adaptive", description="adaptive, or a baseline: never, always, every:N (panes), every:2d, backoff, cusum …"
    )
    price: float = Field(0.3, ge=0, description="misses that one call must save")
    horizon_windows: float = Field(4.0, gt=0, description="windows that a row is expected to serve")
    confidence_z: float = Field(0.25, ge=0, description="standard deviations between a gain and its lower bound")
    cooldown_panes: int = Field(0, ge=0, description="panes before a row is bought again without proven drift")
    max_calls: int | None = Field(None, ge=0, description="most rows that one refresh may buy")
    max_calls_per_day: int | None = Field(
        None, ge=0, description="most rows bought in 24 hours of event time, the first table left out"
    )
    backoff: Literal["counts", "engine"] = Field(
        "counts", description="where rows of c2 come from: counts cost no call"
    )
    min_support: int = Field(20, ge=1, description="transitions a side below which a pair is not compared")
    permutations: int = Field(200, ge=20, description="permutations behind the null")
    fdr: float = Field(0.10, gt=0, lt=1, description="false discovery rate of flagged pairs")
    false_alarm_windows: float = Field(
        1_000.0, ge=10, le=100_000, description="windows that may pass, without drift, until drift is alarmed once"
    )
    detector: Literal["cusum", "shiryaev_roberts", "page_hinkley", "adwin", "kswin"] = Field(
        "cusum", description="who watches the course of drift over windows"
    )
    top_n: int = Field(5, ge=1, le=20, description="ranked answers kept of each row")
    chunk_rows: int = Field(4_096, ge=1, description="rows inferred at a time: what a crash may cost a worker at most")
    tables: str | None = Field(
        None,
        description="place of the table versions: a folder, or a URL of fsspec; default: tables in the home folder",
    )
    publish_topic: str | None = Field(
        None, description="compacted topic, beside the source's, that the serving table's rows are sent to"
    )
    min_coverage: float = Field(
        0.5, ge=0, le=1, description="share of the window that a table must answer, if the one before did"
    )
    coverage_tolerance: float = Field(
        0.02, ge=0, le=1, description="share of the window that may lose its answer by a refresh"
    )
    max_invalid_share: float = Field(0.02, ge=0, le=1, description="share of answers that may be invalid")
    min_label_mass: float = Field(
        0.5, ge=0, le=1, description="mean probability that a free answer would be an allowed one"
    )
    min_exact_match: float = Field(
        0.9, ge=0, le=1, description="share of free answers that must be a cluster's description or code"
    )
    max_changed_selective: float = Field(
        0.8, ge=0, le=1, description="share of rows whose answer may change where rows were chosen"
    )
    max_changed_full: float = Field(
        0.95, ge=0, le=1, description="share of rows whose answer may change where all were asked for"
    )
    hit_loss_z: float = Field(3.0, ge=0, description="standard deviations of hits lost that are taken for chance")
    keep_versions: int = Field(100, ge=2, description="table versions kept; the serving one always is")
    seed: int = Field(0, ge=0, description="of every random choice")
    follow: bool = Field(False, description="stay at the end of a topic and wait for more")
    from_earliest: bool = Field(False, description="give up records that the topic no longer holds, and go on")
    serve: bool = Field(False, description="keep metrics and lookup up over HTTP")
    host: str = Field("127.0.0.1", description="address to serve on")
    port: int = Field(9464, ge=0, le=65535, description="port to serve on; 0 takes a free one")
    expose: bool = Field(False, description="serve on an address that other machines reach: there is no TLS or login")
    metrics_port: int | None = Field(
        None, ge=0, le=65535, description="port of the process's own metrics and health; 0 takes a free one"
    )
    metrics_host: str = Field("127.0.0.1", description="address of that port")
    expose_metrics: bool = Field(False, description="let other machines reach that port: it has no TLS and no login")
    hit_rate_objective: float | None = Field(
        None, gt=0, le=1, description="next-hit rate that alerts hold against; default: 0.9 of the level at first"
    )
    alert_tokens: SecretStr | None = Field(
        None, description="bearer token of POST /alerts, or two while they are exchanged; better in a file"
    )
    alert_cooldown: str = Field(
        "30m", description="time after an alert's refresh in which others ask for none; 'none' lets all"
    )
    checkpoint_records: int = Field(1_000_000, ge=1, description="records between commits")
    kafka: dict[str, SecretStr] = Field(default_factory=dict, description="librdkafka properties, passed through")
    message_format: Literal["json", "avro", "protobuf"] = Field(
        "json", description="what a topic's messages are; the latter two are read with a schema registry"
    )
    schema_registry: SecretStr | None = Field(
        None, description="URL of the schema registry, several ones parted by commas"
    )
    registry: dict[str, SecretStr] = Field(
        default_factory=dict, description="properties of the registry's client, e.g. basic.auth.user.info"
    )

    @field_validator(
        "pane",
        "window",
        "gap",
        "lateness",
        "max_ahead",
        "duplicates",
        "engine_timeout",
        "engine_patience",
        "alert_cooldown",
    )
    @classmethod
    def _is_duration(cls, text: str, info: ValidationInfo) -> str:
        if text != NEVER or info.field_name not in ("gap", "alert_cooldown"):
            parse_duration(text, name=flag_of(info.field_name or ""))
        return text

    @model_validator(mode="after")
    def _has_its_registry(self) -> Self:
        """Refuse a format whose schemas nobody has, and a registry that nobody asks."""
        is_framed = self.message_format != "json"
        if is_framed and not self.source.startswith("kafka://"):
            raise ConfigError(
                f"{self.message_format} is a format of messages, and {self.source} is no topic",
                "Give kafka://HOST:PORT/TOPIC, or leave the format out: a file is known by its suffix",
                place="--message-format",
            )
        if is_framed and self.schema_registry is None:
            raise ConfigError(
                f"the schemas of {self.message_format} messages are in a registry, and none is named",
                "Give its URL with --schema-registry",
                place="--message-format",
            )
        for name, given in (("schema_registry", self.schema_registry), ("registry", self.registry)):
            if given and not is_framed:
                raise ConfigError(
                    "JSON messages have no schema in a registry",
                    "Leave it out, or name the format with --message-format avro or protobuf",
                    place=flag_of(name),
                )
        return self

    @classmethod
    def _apart(cls) -> set[str]:
        """Fields that a run is not known by."""
        return NOT_IDENTITY

    @property
    def gap_ms(self) -> int | None:
        """The inactivity gap in ms, None where sequences never split."""
        return None if self.gap == "none" else parse_duration(self.gap, name="--gap")

    def identity(self) -> str:
        """Write all flags that a run is known by, beside its source's own identity, as one line of JSON."""
        kept = {
            name: str(value.resolve()) if isinstance(value, Path) else value
            for name, value in self.model_dump().items()
            if name not in self._apart()
            and not (name in IDENTITY_IF_SET and value == type(self).model_fields[name].default)
        }
        return msgspec.json.encode(kept, order="sorted").decode()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take the constructor (flags, with the TOML file beneath them) and the environment; read no dotenv file."""
        return init_settings, env_settings
