"""From the folder of weights that a run recorded to what an engine opens: a model, and perhaps an adapter on it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from refresh.engines.adapter import Adapter, open_adapter
from refresh.weights import DESCRIPTION, WeightsKind, WeightsStore, describe


@dataclass(frozen=True, slots=True)
class ServedWeights:
    """What an engine opens.

    Attributes
    ----------
    folder : Path               as it was recorded
    base : Path                 folder of the whole model
    adapter : Adapter or None
    name : str or None          that a server is to know whole fine-tuned weights by; None where it has its own
    """

    folder: Path
    base: Path
    adapter: Adapter | None = None
    name: str | None = None


def served_weights(folder: Path) -> ServedWeights:
    """Say what is to be opened for weights that lie in `folder`: a model, or a version of a run's weights.

    Files of a version are verified.

    Raises
    ------
    EngineError
        If files are missing or changed.
    """
    if not (folder / DESCRIPTION).is_file():
        return ServedWeights(folder, folder)
    version, store = describe(folder), WeightsStore(folder.parent)
    store.verify(version.version)
    if version.kind is WeightsKind.LORA and version.base is not None:
        return ServedWeights(folder, store.path(version.base), open_adapter(folder, version.name))
    return ServedWeights(folder, folder, name=version.name if version.fine_tune_id else None)
