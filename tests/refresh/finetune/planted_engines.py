"""Planted: engines that are not what they seem, and gates that fail themselves."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from refresh.engines import Answers, Engine
from refresh.finetune.gates import CandidateBounds, Hearing, Trial
from refresh.prompts import RowContexts
from tests.refresh.finetune.gate_bench import Bench
from tests.refresh.finetune.planted_files import flip
from tests.refresh.finetune.planting import Plant, Planted
from tidegate.contracts import GateVerdict
from tidegate.errors import EngineError


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
        flip(copy, folder)
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


ENGINES: dict[str, Planted] = {
    "does not open": Planted(_closed, "answers", "no memory left"),
    "hangs": Planted(_hanging, "answers", "no verdict within 0.3 seconds"),
    "says no label mass": Planted(_warped(_without_mass), "answers", "label_mass"),
    "answers with the context": Planted(_warped(_echo), "answers", "not_new"),
    "free answers left out": Planted(_mute, "exact_match", "free answers came"),
    "other bits each time": Planted(_warped(_wavering), "determinism", "answered otherwise"),
    "answers by the place in the batch": Planted(_warped(_by_place), "determinism", "answered otherwise", alone=False),
    "a gate script that fails": Planted(_good, "own", "ZeroDivisionError", {"own": _script_error}),
    "a gate script that ends the process": Planted(_good, "own", "SystemExit", {"own": _exit}),
    "a gate that says only yes": Planted(_good, "own", "not a verdict", {"own": _shrug}),
    "a gate that lets no number pass": Planted(_good, "own", "which is no number", {"own": _no_number}),
    "the serving weights cannot be asked": Planted(_serving_away, "regression", "cannot be read", alone=False),
    "other weights once they were judged": Planted(_swapped_meanwhile, "unchanged", "checksum"),
}
