from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from refresh.finetune.samples_folder import CATALOGUE, MANIFEST, read_samples, write_samples
from tests.refresh.finetune.worlds import SMALL, small_samples, take
from tidegate.errors import FineTuneError


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_samples_come_back_as_they_were_written(tmp_path: Path):
    checksum = write_samples(tmp_path / "samples", small_samples())
    found, again = read_samples(tmp_path / "samples")
    assert again == checksum
    for name in ("part", "group", "bucket"):
        np.testing.assert_array_equal(getattr(found, name), getattr(small_samples(), name))
    for name in ("c1", "c2", "retrieved", "target", "weight"):
        np.testing.assert_array_equal(getattr(found.samples, name), getattr(small_samples().samples, name))
    assert (found.groups, found.names, found.recipe) == (small_samples().groups, small_samples().names, SMALL)


def test_equal_inputs_write_equal_bytes_and_the_manifest_has_the_recipe(tmp_path: Path):
    first = write_samples(tmp_path / "first", take())
    assert write_samples(tmp_path / "second", take()) == first
    assert files(tmp_path / "first") == files(tmp_path / "second")
    manifest = json.loads((tmp_path / "first" / MANIFEST).read_text())
    assert manifest["recipe"]["n_taught"] == 1_000 and manifest["seed"] == 3
    assert set(manifest["files"]) == set(files(tmp_path / "first")) - {MANIFEST}
    assert write_samples(tmp_path / "third", take(seed=4)) != first


def test_taking_the_same_samples_again_finds_them_and_others_are_refused(tmp_path: Path):
    first = write_samples(tmp_path / "samples", small_samples())
    assert write_samples(tmp_path / "samples", small_samples()) == first
    with pytest.raises(FineTuneError, match="Other samples are there already"):
        write_samples(tmp_path / "samples", take(seed=4))


@pytest.mark.parametrize("name", ["target.npy", "bucket.npy", CATALOGUE])
def test_a_changed_or_missing_file_is_refused(name: str, tmp_path: Path):
    write_samples(tmp_path / "samples", small_samples())
    path = tmp_path / "samples" / name
    content = path.read_bytes()
    path.write_bytes(content[:-2] + b"\x01\x01")
    with pytest.raises(FineTuneError, match=rf"{name}.*checksum"):
        read_samples(tmp_path / "samples")
    path.unlink()
    with pytest.raises(FineTuneError, match="not whole"):
        read_samples(tmp_path / "samples")


def test_samples_that_leak_are_neither_written_nor_read(tmp_path: Path):
    curated = small_samples()
    bucket = curated.bucket.copy()
    bucket[-1] = curated.groups.taught[0]
    with pytest.raises(FineTuneError, match="leak"):
        write_samples(tmp_path / "leaking", replace(curated, bucket=bucket))
    assert not (tmp_path / "leaking").exists()
    write_samples(tmp_path / "samples", curated)
    manifest = tmp_path / "samples" / MANIFEST
    content = json.loads(manifest.read_text())
    content["flag_pane"] -= 1
    manifest.write_text(json.dumps(content))
    with pytest.raises(FineTuneError, match="later than the flag"):
        read_samples(tmp_path / "samples")


@pytest.mark.parametrize(
    ("changed", "why"),
    [({"format": 9}, "format is 9"), ({"folds": "x"}, "cannot be read"), ({"n_samples": {"taught": 1}}, "1 rows")],
)
def test_a_manifest_of_another_kind_is_refused(changed: dict[str, object], why: str, tmp_path: Path):
    write_samples(tmp_path / "samples", small_samples())
    manifest = tmp_path / "samples" / MANIFEST
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | changed))
    with pytest.raises(FineTuneError, match=why):
        read_samples(tmp_path / "samples")
