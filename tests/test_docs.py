"""The pages say what the program does: generated tables are current, every option is there, links lead somewhere."""

from __future__ import annotations

import re
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from tidegate.group_config import GroupSettings

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
GENERATOR: dict[str, Any] = runpy.run_path(str(ROOT / "scripts" / "config-docs"))


def every_option() -> Iterator[tuple[str, str]]:
    for name, command in GENERATOR["commands"]():
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                yield name, max(parameter.opts, key=len)


@pytest.mark.parametrize("page", GENERATOR["PAGES"])
def test_a_generated_page_is_current(page: str):
    assert (ROOT / "docs" / page).read_text(encoding="utf-8") == GENERATOR["current"](page), "run scripts/config-docs"


def test_a_page_that_is_not_current_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    stale = runpy.run_path(str(ROOT / "scripts" / "config-docs"))
    stale["main"].__globals__["DOCS"] = tmp_path
    for page in stale["PAGES"]:
        (tmp_path / page).write_text("by hand\n<!-- generated: metrics -->\nold\n<!-- end -->\n", encoding="utf-8")
    assert stale["main"](check=True) == 1
    assert "docs/metrics.md: is not current" in capsys.readouterr().out
    assert stale["main"](check=False) == 0
    assert stale["main"](check=True) == 0
    assert (tmp_path / "metrics.md").read_text(encoding="utf-8").startswith("by hand\n")


def test_every_setting_is_in_one_group_of_the_page():
    grouped = [name for group in GENERATOR["GROUPS"].values() for name in group]
    assert sorted(grouped) == sorted(GroupSettings.model_fields)


def test_every_command_and_option_is_documented():
    text = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    missing = [(name, flag) for name, flag in every_option() if f"`{flag}`" not in text]
    missing += [(name, "") for name, _ in GENERATOR["commands"]() if f"`{name}`" not in text]
    assert not missing


def test_every_command_line_of_the_pages_has_known_options():
    known: dict[str, set[str]] = {}
    for name, flag in every_option():
        known.setdefault(name, set()).add(flag)
    groups = {name.rsplit(" ", 1)[0] for name in known} | set(known)
    for page in PAGES:
        text = page.read_text("utf-8").replace("\\\n", " ")
        in_words = (" ".join(quoted.split()) for quoted in re.findall(r"(?<!`)`(tidegate [a-z][^`]*)`", text))
        for line in (*re.findall(r"(?:bin/|^|^[A-Z_]+=\S+ )(tidegate [a-z][^`\n|#&]*)", text, re.M), *in_words):
            named = [name for name in groups if re.match(rf"{name}(?![\w-])", line)]
            assert named, f"{page.name}: there is no such command: {line}"
            unknown = set(re.findall(r"(?<!\S)--[a-z-]+", line)) - known.get(max(named, key=len), set())
            assert not unknown, f"{page.name}: {line}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path):
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}, link


def test_modules_and_names_of_the_architecture_page_exist():
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    for dotted in re.findall(r"`((?:tidegate|stream|refresh|monitoring)(?:\.\w+)+)`", text):
        parts = dotted.split(".")
        module = next(
            (n for n in range(len(parts), 0, -1) if ROOT.joinpath(*parts[:n]).with_suffix(".py").is_file()
             or ROOT.joinpath(*parts[:n], "__init__.py").is_file()),
            0,
        )  # fmt: skip
        path = ROOT.joinpath(*parts[:module])
        source = (path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text(encoding="utf-8")
        for name in parts[module:]:
            assert re.search(rf"(?:class|def) {name}\b", source), dotted


def test_decisions_are_short_and_numbered():
    records = sorted((ROOT / "docs" / "adr").glob("*.md"))
    assert [int(record.name[:4]) for record in records] == list(range(1, len(records) + 1))
    for record in records:
        lines = record.read_text(encoding="utf-8").splitlines()
        assert len(lines) <= 25, record.name
        assert lines[0].startswith(f"# {int(record.name[:4])}. ")


def test_no_page_names_a_machine():
    for page in PAGES:
        found = re.findall(r"(?<![\w.])/(?:tmp|work|home|root)/\S*", page.read_text(encoding="utf-8"))
        assert not found, f"{page.name}: {found}"
