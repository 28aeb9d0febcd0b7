"""The free-form probe: whether the model still answers in the catalogue's words when nothing makes it.

Scoring by allowed codes always gives a valid cluster, so it says nothing about a model that has lost its format. The
probe asks the same model freely, on a sample of contexts that follows from the seed, and counts exact matches: the
paper's gate halts below 90 %.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from refresh.descriptions import Descriptions, OutputFault, Speaker
from refresh.prompts import RowContexts
from tidegate.hashing import mix64_array

N_PROBES = 256


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """What free answers were worth.

    Attributes
    ----------
    n : int                   prompts asked
    n_matched : int           outputs that are a cluster's description, or its code, exactly
    n_valid : int             of those, neither c1 nor c2
    faults : outputs by what was wrong with them
    """

    n: int
    n_matched: int
    n_valid: int
    faults: dict[OutputFault, int]

    @property
    def exact_match(self) -> float | None:
        """Share of outputs that match exactly; None where nothing was asked."""
        return self.n_matched / self.n if self.n else None


def probe(engine: Speaker, contexts: RowContexts, seed: int, n_probes: int = N_PROBES) -> ProbeResult:
    """Ask an engine freely on a sample of contexts; equal contexts in any order and equal seeds give equal samples.

    Parameters
    ----------
    engine : Speaker         an `Engine` that is a `TextGenerator`, too
    contexts : RowContexts   rows to draw from, typically those of an order
    seed : int
    n_probes : int           all rows are asked where there are no more

    Raises
    ------
    EngineError
        If the engine fails.
    CatalogueError
        If two clusters have the same description.
    """
    sample = contexts[_sampled(contexts, engine, seed, n_probes)]
    descriptions = Descriptions.of(engine.prompts.answers)
    if not len(sample):
        return ProbeResult(0, 0, 0, {})
    outputs = engine.generate(engine.prompts.texts(sample), engine.prompts.max_answer_tokens)
    matches = descriptions.match(outputs, sample)
    return ProbeResult(
        n=len(sample),
        n_matched=int((matches.named >= 0).sum()),
        n_valid=int((matches.clusters >= 0).sum()),
        faults=dict(sorted(Counter(matches.faults).items())),
    )


def _sampled(
    contexts: RowContexts, engine: Speaker, seed: int, n_probes: int
) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Draw rows by a hash of what their prompts name: int64[m]; by cluster names, so ids do not matter."""
    prompts = engine.prompts
    hashes = np.full(len(contexts), np.uint64(seed))
    for column in prompts.columns(contexts, len(prompts.codebook.names)).T:
        hashes = mix64_array(hashes ^ prompts.codebook.name_hashes[column])
    return np.argsort(hashes, kind="stable")[:n_probes].astype(np.int64)
