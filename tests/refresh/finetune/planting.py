"""What a planted bad candidate is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from refresh.finetune.gates import Trial
from refresh.finetune.gates.judging import Gate
from tests.refresh.finetune.gate_bench import Bench

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
