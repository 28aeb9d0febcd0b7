"""A speaker that writes what a function of the prompt says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from refresh.prompts import PromptBuilder


@dataclass
class FakeSpeaker:
    """Writes `says(prompt)`."""

    prompts: PromptBuilder
    says: Callable[[str], str]
    name: str = "fake"
    fingerprint: str = "fake.v1"
    asked: list[str] = field(default_factory=list)

    def grow(self, names: Sequence[str]) -> None:
        self.prompts = self.prompts.grown(names)

    def generate(self, prompts: Sequence[str], max_tokens: int) -> list[str]:
        self.asked += prompts
        assert max_tokens >= 1
        return [self.says(prompt) for prompt in prompts]
