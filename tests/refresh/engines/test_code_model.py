"""What a folder says of a model: ours for itself, a foreign one by its tokenizer, and clearly where neither will do."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from refresh.engines.code_model import Asking, read_code_model, served_model
from refresh.engines.model_files import CONFIG, MANIFEST, TOKENIZER, WEIGHTS
from refresh.engines.vllm import VllmEngine
from refresh.prompts import Scoring, Template
from tests.refresh.conftest import TinyModel
from tests.refresh.random_models import write_random_model
from tests.refresh.tiny_world import N_CLUSTERS, NAMES, contexts_of, random_contexts
from tidegate.errors import CatalogueError, ConfigError, EngineError

DESCRIBED = Asking(scoring=Scoring.DESCRIPTION)


@pytest.fixture
def foreign(tiny_model: TinyModel, tmp_path: Path) -> Path:
    """Make the tiny model one that nothing is known of but its files."""
    folder = Path(shutil.copytree(tiny_model.folder, tmp_path / "foreign"))
    (folder / MANIFEST).unlink()
    return folder


def without_tokens(folder: Path, *tokens: str) -> None:
    path = folder / TOKENIZER
    tokenizer = json.loads(path.read_text())
    for token in tokens:
        tokenizer["model"]["vocab"].pop(token)
    path.write_text(json.dumps(tokenizer))


def test_a_taught_model_is_read_as_the_embedded_engine_reads_it(tiny_model: TinyModel) -> None:
    model, contexts = read_code_model(tiny_model.folder, NAMES), random_contexts(30)
    assert model.n_taught == N_CLUSTERS
    assert model.vocabulary is not None
    np.testing.assert_array_equal(model.rendered(contexts), model.prompts.token_ids(contexts, model.vocabulary))
    assert model.tokenised(model.prompts.texts(contexts)) == model.rendered(contexts)


def test_allowed_is_what_was_taught_or_retrieved_but_not_what_was_watched(tiny_model: TinyModel) -> None:
    model = read_code_model(tiny_model.folder, [*NAMES, "new"])
    allowed = model.allowed(contexts_of([(1, 2, -1), (-1, 2, N_CLUSTERS), (1, 2, 1)]))
    assert [np.flatnonzero(~row[: N_CLUSTERS + 1]).tolist() for row in allowed] == [[1, 2, 20], [2], [1, 2, 20]]
    assert not allowed[:, N_CLUSTERS + 1 :].any()


def test_a_model_of_another_catalogue_is_refused(tiny_model: TinyModel) -> None:
    with pytest.raises(CatalogueError, match="taught 20 clusters that are not the first"):
        read_code_model(tiny_model.folder, NAMES[::-1])


def test_a_catalogue_that_outgrew_the_codes_is_refused(tiny_model: TinyModel) -> None:
    with pytest.raises(CatalogueError, match="65 clusters, the codebook 64"):
        read_code_model(tiny_model.folder, [*NAMES, *(f"new {n}" for n in range(45))])


def test_our_model_knows_descriptions_by_its_codes_alone(tiny_model: TinyModel) -> None:
    assert read_code_model(tiny_model.folder, NAMES, DESCRIBED).prompts.answers[1] == "<c0001>"


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=f"{tmp_path}/gone: There is no such folder"):
        read_code_model(tmp_path / "gone", NAMES)


def test_a_foreign_model_is_read_word_by_word_of_its_tokenizer(foreign: Path, tiny_model: TinyModel) -> None:
    model, ours, contexts = (
        read_code_model(foreign, NAMES),
        read_code_model(tiny_model.folder, NAMES),
        random_contexts(9),
    )
    assert model.prompts.codebook.capacity == 64
    assert model.rendered(contexts) == ours.rendered(contexts)
    assert model.fingerprint != ours.fingerprint
    np.testing.assert_array_equal(model.level_tokens[0], ours.level_tokens[0])


def test_a_foreign_model_is_known_by_its_files_and_by_what_may_be_answered(foreign: Path) -> None:
    before = read_code_model(foreign, NAMES).fingerprint
    assert read_code_model(foreign, [*NAMES, "new"]).fingerprint != before
    assert read_code_model(foreign, NAMES, DESCRIBED).fingerprint == (
        read_code_model(foreign, [*NAMES, "new"], DESCRIBED).fingerprint
    )
    (foreign / "more.safetensors").write_bytes(b"more weights")
    assert read_code_model(foreign, NAMES).fingerprint != before


def test_a_foreign_model_with_codes_of_two_tokens_is_found_out(tmp_path: Path) -> None:
    names = [f"n{n}" for n in range(1_100)]
    folder = write_random_model(tmp_path / "wide", names)
    ours = read_code_model(folder, names)
    (folder / MANIFEST).unlink()
    model = read_code_model(folder, names)
    assert model.prompts.codebook.levels == ours.prompts.codebook.levels
    assert model.infix == ()


@pytest.mark.parametrize("gone", ["<c0019>", "<c0000>"])
def test_missing_codes_are_named_with_what_to_do(foreign: Path, gone: str) -> None:
    without_tokens(foreign, gone)
    with pytest.raises(EngineError, match=rf"no token for {gone} and 0 more codes of 20 clusters\. .*--scoring desc"):
        read_code_model(foreign, NAMES)
    assert not read_code_model(foreign, NAMES, DESCRIBED).level_tokens


def test_codes_that_the_tokenizer_splits_are_named(foreign: Path) -> None:
    path = foreign / TOKENIZER
    tokenizer = json.loads(path.read_text())
    tokenizer["pre_tokenizer"] = {"type": "Split", "pattern": {"String": "3>"}, "behavior": "Isolated", "invert": False}
    path.write_text(json.dumps(tokenizer))
    with pytest.raises(EngineError, match=r"does not keep <c0003> \(7 of 64 codes\) as one token"):
        read_code_model(foreign, NAMES)


@pytest.mark.parametrize(
    ("file", "content", "found"),
    [
        (CONFIG, None, "config.json cannot be read"),
        (CONFIG, b"{", "config.json cannot be read"),
        (TOKENIZER, None, "tokenizer.json cannot be read"),
        (TOKENIZER, b"\x00garbage", "tokenizer.json cannot be read"),
        (WEIGHTS, None, "There are no weights"),
    ],
)
def test_a_foreign_folder_that_is_not_whole_is_refused(
    foreign: Path, file: str, content: bytes | None, found: str
) -> None:
    (foreign / file).unlink()
    if content is not None:
        (foreign / file).write_bytes(content)
    with pytest.raises(EngineError, match=rf"{found}.* Name a folder"):
        read_code_model(foreign, NAMES)


def test_what_only_a_server_knows_is_known_by_its_name() -> None:
    one, two = (served_model(name, NAMES, Asking()) for name in ("one", "two"))
    assert one.fingerprint != two.fingerprint
    assert one.rendered(random_contexts(2)) == one.prompts.texts(random_contexts(2))


def test_free_answers_in_words_know_no_bound_of_codes() -> None:
    names = [f"n{n}" for n in range(3_000)]
    assert served_model("one", names, DESCRIBED).prompts.codebook.n_levels == 1
    coded = Asking(Template.packaged(), Scoring.DESCRIPTION)
    assert served_model("one", names, coded).prompts.codebook.n_levels == 2


def test_without_vllm_the_engine_says_how_to_install_it(tiny_model: TinyModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    monkeypatch.setattr(os, "environ", dict(os.environ))  # what it sets for vLLM's import does not outlive the test
    with pytest.raises(ConfigError, match=r"not installed.*pip install 'tidegate\[vllm\]'"):
        VllmEngine(tiny_model.folder, NAMES)
