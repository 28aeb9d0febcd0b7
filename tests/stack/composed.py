"""What docker/compose.yaml runs, as commands of this machine: only places differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "docker"


@dataclass(frozen=True)
class Service:
    """A role's service: what follows the image's entry point, and its environment."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]

    @property
    def role(self) -> str:
        """Subcommand of tidegate."""
        return self.command[0]


def services() -> dict[str, dict[str, Any]]:
    """All services of the file, as it has them."""
    found: dict[str, dict[str, Any]] = yaml.safe_load((DOCKER / "compose.yaml").read_text(encoding="utf-8"))["services"]
    return found


def roles() -> dict[str, Service]:
    """Services whose image is one of the Dockerfile's, by name."""
    return {
        name: Service(name, tuple(service["command"]), service.get("environment", {}))
        for name, service in services().items()
        if "build" in service
    }


def settled(text: str, places: Mapping[str, str]) -> str:
    """Put this machine's places where a container's stand; the longest first."""
    for place in sorted(places, key=len, reverse=True):
        text = text.replace(place, places[place])
    return text
