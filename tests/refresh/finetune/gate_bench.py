"""A fine-tune as the gates meet it: samples of a world that has moved on, the weights before, and a good candidate."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from refresh.engines import Engine
from refresh.engines.adapter import open_adapter
from refresh.engines.embedded import EmbeddedEngine
from refresh.engines.model_files import MANIFEST, TOKENIZER, WEIGHTS, read_manifest
from refresh.finetune.candidate import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    CANDIDATE,
    CandidateKind,
    CandidateManifest,
    open_candidate,
    write_candidate,
)
from refresh.finetune.curation import CurationRecipe, PaneCounts, curate
from refresh.finetune.fine_tuning import Lesson, fine_tune
from refresh.finetune.full import FullLearner, open_full
from refresh.finetune.gates import CandidateBounds, Expected, Sampled, Trial, sampled
from refresh.finetune.recipe import FineTuneRecipe
from refresh.finetune.samples_folder import read_samples, write_samples
from refresh.training.samples import Samples
from refresh.training.teach import Course
from refresh.training.threads import single_thread
from tests.refresh.tiny_world import N_CLUSTERS, NAMES
from tidegate.counts import BucketedCounts, pack_transitions
from tidegate.files import sha256_of_file

FLAG_PANE = 2
N_BUCKETS = 48
RECIPE = CurationRecipe(n_taught=1_800, n_validation=300, n_test=600)


def moved_panes(n_clusters: int = N_CLUSTERS, n: int = 12_000) -> list[PaneCounts]:
    """Transitions of three panes: most users go on to c2 + 1, after every other cluster now to c2 + 3.

    The others go where there are most who do: the first clusters are popular, and users of a bucket have habits.
    """
    generator = np.random.default_rng(11)
    popularity = 1 / np.arange(1, n_clusters + 1) ** 0.8
    c1, c2, other = generator.choice(n_clusters, (3, n), p=popularity / popularity.sum())
    usual = (c2 + np.where(c2 % 2, 3, 1)) % n_clusters
    c_next = np.where(generator.random(n) < 0.6, usual, other)
    bucket, pane = generator.integers(0, N_BUCKETS, n), generator.integers(0, FLAG_PANE + 1, n)
    distinct = (c1 != c2) & (c_next != c1) & (c_next != c2)
    panes = []
    for each in range(FLAG_PANE + 1):
        rows = distinct & (pane == each)
        keys = pack_transitions(c1[rows], c2[rows], c_next[rows], bucket[rows])
        panes.append(PaneCounts(each, BucketedCounts(*np.unique(keys, return_counts=True))))
    return panes


@dataclass(frozen=True)
class Bench:
    """What trials are made of.

    Attributes
    ----------
    base : Path           the weights that serve
    samples : Path        folder of the samples
    candidate : Path      folder of the good candidate
    """

    base: Path
    samples: Path
    candidate: Path
    names: tuple[str, ...] = tuple(NAMES)

    @property
    def manifest(self) -> CandidateManifest:
        """The good candidate's, without its files."""
        return msgspec.structs.replace(open_candidate(self.candidate).manifest, files={})

    @property
    def expected(self) -> Expected:
        """What the record of the fine-tune says."""
        good = open_candidate(self.candidate)
        return Expected(good.manifest.base, read_samples(self.samples)[1], FLAG_PANE, good.fingerprint)

    def sampled(self) -> Sampled:
        """The samples as the gates read them."""
        return sampled(*read_samples(self.samples))

    def trial(self, folder: Path, **changes: Any) -> Trial:
        """Put a candidate before its gates; it is the one that training reported, if it is whole."""
        is_whole = changes.pop("is_whole", True)
        fingerprint = open_candidate(folder).fingerprint if is_whole else self.expected.fingerprint
        plain = Trial(
            folder=folder,
            names=self.names,
            expected=replace(self.expected, fingerprint=fingerprint),
            base_folder=self.base,
            samples=self.sampled,
            open_candidate=lambda: self.open(folder),
            open_serving=lambda: EmbeddedEngine(self.base, self.names),
            bounds=CandidateBounds(min_probes=50),
        )
        return replace(plain, **changes)

    def open(self, folder: Path) -> Engine:
        """Open a candidate's folder."""
        if (folder / ADAPTER_CONFIG).is_file():
            return EmbeddedEngine(self.base, self.names, adapter=open_adapter(folder))
        return EmbeddedEngine(folder, self.names)

    def copy(self, folder: Path) -> Path:
        """Copy the good candidate, to be spoiled."""
        shutil.copytree(self.candidate, folder)
        return folder

    def learner(self) -> FullLearner:
        """The good candidate's weights, to be taught otherwise."""
        return open_full(self.candidate, self.names, seed=0)

    def written(self, folder: Path, learner: FullLearner) -> Path:
        """Write weights as the candidate of this fine-tune, sealed as a sound one is."""
        return write_candidate(folder, self.manifest, lambda empty: learner.write(empty, {"seed": 0})).folder

    def taught(
        self,
        folder: Path,
        targets: Callable[[Samples], np.ndarray[Any, Any]],
        *,
        n_steps: int = 40,
        rate: float = 3e-3,
        samples: Samples | None = None,
        lines: bool = True,
    ) -> Path:
        """Teach the good candidate other targets, and write that."""
        learner = self.learner()
        samples = read_samples(self.samples)[0].taught if samples is None else samples
        wrong = replace(samples, target=targets(samples).astype(np.int32), weight=np.ones_like(samples.weight))
        if not lines:
            wrong = replace(wrong, retrieved=np.full_like(wrong.retrieved, -1))
        generator = np.random.default_rng(5)
        with single_thread():
            course = Course(learner, rate, n_steps)
            for _ in range(n_steps):
                course.step(wrong[generator.integers(0, len(wrong), 64)])
        return self.written(folder, learner)

    def adapter(
        self, folder: Path, factors: Callable[[dict[str, Any]], object] = lambda _: None, rank: int = 2
    ) -> Path:
        """Write a small adapter of the base as the candidate; `factors` may spoil its tensors."""
        import torch
        from safetensors.torch import load_file, save_file

        base, tensors = load_file(self.base / WEIGHTS), {}
        generator = torch.Generator().manual_seed(3)
        for name in ("model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.v_proj"):
            n_out, n_in = base[f"{name}.weight"].shape
            for side, shape in (("A", (rank, n_in)), ("B", (n_out, rank))):
                tensors[f"base_model.model.{name}.lora_{side}.weight"] = torch.randn(shape, generator=generator) * 0.01
        factors(tensors)
        config = {
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "r": 2,
            "lora_alpha": 2,
            "bias": "none",
            "target_modules": ["q_proj", "v_proj"],
        }

        def fill(empty: Path) -> None:
            save_file(tensors, empty / ADAPTER_WEIGHTS)
            (empty / ADAPTER_CONFIG).write_bytes(msgspec.json.encode(config))

        manifest = msgspec.structs.replace(
            self.manifest, kind=CandidateKind.LORA, tokenizer=sha256_of_file(self.base / TOKENIZER)
        )
        return write_candidate(folder, manifest, fill).folder


def make_bench(folder: Path, base: Path) -> Bench:
    """Take samples, and train the good candidate from the base."""
    checksum = write_samples(folder / "samples", curate_moved(NAMES))
    samples = read_samples(folder / "samples")[0]
    lesson = Lesson(open_full(base, NAMES, seed=3), samples, checksum, FineTuneRecipe(epochs=4, patience=9), 3)
    fine_tune(lesson, folder)
    return Bench(base, folder / "samples", folder / "candidate")


def curate_moved(names: Sequence[str], **changes: Any) -> Any:
    """Take samples of a moved world with so many clusters."""
    return curate(
        moved_panes(len(names)),
        names,
        flag_pane=FLAG_PANE,
        window_panes=FLAG_PANE + 1,
        seed=3,
        recipe=replace(RECIPE, **changes),
    )


def resealed(folder: Path, *, inner: dict[str, Any] | None = None, outer: dict[str, Any] | None = None) -> Path:
    """Seal what was changed, as whoever forges a candidate would: checksums are right again."""
    if (folder / MANIFEST).is_file():
        content = msgspec.json.decode((folder / MANIFEST).read_bytes())
        content["files"] = {
            name: sha256_of_file(folder / name) for name in content["files"] if (folder / name).exists()
        }
        (folder / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(content | (inner or {}))))
        read_manifest(folder)
    content = msgspec.json.decode((folder / CANDIDATE).read_bytes())
    names = sorted(path.name for path in folder.iterdir() if path.name != CANDIDATE)
    content["files"] = {name: sha256_of_file(folder / name) for name in names}
    (folder / CANDIDATE).write_bytes(msgspec.json.format(msgspec.json.encode(content | (outer or {}))))
    return folder


def retensored(folder: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """Change tensors of a candidate, and seal it again."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / WEIGHTS)
    change(tensors)
    save_file({name: each.contiguous() for name, each in tensors.items()}, folder / WEIGHTS)
    return resealed(folder)
