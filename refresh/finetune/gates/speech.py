"""What the candidate says: valid answers, in the catalogue's words when nothing makes it, and the same ones again."""

from __future__ import annotations

import numpy as np

from refresh.descriptions import Descriptions
from refresh.engines.embedded import EmbeddedEngine
from refresh.finetune.gates.rows import context_name, named, quoted
from refresh.finetune.gates.trial import Hearing
from refresh.finetune.gates.verdicts import at_least, at_most, blocked
from tidegate.contracts import GateVerdict

_ORDER_SEED = 20_260
_PROMISED = 1e-3  # by engines whose batches are not of one shape


def answers(hearing: Hearing) -> GateVerdict:
    """Require that the answers to the held-out rows keep the contract."""
    trial, test, bound = hearing.trial, hearing.samples.test, hearing.trial.bounds.max_invalid_share
    bad = np.flatnonzero(~hearing.validation.valid)
    kinds = ", ".join(f"{n:,} {kind}" for kind, n in hearing.validation.faults.items())
    sentence = (
        f"{bad.size:,} of {len(test):,} answers to held-out rows are invalid, at most {bound:.1%} may be"
        + (f" ({kinds})" if kinds else "")
        + named((context_name(test.contexts, row, trial.names) for row in bad.tolist()), bad.size)
    )
    return at_most("answers", bad.size / max(1, len(test)), bound, sentence)


def exact_match(hearing: Hearing) -> GateVerdict:
    """Require that free answers to the probe are clusters' descriptions to the letter: the paper halts below 90 %."""
    trial, probe, bound = hearing.trial, hearing.probe, hearing.trial.bounds.min_exact_match
    prompts = hearing.engine.prompts
    outputs = hearing.engine.generate(prompts.texts(probe), prompts.max_answer_tokens)
    n = len(probe)
    if len(outputs) != n:
        return blocked("exact_match", f"{n:,} prompts were asked and {len(outputs):,} free answers came")
    if n < trial.bounds.min_probes:
        return blocked("exact_match", f"the probe has {n:,} rows, {trial.bounds.min_probes} at least tell something")
    matches = Descriptions.of(prompts.answers).match(outputs, probe)
    missed = np.flatnonzero(matches.named < 0)
    share = 1 - missed.size / n
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(matches.faults.items()))
    rows = (f"{context_name(probe, row, trial.names)} it wrote {quoted(outputs[row])}" for row in missed.tolist())
    sentence = (
        f"{n - missed.size:,} of {n:,} free answers are a cluster's description to the letter ({share:.1%}), "
        f"at least {bound:.1%} is required" + (f" ({kinds})" if kinds else "") + named(rows, missed.size)
    )
    return at_least("exact_match", share, bound, sentence)


def label_mass(hearing: Hearing) -> GateVerdict:
    """Require that the model would rather say what it may than something else."""
    trial, test, bound = hearing.trial, hearing.samples.test, hearing.trial.bounds.min_label_mass
    mass = hearing.answers.label_mass.astype(np.float64)
    low = np.argsort(mass, kind="stable")
    n_low = int((mass < bound).sum())
    rows = (f"{context_name(test.contexts, row, trial.names)} {mass[row]:.3f}" for row in low.tolist())
    sentence = (
        f"a free answer would be an allowed one with probability {mass.mean():.3f}, at least {bound:.3f} is required; "
        f"{n_low:,} of {mass.size:,} rows are below it" + (named(rows, n_low) if n_low else "")
    )
    return at_least("label_mass", float(mass.mean()), bound, sentence)


def determinism(hearing: Hearing) -> GateVerdict:
    """Require the same answers from the same rows: asked again, in another order, and in another batch."""
    trial, test = hearing.trial, hearing.samples.test
    n = min(trial.bounds.n_repeated, len(test))
    tolerance = trial.bounds.probability_tolerance
    if tolerance is None:
        tolerance = 0.0 if hearing.engine.name == EmbeddedEngine.name else _PROMISED
    order = np.random.default_rng(_ORDER_SEED).permutation(n)
    clusters, likely = hearing.answers.clusters[:n], hearing.answers.probabilities[:n]
    differs = np.zeros(n, np.bool_)
    for rows in (np.arange(n), order, order[: max(1, n // 3)]):
        again = hearing.engine.infer(test.contexts[rows], top_n=clusters.shape[1])
        gap = np.abs(again.probabilities - likely[rows]).max(axis=1, initial=0)
        is_same = (again.clusters == clusters[rows]).all(axis=1) & (gap <= tolerance)
        differs[rows[~is_same]] = True
    bad = np.flatnonzero(differs)
    exactly = f"within {tolerance:g}" if tolerance else "bit for bit"
    sentence = (
        f"{bad.size:,} of {n:,} rows are answered otherwise when asked again, in another order or in another batch; "
        f"ids and probabilities must be the same {exactly}"
        + named((context_name(test.contexts, row, trial.names) for row in bad.tolist()), bad.size)
    )
    return at_most("determinism", bad.size / n, 0.0, sentence)
