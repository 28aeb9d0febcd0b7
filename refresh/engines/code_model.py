"""What answers in codes: a model's folder, or a name on a server, with how it is asked and its tokens of codes.

A folder with our manifest says for itself what the model was taught. One without is a foreign model, a causal decoder
in Hugging Face format: it can be asked in codes where its tokenizer has them, and freely in any case.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from refresh.codebook import MAX_LEVEL_TOKENS, Codebook, names_fingerprint
from refresh.engines.model_files import CONFIG, MANIFEST, TOKENIZER, read_codebook, read_manifest, read_vocabulary
from refresh.prompts import DEFAULT_TEMPLATE, TEXT_TEMPLATE, Description, PromptBuilder, RowContexts, Scoring, Template
from tidegate.counts import MAX_CLUSTERS
from tidegate.errors import CatalogueError, EngineError
from tidegate.files import sha256_of_file

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Prompt = Sequence[int] | str
_DOWNLOAD = (
    "Name a folder with config.json, tokenizer.json and the weights as .safetensors, or one that Tidegate trained"
)


@dataclass(frozen=True, slots=True)
class Asking:
    """How a model that was not taught by us is asked; one that was knows for itself.

    Attributes
    ----------
    template : Template, optional      default: the packaged one for codes, or for descriptions
    scoring : Scoring
    described_by : Description         what describes a cluster where descriptions are answered
    n_retrieved : int                  clusters of the retrieved line
    keywords : by cluster name
    """

    template: Template | None = None
    scoring: Scoring = Scoring.CODES
    described_by: Description = Description.NAME
    n_retrieved: int = 1
    keywords: Mapping[str, str] = field(default_factory=dict)

    @property
    def _template(self) -> Template:
        is_described = self.scoring is Scoring.DESCRIPTION
        return self.template or Template.packaged(TEXT_TEMPLATE if is_described else DEFAULT_TEMPLATE)

    def free_codebook(self, names: Sequence[str]) -> Codebook:
        """Make the codebook of a model that answers freely: without bound, unless prompts name clusters by codes."""
        return Codebook.of(names) if self._template.is_code_template else Codebook(tuple(names), MAX_CLUSTERS)

    def builder(self, codebook: Codebook) -> PromptBuilder:
        """Make the prompts of a foreign model."""
        return PromptBuilder(self._template, codebook, self.n_retrieved, self.keywords, self.scoring, self.described_by)


@dataclass(frozen=True)
class CodeModel:
    """A model as an engine asks it.

    Attributes
    ----------
    prompts : PromptBuilder
    fingerprint : str             of all that determines answers besides the prompt
    n_taught : int                clusters that any row may be answered with; others where they are retrieved
    level_tokens : int64[w] each  tokens of each level of the codes; empty where codes are not answered
    infix : tokens between the high and the low token of a code
    vocabulary : token ids by word, of a model that was taught word by word
    tokenizer : of the model, None where only its server has it
    config : what config.json says
    """

    prompts: PromptBuilder
    fingerprint: str
    n_taught: int
    level_tokens: tuple[NDArray[np.int64], ...]
    infix: tuple[int, ...] = ()
    vocabulary: Mapping[str, int] | None = None
    tokenizer: Tokenizer | None = None
    config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def text_config(self) -> Mapping[str, Any]:
        """The decoder's part of the configuration."""
        nested = self.config.get("text_config")
        return nested if isinstance(nested, dict) else self.config

    @property
    def n_vocabulary(self) -> int | None:
        """Tokens that the model knows; None where only its server tells."""
        size = self.text_config.get("vocab_size")
        return size if isinstance(size, int) and size > 0 else None

    def grown(self, names: Sequence[str]) -> CodeModel:
        """Return the model for the catalogue as it is now (`Codebook.grown`)."""
        return replace(self, prompts=self.prompts.grown(names))

    def rendered(self, contexts: RowContexts) -> Sequence[Prompt]:
        """Render rows as the model reads them: token ids, or text where only its server can tokenise."""
        if self.vocabulary is not None:
            rows: list[list[int]] = self.prompts.token_ids(contexts, self.vocabulary).tolist()
            return rows
        texts = self.prompts.texts(contexts)
        return texts if self.tokenizer is None else self.tokenised(texts)

    def tokenised(self, texts: Sequence[str]) -> list[list[int]]:
        """Tokenise texts as the model expects them at its start, special tokens included."""
        assert self.tokenizer is not None
        return [encoding.ids for encoding in self.tokenizer.encode_batch(list(texts))]

    def allowed(self, contexts: RowContexts) -> NDArray[np.bool_]:
        """Clusters that rows may be answered with: those taught and those retrieved, but c1 and c2: bool[n, capacity].

        A catalogue that grows changes no row that does not retrieve the new interest.
        """
        capacity = self.prompts.codebook.capacity
        table = self.prompts.columns(contexts, capacity)
        allowed = np.zeros((len(contexts), capacity + 1), np.bool_)  # the last column takes what is -1
        allowed[:, : self.n_taught] = True
        rows = np.arange(len(contexts))[:, None]
        allowed[rows, table[:, 2:]] = True
        allowed[rows, table[:, :2]] = False
        return allowed[:, :capacity]


def read_code_model(folder: Path, names: Sequence[str], asking: Asking | None = None) -> CodeModel:
    """Read all of a model but its weights.

    Raises
    ------
    EngineError
        If files are missing or changed, or the tokenizer has no codes while codes are asked for.
    CatalogueError
        If the model was taught for another catalogue, or the catalogue outgrew its codes.
    """
    if not folder.is_dir():
        raise EngineError("There is no such folder", _DOWNLOAD, place=str(folder))
    if (folder / MANIFEST).is_file():
        return _taught(folder, names, asking.scoring if asking else Scoring.CODES)
    return _foreign(folder, names, asking or Asking())


def _taught(folder: Path, names: Sequence[str], scoring: Scoring) -> CodeModel:
    """Read one of our models; where it is asked for descriptions, its codes are what it knows of any."""
    manifest, fingerprint = read_manifest(folder)
    if names_fingerprint(names[: manifest.n_clusters]) != manifest.names_fingerprint:
        raise CatalogueError(
            f"The model was taught {manifest.n_clusters} clusters that are not the first of this catalogue",
            "Use the catalogue that it was trained with, or train a model for this one",
            place=str(folder),
        )
    template = Template(manifest.template_name, manifest.template_text)
    codebook = read_codebook(folder, manifest, names)
    vocabulary = read_vocabulary(folder, template, codebook)
    return CodeModel(
        prompts=PromptBuilder(template, codebook, manifest.n_retrieved, scoring=scoring),
        fingerprint=fingerprint,
        n_taught=manifest.n_clusters,
        level_tokens=tuple(np.array([vocabulary[token] for token in level], np.int64) for level in codebook.levels),
        vocabulary=vocabulary,
        tokenizer=_read_tokenizer(folder),
        config=_read_config(folder),
    )


def _foreign(folder: Path, names: Sequence[str], asking: Asking) -> CodeModel:
    config, tokenizer = _read_config(folder), _read_tokenizer(folder)
    files = [folder / CONFIG, folder / TOKENIZER, *sorted(folder.glob("*.safetensors"))]
    if len(files) < 3:
        raise EngineError("There are no weights in the folder", _DOWNLOAD, place=str(folder))
    if asking.scoring is Scoring.CODES:
        codebook = _codebook_of(tokenizer, names, folder)
        level_tokens, infix = _tokens_of(tokenizer, codebook, folder)
    else:
        codebook, level_tokens, infix = asking.free_codebook(names), (), ()
    # What a row may be answered with is part of what answers: a grown catalogue is known by another fingerprint.
    n_open = [str(len(names))] if level_tokens else []
    said = "\n".join([sha256_of_file(path) for path in files] + n_open)
    return CodeModel(
        prompts=asking.builder(codebook),
        fingerprint=hashlib.sha256(said.encode()).hexdigest(),
        n_taught=len(names),
        level_tokens=level_tokens,
        infix=infix,
        tokenizer=tokenizer,
        config=config,
    )


def served_model(server_model: str, names: Sequence[str], asking: Asking) -> CodeModel:
    """Describe a model of which only a server's name for it is known; codes are told by their text.

    Raises
    ------
    CatalogueError
        If there are more clusters than codes of one token.
    """
    is_coded = asking.scoring is Scoring.CODES
    if is_coded and len(names) > MAX_LEVEL_TOKENS:
        raise CatalogueError(
            f"The catalogue has {len(names)} clusters, and {MAX_LEVEL_TOKENS} is the most that can be told by text",
            "Name the folder with the model's tokenizer (--model), or ask for descriptions",
            place="--engine openai",
        )
    codebook = Codebook.of(names) if is_coded else asking.free_codebook(names)
    said = "\n".join(["served", server_model, *([str(len(names))] if is_coded else [])])
    return CodeModel(
        prompts=asking.builder(codebook),
        fingerprint=hashlib.sha256(said.encode()).hexdigest(),
        n_taught=len(names),
        level_tokens=(np.arange(codebook.capacity, dtype=np.int64),) if is_coded else (),
    )


def _codebook_of(tokenizer: Tokenizer, names: Sequence[str], folder: Path) -> Codebook:
    """Find the codebook whose tokens the tokenizer has."""
    n_codes, n_high, n_low = (_n_numbered(tokenizer, letter) for letter in "chl")
    for capacity, n_levels in ((min(n_codes, MAX_LEVEL_TOKENS), 1), (min(n_high * n_low, MAX_CLUSTERS), 2)):
        if capacity >= len(names):
            book = Codebook(tuple(names), capacity, n_levels)
            if all(_has(tokenizer, token) for level in book.levels for token in level):
                return book
    wanted = [token for level in Codebook.of(names).levels for token in level if not _has(tokenizer, token)]
    raise EngineError(
        f"The tokenizer has no token for {wanted[0] if wanted else 'a code'} and {max(0, len(wanted) - 1)} more codes "
        f"of {len(names)} clusters",
        "Add the codes to the tokenizer and fine-tune the model to answer with them, or let it answer with "
        "descriptions (--scoring description)",
        place=str(folder),
    )


def _n_numbered(tokenizer: Tokenizer, letter: str) -> int:
    n = 0
    while n < MAX_CLUSTERS and _has(tokenizer, f"<{letter}{n:04d}>"):
        n += 1
    return n


def _has(tokenizer: Tokenizer, token: str) -> bool:
    return tokenizer.token_to_id(token) is not None


def _tokens_of(
    tokenizer: Tokenizer, codebook: Codebook, folder: Path
) -> tuple[tuple[NDArray[np.int64], ...], tuple[int, ...]]:
    """Token ids of each level, once each proves to be one token, and what stands between high and low."""
    for level in codebook.levels:
        split = [
            token
            for token in level
            if tokenizer.encode(token, add_special_tokens=False).ids != [tokenizer.token_to_id(token)]
        ]
        if split:
            raise EngineError(
                f"The tokenizer does not keep {split[0]} ({len(split)} of {len(level)} codes) as one token",
                "Add the codes as special tokens, so that nothing splits them, and fine-tune the model with them",
                place=str(folder),
            )
    ids = tuple(np.array([tokenizer.token_to_id(token) for token in level], np.int64) for level in codebook.levels)
    whole = tokenizer.encode(codebook.codes[0], add_special_tokens=False).ids
    return ids, tuple(whole[1:-1])


def _read_tokenizer(folder: Path) -> Tokenizer:
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_file(str(folder / TOKENIZER))
    except Exception as error:  # the library raises bare exceptions
        raise EngineError(f"{TOKENIZER} cannot be read ({error})", _DOWNLOAD, place=str(folder)) from None


def _read_config(folder: Path) -> dict[str, Any]:
    try:
        return msgspec.json.decode((folder / CONFIG).read_bytes(), type=dict[str, Any])
    except (OSError, msgspec.MsgspecError) as error:
        raise EngineError(f"{CONFIG} cannot be read ({error})", _DOWNLOAD, place=str(folder)) from None
