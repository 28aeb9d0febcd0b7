from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner
from rich.console import Console

from refresh.evidence.plain import plain_rank
from stream.study.windows import StudiedLog
from tests.monitoring.outline import Outline
from tests.runs import SYNTHETIC, run_quietly, small_log
from tidegate.cli.log_reading import read_log
from tidegate.cli.stream_settings import sequence_options
from tidegate.cli.study import study, study_command
from tidegate.cli.watching import Bars
from tidegate.config import load_settings
from tidegate.counts import pair_of_key, successor_of_key
from tidegate.errors import EmptySourceError, RequestError

FLAGS = {**SYNTHETIC, "window": "2d"}


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_log(tmp_path_factory.mktemp("logs"), sessions=500)


def study_quietly(source: Path, **flags: Any) -> dict[str, Any]:
    settings = load_settings({"source": str(source), **FLAGS, **flags})
    return study(settings, Bars(Console(quiet=True)))


@pytest.fixture(scope="module")
def found(log: Path) -> dict[str, Any]:
    return study_quietly(log)


def test_a_study_says_what_was_read_and_measures_everything_that_takes_no_model(found: dict[str, Any]) -> None:
    assert found["panes"] == 9 and found["windows"] == 4 and found["source"] == "abrupt-0.csv"
    assert found["transitions"] > 3_000 and found["events"] == sum(found["outcomes"].values())
    assert found["model"] is found["repetition"] is None
    assert len(found["adjacent"]["windows"]) == len(found["persistence"]["windows"]) == 3
    assert found["comparison"]["windows"] == 3 and found["retrieval"]["windows"] == 2
    assert set(found["comparison"]["groups"]["all"]["ways"]) == {"backoff", "frequency", "frequency_shrunk"}


@pytest.fixture(scope="module")
def run_with(log: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, Any]]:
    """Run over the log with a policy, once."""
    return cache(lambda policy: run_quietly(log, tmp_path_factory.mktemp("home"), **FLAGS, policy=policy))


@pytest.mark.parametrize(("mapping", "policy"), [("fixed", "never"), ("refreshed", "every:2d"), ("backoff", "backoff")])
def test_a_mapping_scores_what_a_run_with_its_calendar_scores(
    found: dict[str, Any], run_with: Callable[[str], dict[str, Any]], mapping: str, policy: str
) -> None:
    ran = run_with(policy)
    ours = found["trajectories"][mapping]
    for figure in ("scored", "hit_rate_next", "hit_rate_sequence", "hit_information_bits", "coverage"):
        assert ours[figure] == pytest.approx(ran[figure]), figure
    of_run = {pane["pane_end"]: pane for pane in ran["by_pane"]}
    assert [pane["hits_next"] for pane in ours["by_pane"]] == [
        of_run[pane["pane_end"]]["hits_next"] for pane in ours["by_pane"]
    ]


def test_the_windows_measured_are_those_of_a_run(
    found: dict[str, Any], run_with: Callable[[str], dict[str, Any]]
) -> None:
    of_run = {report["window_end"]: report for report in run_with("never")["reports"]}
    for row in found["adjacent"]["windows"]:
        same = of_run[row["window_end"]]
        assert row["pairs"] == same["pairs"] and row["alarmed"] == same["alarmed"]
        assert row["jaccard_mean"] == pytest.approx(same["jaccard_mean"])
        assert row["null_mean"] == pytest.approx(same["null_mean"])


def test_frequency_scores_the_next_window_as_a_mapping_of_this_one_would(log: Path) -> None:
    found = study_quietly(log, window="1d", pane="1d")
    groups = found["comparison"]["groups"]
    seen = [groups[group]["ways"]["frequency"] for group in ("thin", "dense")]
    hits = sum(way["hit_rate"]["mean"] * way["transitions"] for way in seen if way["hit_rate"])
    assert hits == pytest.approx(hits_of_each_day_on_the_next(log))


def hits_of_each_day_on_the_next(log: Path) -> float:
    """Count the hits of each day's plain top-1 on the next day, transition by transition."""
    settings = load_settings({"source": str(log), **FLAGS, "window": "1d"})
    read, _ = read_log(settings, Bars(Console(quiet=True)))
    studied = StudiedLog.of_log(read, sequence_options(settings))
    hits = 0
    for at in range(len(studied.panes) - 1):
        counts = studied.panes[at].without_buckets()
        top = dict(
            zip(counts.pairs.tolist(), plain_rank(counts, studied.seeds, 1).clusters[:, 0].tolist(), strict=True)
        )
        later = studied.panes[at + 1]
        for key, n in zip(later.keys, later.counts, strict=True):
            hits += int(n) * (top.get(int(pair_of_key(key))) == int(successor_of_key(key)))
    return float(hits)


def test_same_seed_writes_the_same_bytes_and_another_seed_draws_other_halves(log: Path, tmp_path: Path) -> None:
    outputs = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        json_path, html_path = tmp_path / f"{name}.json", tmp_path / f"{name}.html"
        arguments = ["--source", str(log), "--positive", "engagement >= 0.5", "--gap", "30m", "--window", "2d"]
        arguments += ["--engine", "frequency", "--seed", str(seed), "--json", str(json_path), "--html", str(html_path)]
        result = CliRunner().invoke(study_command, arguments, catch_exceptions=False)
        assert result.exit_code == 0
        assert "Adjacent windows: top-5 Jaccard" in result.output and "--engine embedded" in result.output
        outputs.append((json_path.read_bytes(), html_path.read_bytes()))
    assert outputs[0] == outputs[1] and outputs[0] != outputs[2]
    decoded = [msgspec.json.decode(json_bytes) for json_bytes, _ in outputs]
    assert decoded[0]["trajectories"] == decoded[2]["trajectories"]
    assert decoded[0]["adjacent"]["halves"] != decoded[2]["adjacent"]["halves"]
    outline = Outline(outputs[0][1].decode())
    assert outline.open == [] and outline.seen.count("svg") == 5


@pytest.mark.parametrize(("pane", "cadence"), [("12h", "2d"), ("1d", "2d"), ("2d", "2d"), ("3d", "6d")])
def test_refreshes_come_every_two_days_or_every_two_panes(log: Path, pane: str, cadence: str) -> None:
    assert study_quietly(log, pane=pane, window="3d" if pane == "3d" else "2d")["refreshed_every"] == cadence


def test_a_log_too_short_for_two_windows_is_refused_with_what_to_do(log: Path) -> None:
    with pytest.raises(RequestError, match=r"--window: the log has 9 panes of 1d, and two windows take 10") as refused:
        study_quietly(log, window="5d")
    assert refused.value.exit_code == 2 and "shorter --window" in str(refused.value)


def test_an_empty_source_is_refused(tmp_path: Path) -> None:
    empty = tmp_path / "empty.csv"
    empty.write_text("user_id,category,timestamp,engagement\n")
    with pytest.raises(EmptySourceError):
        study_quietly(empty)
    empty.write_text("user_id,category,timestamp,engagement\n1,a,1700000000,0.1\n")
    with pytest.raises(EmptySourceError, match="no positive watch"):
        study_quietly(empty)


def test_a_source_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="there is no such file"):
        study_quietly(tmp_path / "nowhere.csv")


def test_an_unknown_engine_is_refused_before_the_log_is_read(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="there is no engine 'psychic'"):
        study_quietly(tmp_path / "nowhere.csv", engine="psychic")


def test_files_that_could_not_be_written_are_refused_before_the_log_is_read(tmp_path: Path) -> None:
    result = CliRunner().invoke(study_command, ["--source", "nowhere.csv", "--html", str(tmp_path / "no" / "x.html")])
    assert isinstance(result.exception, RequestError)
