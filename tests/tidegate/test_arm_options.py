from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from rich.console import Console

from refresh.study.gpu_time import GpuRule
from tidegate.cli.arm_options import ArmRequest, arm_names, arm_options, arm_request, take_arm_flags
from tidegate.cli.arms import ARMS
from tidegate.cli.study import study, study_command
from tidegate.cli.watching import Bars
from tidegate.config import load_settings
from tidegate.errors import ConfigError, RequestError

DAY_MS = 86_400_000


def asked(*arguments: str) -> ArmRequest | None:
    """Ask for arms as a command line does."""
    found: list[ArmRequest | None] = []

    @click.command()
    @arm_options
    def command(**flags: object) -> None:
        found.append(arm_request(take_arm_flags(flags)))

    CliRunner().invoke(command, list(arguments), catch_exceptions=False)
    return found[0]


def test_without_arms_none_are_asked_for_and_all_have_defaults() -> None:
    assert asked() is None
    assert asked("--arms", "all") == ArmRequest(ARMS, "28d", GpuRule())
    some = asked("--arms", "rag_only,hybrid_adaptive", "--fine-tune-every", "7d", "--gpu-prompt-tokens", "200")
    assert some == ArmRequest(("rag_only", "hybrid_adaptive"), "7d", GpuRule(prompt_tokens=200))


@pytest.mark.parametrize("flag", ["--fine-tune-every=7d", "--gpu-parameters=1e9", "--gpu-rows-per-second=10"])
def test_options_of_arms_without_arms_are_refused(flag: str) -> None:
    with pytest.raises(RequestError, match=f"{flag.partition('=')[0]}: .*speaks of arms, and none are asked for"):
        asked(flag)


@pytest.mark.parametrize("text", ["", " , ", "rag_only,rag_only", "rag_only,psychic"])
def test_arms_that_cannot_be_meant_are_refused(text: str) -> None:
    with pytest.raises(RequestError, match=r"--arms: .*Give all, or some of fine_tune_only") as refused:
        arm_names(text)
    assert ("there is no arm 'psychic'" in str(refused.value)) == ("psychic" in text)


def test_an_impossible_gpu_is_refused() -> None:
    with pytest.raises(ConfigError, match="--gpu-parameters"):
        asked("--arms", "all", "--gpu-parameters", "-1")


@pytest.mark.parametrize("every", ["36h", "12h"])
def test_a_calendar_has_to_be_whole_panes(every: str) -> None:
    assert ArmRequest(fine_tune_every="28d").fine_tune_panes(DAY_MS) == 28
    with pytest.raises(RequestError, match=f"--fine-tune-every: {every} is not a whole number of panes"):
        ArmRequest(fine_tune_every=every).fine_tune_panes(DAY_MS)


def test_arms_without_weights_are_refused_before_the_log_is_read(tmp_path: Path) -> None:
    settings = load_settings({"source": str(tmp_path / "nowhere.csv"), "engine": "frequency"})
    with pytest.raises(RequestError, match="--arms: arms fine-tune the embedded model, and the engine is frequency"):
        study(settings, Bars(Console(quiet=True)), ArmRequest())
    result = CliRunner().invoke(study_command, ["--source", "nowhere.csv", "--engine", "frequency", "--arms", "all"])
    assert isinstance(result.exception, RequestError)
