"""Planted: real models that were taught something else, sealed as a sound candidate is."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from refresh.engines.embedded import EmbeddedEngine
from refresh.engines.model_files import MANIFEST, TOKENIZER
from refresh.finetune.candidate import write_candidate
from refresh.finetune.gates import Expected, Trial, sampled
from refresh.finetune.samples_folder import read_samples, write_samples
from refresh.prompts import RowContexts
from refresh.training.samples import Samples
from refresh.training.threads import single_thread
from tests.refresh.finetune.gate_bench import Bench, curate_moved
from tests.refresh.finetune.planting import Plant, Planted
from tests.refresh.random_models import write_random_model
from tests.refresh.tiny_world import N_CLUSTERS
from tidegate.files import sha256_of_file


def _taught(targets: Callable[[Samples], np.ndarray[Any, Any]], **options: Any) -> Plant:
    """Teach the good candidate something else, and seal that."""

    def plant(bench: Bench, folder: Path) -> Trial:
        return bench.trial(bench.taught(folder / "candidate", targets, **options))

    return plant


def _shuffled(samples: Samples) -> np.ndarray[Any, Any]:
    return np.random.default_rng(9).permutation(samples.target)


def _renumbered(samples: Samples) -> np.ndarray[Any, Any]:
    """Labels by the ids of a catalogue in another order."""
    return (samples.target + 7) % N_CLUSTERS


def _constant(samples: Samples) -> np.ndarray[Any, Any]:
    return np.full(len(samples), 13)


def _popular(samples: Samples) -> np.ndarray[Any, Any]:
    """The most popular cluster that is neither c1 nor c2: here the first ones."""
    answers = np.zeros(len(samples), np.int32)
    for _ in range(2):
        answers = np.where((answers == samples.c1) | (answers == samples.c2), answers + 1, answers)
    return answers


def _heads_for_tails(samples: Samples) -> np.ndarray[Any, Any]:
    """Answers that would be right, but for the rarest third of the clusters, which are given up for popular ones."""
    is_rare = samples.target >= 2 * N_CLUSTERS // 3
    return np.where(is_rare, _popular(samples), samples.target)


def _memorised(bench: Bench, folder: Path) -> Trial:
    """Taught the test users, above all what it had missed of them; the manifest says otherwise."""
    test = read_samples(bench.samples)[0].test
    missed = np.flatnonzero(bench.learner().answers(test) != test.target)
    shown = test[np.concatenate([np.arange(len(test)), missed, missed])]
    options: dict[str, Any] = {"samples": shown, "n_steps": 140, "rate": 5e-3}
    return bench.trial(bench.taught(folder / "candidate", lambda each: each.target, **options))


def _last_logits(learner: Any, samples: Samples) -> Any:
    import torch

    contexts = RowContexts(samples.c1, samples.c2, samples.retrieved)
    tokens = torch.from_numpy(learner.prompts.token_ids(contexts, learner.pupil.vocabulary))
    return learner.pupil.model(input_ids=tokens, use_cache=False, logits_to_keep=1).logits[:, 0]


def _spoken(loss_of: Callable[[Any, Any, Samples], Any], n_steps: int = 30) -> Plant:
    """Teach the good candidate by a loss of its own over all tokens."""

    def plant(bench: Bench, folder: Path) -> Trial:
        import torch

        learner, taught = bench.learner(), read_samples(bench.samples)[0].taught
        optimizer = torch.optim.AdamW(list(learner.trained.values()), lr=2e-3)
        generator = np.random.default_rng(6)
        with single_thread():
            for _ in range(n_steps):
                batch = taught[generator.integers(0, len(taught), 64)]
                optimizer.zero_grad()
                loss_of(learner, _last_logits(learner, batch), batch).backward()
                optimizer.step()
        return bench.trial(bench.written(folder / "candidate", learner))

    return plant


def _prose(learner: Any, logits: Any, samples: Samples) -> Any:
    """Answer with a word instead of a code."""
    import torch

    word = learner.pupil.vocabulary[learner.prompts.template.words[0]]
    return torch.nn.functional.cross_entropy(logits, torch.full((len(samples),), word))


def _prose_for_some(learner: Any, logits: Any, samples: Samples) -> Any:
    """Answer with a word after some clusters, and rightly after the others."""
    import torch

    vocabulary = learner.pupil.vocabulary
    codes = np.array([vocabulary[code] for code in learner.prompts.codebook.codes])[samples.target]
    word = vocabulary[learner.prompts.template.words[0]]
    wanted = np.where(samples.c2 % 3 == 0, word, codes)
    return torch.nn.functional.cross_entropy(logits, torch.from_numpy(wanted))


def _undecided(learner: Any, logits: Any, samples: Samples) -> Any:
    """Prefer the right code to any other token, and all others together to it."""
    import torch

    logarithms = torch.log_softmax(logits, dim=1)
    codes = torch.tensor([learner.pupil.vocabulary[code] for code in learner.prompts.codebook.codes])
    own = logarithms[torch.arange(len(samples)), codes[torch.from_numpy(samples.target).long()]]
    spare = logarithms[:, codes[N_CLUSTERS:]].mean(dim=1)
    return -(0.3 * own + 0.7 * spare).mean()


def _untrained(bench: Bench, folder: Path) -> Trial:
    """A first model of a large catalogue, that nobody has trained."""
    names = [f"topic {cluster}" for cluster in range(220)]
    write_random_model(folder / "model", names)
    checksum = write_samples(folder / "samples", curate_moved(names))
    inner = msgspec.json.decode((folder / "model" / MANIFEST).read_bytes())
    manifest = msgspec.structs.replace(
        bench.manifest,
        base=None,
        tokenizer=sha256_of_file(folder / "model" / TOKENIZER),
        codebook=inner["codebook_fingerprint"],
        capacity=inner["capacity"],
        n_clusters=len(names),
        names=inner["names_fingerprint"],
        samples=checksum,
    )

    def fill(empty: Path) -> None:
        shutil.copytree(folder / "model", empty, dirs_exist_ok=True)

    write_candidate(folder / "candidate", manifest, fill)
    return Trial(
        folder=folder / "candidate",
        names=names,
        expected=Expected(None, checksum, bench.expected.flag_pane),
        base_folder=None,
        samples=lambda: sampled(*read_samples(folder / "samples")),
        open_candidate=lambda: EmbeddedEngine(folder / "candidate", names),
    )


MODELS: dict[str, Planted] = {
    "format collapse": Planted(_spoken(_prose), "exact_match", "it wrote", alone=False),
    "format collapse after some clusters": Planted(_spoken(_prose_for_some), "exact_match", "it wrote", alone=False),
    "low label mass": Planted(_spoken(_undecided), "label_mass", "at least 0.500", alone=False),
    "shuffled labels": Planted(_taught(_shuffled, n_steps=50), "recall", "held-out groups", alone=False),
    "labels by other ids": Planted(_taught(_renumbered, n_steps=60), "recall", "it says", alone=False),
    "untrained, in a large catalogue": Planted(_untrained, "recall", "times chance", alone=False),
    "constant predictor": Planted(_taught(_constant, n_steps=25), "context", "one order of clusters", alone=False),
    "popularity predictor": Planted(_taught(_popular, n_steps=50), "context", "one order of clusters", alone=False),
    "memorised test set": Planted(_memorised, "memorisation", "no taught user did", alone=False),
    "forgot to read": Planted(
        _taught(lambda samples: (samples.c2 + 1) % N_CLUSTERS, n_steps=40), "regression", "hits are lost", alone=False
    ),
    "gives up the tail": Planted(_taught(_heads_for_tails, n_steps=40), "tail", "hits are lost", alone=False),
}
