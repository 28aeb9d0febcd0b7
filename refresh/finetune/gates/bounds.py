"""What the gates require of new weights."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True)
class CandidateBounds:
    """Bounds of the gates over a candidate.

    Attributes
    ----------
    min_exact_match : float         share of the free-form probe that names a cluster to the letter (the paper's)
    min_recall : float              share of held-out transitions answered with their next cluster (the paper's)
    min_recall_over_chance : float  times the recall of a random cluster
    chance_from_clusters : int      size of a catalogue from which chance, not the most popular cluster, is the foil
    min_label_mass : float          mean probability that a free answer would have been an allowed one
    max_invalid_share : float       of held-out rows whose answer is out of contract
    max_context_free_share : float  of held-out rows that one fixed order of clusters answers the same
    max_recall_loss : float         relative loss against the serving weights beyond which it need not be proven to be
                                    refused; once more as much is borne as noise
    confidence : float              of the intervals that are stated
    tail_share : float              of held-out transitions, those to the least frequent clusters
    memorised_z : float             standard deviations by which held-out users may be foretold better than others
    memorised_gap : float           recall by which they may, whatever the noise
    min_rows, min_users : int       test rows, and users (or buckets), below which nothing is concluded
    n_probes, min_probes : int      free answers that are asked for, and below which nothing is concluded
    n_repeated : int                rows that are asked twice
    probability_tolerance : float   of probabilities asked twice; None: what the engine promises, which is the same
                                    bits from the embedded one and within 0.001 from others
    time_limit_seconds : float      of each gate
    """

    min_exact_match: float = 0.9
    min_recall: float = 0.015
    min_recall_over_chance: float = 10.0
    chance_from_clusters: int = 200
    min_label_mass: float = 0.5
    max_invalid_share: float = 0.02
    max_context_free_share: float = 0.95
    max_recall_loss: float = 0.1
    confidence: float = 0.95
    tail_share: float = 0.2
    memorised_z: float = 4.0
    memorised_gap: float = 0.05
    min_rows: int = 100
    min_users: int = 4
    n_probes: int = 256
    min_probes: int = 50
    n_repeated: int = 256
    probability_tolerance: float | None = None
    time_limit_seconds: float = 1_800.0

    def loosened_or_tightened(self) -> dict[str, float]:
        """Give those that are not the defaults, by name.

        Examples
        --------
        >>> CandidateBounds(min_recall=0.05).loosened_or_tightened()
        {'min_recall': 0.05}
        """
        given = {each.name: getattr(self, each.name) for each in fields(self)}
        return {name: float(value) for name, value in given.items() if value != getattr(_DEFAULTS, name)}


_DEFAULTS = CandidateBounds()
