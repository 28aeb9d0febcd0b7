"""Checkpoints of a training: what a process that was killed goes on from, to the same bytes.

``checkpoint.json`` is what counts: it names the three safetensors that belong together, with their SHA-256, and is
replaced atomically once they are on the disk. A kill at any instant leaves the former or the new one.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tidegate.contracts import RecallCheck
from tidegate.files import write_atomically

if TYPE_CHECKING:
    import torch

POINTER = "checkpoint.json"
_LOG = logging.getLogger(__name__)


class TrainingState(msgspec.Struct, frozen=True, kw_only=True):
    """How far a training has come.

    ``training`` is a digest of all that its bytes follow from; ``files`` is filled in when it is written.
    """

    training: str
    n_done: int = 0
    reading_losses: tuple[float, ...] = ()
    losses: tuple[float, ...] = ()
    checks: tuple[RecallCheck, ...] = ()
    best_step: int = 0
    base_recall: float | None = None
    """On the test users, before the first step; None where weights began from nothing."""
    ended_by: str | None = None
    """``patience`` or ``budget``; None while it goes on."""
    seconds: float = 0.0
    """Wall clock so far, over all processes that have worked on it."""
    files: dict[str, str] = {}


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A training to go on with.

    Attributes
    ----------
    state : TrainingState
    weights, best : tensors by name of the weights that learn, as they are and as they were best
    optimizer : tensors by ``KIND.WEIGHT``
    """

    state: TrainingState
    weights: Mapping[str, torch.Tensor]
    best: Mapping[str, torch.Tensor]
    optimizer: Mapping[str, torch.Tensor]


class Checkpoints:
    """The checkpoints of one training, of which the last is kept.

    Parameters
    ----------
    folder : Path
    training : digest of all that the training's bytes follow from
    """

    def __init__(self, folder: Path, training: str) -> None:
        self._folder, self._training = folder, training
        self._best: dict[str, str] = {}  # name and checksum of the best weights that this process has written

    def last(self) -> Checkpoint | None:
        """Open the last checkpoint; None where there is none, it is of another training, or damaged (both are told)."""
        from safetensors.torch import load

        try:
            state = msgspec.json.decode((self._folder / POINTER).read_bytes(), type=TrainingState)
            if state.training != self._training:
                _LOG.warning("%s: the checkpoint is of another training: this one begins anew", self._folder)
                return None
            parts = {part: load(self._verified(name, state)) for part, name in _names(state).items()}
        except FileNotFoundError:
            return None
        except (OSError, ValueError, msgspec.MsgspecError) as error:
            _LOG.warning("%s: the checkpoint is damaged (%s): the training begins anew", self._folder, error)
            return None
        return Checkpoint(state, parts["weights"], parts["best"], parts["optimizer"])

    def save(self, checkpoint: Checkpoint) -> None:
        """Keep a checkpoint in the place of the last.

        1. Write its safetensors under names of their own.
        2. Replace the pointer: from here on it is the last one.
        3. Remove those that nothing names any more.
        """
        from safetensors.torch import save

        self._folder.mkdir(parents=True, exist_ok=True)
        names = _names(checkpoint.state)
        files = {names["best"]: self._best[names["best"]]} if names["best"] in self._best else {}
        for part, name in names.items():  # 1
            if name not in files:
                content = save({key: tensor.contiguous() for key, tensor in getattr(checkpoint, part).items()})
                files[name] = hashlib.sha256(content).hexdigest()
                write_atomically(self._folder / name, content)
        self._best = {names["best"]: files[names["best"]]}
        state = msgspec.structs.replace(checkpoint.state, files=files)
        write_atomically(self._folder / POINTER, msgspec.json.encode(state))  # 2
        for path in self._folder.glob("*.safetensors"):  # 3
            if path.name not in files:
                path.unlink(missing_ok=True)

    def _verified(self, name: str, state: TrainingState) -> bytes:
        content = (self._folder / name).read_bytes()
        if hashlib.sha256(content).hexdigest() != state.files.get(name):
            raise ValueError(f"{name} is not the file that was written")
        return content


def _names(state: TrainingState) -> dict[str, str]:
    return {
        "weights": f"weights-{state.n_done:06d}.safetensors",
        "optimizer": f"optimizer-{state.n_done:06d}.safetensors",
        "best": f"best-{state.best_step:06d}.safetensors",
    }
