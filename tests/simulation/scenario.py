"""What one seed stands for: the settings of a run, and how rough its world is."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from stream.sequences import Dedup, SequenceOptions

PANE_MS = 100_000
CLUSTERS = ("ballads", "blues", "funk", "jazz", "polka", "rock", "soul")


@dataclass(frozen=True, slots=True)
class Scenario:
    """Settings of one simulated run.

    Attributes
    ----------
    follows : bool             partitions grow while they are read, and may idle; else they end where they do
    has_ids : bool             producers' duplicates are told by event ids
    scores : bool              tables serve, panes wait for the decision on the pane before, and hits are checked
    has_negatives : bool       some events do not satisfy the engagement rule
    is_static : bool           members keep their name over a restart, so that nothing is rebalanced
    max_segments : int         stored segments of sequence state before they are replaced by one
    roughness : float          scales the rates of all faults; 0 is a calm world
    n_ticks : int              actions before the calm in which everything must complete
    check_share : float        share of commits after which all counts are compared with the oracle
    """

    seed: int
    n_partitions: int
    follows: bool
    has_ids: bool
    scores: bool
    has_negatives: bool
    is_static: bool
    sequences: SequenceOptions
    lateness_ms: int
    max_segments: int
    n_workers: int
    n_evaluators: int
    checkpoint_records: int
    checkpoint_seconds: float
    max_waiting: int
    idle_after_seconds: float
    patience_seconds: float
    roughness: float
    n_ticks: int
    check_share: float

    @property
    def duplicates_ms(self) -> int | None:
        """How long event ids are remembered at least."""
        return 4 * self.lateness_ms if self.has_ids else None


def scenario_of(seed: int) -> Scenario:
    """Draw a scenario; equal seeds, equal scenarios."""
    draw = Random(f"scenario {seed}")
    dedup = draw.choice([Dedup.FIRST, Dedup.FIRST, Dedup.ADJACENT])
    sequences = SequenceOptions(
        pane_ms=PANE_MS,
        window_ms=PANE_MS * draw.choice([1, 2]),
        gap_ms=draw.choice([None, 60_000, 150_000]),
        dedup=dedup,
        allow_return=dedup is Dedup.ADJACENT and draw.random() < 0.5,
        n_buckets=4,
    )
    return Scenario(
        seed=seed,
        n_partitions=draw.choice([1, 2, 2, 3, 3, 4, 5]),
        follows=draw.random() < 0.4,
        has_ids=draw.random() < 0.5,
        scores=draw.random() < 0.4,
        has_negatives=draw.random() < 0.3,
        is_static=draw.random() < 0.3,
        sequences=sequences,
        lateness_ms=draw.choice([5_000, 20_000, 60_000]),
        max_segments=draw.choice([2, 4, 32]),
        n_workers=draw.choice([1, 2, 2, 3]),
        n_evaluators=draw.choice([1, 2]),
        checkpoint_records=draw.choice([1, 4, 15, 1_000]),
        checkpoint_seconds=draw.choice([0.5, 2.0, 10.0]),
        max_waiting=draw.choice([2, 10, 1_000]),
        idle_after_seconds=draw.choice([2.0, 8.0, 30.0]),
        patience_seconds=draw.choice([1.0, 10.0, 60.0]),
        roughness=draw.choice([0.0, 0.5, 1.0, 1.0, 1.5, 2.5]),
        n_ticks=draw.randint(40, 110),
        check_share=0.25,
    )
