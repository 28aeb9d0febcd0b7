"""What bench/peers counts with and shows; the peers themselves run in `make bench-peers`."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.peers import runs
from bench.peers.answers import Answers, fault, read_answers, write_answers
from bench.peers.messages import MESSAGES_OF_A_USER, make_log
from bench.peers.meter import FIGURES, Meter
from bench.peers.oracle import recount
from bench.peers.rows import rows
from bench.peers.runs import Peer, Turn, missing, peers, run, turn_of
from bench.peers.topology import extend, is_positive, key_of, top_successors, transition_of
from tests.reference import Rules, Watch
from tests.reference import recount as reference_recount

_DAY = 86_400
_RECORDS = st.lists(
    st.tuples(
        st.sampled_from(["ann", "bob"]),
        st.sampled_from(["soul", "rock", "jazz", "folk"]),
        st.sampled_from([0, 1, _DAY - 1, _DAY, _DAY + 1]),
        st.sampled_from([0.4, 0.5, 0.9]),
    ),
    max_size=40,
)


def _in_time(steps: list[tuple[str, str, int, float]]) -> list[tuple[str, str, int, float]]:
    now = 10 * _DAY - 5
    records = []
    for user, cluster, step, engagement in steps:
        now += step
        records.append((user, cluster, now, engagement))
    return records


def _by_topology(records: list[tuple[str, str, int, float]]) -> Counter[tuple[int, str, str, str]]:
    """Count like the Faust and Quix programs: record by record, with state as JSON keeps it."""
    sequences: dict[str, str] = {}
    counts: Counter[tuple[int, str, str, str]] = Counter()
    for user, cluster, time_s, engagement in records:
        if is_positive({"engagement": engagement}):
            before = json.loads(sequences[user]) if user in sequences else None
            sequence, transition = extend(before, cluster, time_s)
            sequences[user] = json.dumps(sequence)
            if transition is not None:
                counts[transition_of(key_of(transition))] += 1
    return counts


@given(_RECORDS)
def test_the_oracle_counts_like_the_reference_and_the_topology_like_the_oracle(steps) -> None:
    records = _in_time(steps)
    watches = [Watch(user, cluster, time_s * 1_000) for user, cluster, time_s, share in records if share >= 0.5]
    rules = Rules(pane_ms=_DAY * 1_000, window_ms=_DAY * 1_000, gap_ms=_DAY * 1_000)
    expected = recount(records)
    assert expected.counts == reference_recount(watches, rules).counts
    assert _by_topology(records) == expected.counts


def test_a_gap_of_a_day_goes_on_and_a_longer_one_begins_anew() -> None:
    assert extend([5, "soul", "rock"], "jazz", 5 + _DAY)[1] == (1, "soul", "rock", "jazz")
    assert extend([5, "soul", "rock"], "jazz", 6 + _DAY) == ([6 + _DAY, "jazz"], None)


def test_ties_are_broken_by_name_over_all_panes() -> None:
    counts = {(1, "a", "b", name): 1 for name in "zyxwvu"} | {(2, "a", "b", "z"): 1, (2, "b", "a", "c"): 3}
    assert top_successors(counts) == {("a", "b"): ["z", "u", "v", "w", "x"], ("b", "a"): ["c"]}


def test_a_message_says_what_its_record_says() -> None:
    log = make_log(500)
    messages = list(log.messages())
    assert len(messages) == len(log) == 500
    for (key, value), (user, cluster, time_s, engagement) in zip(messages, log.records(), strict=True):
        assert key.decode() == user
        expected = {"user_id": user, "category": cluster, "timestamp": time_s, "engagement": engagement}
        assert json.loads(value) == expected
        assert 85 <= len(value) <= 105


def test_a_part_holds_all_messages_of_its_users_and_no_others() -> None:
    log = make_log(3_000)
    part = log.part(600)
    n_users = 600 // MESSAGES_OF_A_USER
    assert list(part.records()) == [record for record in log.records() if int(record[0][1:]) < n_users]
    assert 450 < len(part) < 750
    assert (part.times_s[1:] >= part.times_s[:-1]).all()


def test_answers_are_read_as_written_and_parts_of_a_count_add_up(tmp_path: Path) -> None:
    expected = recount(make_log(3_000).records())
    write_answers(tmp_path, expected.counts)
    assert read_answers(tmp_path) == expected
    first = next(iter(expected.counts))
    with (tmp_path / "counts.tsv").open("a") as lines:
        lines.write("\t".join(map(str, first)) + "\t2\n")
    assert read_answers(tmp_path).counts[first] == expected.counts[first] + 2


def test_a_peer_that_counts_or_answers_wrong_is_found_out() -> None:
    right = Answers({(1, "a", "b", "c"): 2, (1, "a", "b", "d"): 1}, {("a", "b"): ["c", "d"]})
    assert fault(right, right) == ""
    assert fault(replace(right, counts={(1, "a", "b", "c"): 2}), right) == "1 of 2 counts are wrong"
    more = {**right.counts, (2, "a", "b", "c"): 1}
    assert fault(replace(right, counts=more), right) == "1 of 2 counts are wrong"
    assert fault(replace(right, top={("a", "b"): ["d", "c"]}), right) == "the answers of 1 of 1 pairs are wrong"


def test_the_meter_leaves_the_warm_up_out_and_wants_every_message(tmp_path: Path) -> None:
    meter = Meter(100)
    assert [meter.advance(n) for n in (4, 8, 80)] == [False, False, False]
    with pytest.raises(RuntimeError, match="92 of 100 messages were processed"):
        meter.write(tmp_path)
    sum(range(100_000))
    assert meter.advance(8)
    meter.write(tmp_path)
    figures = json.loads((tmp_path / FIGURES).read_bytes())
    assert figures["messages"] == 88
    assert 0 < figures["wall_seconds"] < time.perf_counter()
    assert figures["cpu_seconds"] > 0


_OURS, _BARE, _FAUST = (
    Peer(name, ("python",), 1_000, partitions, "as it is", counts)
    for name, partitions, counts in (("tidegate worker", 4, True), ("bare consume()", 4, False), ("Faust", 1, True))
)


def test_the_rows_compare_within_rounds_and_name_what_is_wrong_or_missing() -> None:
    turns = {
        "tidegate worker": [Turn(100.0, 400.0), Turn(110.0, 300.0), Turn(120.0, 200.0)],
        "bare consume()": [Turn(200.0, 500.0), Turn(200.0, 600.0), Turn(fault="did not end well")],
        "Faust": [Turn(1.0, 2.0, "7 of 9 counts are wrong")],
    }
    quix = Peer("Quix Streams", ("python",), 1_000, 1, "as it is")
    made = rows([_OURS, _BARE, _FAUST, quix], turns, {"Quix Streams": "not installed"}, "2 cores")
    table = {row.name: row for row in made}
    assert table["tidegate worker, per core"].value == 300.0
    assert table["tidegate worker, by the clock"].value == 110.0
    assert "all counts and answers right" in table["tidegate worker, per core"].conditions
    assert table["tidegate worker / bare consume(), per core"].value == pytest.approx((0.8 + 0.5) / 2)
    assert table["tidegate worker / bare consume(), per core"].goal == ">= 0.6"
    assert "did not end well" in table["bare consume(), per core"].conditions
    assert "WRONG: 7 of 9 counts are wrong" in table["Faust, per core"].conditions
    assert "1 partition;" in table["Faust, per core"].conditions
    assert table["Quix Streams, per core"].value is None
    assert table["Quix Streams, per core"].conditions == "not installed"
    assert table["tidegate worker / Quix Streams, per core"].value is None


_PROGRAM = """
import pathlib, sys
sys.path.insert(0, {root!r})
from bench.peers.answers import write_answers
folder = pathlib.Path(sys.argv[4])
(folder / "figures.json").write_text('{{"messages": 8, "wall_seconds": 2.0, "cpu_seconds": 4.0}}')
{rest}
"""


@pytest.mark.parametrize(
    ("rest", "expected"),
    [
        ("write_answers(folder, {(1, 'a', 'b', 'c'): 2})", Turn(4.0, 2.0)),
        ("write_answers(folder, {(1, 'a', 'b', 'c'): 3})", Turn(4.0, 2.0, "1 of 1 counts are wrong")),
        ("", Turn(4.0, 2.0, "it handed back no counts")),
    ],
)
def test_a_turn_says_what_went_wrong_and_leaves_nothing_behind(tmp_path: Path, rest: str, expected: Turn) -> None:
    program = _PROGRAM.format(root=str(runs.ROOT), rest=rest)
    peer = Peer("one", (sys.executable, "-c", program), 10, 1, "as it is")
    right = Answers({(1, "a", "b", "c"): 2}, {("a", "b"): ["c"]})
    assert run(peer, "nowhere:1", 10, right, tmp_path / "turn") == expected
    assert not list(tmp_path.iterdir())


def test_a_peer_that_fails_is_quoted_and_leaves_nothing_behind(tmp_path: Path) -> None:
    peer = Peer("one", (sys.executable, "-c", "import sys; sys.exit('no broker')"), 10, 1, "as it is")
    turn = run(peer, "nowhere:1", 10, Answers({}, {}), tmp_path / "turn")
    assert turn.rate is turn.core_rate is None
    assert turn.fault.startswith("did not end well: ")
    assert turn.fault.endswith("ended with 1: no broker")
    assert not list(tmp_path.iterdir())


def test_what_a_missing_peer_needs_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "PEERS_PYTHON", tmp_path / "python")
    monkeypatch.setattr(runs, "KSTREAMS_LIBS", tmp_path)
    reasons = {peer.name: missing(peer) for peer in peers()}
    assert reasons["Faust"] == reasons["Quix Streams"] == "not installed: run scripts/peers-setup"
    assert reasons["Kafka Streams"] == "not built: run scripts/peers-kstreams"
    assert reasons["tidegate worker"] == reasons["bare consume()"] == ""


def test_rates_are_per_second_of_the_clock_and_of_the_cores() -> None:
    figures = {"messages": 90, "wall_seconds": 3.0, "cpu_seconds": 4.5}
    assert turn_of(figures, "") == Turn(30.0, 20.0)


def test_peers_of_a_quick_run_get_a_share_of_the_messages() -> None:
    assert [peer.n_messages * 20 for peer in peers(20)] == [peer.n_messages for peer in peers()]
