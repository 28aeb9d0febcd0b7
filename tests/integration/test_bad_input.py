"""What a user is told, and what is not lost, when the input, a setting or a file on disk is wrong."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from stream.database import Database
from stream.run_reader import RunReader
from tests.runs import SYNTHETIC, Result, read_result, result_of, small_log
from tidegate.cli.errors import run_cleanly
from tidegate.cli.main import cli

FLAGS = [text for name, value in SYNTHETIC.items() for text in (f"--{name}", value)]
HEADER, AT = b"user_id,item_id,category,timestamp,engagement\n", 400
GOOD = b"7,1,interest-001,%d,0.9\n"


@dataclass(frozen=True, slots=True)
class Said:
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str

    def refused(self, code: int, *words: str) -> None:
        """Hold that the command failed with one message, which has all these words."""
        assert self.code == code, self.err
        assert self.err.startswith("Error: ")
        assert self.err.count("\n") == 1
        assert "Traceback" not in self.err + self.out
        assert "fault of Tidegate" not in self.err
        for word in words:
            assert word in self.err


class Shell:
    """Runs commands on one home, as a terminal would."""

    def __init__(self, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
        self.folder, self.home, self._capfd = folder, folder / "home", capfd

    def __call__(self, *args: str) -> Said:
        self._capfd.readouterr()
        code = run_cleanly(cli, [*args, "--home", str(self.home)])
        return Said(code, *self._capfd.readouterr())

    def run(self, source: Path, *flags: str) -> Said:
        return self("run", "--source", str(source), "--json", str(self.folder / "out.json"), *FLAGS, *flags)

    @property
    def summary(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "out.json").read_bytes())
        return found

    @property
    def result(self) -> Result:
        return read_result(self.summary, self.home)

    def write(self, name: str, content: bytes) -> Path:
        path = self.folder / name
        path.write_bytes(content)
        return path


@pytest.fixture
def shell(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Shell:
    return Shell(tmp_path, capfd)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return small_log(tmp_path_factory.mktemp("log"), days=7, sessions=150).read_bytes()


@pytest.fixture(scope="module")
def undisturbed(log: bytes, tmp_path_factory: pytest.TempPathFactory) -> Result:
    folder = tmp_path_factory.mktemp("undisturbed")
    path = folder / "log.csv"
    path.write_bytes(log)
    return result_of(path, folder / "home", **SYNTHETIC)


def with_lines(log: bytes, *bad: bytes) -> bytes:
    lines = log.splitlines(keepends=True)
    return b"".join([*lines[:AT], *bad, *lines[AT:]])


def as_json_lines(log: bytes) -> bytes:
    header, *rows = (line.split(",") for line in log.decode().splitlines())
    return "".join(json.dumps(dict(zip(header, row, strict=True))) + "\n" for row in rows).encode()


def assert_nothing_else_was_lost(found: Result, expected: Result, *set_aside: str) -> None:
    assert found.counts == expected.counts
    assert found.figures == expected.figures
    assert found.decisions == expected.decisions
    others = {outcome: n for outcome, n in found.summary["outcomes"].items() if outcome not in set_aside}
    assert others == expected.summary["outcomes"]


BAD_LINES = {
    "too few values": (b"7,1\n", "malformed", "the line has 2 values, the header 5"),
    "too many values": (b"7,1,2,3,4,5\n", "malformed", "the line has 6 values, the header 5"),
    "too few values, not UTF-8": (b"\xff\xfe,1\n", "malformed", "the line has 2 values, the header 5"),
    "an open quote": (b'7,1,"interest-001,1704103000,0.9\n', "malformed", "a quoted value does not end on its line"),
    "a cluster that is not UTF-8": (b"7,1,\xff,1704103000,0.9\n", "malformed", "category has no value"),
    "no user": (b",1,interest-001,1704103000,0.9\n", "malformed", "user_id has no value"),
    "no time": (b"7,1,interest-001,,0.9\n", "malformed", "timestamp is '', not a time in the unit s"),
    "a time in words": (b"7,1,interest-001,soon,0.9\n", "malformed", "timestamp is 'soon', not a time in the unit s"),
    "a negative time": (b"7,1,interest-001,-5,0.9\n", "malformed", "timestamp is '-5', not a time in the unit s"),
    "a far future": (GOOD % 99_999_999_999, "future", "5138-11-16T09:46:39Z, ahead of the clock"),
    "milliseconds": (GOOD % 1_704_103_000_000, "future", "ahead of the clock"),
}


@pytest.mark.parametrize("name", BAD_LINES)
def test_a_bad_record_is_set_aside_named_by_its_line_and_costs_no_other(
    shell: Shell, log: bytes, undisturbed: Result, name: str
) -> None:
    line, outcome, found = BAD_LINES[name]
    source = shell.write("log.csv", with_lines(log, line))
    said = shell.run(source)
    assert (said.code, said.err) == (0, "")
    assert f"set aside  1 record (1 {outcome})" in said.out
    assert f"{source}:{AT + 1}: " in said.out.replace("\n", "")
    assert shell.summary["outcomes"][outcome] == 1
    (issue,) = shell.summary["issues"]
    assert (issue["outcome"], issue["place"]) == (outcome, f"{source}:{AT + 1}")
    assert found in issue["found"]
    assert issue["mend"]
    assert_nothing_else_was_lost(shell.result, undisturbed, outcome)


def test_of_many_bad_records_all_are_counted_and_the_first_are_shown(
    shell: Shell, log: bytes, undisturbed: Result
) -> None:
    source = shell.write("log.csv", with_lines(log, *[b"7,1\n"] * 30, *[GOOD % 99_999_999_999] * 3))
    said = shell.run(source)
    assert (said.code, said.err) == (0, "")
    assert "33 records (30 malformed, 3 future)" in said.out
    assert [said.out.count(f"log.csv:{AT + number}:") for number in (1, 2, 3, 4)] == [1, 1, 1, 0]
    assert shell.summary["issues"][0]["place"] == f"{source}:{AT + 1}"
    assert_nothing_else_was_lost(shell.result, undisturbed, "malformed", "future")


@pytest.mark.parametrize("line", [b'{"user_id": 7, \n', b"[1, 2]\n", b"nonsense\n", b'{"user_id": "\xff"}\n'])
def test_a_bad_json_line_is_set_aside_and_costs_no_other(
    shell: Shell, log: bytes, undisturbed: Result, line: bytes
) -> None:
    source = shell.write("log.jsonl", with_lines(as_json_lines(log), line))
    said = shell.run(source)
    assert (said.code, said.err) == (0, "")
    (issue,) = shell.summary["issues"]
    assert (issue["outcome"], issue["place"]) == ("malformed", f"{source}:{AT + 1}")
    assert "the line is no readable object" in issue["found"]
    assert_nothing_else_was_lost(shell.result, undisturbed, "malformed")


def test_a_cluster_outside_the_catalogue_is_set_aside_and_costs_no_other(shell: Shell, log: bytes) -> None:
    known = shell.write("clusters.csv", b"cluster\n" + b"".join(b"interest-%03d\n" % number for number in range(64)))
    assert shell.run(shell.write("clean.csv", log), "--catalogue", str(known)).code == 0
    clean = shell.result
    source = shell.write("log.csv", with_lines(log, b"7,1,gardening,1704103000,0.9\n"))
    said = shell.run(source, "--catalogue", str(known))
    assert (said.code, said.err) == (0, "")
    assert "1 record (1 unknown cluster)" in said.out
    (issue,) = shell.summary["issues"]
    assert (issue["outcome"], issue["place"]) == ("unknown_cluster", f"{source}:{AT + 1}")
    assert issue["found"] == "cluster 'gardening' is not in the catalogue"
    assert_nothing_else_was_lost(shell.result, clean, "unknown_cluster")


def test_what_a_record_that_ran_ahead_made_late_is_counted_and_explained(shell: Shell, log: bytes) -> None:
    source = shell.write("log.csv", with_lines(log, GOOD % (1_704_067_200 + 9 * 86_400)))
    said = shell.run(source)
    assert (said.code, said.err) == (0, "")
    summary = shell.summary
    assert summary["outcomes"]["late"] > 1_000
    (issue,) = summary["issues"]
    assert (issue["outcome"], issue["place"]) == ("late", str(source))
    assert "came after one of 2024-01-10T00:00:00Z" in issue["found"]
    assert "--lateness" in issue["mend"]


def test_a_log_of_nothing_but_bad_records_says_so(shell: Shell) -> None:
    said = shell.run(shell.write("log.csv", HEADER + b"7,1\n" + GOOD % 99_999_999_999))
    assert (said.code, said.err) == (0, "")
    assert "2 records (1 malformed, 1 future)" in said.out
    assert shell.summary["transitions"] == 0


def test_a_missing_column_is_named_with_those_that_are_there(shell: Shell, log: bytes) -> None:
    source = shell.write("log.csv", log.replace(b"category", b"kind", 1))
    columns = "user_id, item_id, kind, timestamp, engagement"
    shell.run(source).refused(1, str(source), "no column category or cluster", columns, "--cluster-column")
    assert shell.run(source, "--cluster-column", "kind").code == 0


EMPTY = {
    "log.csv": b"",
    "header.csv": HEADER,
    "log.jsonl": b"",
    "log.csv.gz": b"",
    "inside.csv.gz": gzip.compress(b""),
}


@pytest.mark.parametrize("name", EMPTY)
def test_an_empty_log_is_refused(shell: Shell, name: str) -> None:
    source = shell.write(name, EMPTY[name])
    shell.run(source).refused(1, str(source), "holds no record", "Check")


def test_an_empty_parquet_file_is_refused(shell: Shell) -> None:
    source = shell.write("log.parquet", b"")
    shell.run(source).refused(1, str(source), "cannot be read as Parquet", "again, whole")


def test_a_gzip_name_on_plain_text_is_refused(shell: Shell, log: bytes) -> None:
    source = shell.write("log.csv.gz", log)
    shell.run(source).refused(1, str(source), "not a gzip file", "take .gz from its name")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_a_truncated_log_keeps_what_came_before_and_the_whole_one_resumes(
    shell: Shell, log: bytes, undisturbed: Result, share: float
) -> None:
    packed = gzip.compress(log)
    source = shell.write("log.csv.gz", packed[: int(len(packed) * share)])
    shell.run(source).refused(1, str(source), "ends in the middle", "repeat the command")
    kept = shell.summary
    assert not kept["is_finished"]
    assert 0 < kept["events"] < undisturbed.summary["events"]
    source.write_bytes(packed)
    said = shell.run(source)
    assert (said.code, said.err) == (0, "")
    assert shell.summary["run_id"] == kept["run_id"]
    assert shell.summary["is_finished"]
    assert_nothing_else_was_lost(shell.result, undisturbed)
    assert shell.result.table_checksum == undisturbed.table_checksum


def test_a_log_that_lost_records_since_is_refused(shell: Shell, log: bytes) -> None:
    packed = gzip.compress(log)
    source = shell.write("log.csv.gz", packed[: len(packed) // 2])
    assert shell.run(source).code == 1
    source.write_bytes(gzip.compress(b"".join(log.splitlines(keepends=True)[:50])))
    shell.run(source).refused(1, str(source), "the file has only 49", "Bring back the file")


REQUESTS: dict[str, tuple[list[str], list[str]]] = {
    "policy": (["--policy", "wishful"], ["--policy", "'wishful'", "adaptive"]),
    "policy's argument": (["--policy", "every:x"], ["--policy", "'x'"]),
    "engine": (["--engine", "oracle"], ["--engine", "'oracle'", "embedded, frequency"]),
    "duration": (["--pane", "1w"], ["--pane", "'1w'", "3d"]),
    "no duration": (["--gap", "0m"], ["--gap", "'0m'"]),
    "window": (["--window", "25h"], ["--window", "multiple of --pane"]),
    "rule": (["--positive", "engagement >="], ["--positive", "does not parse", "engagement >= 0.5"]),
    "rule that calls": (["--positive", "__import__('os')"], ["--positive", "is not a comparison"]),
    "follow": (["--follow"], ["log.csv", "cannot be followed", "--follow"]),
    "report's folder": (["--html", "/nowhere/at/all.html"], ["--html", "/nowhere/at is no folder"]),
    "figures' path": (["--json", "/"], ["--json", "/ is a folder"]),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_that_cannot_be_meant_is_refused_before_anything_starts(shell: Shell, log: bytes, name: str) -> None:
    flags, words = REQUESTS[name]
    shell.run(shell.write("log.csv", log), *flags).refused(2, *words)
    assert not (shell.folder / "out.json").exists()
    assert not (shell.home / "tables").exists()


def test_a_rule_on_a_column_that_is_not_there_names_those_that_are(shell: Shell, log: bytes) -> None:
    said = shell.run(shell.write("log.csv", log), "--positive", "liked == 1")
    said.refused(1, "no column liked", "engagement", "--positive")


def test_a_source_that_is_not_there_or_not_known_is_refused(shell: Shell) -> None:
    shell.run(shell.folder / "nothing.csv").refused(2, "nothing.csv", "no such file", "--source")
    shell.run(shell.write("log.txt", b"x")).refused(2, "log.txt", ".csv", "kafka://")


CONFIGS = {
    b'pain = "1d"\n': ("unknown key 'pain'", "Did you mean 'pane'?"),
    b'qwertyuiop = "1d"\n': ("unknown key 'qwertyuiop'", "tidegate run --help"),
    b"pane = \n": ("cannot be read", "line 1", "TOML"),
    b'top_n = "many"\n': ("--top-n", "valid integer", "'top_n' in the configuration"),
}


@pytest.mark.parametrize("content", CONFIGS)
def test_a_wrong_configuration_file_is_refused(shell: Shell, log: bytes, content: bytes) -> None:
    config = shell.write("tidegate.toml", content)
    said = shell.run(shell.write("log.csv", log), "--config", str(config))
    said.refused(2, *CONFIGS[content])


def test_a_store_file_that_is_no_database_is_refused_and_left_alone(shell: Shell, log: bytes) -> None:
    shell.home.mkdir()
    store = shell.home / "runs.db"
    store.write_bytes(b"these are notes, not a database\n" * 50)
    before = store.read_bytes()
    shell.run(shell.write("log.csv", log)).refused(1, str(store), "not a database", "is a Tidegate store")
    assert store.read_bytes() == before


def interrupted(shell: Shell, log: bytes) -> tuple[Path, bytes, int]:
    """A run whose log broke off after its second table or later: the source, its whole bytes, the version."""
    packed = gzip.compress(log)
    source = shell.write("log.csv.gz", packed[: int(len(packed) * 0.8)])
    assert shell.run(source).code == 1
    version: int = shell.summary["table_version"]
    assert version >= 2
    return source, packed, version


@pytest.mark.parametrize("name", ["clusters.npy", "pairs.npy", "cluster_names.json", "manifest.json"])
def test_one_wrong_byte_of_a_table_is_found_and_the_mend_mends(shell: Shell, log: bytes, name: str) -> None:
    source, packed, version = interrupted(shell, log)
    damaged = shell.home / "tables" / f"v{version:08d}" / name
    flip_last_byte(damaged)
    mend = f"tidegate table rollback --to {version - 1} --reason corrupt"
    shell("table", "verify").refused(1, str(damaged), mend)
    source.write_bytes(packed)
    shell.run(source).refused(1, str(damaged), mend)
    said = shell(*mend.split()[1:])
    assert (said.code, said.out) == (0, f"version {version - 1} serves\n")
    said = shell.run(source)
    assert (said.code, said.err) == (0, "")
    assert shell.summary["is_finished"]
    assert shell.summary["table_version"] != version
    assert shell("table", "verify").code == 0


def test_a_damaged_table_costs_no_counts(shell: Shell, log: bytes, undisturbed: Result) -> None:
    source, packed, version = interrupted(shell, log)
    flip_last_byte(shell.home / "tables" / f"v{version:08d}" / "pairs.npy")
    source.write_bytes(packed)
    assert shell.run(source).code == 1
    assert shell("table", "rollback", "--reason", "corrupt").code == 0
    assert shell.run(source).code == 0
    reader = RunReader(Database(shell.home / "runs.db"), shell.summary["run_id"])
    panes = list(reader.stats())
    assert reader.counts(panes[0], panes[-1]).total == undisturbed.summary["transitions"]
    reader.close()
    assert shell.result.counts == undisturbed.counts


def flip_last_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-2] ^= 1  # the last one of a text file is its line feed
    path.chmod(0o644)
    path.write_bytes(bytes(content))
