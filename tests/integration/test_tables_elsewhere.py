"""A run whose versions lie in a bucket: the same table, listed, compared and rolled back there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from uuid import uuid4

from click.testing import CliRunner

from refresh.lookup import Lookup
from refresh.table_place import open_tables
from tests.runs import SYNTHETIC, run_quietly, small_log
from tidegate.cli.main import cli


def test_a_run_publishes_to_a_bucket_and_people_look_at_it_there(tmp_path: Path):
    url, home = f"memory://bucket-{uuid4().hex}/tables", tmp_path / "home"
    log, flags = small_log(tmp_path, days=5, sessions=300), {**SYNTHETIC, "permutations": 20}
    summary = run_quietly(log, home, tables=url, **flags)
    alone = run_quietly(log, tmp_path / "alone", **flags)
    tables = open_tables(tmp_path / "elsewhere", url)
    assert not (home / "tables").exists()
    assert tables.current() == summary["table_version"] == alone["table_version"]
    expected = open_tables(tmp_path / "alone").load().content_checksum()
    assert tables.load().content_checksum() == expected

    def table(*arguments: str) -> Any:
        found = CliRunner().invoke(cli, ["table", *arguments, "--home", str(home), "--tables", url, "--json"])
        assert found.exit_code == 0, found.output
        return json.loads(found.output)

    listed = table("list")
    assert [each["version"] for each in listed] == sorted(tables.numbers(), reverse=True)
    assert listed[0]["manifest"]["parent"] == listed[1]["version"]
    newest, before = listed[0]["version"], listed[1]["version"]
    assert sum(table("diff", str(before), str(newest))[kind] for kind in ("added", "removed", "changed"))
    lookup = Lookup(tables)
    assert table("rollback", "--reason", "x")["version"] == before
    assert lookup.poll()
    assert lookup.version == before
    assert all(each["is_sound"] for each in table("verify", "--all"))
