"""Options of ``tidegate study`` that speak of arms, and what they ask for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from refresh.study.gpu_time import GpuRule
from tidegate.cli.arm_tuning import Teaching
from tidegate.cli.arms import ARMS
from tidegate.config import RunSettings
from tidegate.config.names import flag_of
from tidegate.durations import parse_duration
from tidegate.errors import RequestError

_F = TypeVar("_F", bound=Callable[..., Any])
_RULE = GpuRule()
_GPU = {
    "gpu_parameters": ("parameters", float, "Weights of the decoder that GPU-seconds are reckoned for"),
    "gpu_peak_tflops": ("peak_tflops", float, "Peak of the GPU, 10^12 operations a second (default: H100, dense bf16)"),
    "gpu_utilisation_inference": ("inference_utilisation", float, "Share of the peak that prefill reaches"),
    "gpu_utilisation_training": ("training_utilisation", float, "Share of the peak that training reaches"),
    "gpu_prompt_tokens": ("prompt_tokens", int, "Tokens of a prompt; default: those of the studied engine's"),
    "gpu_rows_per_second": ("rows_per_second", float, "Measured rows a second, in place of the rule"),
    "gpu_train_tokens_per_second": (
        "train_tokens_per_second",
        float,
        "Measured trained tokens a second, in place of the rule",
    ),
}
_EVERY = "28d"


@dataclass(frozen=True, slots=True)
class ArmRequest:
    """What is asked for.

    Attributes
    ----------
    names : of the arms
    fine_tune_every : str     duration of the calendar
    gpu : GpuRule
    teaching : Teaching
    """

    names: tuple[str, ...] = ARMS
    fine_tune_every: str = _EVERY
    gpu: GpuRule = field(default_factory=GpuRule)
    teaching: Teaching = field(default_factory=Teaching)

    def require_possible(self, settings: RunSettings, pane_ms: int) -> None:
        """Refuse what cannot be played, before a log is read.

        Raises
        ------
        RequestError
            If the engine is not the embedded one, or the calendar is not one of whole panes.
        """
        if settings.engine != "embedded":
            raise RequestError(
                f"arms fine-tune the embedded model, and the engine is {settings.engine}",
                "Leave --arms out, or take --engine embedded",
                place="--arms",
            )
        self.fine_tune_panes(pane_ms)

    def fine_tune_panes(self, pane_ms: int) -> int:
        """Panes between two fine-tunes on the calendar.

        Raises
        ------
        RequestError
            If they are not whole.
        """
        every_ms = parse_duration(self.fine_tune_every, name="--fine-tune-every")
        if every_ms < pane_ms or every_ms % pane_ms:
            raise RequestError(
                f"{self.fine_tune_every} is not a whole number of panes",
                "Choose a multiple of --pane, at least one",
                place="--fine-tune-every",
            )
        return every_ms // pane_ms


def arm_options(function: _F) -> _F:
    """Decorate a command with the options."""
    for name, (of_rule, kind, help_text) in reversed(_GPU.items()):
        default = getattr(_RULE, of_rule)
        function = click.option(
            flag_of(name),
            type=kind,
            default=default,
            show_default=default is not None,
            help=f"{help_text}.",
        )(function)
    function = click.option(
        "--fine-tune-every",
        default=_EVERY,
        show_default=True,
        help="Calendar of fine-tunes, for the arms that have one.",
    )(function)
    return click.option(
        "--arms",
        metavar="NAMES",
        help=f"Play arms with real fine-tunes, a minute or more each: all, or some of {', '.join(ARMS)}.",
    )(function)


def take_arm_flags(flags: dict[str, Any]) -> dict[str, Any]:
    """Take the options of arms out of a command's flags, which are settings else."""
    return {name: flags.pop(name) for name in ("arms", "fine_tune_every", *_GPU)}


def arm_request(given: dict[str, Any]) -> ArmRequest | None:
    """Make out what is asked for; None where no arm is.

    Parameters
    ----------
    given : as `take_arm_flags` gives them, within the command that they were given to

    Raises
    ------
    RequestError
        If options of arms are given without arms, or an arm is not known or named twice.
    ConfigError
        If a number of the GPU's is impossible.
    """
    if given["arms"] is None:
        _require_none_given()
        return None
    gpu = GpuRule(**{of_rule: given[name] for name, (of_rule, _, _) in _GPU.items()})
    return ArmRequest(arm_names(given["arms"]), given["fine_tune_every"], gpu)


def arm_names(text: str) -> tuple[str, ...]:
    """Split ``--arms``.

    Raises
    ------
    RequestError
        If none is named, one twice, or one that there is none of.

    Examples
    --------
    >>> arm_names("rag_only, hybrid_adaptive")
    ('rag_only', 'hybrid_adaptive')
    """
    names = ARMS if text.strip() == "all" else tuple(name.strip() for name in text.split(",") if name.strip())
    unknown = [name for name in names if name not in ARMS]
    if not names or unknown or len(set(names)) != len(names):
        found = f"there is no arm {unknown[0]!r}" if unknown else f"{text!r} names no arm, or one twice"
        raise RequestError(found, f"Give all, or some of {', '.join(ARMS)}, each once", place="--arms")
    return names


def _require_none_given() -> None:
    """Refuse options that would be without effect."""
    context = click.get_current_context()
    for name in ("fine_tune_every", *_GPU):
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            flag = flag_of(name)
            raise RequestError(f"{flag} speaks of arms, and none are asked for", "Add --arms all", place=flag)
