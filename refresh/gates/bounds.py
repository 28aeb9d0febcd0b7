"""What the gates require."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class GateBounds:
    """Bounds of the gates; their defaults let every healthy refresh of the logs that we know pass.

    Attributes
    ----------
    min_coverage : float             share of the window's transitions that must have an answer, where the serving
                                     table answers as many
    coverage_tolerance : float       share that may be lost against the serving table
    max_invalid_share : float        of the rows asked
    min_label_mass : float           mean probability that a free answer would have been an allowed one
    min_exact_match : float          share of the free-form probe that names a cluster of the catalogue
    max_changed_selective : float    share of rows whose first answer may change where rows were chosen
    max_changed_full : float         the same where all rows were asked for
    hit_loss_z : float               standard deviations of hits lost that may be chance
    """

    min_coverage: float = 0.5
    coverage_tolerance: float = 0.02
    max_invalid_share: float = 0.02
    min_label_mass: float = 0.5
    min_exact_match: float = 0.9
    max_changed_selective: float = 0.8
    max_changed_full: float = 0.95
    hit_loss_z: float = 3.0
