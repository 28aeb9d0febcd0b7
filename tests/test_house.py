"""What holds for the house as a whole."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("tidegate", "stream", "refresh", "monitoring")
MODULES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))


@pytest.mark.parametrize("room", ROOMS)
def test_no_other_distribution_owns_our_top_level_names(room: str):
    # (An editable install lists none of its own.)
    assert set(packages_distributions().get(room, [])) <= {"tidegate"}
    assert Path(importlib.import_module(room).__file__ or "").is_relative_to(ROOT)


def test_the_wheel_holds_every_room_with_its_types_and_templates(tmp_path: Path):
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path],
        cwd=ROOT,
        check=True,
        capture_output=True,
        timeout=120,
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f"{room}/py.typed" for room in ROOMS} <= names
    assert {"monitoring/templates/report.html.j2", "refresh/templates/next_interest.v1.txt"} <= names
    packed = {name for name in names if name.endswith(".py")}
    assert packed == {str(path.relative_to(ROOT)) for path in MODULES}


def test_nothing_is_pickled():
    for path in MODULES:
        tree = ast.parse(path.read_text())
        imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert not imported & {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}, path
        allowed = [
            keyword.value.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Call)
            for keyword in node.keywords
            if keyword.arg == "allow_pickle" and isinstance(keyword.value, ast.Constant)
        ]
        assert True not in allowed, path


def test_the_command_starts_without_torch():
    """Files are read and served by machines that have no use for two seconds of imports."""
    code = "import sys, tidegate.cli.main; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False, timeout=120).returncode == 0
