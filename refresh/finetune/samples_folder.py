"""Samples on disk: one ``.npy`` a column, the catalogue, and a manifest with the recipe and every checksum.

The same inputs and seed write the same bytes. The manifest's SHA-256 stands for all of it.
"""

from __future__ import annotations

import hashlib
import io
import secrets
import shutil
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from refresh.finetune.curation import CuratedSamples, CurationRecipe
from refresh.finetune.user_groups import PARTS, Buckets, UserGroups
from refresh.training.samples import Samples
from tidegate.errors import FineTuneError
from tidegate.files import flush_folder, write_atomically

MANIFEST, CATALOGUE = "manifest.json", "catalogue.json"
_FORMAT = 1
_AGAIN = "Remove the folder and take the samples again"
_COLUMNS: dict[str, tuple[str, int]] = {
    "part": ("uint8", 1),
    "group": ("int8", 1),
    "bucket": ("uint8", 1),
    "c1": ("int32", 1),
    "c2": ("int32", 1),
    "retrieved": ("int32", 2),
    "target": ("int32", 1),
    "weight": ("float32", 1),
}
_OF_SAMPLES = ("c1", "c2", "retrieved", "target", "weight")


class SampleManifest(msgspec.Struct, frozen=True, kw_only=True):
    """What the samples are and how they were taken. Holds no time: equal input gives equal bytes."""

    format: int = _FORMAT
    first_pane: int
    last_pane: int
    flag_pane: int
    seed: int
    recipe: CurationRecipe
    folds: tuple[Buckets, ...]
    """User buckets of each fold: its labels are asked with the others' lines."""
    validation: Buckets
    test: Buckets
    n_samples: dict[str, int]
    """By part."""
    files: dict[str, str] = {}


def write_samples(folder: Path, curated: CuratedSamples) -> str:
    """Write samples whole or not at all; returns their checksum.

    1. Write every column into a sibling folder, the manifest with their checksums last.
    2. Rename the sibling to `folder`. Samples that are there already must be the same.

    Raises
    ------
    FineTuneError
        If samples leak, or others are there already.
    """
    curated.require_no_leak()
    content = {f"{name}.npy": _npy(values) for name, values in _columns(curated).items()}
    content[CATALOGUE] = msgspec.json.encode(list(curated.names))
    manifest = SampleManifest(
        first_pane=curated.first_pane,
        last_pane=curated.last_pane,
        flag_pane=curated.flag_pane,
        seed=curated.seed,
        recipe=curated.recipe,
        folds=curated.groups.folds,
        validation=curated.groups.validation,
        test=curated.groups.test,
        n_samples={name: int((curated.part == number).sum()) for number, name in enumerate(PARTS)},
        files={name: hashlib.sha256(data).hexdigest() for name, data in sorted(content.items())},
    )
    sealed = msgspec.json.format(msgspec.json.encode(manifest))
    checksum = hashlib.sha256(sealed).hexdigest()
    if folder.exists():
        _require_the_same(folder, checksum)
        return checksum
    sibling = folder.with_name(f".{folder.name}.{secrets.token_hex(6)}.tmp")
    sibling.mkdir(parents=True)
    try:
        for name, data in {**content, MANIFEST: sealed}.items():  # 1
            write_atomically(sibling / name, data)
        sibling.rename(folder)  # 2
        flush_folder(folder.parent)
    finally:
        shutil.rmtree(sibling, ignore_errors=True)
    return checksum


def read_samples(folder: Path) -> tuple[CuratedSamples, str]:
    """Read samples once every byte is verified and no user is on two sides; also returns their checksum.

    Raises
    ------
    FineTuneError
        If there are none, a file is missing or changed, or the samples leak.
    """
    try:
        content = (folder / MANIFEST).read_bytes()
        manifest = msgspec.json.decode(content, type=SampleManifest)
        data = {name: (folder / name).read_bytes() for name in [f"{column}.npy" for column in _COLUMNS] + [CATALOGUE]}
    except OSError as error:
        raise FineTuneError(f"The samples are not whole ({error})", _AGAIN, place=str(folder)) from None
    except msgspec.MsgspecError as error:
        raise FineTuneError(f"The manifest cannot be read ({error})", _AGAIN, place=str(folder / MANIFEST)) from None
    if manifest.format != _FORMAT:
        raise FineTuneError(
            f"The samples' format is {manifest.format}, this version reads {_FORMAT}", _AGAIN, place=str(folder)
        )
    for name, each in data.items():
        if hashlib.sha256(each).hexdigest() != manifest.files.get(name):
            raise FineTuneError("The file is not the one that was written (checksum)", _AGAIN, place=str(folder / name))
    curated = _curated(manifest, data)
    curated.require_no_leak()
    return curated, hashlib.sha256(content).hexdigest()


def _columns(curated: CuratedSamples) -> dict[str, NDArray[np.generic]]:
    return {
        **{name: getattr(curated, name) for name in ("part", "group", "bucket")},
        **{name: getattr(curated.samples, name) for name in _OF_SAMPLES},
    }


def _npy(values: NDArray[np.generic]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(values), allow_pickle=False)
    return buffer.getvalue()


def _curated(manifest: SampleManifest, data: dict[str, bytes]) -> CuratedSamples:
    columns = {name: np.load(io.BytesIO(data[f"{name}.npy"]), allow_pickle=False) for name in _COLUMNS}
    n_samples = sum(manifest.n_samples.values())
    for name, (dtype, n_dimensions) in _COLUMNS.items():
        found = columns[name]
        if (found.dtype, found.ndim) != (np.dtype(dtype), n_dimensions) or found.shape[0] != n_samples:
            raise FineTuneError(
                f"The column is {found.dtype}{list(found.shape)}, required is {dtype} with {n_samples} rows",
                _AGAIN,
                place=f"{name}.npy",
            )
    return CuratedSamples(
        samples=Samples(*(columns[name] for name in _OF_SAMPLES)),
        part=columns["part"],
        group=columns["group"],
        bucket=columns["bucket"],
        groups=UserGroups(manifest.folds, manifest.validation, manifest.test),
        names=tuple(msgspec.json.decode(data[CATALOGUE], type=list[str])),
        first_pane=manifest.first_pane,
        last_pane=manifest.last_pane,
        flag_pane=manifest.flag_pane,
        seed=manifest.seed,
        recipe=manifest.recipe,
    )


def _require_the_same(folder: Path, checksum: str) -> None:
    if read_samples(folder)[1] != checksum:
        raise FineTuneError("Other samples are there already", _AGAIN, place=str(folder))
