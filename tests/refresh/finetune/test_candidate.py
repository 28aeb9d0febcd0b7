from __future__ import annotations

import json
import shutil
from pathlib import Path

import msgspec
import pytest

from refresh.engines.model_files import MANIFEST, TOKENIZER, WEIGHTS
from refresh.finetune.candidate import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    CANDIDATE,
    Candidate,
    CandidateKind,
    CandidateManifest,
    base_fingerprint,
    open_candidate,
    write_candidate,
)
from tests.refresh.random_models import write_random_model
from tests.refresh.tiny_world import NAMES
from tidegate.errors import EngineError
from tidegate.files import sha256_of_file


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_model(tmp_path_factory.mktemp("base") / "model", NAMES)


def manifest(kind: CandidateKind, base: Path) -> CandidateManifest:
    return CandidateManifest(
        kind=kind,
        base=base_fingerprint(base),
        tokenizer=sha256_of_file(base / TOKENIZER),
        codebook="c",
        capacity=64,
        n_clusters=len(NAMES),
        names="n",
        template_name="t",
        template_text="{c1}",
        n_retrieved=1,
        samples="s",
        seed=7,
        recipe={"epochs": 1},
    )


def full(folder: Path, base: Path) -> Candidate:
    def fill(empty: Path) -> None:
        for path in base.iterdir():
            shutil.copyfile(path, empty / path.name)

    return write_candidate(folder, manifest(CandidateKind.FULL, base), fill)


def lora(folder: Path, base: Path, weights: bytes = b"w") -> Candidate:
    def fill(empty: Path) -> None:
        (empty / ADAPTER_CONFIG).write_text("{}")
        (empty / ADAPTER_WEIGHTS).write_bytes(weights)

    return write_candidate(folder, manifest(CandidateKind.LORA, base), fill)


def test_a_candidate_is_sealed_and_opens_as_it_was_written(base: Path, tmp_path: Path) -> None:
    written = full(tmp_path / "candidate", base)
    found = open_candidate(tmp_path / "candidate")
    assert found == written and set(found.manifest.files) == {path.name for path in base.iterdir()}
    assert lora(tmp_path / "adapter", base).manifest.kind is CandidateKind.LORA
    found.require_base(base)


def test_writing_it_again_finds_it_and_another_one_is_refused(base: Path, tmp_path: Path) -> None:
    first = lora(tmp_path / "adapter", base)
    assert lora(tmp_path / "adapter", base) == first
    with pytest.raises(EngineError, match="Another candidate is there already"):
        lora(tmp_path / "adapter", base, weights=b"other")
    assert [path.name for path in tmp_path.iterdir()] == ["adapter"]


@pytest.mark.parametrize("name", [WEIGHTS, TOKENIZER, MANIFEST])
def test_a_changed_truncated_or_missing_file_is_refused(name: str, base: Path, tmp_path: Path) -> None:
    folder = full(tmp_path / "candidate", base).folder
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[:-1])
    with pytest.raises(EngineError, match=rf"{name}.*checksum"):
        open_candidate(folder)
    (folder / name).unlink()
    with pytest.raises(EngineError, match=f"has no {name}"):
        open_candidate(folder)


def test_a_file_that_the_manifest_does_not_know_is_refused(base: Path, tmp_path: Path) -> None:
    folder = full(tmp_path / "candidate", base).folder
    (folder / "extra.safetensors").write_bytes(b"x")
    with pytest.raises(EngineError, match=r"should have no extra\.safetensors"):
        open_candidate(folder)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "adapter_model.pt", "weights.pkl", "code.py"])
def test_pickles_and_code_are_no_part_of_a_candidate(name: str, base: Path, tmp_path: Path) -> None:
    def fill(empty: Path) -> None:
        (empty / ADAPTER_CONFIG).write_text("{}")
        (empty / ADAPTER_WEIGHTS).write_bytes(b"w")
        (empty / name).write_bytes(b"x")

    with pytest.raises(EngineError, match=rf"{name}.*safetensors and text"):
        write_candidate(tmp_path / "candidate", manifest(CandidateKind.LORA, base), fill)
    assert not list(tmp_path.iterdir())


def test_a_link_out_of_the_folder_is_refused(base: Path, tmp_path: Path) -> None:
    folder = lora(tmp_path / "adapter", base).folder
    (folder / ADAPTER_WEIGHTS).rename(tmp_path / "elsewhere.safetensors")
    (folder / ADAPTER_WEIGHTS).symlink_to(tmp_path / "elsewhere.safetensors")
    with pytest.raises(EngineError, match="safetensors and text"):
        open_candidate(folder)


@pytest.mark.parametrize(
    ("changed", "why"),
    [({"format": 9}, "format is 9"), ({"kind": "half"}, "cannot be read"), ({"base": None}, "without a base")],
)
def test_a_manifest_of_another_kind_is_refused(
    changed: dict[str, object], why: str, base: Path, tmp_path: Path
) -> None:
    folder = lora(tmp_path / "adapter", base).folder
    path = folder / CANDIDATE
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))
    with pytest.raises(EngineError, match=why):
        open_candidate(folder)


def test_no_candidate_at_all_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"There is no manifest\.json"):
        open_candidate(tmp_path)


def test_another_base_is_refused(base: Path, tmp_path: Path) -> None:
    other = write_random_model(tmp_path / "other", NAMES, seed=2)
    candidate = lora(tmp_path / "adapter", base)
    with pytest.raises(EngineError, match=r"began from the base .*, not from"):
        candidate.require_base(other)
    begun = msgspec.structs.replace(candidate.manifest, base=None)
    with pytest.raises(EngineError, match="began from nothing"):
        Candidate(candidate.folder, begun, "f").require_base(base)


def test_another_tokenizer_is_refused_though_the_weights_are_the_same(base: Path, tmp_path: Path) -> None:
    candidate = lora(tmp_path / "adapter", base)
    taught = msgspec.structs.replace(candidate.manifest, tokenizer="other")
    with pytest.raises(EngineError, match="another tokenizer"):
        Candidate(candidate.folder, taught, "f").require_base(base)


def test_a_foreign_base_is_known_by_its_files_whatever_the_catalogue(base: Path, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign"
    shutil.copytree(base, foreign)
    (foreign / MANIFEST).unlink()
    first = base_fingerprint(foreign)
    assert base_fingerprint(foreign) == first != base_fingerprint(base)
    (foreign / WEIGHTS).write_bytes((foreign / WEIGHTS).read_bytes() + b"x")
    assert base_fingerprint(foreign) != first
    (foreign / WEIGHTS).unlink()
    with pytest.raises(EngineError, match="no file of weights"):
        base_fingerprint(foreign)
    (foreign / TOKENIZER).unlink()
    with pytest.raises(EngineError, match=r"no tokenizer\.json"):
        base_fingerprint(foreign)
