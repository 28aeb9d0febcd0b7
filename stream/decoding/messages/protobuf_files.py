"""Protobuf schemas of a registry as descriptors: given as such, or compiled from text, with all that they import."""

from __future__ import annotations

import base64
import binascii
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from confluent_kafka.schema_registry.common.protobuf import _init_pool, _is_builtin
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool

ROOT = "default"
"""Name of the file that a schema is; nothing imports it."""

_COMPILE_SECONDS = 60.0


def files_of(schema: Any, client: Any) -> list[Any]:
    """Give a schema's files, each after those that it imports, the schema's own last; common ones are left out.

    Parameters
    ----------
    schema : confluent_kafka.schema_registry.Schema
    client : confluent_kafka.schema_registry.SchemaRegistryClient     is asked for what the schema imports

    Raises
    ------
    ValueError
        If it is text that does not compile.
    """
    sources: dict[str, str] = {}
    _collect(schema, client, sources)
    sources[ROOT] = schema.schema_str
    given = {name: _descriptor(source) for name, source in sources.items()}
    if all(descriptor is not None for descriptor in given.values()):
        for name, descriptor in given.items():
            descriptor.name = name
        return list(given.values())
    return compiled(sources, ROOT)


def _collect(schema: Any, client: Any, sources: dict[str, str]) -> None:
    """Fetch what a schema imports, the innermost first."""
    for reference in schema.references or ():
        if _is_builtin(reference.name) or reference.name in sources:
            continue
        imported = client.get_version(reference.subject, reference.version, True, "serialized").schema
        _collect(imported, client, sources)
        sources[reference.name] = imported.schema_str


def _descriptor(source: str) -> Any:
    """Read a descriptor in base64; None where it is text."""
    try:
        return FileDescriptorProto.FromString(base64.b64decode(source, validate=True))
    except binascii.Error:
        return None


def compiled(sources: Mapping[str, str], root: str) -> list[Any]:
    """Compile text with protoc: the descriptors of `root` and of what it imports, each after those that it imports.

    Raises
    ------
    ValueError
        If it does not compile.
    """
    with tempfile.TemporaryDirectory() as folder:
        for name, source in sources.items():
            path = (Path(folder) / name).resolve()
            if not path.is_relative_to(Path(folder).resolve()):
                raise ValueError(f"the import {name!r} leads out of its folder")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(source, encoding="utf-8")
        out = Path(folder) / "descriptors.binary"
        # The common files lie with the compiler, and beside the modules that were made of them.
        common = [str(files("grpc_tools") / "_proto"), *(str(Path(part).parent.parent) for part in _common_types())]
        command = [sys.executable, "-m", "grpc_tools.protoc", *(f"-I{each}" for each in (folder, *common))]
        command += [f"--descriptor_set_out={out}", "--include_imports", root]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_COMPILE_SECONDS, check=False)
        if done.returncode:
            raise ValueError(f"protoc says {'; '.join(done.stderr.splitlines())}")
        everything = FileDescriptorSet.FromString(out.read_bytes())
    return [file for file in everything.file if not _is_builtin(file.name)]


def _common_types() -> list[str]:
    """Folders of ``google/type``."""
    found = find_spec("google.type")
    return list(found.submodule_search_locations or ()) if found else []


def pool_of(descriptors: list[Any]) -> Any:
    """Put files into a pool of their own, beside the common ones."""
    pool = DescriptorPool()
    _init_pool(pool)
    for descriptor in descriptors:
        pool.Add(descriptor)
    return pool
