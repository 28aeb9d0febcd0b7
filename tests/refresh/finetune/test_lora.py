from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from refresh.engines.code_model import Asking
from refresh.engines.model_files import CONFIG, TOKENIZER
from refresh.finetune.candidate import ADAPTER_CONFIG, ADAPTER_WEIGHTS, base_fingerprint, open_candidate
from refresh.finetune.coded_base import write_coded_base
from refresh.finetune.fine_tuning import Lesson, fine_tune, read_report
from refresh.finetune.learner import in_parts, recall
from refresh.finetune.lora import LoraLearner, load_decoder, open_lora
from refresh.finetune.recipe import FineTuneRecipe
from refresh.prompts import TEXT_TEMPLATE, Scoring, Template
from refresh.training.threads import single_thread
from tests.refresh.conftest import TinyModel
from tests.refresh.finetune.decoders import copied, write_coded, write_plain
from tests.refresh.finetune.worlds import panes, small_samples, take
from tests.refresh.tiny_world import NAMES
from tidegate.errors import CatalogueError, ConfigError, EngineError, FineTuneError

RECIPE = replace(
    FineTuneRecipe.for_adapter(),
    epochs=2,
    batch_size=64,
    peak_rate=1e-2,
    reading_share=0.0,
    check_every=10,
    rows_at_once=0,
    rank=8,
    alpha=16,
)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    with single_thread():
        yield


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_coded(tmp_path_factory.mktemp("bases") / "coded")


def lesson(base: Path, **changed: Any) -> Lesson:
    learner = open_lora(base, NAMES, seed=2, recipe=RECIPE)
    return Lesson(learner, small_samples(), "checksum", replace(RECIPE, **changed), 2)


@pytest.fixture(scope="module")
def trained(base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, LoraLearner]:
    """An adapter of a random Llama. Never change its folder."""
    folder = tmp_path_factory.mktemp("lora") / "fine-tune"
    given = lesson(base)
    fine_tune(given, folder)
    assert isinstance(given.learner, LoraLearner)
    return folder, given.learner


def test_only_the_adapter_changes(base: Path, trained: tuple[Path, LoraLearner]) -> None:
    folder, learner = trained
    as_it_was = load_file(base / "model.safetensors")
    below = {
        name.removeprefix("base_model.model.").replace(".base_layer", ""): weights
        for name, weights in learner._model.named_parameters()
        if not weights.requires_grad
    }
    assert below.keys() == as_it_was.keys()
    assert all(torch.equal(below[name], weights) for name, weights in as_it_was.items())
    assert all("lora_" in name for name in learner.trained)
    report = read_report(folder)
    assert report.n_trained_weights < report.n_weights / 3 and report.dtype == "float32"


def test_it_learns_from_the_answers_code_alone(trained: tuple[Path, LoraLearner]) -> None:
    report = read_report(trained[0])
    assert np.mean(report.losses[-3:]) < np.mean(report.losses[:3]) - 1
    assert report.base_recall is not None and report.base_recall < 0.1
    assert report.recall > 0.4 > 3 * report.popular_recall


def test_the_candidate_is_an_adapter_of_that_base_and_of_no_other(
    base: Path, trained: tuple[Path, LoraLearner], tmp_path: Path
) -> None:
    candidate = open_candidate(trained[0] / "candidate")
    assert set(candidate.manifest.files) == {ADAPTER_CONFIG, ADAPTER_WEIGHTS}
    candidate.require_base(base)
    assert candidate.manifest.base == base_fingerprint(base)
    other = copied(base, tmp_path / "other")
    config = json.loads((other / CONFIG).read_text())
    (other / CONFIG).write_text(json.dumps(config | {"rope_theta": 1.0}))
    with pytest.raises(EngineError, match="began from the base"):
        candidate.require_base(other)


def test_peft_puts_it_on_the_base_and_it_answers_as_it_was_trained(
    base: Path, trained: tuple[Path, LoraLearner]
) -> None:
    from peft import PeftModel

    folder, learner = trained
    model = PeftModel.from_pretrained(load_decoder(base), folder / "candidate")
    again = LoraLearner(model, learner._asked, "base", "tokenizer")
    test = small_samples().test
    np.testing.assert_array_equal(again.answers(test), learner.answers(test))
    assert recall(again.answers(test), test) == read_report(folder).recall


def test_equal_trainings_write_equal_bytes_though_one_was_stopped(
    base: Path, trained: tuple[Path, LoraLearner], tmp_path: Path
) -> None:
    answers = iter([False, True])
    with pytest.raises(FineTuneError, match="was stopped"):
        fine_tune(lesson(base), tmp_path, should_stop=lambda: next(answers))
    fine_tune(lesson(base), tmp_path)
    for path in (tmp_path / "candidate").iterdir():
        assert path.read_bytes() == (trained[0] / "candidate" / path.name).read_bytes(), path.name


def test_gradients_of_parts_of_a_batch_are_those_of_the_batch(base: Path) -> None:
    from refresh.training.teach import Course

    ends = []
    for rows in (None, 24):
        learner = open_lora(base, NAMES, seed=2, recipe=RECIPE)
        course = Course(learner, 1e-3, 10, rows_at_once=rows, max_norm=1.0)
        for _ in range(3):
            loss = course.step(small_samples().taught[:64])
        ends.append((loss, torch.cat([weights.flatten() for weights in learner.trained.values()])))
    assert ends[0][0] == pytest.approx(ends[1][0], abs=1e-5)
    torch.testing.assert_close(ends[0][1], ends[1][1], atol=2e-4, rtol=0)


def test_what_stands_around_a_prompt_in_its_batch_does_not_change_its_loss(tmp_path: Path) -> None:
    """Prompts of text differ in length: they are padded on the left, and not by what they are asked."""
    names = ["jazz", "free jazz and more of it", *NAMES[2:]]
    coded = tmp_path / "coded"
    write_coded_base(write_plain(tmp_path / "plain", names), names, coded)
    learner = open_lora(coded, names, seed=1, asking=Asking(template=Template.packaged(TEXT_TEMPLATE)), recipe=RECIPE)
    samples = small_samples().test[:12]
    lengths = {len(prompt) for prompt in learner.rendered(samples)}
    assert len(lengths) > 1
    with torch.inference_mode():
        together = learner.losses(samples)
        alone = torch.cat([learner.losses(part) for part in in_parts(samples, 1)])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)


def test_codes_are_added_to_a_decoder_that_has_none_and_an_adapter_learns_to_answer_in_them(tmp_path: Path) -> None:
    plain, coded = write_plain(tmp_path / "plain"), tmp_path / "coded"
    before = base_fingerprint(plain)
    with pytest.raises(EngineError, match="no token for <c0000>"):
        open_lora(plain, NAMES, seed=1)
    write_coded_base(plain, NAMES, coded)
    assert base_fingerprint(plain) == before
    write_coded_base(plain, NAMES, tmp_path / "again")
    assert base_fingerprint(tmp_path / "again") == base_fingerprint(coded)
    asking = Asking(template=Template.packaged(TEXT_TEMPLATE))
    brief = replace(RECIPE, epochs=1)
    given = Lesson(open_lora(coded, NAMES, seed=1, asking=asking, recipe=brief), small_samples(), "c", brief, 1)
    _, report = fine_tune(given, tmp_path / "fine-tune")
    assert np.mean(report.losses[-3:]) < np.mean(report.losses[:3]) - 0.4
    with pytest.raises(EngineError, match="has the code <c0000> already"):
        write_coded_base(coded, NAMES, tmp_path / "twice")
    with pytest.raises(EngineError, match="there already"):
        write_coded_base(plain, NAMES, coded)


def test_codes_of_two_tokens_are_taught_and_answered(tmp_path: Path) -> None:
    n_clusters = 1_100
    names = [f"interest {cluster}" for cluster in range(n_clusters)]
    coded = write_coded(tmp_path / "coded", n_clusters)
    curated = take(panes(n_clusters=n_clusters), names=names)
    learner = open_lora(coded, names, seed=2, recipe=RECIPE)
    test = curated.test[:40]
    answers = learner.answers(test)
    assert ((answers >= 0) & (answers < n_clusters) & (answers != test.c1) & (answers != test.c2)).all()
    tokens = learner._answer_tokens(test.target)
    assert tokens.shape == (40, 2)
    with torch.inference_mode():
        logits = learner._logits(learner.rendered(test), tokens[:, :1]).float()
    logprobs = torch.log_softmax(logits, dim=2).numpy()
    rows = np.arange(40)
    expected = -(logprobs[rows, 0, tokens[:, 0]] + logprobs[rows, 1, tokens[:, 1]])
    np.testing.assert_allclose(learner.losses(test).detach().numpy(), expected, rtol=1e-5)


def test_an_adapter_goes_on_our_own_model_too(tiny_model: TinyModel, tmp_path: Path) -> None:
    learner = open_lora(tiny_model.folder, NAMES, seed=1, recipe=RECIPE)
    assert learner.n_readable == 64 and learner.base == base_fingerprint(tiny_model.folder)
    test = small_samples().test
    assert recall(learner.answers(test), test) > 0.5
    with pytest.raises(CatalogueError, match="not the first of this catalogue"):
        open_lora(tiny_model.folder, ["other", *NAMES[1:]], seed=1)


def test_descriptions_cannot_be_taught_to_an_adapter(base: Path) -> None:
    with pytest.raises(ConfigError, match="answer in codes"):
        open_lora(base, NAMES, seed=1, asking=Asking(scoring=Scoring.DESCRIPTION))


def test_a_folder_that_is_no_decoder_is_refused(base: Path, tmp_path: Path) -> None:
    broken = copied(base, tmp_path / "broken")
    (broken / CONFIG).write_text('{"model_type": "no such"}')
    with pytest.raises(EngineError, match="cannot be loaded"):
        open_lora(broken, NAMES, seed=1)
    (broken / TOKENIZER).write_text("{}")
    with pytest.raises(EngineError, match=r"tokenizer\.json cannot be read"):
        open_lora(broken, NAMES, seed=1)


def test_without_peft_it_says_what_to_install(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ConfigError, match=r"pip install 'tidegate\[finetune\]'"):
        open_lora(base, NAMES, seed=1)
