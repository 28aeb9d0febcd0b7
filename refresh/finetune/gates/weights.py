"""Whether the weights are weights: numbers of the kind and shape that the base has, and other ones than the base's.

Tensors are read one at a time, so memory is that of the largest.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from refresh.engines.adapter import open_adapter
from refresh.engines.model_files import CONFIG
from refresh.finetune.candidate import ADAPTER_WEIGHTS, CandidateKind
from refresh.finetune.gates.integrity import opened
from refresh.finetune.gates.trial import Hearing
from refresh.finetune.gates.verdicts import blocked, whole
from tidegate.contracts import GateVerdict

if TYPE_CHECKING:
    import torch

_KINDS = ("float32", "bfloat16", "float16")
_FACTOR = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<side>[AB])\.weight")
_N_NAMED = 3


def weights(hearing: Hearing) -> GateVerdict:
    """Require finite weights of the right kinds and shapes, of which some have learnt something."""
    trial, candidate = hearing.trial, opened(hearing)
    with ExitStack() as stack:
        known = None if trial.base_folder is None else _Tensors(trial.base_folder, stack)
        if candidate.manifest.kind is CandidateKind.LORA:
            problems = list(_of_adapter(candidate.folder, _Tensors(candidate.folder, stack), known))
        else:
            problems = list(_of_model(candidate.folder, _Tensors(candidate.folder, stack), known))
    if problems:
        more = f", and {len(problems) - _N_NAMED} more" if len(problems) > _N_NAMED else ""
        return blocked("weights", "; ".join(problems[:_N_NAMED]) + more)
    return whole("weights", "all weights are finite numbers of the kind and shape that they should have")


class _Tensors:
    """The tensors of a folder's safetensors, by name."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        from safetensors import safe_open

        self._files: dict[str, Any] = {}
        for path in sorted(folder.glob("*.safetensors")):
            opened_file = stack.enter_context(safe_open(path, framework="pt"))
            self._files |= dict.fromkeys(opened_file.keys(), opened_file)

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._files))

    def __contains__(self, name: str) -> bool:
        return name in self._files

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._files[name].get_slice(name).get_shape())

    def read(self, name: str) -> torch.Tensor:
        tensor: torch.Tensor = self._files[name].get_tensor(name)
        return tensor


def _of_model(folder: Path, found: _Tensors, base: _Tensors | None) -> Iterator[str]:
    kind = _config(folder / CONFIG).get("dtype") or _config(folder / CONFIG).get("torch_dtype")
    if kind not in _KINDS:
        yield f"{CONFIG} says {kind}, and weights are {', '.join(_KINDS)}"
    if base is not None:
        yield from (f"{name} is missing" for name in base if name not in found)
        yield from (f"{name} is in no base" for name in found if name not in base)
    n_changed = 0
    for name in found:
        tensor = found.read(name)
        yield from _unsound(name, tensor, kind)
        if base is None or name not in base:
            n_changed += 1
            continue
        before = base.read(name)
        if before.shape[1:] != tensor.shape[1:] or (before.shape != tensor.shape and tensor.dim() < 2):
            yield f"{name} is {list(tensor.shape)}, and {list(before.shape)} in the base"
        if before.any() and not tensor.any():
            yield f"{name} is all zero"
        n_changed += before.shape != tensor.shape or not before.equal(tensor.to(before.dtype))
    if not n_changed:
        yield "no weight differs from the base's: nothing was learnt"


def _of_adapter(folder: Path, found: _Tensors, base: _Tensors | None) -> Iterator[str]:
    rank = open_adapter(folder).rank
    sides: dict[str, set[str]] = {}
    is_learnt = False
    for name in found:
        tensor = found.read(name)
        yield from _unsound(name, tensor, None)
        match = _FACTOR.fullmatch(name)
        if match is None:
            yield f"{name} is no factor of an adapter"
            continue
        sides.setdefault(match["module"], set()).add(match["side"])
        is_learnt |= match["side"] == "B" and bool(tensor.any())
        yield from _misfit(name, tuple(tensor.shape), match, rank, base)
    yield from (f"{module} has one factor only" for module, each in sorted(sides.items()) if len(each) < 2)
    if not is_learnt:
        yield f"all products in {ADAPTER_WEIGHTS} are zero: nothing was learnt"


def _misfit(name: str, shape: tuple[int, ...], match: re.Match[str], rank: int, base: _Tensors | None) -> Iterator[str]:
    """Hold one factor against the rank, and against the matrix of the base that it changes."""
    of_base = f"{match['module']}.weight"
    if base is None or of_base not in base:
        yield f"{name} is of a matrix that the base does not have"
        return
    n_out, n_in = base.shape(of_base)
    wanted = (rank, n_in) if match["side"] == "A" else (n_out, rank)
    if shape != wanted:
        yield f"{name} is {list(shape)}, and {list(wanted)} fits the rank and the base"


def _unsound(name: str, tensor: torch.Tensor, kind: str | None) -> Iterator[str]:
    import torch

    found = str(tensor.dtype).removeprefix("torch.")
    if found not in _KINDS or (kind in _KINDS and found != kind):
        yield f"{name} is {found}, not {kind if kind in _KINDS else ' or '.join(_KINDS)}"
        return
    n_bad = int((~torch.isfinite(tensor)).sum())
    if n_bad:
        what = "not numbers" if bool(torch.isnan(tensor).any()) else "infinite"
        yield f"{n_bad:,} of {tensor.numel():,} weights of {name} are {what}"


def _config(path: Path) -> dict[str, Any]:
    return msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
