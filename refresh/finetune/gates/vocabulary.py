"""Whether the candidate speaks the catalogue's codes: its tokenizer, and the codebook that it was taught."""

from __future__ import annotations

from refresh.codebook import Codebook, names_fingerprint
from refresh.engines.model_files import MANIFEST, TOKENIZER, read_manifest, read_vocabulary
from refresh.finetune.candidate import CandidateKind
from refresh.finetune.gates.integrity import opened
from refresh.finetune.gates.trial import Hearing
from refresh.finetune.gates.verdicts import blocked, whole
from refresh.prompts import Template
from tidegate.contracts import GateVerdict
from tidegate.files import sha256_of_file


def tokenizer(hearing: Hearing) -> GateVerdict:
    """Require the tokenizer of the manifest, which is the base's where the codes are, with each code one token."""
    trial, candidate = hearing.trial, opened(hearing)
    said = candidate.manifest
    own = candidate.folder / TOKENIZER
    if own.exists() and sha256_of_file(own) != said.tokenizer:
        return blocked("tokenizer", f"{TOKENIZER} is not the one that the manifest names")
    is_bound = said.kind is CandidateKind.LORA or _codebook_of_base(hearing) == said.codebook
    if is_bound and trial.base_folder is not None and sha256_of_file(trial.base_folder / TOKENIZER) != said.tokenizer:
        return blocked("tokenizer", f"{TOKENIZER} is not the base's, and the codes that it is asked in are")
    if said.kind is CandidateKind.LORA:
        return whole("tokenizer", f"it is asked through the base's {TOKENIZER}, which is the one it was taught with")
    codebook = Codebook.of_fingerprint(trial.names, said.capacity, said.codebook)
    if codebook is None:
        return blocked("tokenizer", "no codebook of so many codes is the one that the manifest means")
    read_vocabulary(candidate.folder, Template(said.template_name, said.template_text), codebook)
    return whole("tokenizer", f"each of {codebook.capacity:,} codes is one token a level, in their order")


def codebook(hearing: Hearing) -> GateVerdict:
    """Require the codes of this catalogue: the clusters that it was taught are the first of it, in this order."""
    names, said = hearing.trial.names, opened(hearing).manifest
    if said.n_clusters > len(names) or names_fingerprint(list(names[: said.n_clusters])) != said.names:
        return blocked(
            "codebook",
            f"the {said.n_clusters:,} clusters it was taught are not the first of this catalogue of {len(names):,}",
        )
    if len(names) > said.capacity:
        return blocked("codebook", f"the catalogue has {len(names):,} clusters, its codebook {said.capacity:,} codes")
    if Codebook.of_fingerprint(names, said.capacity, said.codebook) is None:
        return blocked("codebook", f"no codebook of {said.capacity:,} codes is the one that it was taught")
    return whole("codebook", f"{said.n_clusters:,} clusters of the catalogue have {said.capacity:,} codes")


def _codebook_of_base(hearing: Hearing) -> str | None:
    """Fingerprint of the base's codebook; None where it has none of ours."""
    folder = hearing.trial.base_folder
    if folder is None or not (folder / MANIFEST).is_file():
        return None
    return read_manifest(folder)[0].codebook_fingerprint
