"""Adapters: low-rank changes of a model's weights (LoRA, Hu et al., arXiv 2106.09685), in the files that peft writes.

vLLM puts one on a base that it has loaded, by name, number and path, and caches by these: other content never comes
under a name or path that was used before. The embedded engine adds one to its base once, as it is loaded.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import msgspec

from tidegate.errors import EngineError
from tidegate.files import sha256_of_file

if TYPE_CHECKING:
    import torch

ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_PREFIX = "base_model.model."
_MEND = "Name a LoRA adapter as peft writes it, without biases, DoRA and modules of its own"


class _Config(msgspec.Struct, frozen=True):
    """What is read of ``adapter_config.json``."""

    peft_type: str
    r: int
    lora_alpha: float = 1.0
    use_rslora: bool = False
    use_dora: bool = False
    bias: str = "none"
    modules_to_save: list[str] | None = None
    rank_pattern: dict[str, int] | None = None
    alpha_pattern: dict[str, float] | None = None


@dataclass(frozen=True, slots=True)
class Adapter:
    """An adapter that was opened.

    Attributes
    ----------
    folder : Path
    name : str            what servers know it by; never the name of another one
    fingerprint : str     SHA-256 over its configuration and weights
    rank : int
    scale : float         that the product of its two factors is multiplied by
    """

    folder: Path
    name: str
    fingerprint: str
    rank: int
    scale: float

    def on(self, base_fingerprint: str) -> str:
        """Fingerprint of a base with this adapter."""
        return hashlib.sha256(f"{base_fingerprint}\nadapter {self.fingerprint}".encode()).hexdigest()


@runtime_checkable
class TakesAdapters(Protocol):
    """An engine that changes adapters while it is open."""

    fingerprint: str

    def take(self, adapter: Adapter | None) -> None:
        """Answer with another adapter from now on, or with the base alone.

        Raises
        ------
        EngineError
            If the adapter does not fit, or the engine was not opened for any; what answered before still does.
        """
        ...


def open_adapter(folder: Path, name: str | None = None) -> Adapter:
    """Read what an adapter is.

    Parameters
    ----------
    name : default: its folder's name and the beginning of its fingerprint

    Raises
    ------
    EngineError
        If there is none, or it is more than low-rank changes of a base's matrices.
    """
    path = folder / ADAPTER_CONFIG
    if not path.is_file() or not (folder / ADAPTER_WEIGHTS).is_file():
        raise EngineError(f"There is no {ADAPTER_CONFIG} with {ADAPTER_WEIGHTS}", _MEND, place=str(folder))
    try:
        config = msgspec.json.decode(path.read_bytes(), type=_Config)
    except msgspec.MsgspecError as error:
        raise EngineError(f"The configuration cannot be read ({error})", _MEND, place=str(path)) from None
    is_plain = config.bias == "none" and not (config.use_dora or config.modules_to_save)
    is_uniform = not (config.rank_pattern or config.alpha_pattern)
    if config.peft_type != "LORA" or config.r < 1 or not (is_plain and is_uniform):
        raise EngineError("The adapter is no plain LoRA of one rank", _MEND, place=str(path))
    said = f"{sha256_of_file(path)}\n{sha256_of_file(folder / ADAPTER_WEIGHTS)}"
    fingerprint = hashlib.sha256(said.encode()).hexdigest()
    return Adapter(
        folder=folder,
        name=name or f"{folder.name}-{fingerprint[:12]}",
        fingerprint=fingerprint,
        rank=config.r,
        scale=config.lora_alpha / (math.sqrt(config.r) if config.use_rslora else config.r),
    )


def add_adapter(model: Any, adapter: Adapter) -> None:
    """Add an adapter to a model's own matrices, in place: ``W + scale * B A``.

    Raises
    ------
    EngineError
        If a factor has no matrix that it fits.
    """
    import torch
    from safetensors.torch import load_file

    place = adapter.folder / ADAPTER_WEIGHTS
    try:
        factors: dict[str, torch.Tensor] = load_file(place)
    except Exception as error:  # the library raises bare exceptions
        raise EngineError(f"The weights cannot be read ({error})", _MEND, place=str(place)) from None
    matrices = dict(model.named_parameters())
    downs = {name: tensor for name, tensor in factors.items() if name.endswith(".lora_A.weight")}
    ups = {name for name in factors if name.endswith(".lora_B.weight")}
    if (
        not downs
        or {name.replace(".lora_A.", ".lora_B.") for name in downs} != ups
        or len(downs) + len(ups) != len(factors)
    ):
        raise EngineError("The weights are not pairs of lora_A and lora_B", _MEND, place=str(place))
    with torch.no_grad():
        for name, down in downs.items():
            up = factors[name.replace(".lora_A.", ".lora_B.")]
            target = f"{name.removeprefix(_PREFIX).removesuffix('.lora_A.weight')}.weight"
            matrix = matrices.get(target)
            if matrix is None or matrix.shape != (up.shape[0], down.shape[1]) or up.shape[1] != down.shape[0]:
                raise EngineError(f"The base has no matrix for {name}", "Name the adapter's own base", place=str(place))
            matrix += adapter.scale * (up.to(matrix.dtype) @ down.to(matrix.dtype))
