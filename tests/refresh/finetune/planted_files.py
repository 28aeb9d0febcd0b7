"""Planted: files, manifests, bases, tokenizers, codebooks and samples that are not what they should be."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from refresh.engines.model_files import CONFIG, TOKENIZER, WEIGHTS
from refresh.finetune.candidate import ADAPTER_CONFIG, CANDIDATE, open_candidate
from refresh.finetune.gates import Trial, sampled
from refresh.finetune.samples_folder import read_samples, write_samples
from tests.refresh.finetune.gate_bench import Bench, curate_moved, resealed
from tests.refresh.finetune.planting import Plant, Planted
from tests.refresh.random_models import write_random_model
from tests.refresh.tiny_world import N_CLUSTERS, NAMES
from tidegate.files import sha256_of_file


def _tampered(change: Callable[[Path, Path], object]) -> Plant:
    """Change files of a sealed candidate, and leave the seal."""

    def plant(bench: Bench, folder: Path) -> Trial:
        copy = bench.copy(folder / "candidate")
        change(copy, folder)
        return bench.trial(copy, is_whole=False)

    return plant


def _truncate(copy: Path, _: Path) -> None:
    content = (copy / WEIGHTS).read_bytes()
    (copy / WEIGHTS).write_bytes(content[: len(content) // 2])


def flip(copy: Path, _: Path) -> None:
    content = bytearray((copy / WEIGHTS).read_bytes())
    content[-1_000] ^= 1
    (copy / WEIGHTS).write_bytes(content)


def _tear(copy: Path, _: Path) -> None:
    (copy / CANDIDATE).write_bytes((copy / CANDIDATE).read_bytes()[:200])


def _link(copy: Path, folder: Path) -> None:
    (copy / WEIGHTS).rename(folder / "elsewhere.safetensors")
    (copy / WEIGHTS).symlink_to(folder / "elsewhere.safetensors")


def _link_folder(bench: Bench, folder: Path) -> Trial:
    bench.copy(folder / "elsewhere")
    (folder / "candidate").symlink_to(folder / "elsewhere")
    return bench.trial(folder / "candidate")


def _pickle(copy: Path, _: Path) -> None:
    (copy / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    resealed(copy)


def _run_code(copy: Path) -> None:
    said = msgspec.json.decode((copy / CONFIG).read_bytes())
    (copy / CONFIG).write_bytes(msgspec.json.encode(said | {"auto_map": {"AutoModelForCausalLM": "evil.Model"}}))
    resealed(copy)


def _climb(copy: Path, _: Path) -> None:
    said = msgspec.json.decode((copy / CANDIDATE).read_bytes())
    said["files"]["../elsewhere.safetensors"] = "0" * 64
    (copy / CANDIDATE).write_bytes(msgspec.json.encode(said))


def _sealed(change: Callable[[Path], object]) -> Plant:
    """Change a candidate and seal it again: by its checksums it is whole, and training reported it."""

    def plant(bench: Bench, folder: Path) -> Trial:
        copy = bench.copy(folder / "candidate")
        change(copy)
        return bench.trial(copy)

    return plant


def _another_candidate(bench: Bench, folder: Path) -> Trial:
    return replace(bench.trial(bench.candidate), expected=replace(bench.expected, fingerprint="0" * 64))


def _stale(bench: Bench, folder: Path) -> Trial:
    """Other weights serve by now than those that training began from."""
    now = write_random_model(folder / "now", bench.names)
    return bench.trial(bench.candidate, base_folder=now)


def _adapter_of_another_base(bench: Bench, folder: Path) -> Trial:
    return bench.trial(resealed(bench.adapter(folder / "candidate"), outer={"base": "1" * 64}))


def _permuted_tokenizer(bench: Bench, folder: Path) -> Trial:
    return _with_tokenizer(bench, folder, lambda vocabulary: _swapped(vocabulary, "<c0003>", "<c0004>"))


def _codeless_tokenizer(bench: Bench, folder: Path) -> Trial:
    """A first model, so that there is no base to compare its tokenizer with."""
    trial = _with_tokenizer(
        bench,
        folder,
        lambda vocabulary: {word.replace("<c00", "<x00"): token for word, token in vocabulary.items()},
        base=None,
    )
    return replace(trial, expected=replace(trial.expected, base=None), base_folder=None, open_serving=None)


def _lying_tokenizer(bench: Bench, folder: Path) -> Trial:
    return _with_tokenizer(
        bench,
        folder,
        lambda vocabulary: _swapped(vocabulary, "<c0003>", "<c0004>"),
        tokenizer=open_candidate(bench.candidate).manifest.tokenizer,
    )


def _with_tokenizer(
    bench: Bench, folder: Path, change: Callable[[dict[str, int]], dict[str, int]], **outer: Any
) -> Trial:
    copy = bench.copy(folder / "candidate")
    said = msgspec.json.decode((copy / TOKENIZER).read_bytes())
    said["model"]["vocab"] = change(said["model"]["vocab"])
    (copy / TOKENIZER).write_bytes(msgspec.json.encode(said))
    return bench.trial(resealed(copy, outer={"tokenizer": sha256_of_file(copy / TOKENIZER), **outer}))


def _swapped(vocabulary: dict[str, int], one: str, other: str) -> dict[str, int]:
    return vocabulary | {one: vocabulary[other], other: vocabulary[one]}


def _other_names(names: Sequence[str]) -> Plant:
    """The catalogue is another one than the candidate's."""

    def plant(bench: Bench, folder: Path) -> Trial:
        return bench.trial(bench.candidate, names=tuple(names))

    return plant


def _older_samples(bench: Bench, folder: Path) -> Trial:
    """Taught the samples of an earlier fine-tune, which the candidate's manifest admits."""
    return bench.trial(resealed(bench.copy(folder / "candidate"), outer={"samples": "2" * 64}))


def _spoiled_samples(bench: Bench, folder: Path) -> Trial:
    shutil.copytree(bench.samples, folder / "samples")
    content = bytearray((folder / "samples" / "target.npy").read_bytes())
    content[-1] ^= 1
    (folder / "samples" / "target.npy").write_bytes(content)
    return bench.trial(bench.candidate, samples=lambda: sampled(*read_samples(folder / "samples")))


def _other_samples(bench: Bench, folder: Path) -> Trial:
    """The samples were taken again since; they are whole, and others."""
    write_samples(folder / "samples", curate_moved(NAMES, n_test=500))
    return bench.trial(bench.candidate, samples=lambda: sampled(*read_samples(folder / "samples")))


def _samples_before_the_flag(bench: Bench, folder: Path) -> Trial:
    trial = bench.trial(bench.candidate)
    return replace(trial, expected=replace(trial.expected, flag_pane=trial.expected.flag_pane + 7))


def _leaked_users(part: str) -> Plant:
    """Test users are among those whose transitions were taught, or that training stopped by."""

    def plant(bench: Bench, folder: Path) -> Trial:
        found = bench.sampled()
        rows = getattr(found, part)
        users = rows.users.copy()
        users[:10] = found.test.users[:10]
        return bench.trial(bench.candidate, samples=lambda: replace(found, **{part: replace(rows, users=users)}))

    return plant


def _tiny_test_set(bench: Bench, folder: Path) -> Trial:
    found = bench.sampled()
    few = replace(
        found.test,
        contexts=found.test.contexts[:20],
        targets=found.test.targets[:20],
        users=found.test.users[:20],
        traffic=found.test.traffic[:20],
    )
    return bench.trial(bench.candidate, samples=lambda: replace(found, test=few))


def _no_lora(bench: Bench, folder: Path) -> Trial:
    copy = bench.adapter(folder / "candidate")
    said = msgspec.json.decode((copy / ADAPTER_CONFIG).read_bytes())
    (copy / ADAPTER_CONFIG).write_bytes(msgspec.json.encode(said | {"peft_type": "IA3"}))
    return bench.trial(resealed(copy))


def _codebook_of_nobody(bench: Bench, folder: Path) -> Trial:
    copy, nobody = bench.copy(folder / "candidate"), "4" * 64
    return bench.trial(resealed(copy, inner={"codebook_fingerprint": nobody}, outer={"codebook": nobody}))


FILES: dict[str, Planted] = {
    "truncated weights": Planted(_tampered(_truncate), "files", "checksum"),
    "a bit flipped in the weights": Planted(_tampered(flip), "files", "checksum"),
    "weights missing": Planted(
        _tampered(lambda copy, _: (copy / WEIGHTS).unlink()), "files", "has no model.safetensors"
    ),
    "a file too many": Planted(
        _tampered(lambda copy, _: (copy / "notes.txt").touch()), "files", "should have no notes.txt"
    ),
    "a pickle beside the weights": Planted(_tampered(_pickle), "files", "safetensors and text"),
    "weights linked from elsewhere": Planted(_tampered(_link), "files", "is a link"),
    "the folder a link": Planted(_link_folder, "files", "is a link"),
    "code to be run": Planted(_sealed(_run_code), "files", "names code"),
    "no manifest": Planted(_tampered(lambda copy, _: (copy / CANDIDATE).unlink()), "files", "There is no manifest"),
    "a torn manifest": Planted(_tampered(_tear), "files", "cannot be read"),
    "a manifest that climbs out": Planted(_tampered(_climb), "files", "has no ../elsewhere"),
    "another candidate than training made": Planted(_another_candidate, "files", "training made"),
    "a manifest that lies about the template": Planted(
        _sealed(lambda copy: resealed(copy, outer={"template_name": "another.v1"})), "manifest", "differ in template"
    ),
    "a manifest that lies about the lines": Planted(
        _sealed(lambda copy: resealed(copy, outer={"n_retrieved": 3})), "manifest", "differ in n_retrieved"
    ),
    "an adapter that is no LoRA": Planted(_no_lora, "manifest", "no plain LoRA", alone=False),
    "no base to be held against": Planted(
        lambda bench, _: bench.trial(bench.candidate, base_folder=None), "base", "no base is there"
    ),
    "wrong base": Planted(
        _sealed(lambda copy: resealed(copy, outer={"base": "3" * 64})), "base", "it was to begin from"
    ),
    "from nothing, against the record": Planted(
        _sealed(lambda copy: resealed(copy, outer={"base": None})), "base", "began from nothing"
    ),
    "stale: other weights serve by now": Planted(_stale, "base", "the candidate is stale", alone=False),
    "an adapter of another base": Planted(_adapter_of_another_base, "base", "it was to begin from"),
    "permuted codes in the tokenizer": Planted(_permuted_tokenizer, "tokenizer", "is not the base's"),
    "a tokenizer without codes": Planted(_codeless_tokenizer, "tokenizer", "one token"),
    "another tokenizer than the manifest's": Planted(_lying_tokenizer, "tokenizer", "not the one that the manifest"),
    "the codebook of another catalogue": Planted(
        _other_names([f"genre {n}" for n in range(N_CLUSTERS)]), "codebook", "not the first", alone=False
    ),
    "a catalogue in another order": Planted(
        _other_names([NAMES[1], NAMES[0], *NAMES[2:]]), "codebook", "not the first", alone=False
    ),
    "a catalogue that outgrew its codes": Planted(
        _other_names([*NAMES, *(f"new {n}" for n in range(60))]), "codebook", "64 codes", alone=False
    ),
    "a codebook that nobody makes": Planted(_codebook_of_nobody, "codebook", "no codebook of 64 codes", alone=False),
    "taught older samples": Planted(_older_samples, "samples", "was taught samples 222222222222"),
    "a bit flipped in the samples": Planted(_spoiled_samples, "samples", "checksum", alone=False),
    "samples taken again since": Planted(_other_samples, "samples", "the record names"),
    "samples from before the flag": Planted(_samples_before_the_flag, "samples", "end with pane"),
    "test users among the taught": Planted(_leaked_users("taught"), "held_out", "are among taught"),
    "test users that training stopped by": Planted(
        _leaked_users("validation"), "held_out", "are among what training stopped by"
    ),
    "a test set of nobody": Planted(_tiny_test_set, "held_out", "at least tell something"),
}
