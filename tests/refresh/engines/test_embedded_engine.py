from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from refresh.engines import open_engine
from refresh.engines.embedded import EmbeddedEngine
from refresh.engines.model_files import CONFIG, MANIFEST, TOKENIZER, WEIGHTS
from refresh.probe import probe
from refresh.prompts import RowContexts
from tests.refresh.conftest import TinyModel
from tests.refresh.tiny_world import N_CLUSTERS, NAMES, contexts_of, random_contexts
from tidegate.errors import CatalogueError, ConfigError, EngineError
from tidegate.files import sha256_of_file


@pytest.fixture
def copied(tiny_model: TinyModel, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model.folder, tmp_path / "copy"))


def reseal(folder: Path, **changes: object) -> None:
    """Make the manifest agree with files that a test has changed."""
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["files"] = {name: sha256_of_file(folder / name) for name in manifest["files"]}
    (folder / MANIFEST).write_text(json.dumps(manifest | changes))


def test_it_reads_the_retrieved_line(tiny_model: TinyModel) -> None:
    contexts = random_contexts(1_000)
    answers = EmbeddedEngine(tiny_model.folder, NAMES).infer(contexts, top_n=1)
    has_line = contexts.retrieved[:, 0] >= 0
    assert (answers.clusters[has_line, 0] == contexts.retrieved[has_line, 0]).mean() > 0.9


def test_without_a_line_it_answers_what_it_learned(tiny_model: TinyModel) -> None:
    contexts = contexts_of([(-1, c2, -1) for c2 in range(N_CLUSTERS)])
    answers = EmbeddedEngine(tiny_model.folder, NAMES).infer(contexts, top_n=3)
    assert (answers.clusters < N_CLUSTERS).all()
    assert (answers.label_mass > 0.3).all()


def test_a_spare_code_is_answered_once_it_is_retrieved(tiny_model: TinyModel) -> None:
    contexts = random_contexts(1_000, n_clusters=64)
    contexts.retrieved[:, 0] = np.where(contexts.retrieved[:, 0] >= N_CLUSTERS, contexts.retrieved[:, 0], -1)
    engine = EmbeddedEngine(tiny_model.folder, [*NAMES, *(f"new {n}" for n in range(64 - N_CLUSTERS))])
    answers = engine.infer(contexts, top_n=64)
    has_line = contexts.retrieved[:, 0] >= 0
    assert (answers.clusters[has_line, 0] == contexts.retrieved[has_line, 0]).mean() > 0.97
    assert (answers.clusters[~has_line] < N_CLUSTERS).all()


def test_a_grown_catalogue_changes_no_answer(tiny_model: TinyModel) -> None:
    contexts, engine = random_contexts(300), EmbeddedEngine(tiny_model.folder, NAMES)
    before = engine.infer(contexts, top_n=5)
    engine.grow([*NAMES, "new"])
    after = engine.infer(contexts, top_n=5)
    np.testing.assert_array_equal(before.probabilities, after.probabilities)
    np.testing.assert_array_equal(before.clusters, after.clusters)


def test_a_cluster_beyond_the_codes_asks_for_a_fine_tune(tiny_model: TinyModel) -> None:
    with pytest.raises(CatalogueError, match="Fine-tune"):
        EmbeddedEngine(tiny_model.folder, NAMES).infer(contexts_of([(1, 2, 64)]), top_n=1)


def test_a_model_of_another_catalogue_is_refused(tiny_model: TinyModel) -> None:
    with pytest.raises(CatalogueError, match="not the first of this catalogue"):
        EmbeddedEngine(tiny_model.folder, ["renamed", *NAMES[1:]])


@pytest.mark.parametrize("name", [WEIGHTS, CONFIG, TOKENIZER])
def test_a_changed_file_is_refused(copied: Path, name: str) -> None:
    content = bytearray((copied / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copied / name).write_bytes(content)
    with pytest.raises(EngineError, match=rf"{name}: .*checksum.*train"):
        EmbeddedEngine(copied, NAMES)


def test_truncated_weights_are_refused(copied: Path) -> None:
    content = (copied / WEIGHTS).read_bytes()
    (copied / WEIGHTS).write_bytes(content[: len(content) // 2])
    with pytest.raises(EngineError, match="checksum"):
        EmbeddedEngine(copied, NAMES)


def test_a_missing_file_is_refused(copied: Path) -> None:
    (copied / WEIGHTS).unlink()
    with pytest.raises(EngineError, match=f"has no {WEIGHTS}"):
        EmbeddedEngine(copied, NAMES)


def test_a_folder_without_a_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=f"There is no {MANIFEST}"):
        EmbeddedEngine(tmp_path, NAMES)


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"format": 1}'])
def test_a_manifest_that_is_none_is_refused(copied: Path, content: bytes) -> None:
    (copied / MANIFEST).write_bytes(content)
    with pytest.raises(EngineError, match="manifest cannot be read"):
        EmbeddedEngine(copied, NAMES)


def test_a_newer_format_is_refused(copied: Path) -> None:
    reseal(copied, format=2)
    with pytest.raises(EngineError, match="format is 2, this version reads 1"):
        EmbeddedEngine(copied, NAMES)


def test_a_tokenizer_of_other_codes_is_refused(copied: Path) -> None:
    tokenizer = (copied / TOKENIZER).read_text()
    (copied / TOKENIZER).write_text(tokenizer.replace("<c0003>", "<d0003>"))
    reseal(copied)
    with pytest.raises(EngineError, match="one token of its own"):
        EmbeddedEngine(copied, NAMES)


def test_weights_of_another_shape_are_refused(copied: Path) -> None:
    config = json.loads((copied / CONFIG).read_text())
    (copied / CONFIG).write_text(json.dumps(config | {"hidden_size": 32}))
    reseal(copied)
    with pytest.raises(EngineError, match="weights do not fit"):
        EmbeddedEngine(copied, NAMES)


def test_weights_of_another_model_are_refused(copied: Path) -> None:
    config = json.loads((copied / CONFIG).read_text())
    (copied / CONFIG).write_text(json.dumps(config | {"num_hidden_layers": 3}))
    reseal(copied)
    with pytest.raises(EngineError, match="weights are not those"):
        EmbeddedEngine(copied, NAMES)


def test_an_unknown_engine_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="embedded, frequency"):
        open_engine("oracle", NAMES)


def test_the_embedded_engine_needs_a_model() -> None:
    with pytest.raises(EngineError, match="Train one"):
        open_engine("embedded", NAMES)


def test_any_llama_loader_reads_the_folder(tiny_model: TinyModel) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model.folder, local_files_only=True)
    model = AutoModelForCausalLM.from_pretrained(tiny_model.folder, local_files_only=True)
    engine = EmbeddedEngine(tiny_model.folder, NAMES)
    contexts = contexts_of([(1, 2, 9)])
    (text,) = engine.prompts.texts(contexts)
    logits = model(**tokenizer(text, return_tensors="pt", return_token_type_ids=False)).logits[0, -1]
    code = tokenizer.convert_ids_to_tokens(int(logits.argmax()))
    assert code == engine.prompts.codebook.codes[engine.infer(contexts, top_n=1).clusters[0, 0]]


def test_written_freely_it_writes_the_codes_that_it_scores_best(tiny_model: TinyModel) -> None:
    engine, contexts = EmbeddedEngine(tiny_model.folder, NAMES), random_contexts(300)
    written = engine.generate(engine.prompts.texts(contexts), 1)
    codes = engine.prompts.codebook.codes
    best = engine.infer(contexts, top_n=1).clusters[:, 0]
    is_allowed = np.array([text in codes[: len(NAMES)] for text in written])
    is_new = is_allowed & np.array(
        [text not in prompt for text, prompt in zip(written, contexts_only(engine, contexts), strict=True)]
    )
    assert is_new.mean() > 0.8
    assert [written[row] for row in np.flatnonzero(is_new)] == [codes[best[row]] for row in np.flatnonzero(is_new)]


def contexts_only(engine: EmbeddedEngine, contexts: RowContexts) -> list[str]:
    """Prompts without their retrieved line."""
    alone = RowContexts(contexts.c1, contexts.c2, np.full_like(contexts.retrieved, -1))
    return engine.prompts.texts(alone)


def test_prompts_of_any_length_are_continued_each_on_its_own(tiny_model: TinyModel) -> None:
    engine = EmbeddedEngine(tiny_model.folder, NAMES)
    prompts = ["", "next", "watched <c0001> then", "no word of these is known", "watched <c0002> then"] * 3
    whole = engine.generate(prompts, 3)
    assert [engine.generate([prompt], 3)[0] for prompt in prompts[:5]] == whole[:5]
    assert whole[:5] == whole[5:10] == whole[10:]
    assert engine.generate([], 3) == []


def test_the_probe_finds_that_it_answers_in_codes(tiny_model: TinyModel) -> None:
    result = probe(EmbeddedEngine(tiny_model.folder, NAMES), random_contexts(300), seed=1)
    assert result.n == 256
    assert result.exact_match is not None and result.exact_match > 0.95


def test_a_codebook_that_no_version_makes_is_refused(copied: Path) -> None:
    reseal(copied, codebook_fingerprint="0" * 64)
    with pytest.raises(EngineError, match="another codebook than this version makes"):
        EmbeddedEngine(copied, NAMES)
