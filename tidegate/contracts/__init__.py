"""Wire records: what the rooms say to each other, in one process or through topics.

All are frozen msgspec structs; unknown fields are ignored when read, so that an older reader meets a newer writer.
Times are milliseconds since the Unix epoch, UTC. Cluster ids are those of the run's catalogue.
"""

from __future__ import annotations

import hashlib
from enum import StrEnum

import msgspec


class Reason(StrEnum):
    """Why a row is worth a call (or why it is dropped)."""

    FIRST_TABLE = "first_table"  # there was no table yet
    FIRST_SIGHT = "first_sight"  # the pair had no row yet
    DRIFT = "drift"  # the pair is in the window's flagged set and the window as a whole drifts
    EVIDENCE = "evidence"  # the context changed and pays, though drift is not proven
    SCHEDULE = "schedule"  # a calendar policy asked
    FINE_TUNE = "fine_tune"  # new weights answer all rows anew
    OPERATOR = "operator"  # a person or an alert asked
    RETIRED = "retired"  # the pair's backoff serves it better now: the row is dropped, no call


class Trigger(StrEnum):
    """What a refresh, as a whole, came from."""

    FIRST_TABLE = "first_table"
    POLICY = "policy"
    SCHEDULE = "schedule"
    FINE_TUNE = "fine_tune"
    OPERATOR = "operator"  # a person
    ALERT = "alert"

    @property
    def is_apart(self) -> bool:
        """Whether it was asked for from outside, apart from what the run itself decides at the ends of panes."""
        return self in (Trigger.OPERATOR, Trigger.ALERT)


class PairDrift(msgspec.Struct, frozen=True, kw_only=True):
    """One compared pair of a drift report.

    ``jaccard`` is the raw measure, on all counts. ``drift`` is ``1 - J / null`` with J at the matched counts that the
    null is measured at, so where traffic differs it is not ``1 - jaccard / null``; the counts it rests on stand
    beside it.
    """

    c1: int
    c2: int
    n_window: int
    n_reference: int
    jaccard: float
    null: float
    drift: float
    p_value: float
    flagged: bool
    rbo: float | None = None
    """Rank-biased overlap of the whole rankings, at full counts like `jaccard`."""
    rbo_null: float | None = None
    """The same with no drift, at matched counts like `null`."""


class ClusterDrift(msgspec.Struct, frozen=True, kw_only=True):
    """One cluster of a drift report: its compared pairs together. Overlaps weigh pairs by their traffic in the window.

    ``z`` is in standard deviations of its pairs' summed statistic above the permutation mean; None where nothing can be
    exchanged. ``null`` and ``drift`` are at matched counts, ``jaccard`` is not, see `PairDrift`.
    """

    cluster: int
    pairs: int
    n_window: int
    n_reference: int
    jaccard: float
    null: float
    drift: float
    z: float | None
    p_value: float
    flagged: bool


class LevelDrift(msgspec.Struct, frozen=True, kw_only=True):
    """Pairs of a drift report by their first, or by their second cluster.

    ``compared`` and ``flagged`` count clusters, by false discovery rate within the level; ``clusters`` lists those with
    the smallest p-values, the heavier first among equals.
    """

    compared: int
    flagged: int
    clusters: tuple[ClusterDrift, ...] = ()


class BackoffRowDrift(msgspec.Struct, frozen=True, kw_only=True):
    """One row ``(c2 -> c_next)`` of the backoff, compared as a pair is, and the thin pairs that it stands in for."""

    c2: int
    thin_pairs: int
    n_window: int
    n_reference: int
    jaccard: float
    null: float
    drift: float
    p_value: float
    flagged: bool


class BackoffDrift(msgspec.Struct, frozen=True, kw_only=True):
    """What stands in for pairs that are too thin to be compared: the counts of their ``c2``, pooled over all ``c1``.

    ``thin_pairs`` and ``thin_transitions`` (of the window) are those whose row is among the ``rows`` compared; means
    are over rows, as in `DriftReport`. ``heaviest`` lists flagged rows, by the transitions of the window.
    """

    rows: int
    flagged_rows: int
    thin_pairs: int
    thin_transitions: int
    jaccard_mean: float | None
    null_mean: float | None
    drift_mean: float | None
    drift_traffic_mean: float | None
    heaviest: tuple[BackoffRowDrift, ...] = ()


class FrontDrift(msgspec.Struct, frozen=True, kw_only=True):
    """What the newest pane alone looked like against the window's reference: the urgent look.

    ``alarmed`` says whether the pane as a whole drifts; ``flagged_pairs`` are counted, and ``flagged`` lists them,
    only where it does. ``is_repeated`` says that the pane one window before stood out as far: a cycle of the window's
    length, such as a weekend, and no alarm then.
    """

    transitions: int
    pairs: int
    table_z: float | None
    table_p: float
    alarmed: bool
    flagged_pairs: int = 0
    flagged: tuple[PairDrift, ...] = ()
    is_repeated: bool = False


class DriftCourse(msgspec.Struct, frozen=True, kw_only=True):
    """What a detector says of the course of drift over windows.

    ``score`` is the window's, standard normal if nothing drifts; None where nothing could be compared. ``statistic`` is
    what the detector held against its ``threshold``, None where it does not tell.
    """

    detector: str
    score: float | None
    statistic: float | None
    threshold: float
    is_signalled: bool
    windows_since_signal: int | None
    """0 at a signal; None before the first."""
    false_alarm_windows: float
    """Windows until the detector is expected to be wrong, if nothing drifts."""


class DriftReport(msgspec.Struct, frozen=True, kw_only=True):
    """What one window looked like against its reference.

    Means are unweighted over the pairs with `min_support` transitions or more on both sides, and None where there
    is no such pair. ``drift_mean`` is ``1 - jaccard_matched_mean / null_mean``: the mean of the pairs' drifts, each
    weighed by its null, since a pair of which even exchanged users agree on nothing tells nothing. Hit rates are those
    of the window's last pane (None before a table serves).
    """

    run_id: str
    window_start_ms: int
    window_end_ms: int
    pane_ms: int
    min_support: int
    transitions: int
    pairs: int
    flagged_pairs: int
    jaccard_mean: float | None
    jaccard_variance: float | None
    null_mean: float | None
    drift_mean: float | None
    drift_traffic_mean: float | None
    """The same of means weighted by the pairs' transitions in the window."""
    table_z: float | None
    """Standard deviations by which the statistic summed over all pairs exceeds its permutation mean."""
    alarmed: bool
    """Whether the window as a whole drifts; without it no pair may be refreshed by reason of drift."""
    jaccard_matched_mean: float | None = None
    """J at the counts that the null is measured at: the one to hold against `null_mean`, where `jaccard_mean` is the
    paper's figure on all counts."""
    flagged: tuple[PairDrift, ...] = ()
    hit_rate_next: float | None = None
    hit_rate_sequence: float | None = None
    coverage: float | None = None
    table_p: float | None = None
    """Permutation p-value of `table_z`; None in reports from before it was kept."""
    front: FrontDrift | None = None
    """The newest pane alone; None where it is the whole window, or shares no pair with the reference."""
    course: DriftCourse | None = None
    """Added when the pane is decided: it rests on the windows before."""
    rbo_mean: float | None = None
    """Rank-biased overlap of the whole rankings at full counts: what Jaccard, of the top five alone, does not see."""
    rbo_null_mean: float | None = None
    """The same with no drift, at matched counts."""
    rbo_drift_mean: float | None = None
    """``1 - matched / null`` of the means of rank-biased overlap."""
    by_c1: LevelDrift | None = None
    by_c2: LevelDrift | None = None
    backoff: BackoffDrift | None = None
    """None in reports from before it was measured."""


class RowOrder(msgspec.Struct, frozen=True, kw_only=True):
    """One row that a refresh shall infer, and what was expected of it.

    ``c1`` is -1 for a row of the backoff level. ``gain_hits`` is the lower confidence bound of the hits regained
    over the horizon.
    """

    c1: int
    c2: int
    reason: Reason
    gain_hits: float
    replaces: int = -1
    """The best answer that was free before: the row's own or the backoff's; -1 where there was none."""


class RefreshOrder(msgspec.Struct, frozen=True, kw_only=True):
    """A request to refresh, with the rows and the reason.

    A calendar asks for every pair of the window (``all_rows``) instead of naming them.
    """

    order_id: str
    window_end_ms: int
    trigger: Trigger
    rows: tuple[RowOrder, ...] = ()
    all_rows: bool = False
    retired: tuple[tuple[int, int], ...] = ()
    """Pairs whose row is dropped, because their backoff serves them better: no call."""


class OrderPlaced(msgspec.Struct, frozen=True, kw_only=True):
    """Tells refreshers that an order is open. The order itself, with its rows, is in the store.

    ``trigger`` is None where only rows that cost no call are brought up to date.
    """

    run_id: str
    order_id: str
    pane: int
    window_end_ms: int
    trigger: Trigger | None
    n_rows: int
    all_rows: bool


class FineTuneReason(StrEnum):
    """Why new weights are asked for (design: deciding what is worth it)."""

    HIT_RATE = "hit_rate_below_level"
    DRIFT = "drift_since_fine_tune"
    AGE = "weights_too_old"


class FineTuneFlag(msgspec.Struct, frozen=True, kw_only=True):
    """A recorded, reasoned request for new weights, that a person approves or rejects."""

    flag_id: str
    window_end_ms: int
    reason: FineTuneReason
    numbers: dict[str, float]


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What the policy decided at one pane's end, with the inputs it looked at."""

    run_id: str
    window_end_ms: int
    policy: str
    inputs: dict[str, float | int | bool | None]
    order: RefreshOrder | None
    flag: FineTuneFlag | None
    explanation: str


class GateVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """What one gate before publishing says of a candidate table.

    ``found`` is held against ``required`` (at least, or at most: the sentence says which); both are None where the gate
    does not apply, which passes.
    """

    gate: str
    found: float | None
    required: float | None
    is_passed: bool
    sentence: str


class RecallCheck(msgspec.Struct, frozen=True, kw_only=True):
    """One look at the samples that a training stops by: users who teach it nothing."""

    step: int
    loss: float
    """Mean, nats."""
    recall: float
    """Share of samples whose target is the first answer."""


class FineTuneReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a training came to. Recalls are shares of test samples: of users that it never saw."""

    kind: str
    """``full`` or ``lora``."""
    candidate: str
    """Fingerprint."""
    samples: str
    """Checksum of the samples."""
    base: str | None
    """Fingerprint of the weights that it began from; None where it began from nothing."""
    why_from_nothing: str | None
    n_clusters: int
    n_taught: int
    n_validation: int
    n_test: int
    n_weights: int
    n_trained_weights: int
    device: str
    dtype: str
    seed: int
    recipe: dict[str, float | int]
    reading_losses: tuple[float, ...]
    """Loss of each step of the first lesson, to read the retrieved line; empty where weights could read already."""
    losses: tuple[float, ...]
    """Loss of each step, nats."""
    checks: tuple[RecallCheck, ...]
    best_step: int
    """Of the check whose weights the candidate has."""
    ended_by: str
    """``patience``: recall no longer rose and loss no longer fell; ``budget``: all passes were made."""
    recall: float
    traffic_recall: float
    """Each sample by the traffic that it stands for: labels were drawn with a cap."""
    base_recall: float | None
    """Of the weights that it began from."""
    line_recall: float
    """Had the retrieved line been the answer."""
    popular_recall: float
    """Had the most popular cluster been the answer."""
    chance: float
    copy_accuracy: float | None
    """Share of random lines, over all codes, that are answered by the line; None where it is not asked."""
    seconds: float


class RefreshResult(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an order.

    ``outcome`` is ``completed``, ``backoff_only`` (no order, rows that cost no call), ``gate_failed`` (the candidate is
    not good enough, so ``table_version`` goes on serving) or ``failed`` (likewise; ``problem`` says why).
    ``llm_calls`` counts the rows that the engine was asked for; ``reused`` those whose row key was known. ``model`` is
    the folder of the weights that answered, None for an engine without weights; ``rows_beyond_codebook`` were ordered
    but name a cluster that the model has no code for, so their backoff serves them. ``faults`` counts the rows that
    were invalid by what was wrong with them.
    """

    order_id: str
    window_end_ms: int
    trigger: Trigger
    outcome: str
    table_version: int
    llm_calls: int
    reused: int
    rows_changed: int
    rows_invalid: int
    rows_retired: int
    rows_beyond_codebook: int = 0
    model: str | None = None
    duration_seconds: float = 0.0
    gates: tuple[GateVerdict, ...] = ()
    """What was said of the candidate before it was published; empty where nothing changed."""
    candidate: int | None = None
    """Number that a candidate which failed is kept aside under, see ``tidegate refresh-gate``."""
    problem: str | None = None
    faults: dict[str, int] = {}
    prompt_tokens: int | None = None
    """In the prompts of the rows asked for, those from cache included; None where the engine does not tell."""
    cached_tokens: int | None = None
    output_tokens: int | None = None


class FineTuneStatus(StrEnum):
    """How far a fine-tune has come (docs/finetunes.md)."""

    FLAGGED = "flagged"  # asked for, by drift or the hit rate; nothing is done yet
    CURATING = "curating"  # samples are being taken from the latest windows
    TRAINING = "training"
    GATED = "gated"  # trained; the gates are judging the candidate
    PENDING_REVIEW = "pending_review"  # a person decides
    APPROVED = "approved"
    REJECTED = "rejected"
    SERVING = "serving"
    RETIRED = "retired"
    HALTED = "halted"  # a gate was not passed
    FAILED = "failed"  # a fault, on the way to the review


class FineTuneAction(StrEnum):
    """What moves a fine-tune on."""

    FLAG = "flag"
    BEGIN = "begin"
    CURATED = "curated"
    TRAINED = "trained"
    PASS = "pass"
    HALT = "halt"
    FAIL = "fail"
    RERUN = "rerun"
    PROCEED = "proceed"  # a person goes on in spite of a gate
    APPROVE = "approve"
    REJECT = "reject"
    SERVE = "serve"
    RETIRE = "retire"


class FineTuneStep(msgspec.Struct, frozen=True, kw_only=True, rename={"from_status": "from", "to_status": "to"}):
    """One step of a fine-tune: who took it, when, why, and the numbers that it rests on."""

    action: FineTuneAction
    from_status: FineTuneStatus | None
    """None for the first step."""
    to_status: FineTuneStatus
    by: str
    is_person: bool
    at_ms: int
    why: str
    numbers: dict[str, float] = {}


class FineTune(msgspec.Struct, frozen=True, kw_only=True):
    """One fine-tune from its flag to its end.

    Changed by compare-and-set on ``revision``. Fingerprints and checksums are None until there is what they are of;
    ``gates`` are those of the candidate, empty before it was judged.
    """

    fine_tune_id: str
    run_id: str
    status: FineTuneStatus
    flag: FineTuneFlag
    steps: tuple[FineTuneStep, ...]
    revision: int = 1
    attempt: int = 1
    """Counts up when it is begun anew after a gate; what the attempt before made is kept aside."""
    base_fingerprint: str | None = None
    """Weights that the training starts from."""
    sample_checksum: str | None = None
    candidate_fingerprint: str | None = None
    gates: tuple[GateVerdict, ...] = ()
    problem: str | None = None
    """What went wrong, where it failed."""
    n_told_steps: int = 0
    """Steps that persons were told of by the webhook."""


class AlertStatus(StrEnum):
    """What became of an episode of an alert that asked for a refresh."""

    OPEN = "open"  # the controller has not taken it yet
    ORDERED = "ordered"  # an order is placed, what became of it is awaited
    ANSWERED = "answered"  # the order is carried out, or has failed: its result says which
    UNNEEDED = "unneeded"  # no order: no table served yet that could be refreshed
    SUPPRESSED = "suppressed"  # it came within the cooldown of an episode before


class AlertEpisode(msgspec.Struct, frozen=True, kw_only=True):
    """One alert from when it began to fire until it is resolved, however often it is delivered.

    ``starts_at`` is a time in UTC, RFC 3339 to the microsecond; ``labels`` are those of the alert, long ones cut.
    """

    group_key: str
    fingerprint: str
    starts_at: str
    alert: str
    labels: dict[str, str] = {}

    @property
    def episode_id(self) -> str:
        """What tells the episode from others: a hash of group key, fingerprint and beginning."""
        key = msgspec.json.encode((self.group_key, self.fingerprint, self.starts_at))
        return hashlib.sha256(key).hexdigest()[:32]


ANSWER_BOUNDS_SECONDS = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25)
"""Upper bounds of the classes that the service counts its answers' times in; what is above them has a class too."""


class ServiceFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What a service of lookups has answered since it started, all its processes together.

    ``requests`` by route and outcome, ``pairs`` by level, ``buckets`` by `ANSWER_BOUNDS_SECONDS` (not added up),
    ``seconds`` in all; ``versions`` is what each process serves now, 0 for none.
    """

    requests: dict[tuple[str, str], int]
    pairs: dict[str, int]
    buckets: tuple[int, ...]
    seconds: float
    versions: tuple[int, ...]
    swaps: int
    rejected: int


def encode(record: msgspec.Struct) -> bytes:
    """Write a record as JSON with its fields in the order of their definition."""
    return msgspec.json.encode(record)
