"""How a candidate is trained: part of what its bytes follow from."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class FineTuneRecipe:
    """Settings of one training; the defaults are those of the small embedded model.

    Attributes
    ----------
    epochs : int             the most passes over the samples; recall ends them earlier as a rule
    batch_size : int
    peak_rate : float        learning rate after its warm-up
    reading_share : float    of each batch that goes on reading lines that are not in the samples
    check_every : int        steps between two looks at recall; each is a checkpoint
    patience : int           looks in a row without a better recall or a lower loss that end the training
    rows_at_once : int       of a batch on the device; 0: all
    max_norm : float         that gradients are cut to; 0: they are not
    rank, alpha : int        of an adapter; not looked at otherwise
    """

    epochs: int = 12
    batch_size: int = 256
    peak_rate: float = 1e-3
    reading_share: float = 0.3
    check_every: int = 20
    patience: int = 6
    rows_at_once: int = 0
    max_norm: float = 0.0
    rank: int = 0
    alpha: int = 0

    @classmethod
    def for_adapter(cls) -> FineTuneRecipe:
        """Defaults for a low-rank adapter of a model of billions of weights."""
        return cls(
            epochs=4,
            batch_size=64,
            peak_rate=2e-4,
            reading_share=0.2,
            check_every=25,
            patience=4,
            rows_at_once=32,
            max_norm=1.0,
            rank=16,
            alpha=32,
        )

    @property
    def n_reading(self) -> int:
        """Samples of each batch that go on reading."""
        return round(self.batch_size * self.reading_share)

    def n_steps_per_epoch(self, n_samples: int) -> int:
        """Return the steps of one pass over the samples."""
        return -(-n_samples // (self.batch_size - self.n_reading))

    @property
    def as_facts(self) -> dict[str, float | int]:
        """The recipe as manifests have it."""
        return asdict(self)
