"""Candidates without any training: weights that are at hand, sealed as a fine-tune would seal them."""

from __future__ import annotations

import shutil
from pathlib import Path

from refresh.engines.model_files import TOKENIZER, read_manifest
from refresh.finetune.candidate import CandidateKind, CandidateManifest, base_fingerprint, write_candidate
from tidegate.files import sha256_of_file


def candidate_of(source: Path, folder: Path, *, base: Path, kind: CandidateKind = CandidateKind.FULL) -> str:
    """Make a candidate of a model's or an adapter's files; returns its fingerprint."""
    model = read_manifest(base)[0]
    manifest = CandidateManifest(
        kind=kind,
        base=base_fingerprint(base),
        tokenizer=sha256_of_file(base / TOKENIZER),
        codebook=model.codebook_fingerprint,
        capacity=model.capacity,
        n_clusters=model.n_clusters,
        names=model.names_fingerprint,
        template_name=model.template_name,
        template_text=model.template_text,
        n_retrieved=model.n_retrieved,
        samples="0" * 64,
        seed=0,
        recipe={},
    )

    def fill(into: Path) -> None:
        for path in source.iterdir():
            shutil.copyfile(path, into / path.name)

    return write_candidate(folder, manifest, fill).fingerprint
