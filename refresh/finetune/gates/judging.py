"""All gates over one candidate, in the order in which a candidate may be trusted."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from refresh.finetune.gates import integrity, recall, regression, speech, vocabulary
from refresh.finetune.gates.memorisation import memorisation
from refresh.finetune.gates.trial import Hearing, Trial
from refresh.finetune.gates.verdicts import verdict_of
from refresh.finetune.gates.weights import weights
from tidegate.contracts import GateVerdict
from tidegate.errors import ConfigError

Gate = Callable[[Hearing], GateVerdict]
OnProgress = Callable[[str, int, int], None]

_STAGES: tuple[dict[str, Gate], ...] = (
    {"files": integrity.files},
    {
        "manifest": integrity.manifest,
        "base": integrity.base,
        "tokenizer": vocabulary.tokenizer,
        "codebook": vocabulary.codebook,
        "weights": weights,
        "samples": integrity.samples,
        "held_out": integrity.held_out,
    },
    {"answers": speech.answers},
    {
        "exact_match": speech.exact_match,
        "label_mass": speech.label_mass,
        "recall": recall.recall,
        "context": recall.context,
        "memorisation": memorisation,
        "regression": regression.regression,
        "tail": regression.tail,
        "determinism": speech.determinism,
    },
)
_LAST: dict[str, Gate] = {"unchanged": integrity.unchanged}
GATES = tuple(name for stage in (*_STAGES, _LAST) for name in stage)
"""Names of all gates, in their order."""


def judge_candidate(
    trial: Trial, *, more_gates: Mapping[str, Gate] | None = None, on_progress: OnProgress = lambda *_: None
) -> tuple[GateVerdict, ...]:
    """Say what each gate finds.

    1. The files are what was made. No byte of them is interpreted before.
    2. They are of this fine-tune: base, tokenizer, codebook, samples, and weights that are weights.
    3. The model opens, and answers the test rows within the contract.
    4. What it says is worth serving; all of these are asked, so that a person sees all that there is to see.
    5. The files are still what was judged.

    A stage that does not pass is the last: what comes after could not be trusted, or would run what must not be run.

    Parameters
    ----------
    trial : Trial
    more_gates : mapping, optional
        Gates of one's own by name, asked with those of 4. Like all gates, one that raises is a block.
    on_progress : called with ``gates``, the gates asked and their number

    Returns
    -------
    tuple of GateVerdict
        Where gates are left out, one before them did not pass.

    Raises
    ------
    ConfigError
        If a gate of one's own has the name of one of ours: it would stand in for it.
    """
    if taken := [name for name in more_gates or () if name in GATES]:
        raise ConfigError(
            f"{', '.join(taken)} cannot be replaced by gates of one's own", "Give them other names", place="more_gates"
        )
    hearing, verdicts = Hearing(trial), list[GateVerdict]()
    stages = (*_STAGES[:-1], {**_STAGES[-1], **(more_gates or {})}, _LAST)
    n_gates = sum(map(len, stages))
    for stage in stages:
        for name, gate in stage.items():
            verdicts.append(verdict_of(name, _bound(gate, hearing), trial.bounds.time_limit_seconds))
            on_progress("gates", len(verdicts), n_gates)
        if not all(verdict.is_passed for verdict in verdicts) and stage is not stages[-2]:
            break
    return tuple(verdicts)


def _bound(gate: Gate, hearing: Hearing) -> Callable[[], GateVerdict]:
    return lambda: gate(hearing)
