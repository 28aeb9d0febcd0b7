"""Templates: what is one, where they come from, and that a rendered prompt says its fields and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from refresh.template import MAX_TEMPLATE_BYTES, TEXT_TEMPLATE, Template
from tidegate.errors import ConfigError


@pytest.mark.parametrize(
    "text", ["no placeholder", "{c2} {c1} {retrieved}", "{c1} {c2} {retrieved} {c1}", "x{c1} {c2} {retrieved}"]
)
def test_a_template_out_of_order_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"Write \{c1\} \{c2\} \{retrieved\}"):
        Template("bad.v1", text)


def test_an_unknown_template_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"next_interest\.v1"):
        Template.packaged("missing.v9")


@pytest.mark.parametrize(
    "text",
    [
        "{name1} {name2}",  # nothing retrieved
        "{name2} {name1} {retrieved_names}",
        "{name1} {name1} {name2} {retrieved_names}",
        "{name1} {name2} {retrieved_names} {catalogue}",
        "{name1} {retrieved_names} {keywords2}",
        "{name1} {name2} {retrieved_names} {}",
    ],
)
def test_a_text_template_out_of_order_or_with_what_is_unknown_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"bad\.v1: .*\{name1\} or \{keywords1\}, then \{c2\}"):
        Template("bad.v1", text)


def test_a_template_with_double_quotes_of_its_own_is_refused() -> None:
    with pytest.raises(ConfigError, match="double quotes of its own"):
        Template("bad.v1", 'First "{name1}", then {name2}, others {retrieved_names}')


def test_the_packaged_ones_end_in_their_cue_and_have_a_version() -> None:
    text = Template.packaged(TEXT_TEMPLATE)
    assert text.text.endswith("Next new interest:")
    assert not text.is_code_template and text.speaks_keywords
    assert Template.packaged().is_code_template


def test_a_file_is_known_by_its_name_and_by_its_hash(tmp_path: Path) -> None:
    path = tmp_path / "mine.v3.txt"
    path.write_text("After {name1}, {name2}; others {retrieved_names}.\nNext:\n", encoding="utf-8")
    template = Template.of_file(path)
    assert (template.name, template.text[-5:]) == ("mine.v3", "Next:")
    path.write_text("After {name1}, {name2}; others {retrieved_names}.\nThen:\n", encoding="utf-8")
    assert Template.of_file(path).sha256 != template.sha256


def test_a_file_like_the_packaged_one_is_the_packaged_one(tmp_path: Path) -> None:
    for name in ("next_interest.v1", TEXT_TEMPLATE):
        path = tmp_path / f"{name}.txt"
        path.write_bytes((Path("refresh/templates") / path.name).read_bytes())
        assert Template.of_file(path) == Template.packaged(name)


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("no_version.txt", b"{c1} {c2} {retrieved}", "no version.*my_prompt.v1.txt"),
        ("binary.v1.txt", b"\xff\xfe", "cannot be read.*UTF-8"),
        ("huge.v1.txt", b"{c1} {c2} {retrieved} " + b"x" * MAX_TEMPLATE_BYTES, "65536 are the most"),
        ("bad.v1.txt", b"{c1}", "placeholders are {c1}"),
    ],
)
def test_a_file_that_is_no_template_is_refused_by_its_path(
    tmp_path: Path, name: str, content: bytes, problem: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=problem) as refused:
        Template.of_file(tmp_path / name)
    assert refused.value.place == str(tmp_path / name)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        Template.of_file(tmp_path / "none.v1.txt")


def test_the_prompt_of_another_template_does_not_parse() -> None:
    template = Template.packaged(TEXT_TEMPLATE)
    with pytest.raises(ConfigError, match=r"no prompt of next_interest_text\.v1"):
        template.parse("First interest: jazz")
