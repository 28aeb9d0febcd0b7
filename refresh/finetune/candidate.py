"""A candidate: new weights that nothing serves yet, sealed with all that they came from.

A folder that is written whole or not at all, and never changed. ``manifest.json`` says what the weights are, what they
began from, which samples they were taught, and the SHA-256 of every other file. Weights are safetensors.

- ``full``: a model as `refresh.engines.model_files` writes it, ``tidegate.json`` and all: the embedded engine and vLLM
  open the folder as it is.
- ``lora``: ``adapter_config.json`` and ``adapter_model.safetensors`` as peft writes them, to be put on the very base
  that the manifest names: peft and vLLM's ``LoRARequest`` open the folder as it is.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import msgspec

from refresh.engines.model_files import CONFIG, MANIFEST, TOKENIZER, WEIGHTS, read_manifest
from tidegate.errors import EngineError
from tidegate.files import flush_folder, sha256_of_file, write_atomically

CANDIDATE = "manifest.json"
ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_FORMAT = 1
_AGAIN = "Run the fine-tune again: a candidate is never mended"
_CONTENT = (".json", ".safetensors", ".txt", ".jinja", ".model")  # what a tokenizer may consist of, and the weights


class CandidateKind(StrEnum):
    """What the weights are."""

    FULL = "full"
    LORA = "lora"


_NEEDED = {
    CandidateKind.FULL: (MANIFEST, WEIGHTS, CONFIG, TOKENIZER),
    CandidateKind.LORA: (ADAPTER_CONFIG, ADAPTER_WEIGHTS),
}


class CandidateManifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a candidate is and came from. Holds no time and no path: equal training gives equal bytes."""

    format: int = _FORMAT
    kind: CandidateKind
    base: str | None
    """`base_fingerprint` of the weights that training began from; None for a full one that began from nothing."""
    tokenizer: str
    """SHA-256 of the ``tokenizer.json`` that it is asked through: its own, or its base's."""
    codebook: str
    """Fingerprint of the codebook that it answers in."""
    capacity: int
    n_clusters: int
    """Clusters of the catalogue that it was taught."""
    names: str
    """Fingerprint of their names, in order."""
    template_name: str
    template_text: str
    n_retrieved: int
    samples: str
    """Checksum of the sample artefact."""
    seed: int
    recipe: dict[str, float | int | str | bool | None]
    files: dict[str, str] = {}


@dataclass(frozen=True, slots=True)
class Candidate:
    """A candidate that was verified.

    Attributes
    ----------
    folder : Path
    manifest : CandidateManifest
    fingerprint : str     SHA-256 of the manifest, which stands for every byte of the candidate
    """

    folder: Path
    manifest: CandidateManifest
    fingerprint: str

    def require_base(self, folder: Path) -> None:
        """Refuse a base that these weights did not begin from: an adapter on other weights answers nonsense.

        Raises
        ------
        EngineError
            If the base, or its tokenizer, is another one.
        """
        found = base_fingerprint(folder)
        if self.manifest.base != found:
            began = "nothing" if self.manifest.base is None else f"the base {self.manifest.base[:12]}"
            raise EngineError(
                f"The candidate began from {began}, not from {found[:12]}",
                "Name the model that it was trained from, or train one from this model",
                place=str(folder),
            )
        if self.manifest.kind is CandidateKind.LORA and sha256_of_file(folder / TOKENIZER) != self.manifest.tokenizer:
            raise EngineError(
                "The candidate was taught through another tokenizer than the base has",
                "Restore the base's tokenizer.json, or train again with this one",
                place=str(folder / TOKENIZER),
            )


def base_fingerprint(folder: Path) -> str:
    """Fingerprint of a model's weights, configuration and tokenizer, whatever catalogue it is asked with.

    Of a model that we trained it is the SHA-256 of its manifest; its files are verified against it.

    Raises
    ------
    EngineError
        If files are missing or changed.
    """
    if (folder / MANIFEST).is_file():
        return read_manifest(folder)[1]
    files = [folder / CONFIG, folder / TOKENIZER, *sorted(folder.glob("*.safetensors"))]
    missing = [path.name for path in files if not path.is_file()]
    if missing or len(files) < 3:
        raise EngineError(
            f"There is no {missing[0] if missing else 'file of weights'}",
            f"Name a folder with {CONFIG}, {TOKENIZER} and the weights as .safetensors",
            place=str(folder),
        )
    said = "\n".join(f"{path.name} {sha256_of_file(path)}" for path in files)
    return hashlib.sha256(said.encode()).hexdigest()


def write_candidate(folder: Path, manifest: CandidateManifest, fill: Callable[[Path], None]) -> Candidate:
    """Write a candidate whole or not at all; one that is there already stays.

    1. Let `fill` write the files into a sibling folder, seal them in the manifest, and verify all of it.
    2. Flush every file, and rename the sibling to `folder`.

    Parameters
    ----------
    folder : Path
    manifest : CandidateManifest    without files
    fill : called with the folder to write files into

    Raises
    ------
    EngineError
        If what was filled in is no candidate, or another candidate is there already.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    sibling = folder.with_name(f".{folder.name}.{secrets.token_hex(6)}.tmp")
    sibling.mkdir()
    try:
        fill(sibling)  # 1
        files = {path.name: sha256_of_file(path) for path in sorted(sibling.iterdir())}
        sealed = msgspec.structs.replace(manifest, files=files)
        write_atomically(sibling / CANDIDATE, msgspec.json.format(msgspec.json.encode(sealed)))
        written = open_candidate(sibling)
        for name in files:  # 2
            with (sibling / name).open("rb") as file:
                os.fsync(file.fileno())
        if folder.exists():
            return _the_same(open_candidate(folder), written)
        sibling.rename(folder)
        flush_folder(folder.parent)
    finally:
        shutil.rmtree(sibling, ignore_errors=True)
    return open_candidate(folder)


def open_candidate(folder: Path) -> Candidate:
    """Open a candidate once every byte of it is verified.

    Raises
    ------
    EngineError
        If there is none, a file is missing, truncated, changed, not in the manifest or of a kind that weights do not
        come in.
    """
    try:
        content = (folder / CANDIDATE).read_bytes()
        manifest = msgspec.json.decode(content, type=CandidateManifest)
    except OSError:
        raise EngineError(f"There is no {CANDIDATE}", "Name a candidate's folder", place=str(folder)) from None
    except msgspec.MsgspecError as error:
        raise EngineError(f"The manifest cannot be read ({error})", _AGAIN, place=str(folder / CANDIDATE)) from None
    if manifest.format != _FORMAT:
        raise EngineError(
            f"The candidate's format is {manifest.format}, this version reads {_FORMAT}", _AGAIN, place=str(folder)
        )
    _check_files(folder, manifest)
    if manifest.kind is CandidateKind.FULL:
        read_manifest(folder)
    elif manifest.base is None:
        raise EngineError("An adapter without a base is of no use", _AGAIN, place=str(folder))
    return Candidate(folder, manifest, hashlib.sha256(content).hexdigest())


def _check_files(folder: Path, manifest: CandidateManifest) -> None:
    there = {path.name for path in folder.iterdir()} - {CANDIDATE}
    expected = {*_NEEDED[manifest.kind], *manifest.files}
    for name in sorted(there | expected):
        path = folder / name
        if name not in there or name not in manifest.files:
            what = "has no" if name not in there else "should have no"
            raise EngineError(f"The candidate {what} {name}, by its manifest", _AGAIN, place=str(folder))
        if path.is_symlink() or not path.is_file() or path.suffix not in _CONTENT:
            raise EngineError("A candidate consists of safetensors and text", _AGAIN, place=str(path))
        if sha256_of_file(path) != manifest.files[name]:
            raise EngineError("The file is not the one that was written (checksum)", _AGAIN, place=str(path))


def _the_same(known: Candidate, made: Candidate) -> Candidate:
    if known.fingerprint != made.fingerprint:
        raise EngineError(
            "Another candidate is there already", "A candidate is never changed: begin another fine-tune",
            place=str(known.folder),
        )  # fmt: skip
    return known
