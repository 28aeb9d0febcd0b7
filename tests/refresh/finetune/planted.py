"""Planted bad candidates: each with the gate that has to refuse it, and words of its reason."""

from __future__ import annotations

import dataclasses
import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np

from refresh.engines import Answers, Engine
from refresh.engines.embedded import EmbeddedEngine
from refresh.engines.model_files import CONFIG, MANIFEST, TOKENIZER, WEIGHTS
from refresh.finetune.candidate import ADAPTER_CONFIG, CANDIDATE, open_candidate, write_candidate
from refresh.finetune.gates import CandidateBounds, Expected, Hearing, Trial, sampled
from refresh.finetune.gates.judging import Gate
from refresh.finetune.samples_folder import read_samples, write_samples
from refresh.prompts import RowContexts
from refresh.training.samples import Samples
from refresh.training.threads import single_thread
from tests.refresh.finetune.gate_bench import Bench, curate_moved, resealed, retensored
from tests.refresh.random_models import write_random_model
from tests.refresh.tiny_world import N_CLUSTERS, NAMES
from tidegate.contracts import GateVerdict
from tidegate.errors import EngineError
from tidegate.files import sha256_of_file

Plant = Callable[[Bench, Path], Trial]


@dataclass(frozen=True)
class Planted:
    """A bad candidate.

    Attributes
    ----------
    plant : makes its trial from the bench, in a new folder
    gate : str        that has to refuse it
    words : str       of what that gate says
    more_gates        of one's own
    alone : bool      whether no other gate refuses it
    """

    plant: Plant
    gate: str
    words: str
    more_gates: Mapping[str, Gate] = field(default_factory=dict)
    alone: bool = True


# --- files -----------------------------------------------------------------------------------------------------------


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


def _flip(copy: Path, _: Path) -> None:
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


# --- base, tokenizer, codebook, samples ------------------------------------------------------------------------------


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


# --- weights ---------------------------------------------------------------------------------------------------------


def _with_tensors(change: Callable[[dict[str, Any]], None]) -> Plant:
    def plant(bench: Bench, folder: Path) -> Trial:
        return bench.trial(retensored(bench.copy(folder / "candidate"), change))

    return plant


def _set(name: str, value: float) -> Callable[[dict[str, Any]], None]:
    def change(tensors: dict[str, Any]) -> None:
        tensors[name].view(-1)[7] = value

    return change


def _zero(tensors: dict[str, Any]) -> None:
    for tensor in tensors.values():
        tensor.zero_()


def _double(tensors: dict[str, Any]) -> None:
    import torch

    tensors["model.norm.weight"] = tensors["model.norm.weight"].to(torch.float64)


def _narrow(tensors: dict[str, Any]) -> None:
    tensors["model.layers.0.mlp.up_proj.weight"] = tensors["model.layers.0.mlp.up_proj.weight"][:, :32]


def _without(tensors: dict[str, Any]) -> None:
    del tensors["model.layers.1.mlp.down_proj.weight"]


def _with_foreign(tensors: dict[str, Any]) -> None:
    tensors["model.layers.7.mlp.down_proj.weight"] = tensors["model.layers.1.mlp.down_proj.weight"].clone()


def _pickled_weights(bench: Bench, folder: Path) -> Trial:
    copy = bench.copy(folder / "candidate")
    (copy / WEIGHTS).write_bytes(b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00\x8c\x02os\x94.")
    return bench.trial(resealed(copy))


def _untaught(bench: Bench, folder: Path) -> Trial:
    copy = bench.copy(folder / "candidate")
    shutil.copy(bench.base / WEIGHTS, copy / WEIGHTS)
    return bench.trial(resealed(copy))


def _with_factors(change: Callable[[dict[str, Any]], object], rank: int = 2) -> Plant:
    def plant(bench: Bench, folder: Path) -> Trial:
        return bench.trial(bench.adapter(folder / "candidate", change, rank))

    return plant


_UP = "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight"
_DOWN = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"


def _wide(tensors: dict[str, Any]) -> None:
    import torch

    tensors[_DOWN] = torch.cat([tensors[_DOWN], tensors[_DOWN]], dim=1)


def _elsewhere(tensors: dict[str, Any]) -> None:
    for side in "AB":
        name = f"base_model.model.model.layers.0.self_attn.q_proj.lora_{side}.weight"
        tensors[name.replace("layers.0", "layers.40")] = tensors.pop(name)


def _with_bias(tensors: dict[str, Any]) -> None:
    tensors["base_model.model.model.layers.0.self_attn.q_proj.bias"] = tensors[_UP][:, 0].clone()


def _no_lora(bench: Bench, folder: Path) -> Trial:
    copy = bench.adapter(folder / "candidate")
    said = msgspec.json.decode((copy / ADAPTER_CONFIG).read_bytes())
    (copy / ADAPTER_CONFIG).write_bytes(msgspec.json.encode(said | {"peft_type": "IA3"}))
    return bench.trial(resealed(copy))


def _codebook_of_nobody(bench: Bench, folder: Path) -> Trial:
    copy, nobody = bench.copy(folder / "candidate"), "4" * 64
    return bench.trial(resealed(copy, inner={"codebook_fingerprint": nobody}, outer={"codebook": nobody}))


def _zero_products(tensors: dict[str, Any]) -> None:
    for name, tensor in tensors.items():
        if ".lora_B." in name:
            tensor.zero_()


# --- what models say -------------------------------------------------------------------------------------------------


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


# --- engines that are not what they seem -----------------------------------------------------------------------------


class Warped:
    """An engine whose answers a function of the call's number changes."""

    def __init__(self, engine: Any, warp: Callable[[Answers, RowContexts, int], Answers]) -> None:
        self._engine, self._warp, self._n_calls = engine, warp, 0
        self.name, self.fingerprint, self.prompts = engine.name, engine.fingerprint, engine.prompts

    def grow(self, names: Sequence[str]) -> None:
        self._engine.grow(names)

    def infer(self, contexts: RowContexts, *, top_n: int, on_progress: Callable[[int], None] | None = None) -> Answers:
        self._n_calls += 1
        return self._warp(self._engine.infer(contexts, top_n=top_n), contexts, self._n_calls)

    def generate(self, prompts: Sequence[str], max_tokens: int) -> list[str]:
        written: list[str] = self._engine.generate(prompts, max_tokens)
        return written


def _warped(warp: Callable[[Answers, RowContexts, int], Answers]) -> Plant:
    def plant(bench: Bench, folder: Path) -> Trial:
        return bench.trial(bench.candidate, open_candidate=lambda: Warped(bench.open(bench.candidate), warp))

    return plant


def _without_mass(answers: Answers, contexts: RowContexts, _: int) -> Answers:
    return dataclasses.replace(answers, label_mass=np.full_like(answers.label_mass, np.nan))


def _echo(answers: Answers, contexts: RowContexts, _: int) -> Answers:
    clusters = answers.clusters.copy()
    clusters[:, 0] = contexts.c2
    return dataclasses.replace(answers, clusters=clusters)


def _wavering(answers: Answers, contexts: RowContexts, n_calls: int) -> Answers:
    """Say something else each time, in the last bit of a probability."""
    likely = answers.probabilities.copy()
    likely[0, 0] = np.nextafter(likely[0, 0], np.float32(0)) if n_calls > 1 else likely[0, 0]
    return dataclasses.replace(answers, probabilities=likely)


def _by_place(answers: Answers, contexts: RowContexts, n_calls: int) -> Answers:
    """Let a row's answer depend on its place in the batch."""
    clusters = answers.clusters.copy()
    clusters[::50, :2] = clusters[::50, 1::-1]
    return dataclasses.replace(answers, clusters=clusters)


def _hanging(bench: Bench, folder: Path) -> Trial:
    def never() -> Engine:
        threading.Event().wait()
        raise AssertionError

    bounds = CandidateBounds(time_limit_seconds=0.3)
    return bench.trial(bench.candidate, open_candidate=never, bounds=bounds)


def _closed(bench: Bench, folder: Path) -> Trial:
    def refuse() -> Engine:
        raise EngineError("There is no memory left for the weights", "Free some", place="gpu")

    return bench.trial(bench.candidate, open_candidate=refuse)


def _serving_away(bench: Bench, folder: Path) -> Trial:
    def refuse() -> Engine:
        raise EngineError("The weights that serve cannot be read", "Restore them", place="models")

    return bench.trial(bench.candidate, open_serving=refuse)


def _mute(bench: Bench, folder: Path) -> Trial:
    """An engine that leaves out what it does not like to write."""

    class Mute(Warped):
        def generate(self, prompts: Sequence[str], max_tokens: int) -> list[str]:
            return super().generate(prompts, max_tokens)[:-3]

    return bench.trial(
        bench.candidate, open_candidate=lambda: Mute(bench.open(bench.candidate), lambda answers, *_: answers)
    )


def _swapped_meanwhile(bench: Bench, folder: Path) -> Trial:
    """Other weights lie in the folder once the gates have asked."""
    copy = bench.copy(folder / "candidate")

    def open_and_swap() -> Engine:
        engine = bench.open(copy)
        _flip(copy, folder)
        return engine

    return bench.trial(copy, open_candidate=open_and_swap)


def _good(bench: Bench, folder: Path) -> Trial:
    return bench.trial(bench.candidate)


def _script_error(hearing: Hearing) -> GateVerdict:
    raise ZeroDivisionError("a gate of one's own")


def _exit(hearing: Hearing) -> GateVerdict:
    raise SystemExit(0)


def _shrug(hearing: Hearing) -> GateVerdict:
    return cast(GateVerdict, True)


def _no_number(hearing: Hearing) -> GateVerdict:
    return GateVerdict(gate="own", found=float("nan"), required=0.5, is_passed=True, sentence="nan")


PLANTED: dict[str, Planted] = {
    # files
    "truncated weights": Planted(_tampered(_truncate), "files", "checksum"),
    "a bit flipped in the weights": Planted(_tampered(_flip), "files", "checksum"),
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
    # its manifest
    "a manifest that lies about the template": Planted(
        _sealed(lambda copy: resealed(copy, outer={"template_name": "another.v1"})), "manifest", "differ in template"
    ),
    "a manifest that lies about the lines": Planted(
        _sealed(lambda copy: resealed(copy, outer={"n_retrieved": 3})), "manifest", "differ in n_retrieved"
    ),
    "an adapter that is no LoRA": Planted(_no_lora, "manifest", "no plain LoRA", alone=False),
    # base
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
    # tokenizer and codebook
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
    # weights
    "NaN in the weights": Planted(
        _with_tensors(_set("model.embed_tokens.weight", float("nan"))), "weights", "are not numbers"
    ),
    "Inf in the weights": Planted(_with_tensors(_set("model.norm.weight", float("inf"))), "weights", "are infinite"),
    "zero weights": Planted(_with_tensors(_zero), "weights", "is all zero"),
    "wrong dtype": Planted(_with_tensors(_double), "weights", "float64, not float32"),
    "wrong shape": Planted(_with_tensors(_narrow), "weights", "in the base"),
    "a tensor missing": Planted(_with_tensors(_without), "weights", "is missing"),
    "a tensor too many": Planted(_with_tensors(_with_foreign), "weights", "is in no base"),
    "a pickle named safetensors": Planted(_pickled_weights, "weights", "SafetensorError"),
    "nothing learnt": Planted(_untaught, "weights", "nothing was learnt"),
    "an adapter of another rank than it says": Planted(_with_factors(lambda _: None, rank=3), "weights", "the rank"),
    "an adapter for wider matrices": Planted(_with_factors(_wide), "weights", "fits the rank and the base"),
    "an adapter for layers that are not there": Planted(_with_factors(_elsewhere), "weights", "does not have"),
    "an adapter that changes nothing": Planted(_with_factors(_zero_products), "weights", "nothing was learnt"),
    "half an adapter": Planted(_with_factors(lambda tensors: tensors.pop(_UP)), "weights", "has one factor only"),
    "an adapter with a bias": Planted(_with_factors(_with_bias), "weights", "is no factor of an adapter"),
    "NaN in an adapter": Planted(_with_factors(_set(_UP, float("nan"))), "weights", "are not numbers"),
    # samples
    "taught older samples": Planted(_older_samples, "samples", "was taught samples 222222222222"),
    "a bit flipped in the samples": Planted(_spoiled_samples, "samples", "checksum", alone=False),
    "samples taken again since": Planted(_other_samples, "samples", "the record names"),
    "samples from before the flag": Planted(_samples_before_the_flag, "samples", "end with pane"),
    "test users among the taught": Planted(_leaked_users("taught"), "held_out", "are among taught"),
    "test users that training stopped by": Planted(
        _leaked_users("validation"), "held_out", "are among what training stopped by"
    ),
    "a test set of nobody": Planted(_tiny_test_set, "held_out", "at least tell something"),
    # engines
    "does not open": Planted(_closed, "answers", "no memory left"),
    "hangs": Planted(_hanging, "answers", "no verdict within 0.3 seconds"),
    "says no label mass": Planted(_warped(_without_mass), "answers", "label_mass"),
    "answers with the context": Planted(_warped(_echo), "answers", "not_new"),
    # what it says
    "format collapse": Planted(_spoken(_prose), "exact_match", "it wrote", alone=False),
    "format collapse after some clusters": Planted(_spoken(_prose_for_some), "exact_match", "it wrote", alone=False),
    "free answers left out": Planted(_mute, "exact_match", "free answers came"),
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
    "other bits each time": Planted(_warped(_wavering), "determinism", "answered otherwise"),
    "answers by the place in the batch": Planted(_warped(_by_place), "determinism", "answered otherwise", alone=False),
    # gates
    "a gate script that fails": Planted(_good, "own", "ZeroDivisionError", {"own": _script_error}),
    "a gate script that ends the process": Planted(_good, "own", "SystemExit", {"own": _exit}),
    "a gate that says only yes": Planted(_good, "own", "not a verdict", {"own": _shrug}),
    "a gate that lets no number pass": Planted(_good, "own", "which is no number", {"own": _no_number}),
    "the serving weights cannot be asked": Planted(_serving_away, "regression", "cannot be read", alone=False),
    "other weights once they were judged": Planted(_swapped_meanwhile, "unchanged", "checksum"),
}
