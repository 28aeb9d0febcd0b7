"""What a training came to, as it is reported."""

from __future__ import annotations

import msgspec


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
