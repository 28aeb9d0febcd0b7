"""Prompt templates: versioned files whose placeholders are filled with codes, or with names and keywords.

The order is static instruction, c1, c2, retrieved line, cue: with rows sorted by (c1, c2) neighbours share the longest
possible prefix, which engines with a prefix cache compute once. A template that names clusters by codes alone is
tokenised word by word (the embedded model is taught with one); one with names or keywords is text for any model.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path

from tidegate.errors import ConfigError

DEFAULT_TEMPLATE = "next_interest.v1"
TEXT_TEMPLATE = "next_interest_text.v1"
MAX_TEMPLATE_BYTES = 65_536

NONE_TEXT = "none"
"""Stands, without quotes, where a text has no cluster to name or no keywords of it."""

GROUPS = (
    ("c1", "name1", "keywords1"),
    ("c2", "name2", "keywords2"),
    ("retrieved", "retrieved_names", "retrieved_keywords"),
)
_GROUP_OF = {name: number for number, group in enumerate(GROUPS) for name in group}
_CODES = tuple(group[0] for group in GROUPS)
_PLACEHOLDER = re.compile(r"\{([^}]*)\}")
_VERSIONED = re.compile(r"[A-Za-z0-9_.-]+\.v[0-9]+")
_CODE_PATTERN = r"(<\w+>(?: <\w+>)*)"
_QUOTED = r'"[^"\n]*"'
_TEXT_PATTERN = f"({NONE_TEXT}|{_QUOTED}(?:, {_QUOTED})*)"

Fields = Mapping[str, Sequence[str]]
"""Values by placeholder: tokens of codes, or texts that were tamed; none where there is no cluster."""


@dataclass(frozen=True, slots=True)
class Template:
    """A versioned prompt.

    Codes stand for ``{c1}``, ``{c2}`` and ``{retrieved}``; names for ``{name1}``, ``{name2}`` and
    ``{retrieved_names}``; keywords for ``{keywords1}``, ``{keywords2}`` and ``{retrieved_keywords}``. Each at most
    once; c1, c2 and what is retrieved must be there in one way at least, in this order.

    Attributes
    ----------
    name : str      with its version, ``next_interest.v1``
    text : str

    Examples
    --------
    >>> Template("pair.v1", "after {c1} {c2} others {retrieved} next").words
    ('after', 'others', 'next')
    >>> text = Template("pair.v2", "After {name1} and {name2} came {retrieved_names}. Next:")
    >>> text.render({"name1": ["jazz"], "name2": ["soul"], "retrieved_names": []})
    'After "jazz" and "soul" came none. Next:'
    """

    name: str
    text: str

    def __post_init__(self) -> None:
        """Refuse a template whose placeholders are not what prompts are made of."""
        found = _PLACEHOLDER.findall(self.text)
        if all(name in _CODES for name in found):
            is_sound = tuple(found) == _CODES and all(self.text.split().count(f"{{{name}}}") == 1 for name in _CODES)
            mend = f"Write {_listed(_CODES)}, each once, in this order, with white space around"
        else:
            groups = [_GROUP_OF.get(name, -1) for name in found]
            is_sound = groups == sorted(groups) and set(groups) == {0, 1, 2} and len(set(found)) == len(found)
            mend = f"Write {', then '.join(_listed(group, ' or ') for group in GROUPS)}, each at most once"
        if not is_sound:
            raise ConfigError(f"The template's placeholders are {_listed(found) or 'none'}", mend, place=self.name)
        if not self.is_code_template and '"' in self.text:
            raise ConfigError(
                "The template has double quotes of its own, and only catalogue text stands in them",
                "Use single quotes; names and keywords are quoted as they are filled in",
                place=self.name,
            )

    @classmethod
    def packaged(cls, name: str = DEFAULT_TEMPLATE) -> Template:
        """Read a template that comes with the package.

        Raises
        ------
        ConfigError
            If there is none of that name.
        """
        folder = resources.files("refresh") / "templates"
        try:
            return cls(name, (folder / f"{name}.txt").read_text("utf-8"))._ending_in_its_cue()
        except FileNotFoundError:
            known = sorted(entry.name.removesuffix(".txt") for entry in folder.iterdir())
            raise ConfigError(
                f"There is no prompt template {name!r}", f"Choose one of {', '.join(known)}", place="template"
            ) from None

    @classmethod
    def of_file(cls, path: Path) -> Template:
        """Read a template of one's own; the file's name, with a version, becomes its name.

        Raises
        ------
        ConfigError
            If the file cannot be read, is too large, has no version in its name, or is no template.
        """
        try:
            content = path.read_bytes()
            text = content.decode("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"The template cannot be read ({error})", "Give a file of UTF-8 text", place=str(path)
            ) from None
        if len(content) > MAX_TEMPLATE_BYTES:
            raise ConfigError(
                f"The template has {len(content)} bytes, {MAX_TEMPLATE_BYTES} are the most",
                "Shorten it: every prompt repeats it",
                place=str(path),
            )
        if not _VERSIONED.fullmatch(path.stem):
            raise ConfigError(
                "The template's file name has no version",
                "Name it like my_prompt.v1.txt, and count up with every change",
                place=str(path),
            )
        try:
            return cls(path.stem, text)._ending_in_its_cue()
        except ConfigError as error:
            raise ConfigError(error.found, error.mend, place=str(path)) from None

    @property
    def stamp(self) -> str:
        """Name and hash, for manifests."""
        return f"{self.name} sha256:{self.sha256}"

    def _ending_in_its_cue(self) -> Template:
        """Leave out the file's last line break, where text is told from other text: the model goes on after the cue."""
        return self if self.is_code_template else replace(self, text=self.text.rstrip("\r\n"))

    @property
    def sha256(self) -> str:
        """SHA-256 of the text, hexadecimal."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def placeholders(self) -> tuple[str, ...]:
        """Names of the placeholders, in order."""
        return tuple(_PLACEHOLDER.findall(self.text))

    @property
    def statics(self) -> tuple[str, ...]:
        """Return the text before, between and after the placeholders."""
        return tuple(_PLACEHOLDER.split(self.text)[::2])

    @property
    def is_code_template(self) -> bool:
        """Whether clusters are named by codes alone."""
        return all(name in _CODES for name in self.placeholders)

    @property
    def speaks_keywords(self) -> bool:
        """Whether prompts depend on keywords."""
        return any("keywords" in name for name in self.placeholders)

    @property
    def words(self) -> tuple[str, ...]:
        """Static words without repetition, in order."""
        return tuple(dict.fromkeys(word for word in self.text.split() if not _PLACEHOLDER.fullmatch(word)))

    def render(self, fields: Fields) -> str:
        """Fill in one prompt."""
        pieces = _PLACEHOLDER.split(self.text)
        pieces[1::2] = [written(name, fields[name]) for name in pieces[1::2]]
        return "".join(pieces)

    def parse(self, prompt: str) -> dict[str, tuple[str, ...]]:
        """Read the fields of a prompt back: the inverse of `render` for tamed texts.

        Raises
        ------
        ConfigError
            If the text is no prompt of this template.
        """
        pieces = _PLACEHOLDER.split(self.text)
        names = pieces[1::2]
        pieces[::2] = [re.escape(piece) for piece in pieces[::2]]
        pieces[1::2] = [_CODE_PATTERN if name in _CODES else _TEXT_PATTERN for name in names]
        match = re.fullmatch("".join(pieces), prompt)
        if match is None:
            raise ConfigError(f"The text is no prompt of {self.name}", "Parse it with the template that rendered it")
        return {name: _read(name, value) for name, value in zip(names, match.groups(), strict=True)}


def written(placeholder: str, values: Sequence[str]) -> str:
    """Write the values of a placeholder as prompts have them: codes as they are, texts in quotes."""
    if placeholder in _CODES:
        return " ".join(values)
    return ", ".join(f'"{value}"' for value in values) or NONE_TEXT


def _read(placeholder: str, value: str) -> tuple[str, ...]:
    if placeholder in _CODES:
        return tuple(value.split(" "))
    return () if value == NONE_TEXT else tuple(value[1:-1].split('", "'))


def _listed(names: Sequence[str], separator: str = " ") -> str:
    return separator.join(f"{{{name}}}" for name in names)
