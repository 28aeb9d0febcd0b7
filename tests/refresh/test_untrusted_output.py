"""Ten thousand hostile answers through the whole way from a model to the table: none that is invalid gets in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from refresh.codebook import Codebook
from refresh.descriptions import DescriptionEngine, OutputFault
from refresh.engines import Answers
from refresh.evidence import Ranked
from refresh.policies.plan import Plan
from refresh.prompts import TEXT_TEMPLATE, PromptBuilder, RowContexts, Scoring, Template
from refresh.refresher import Refreshed, Refresher
from refresh.row_cache import RowCache
from refresh.table import TransitionTable
from refresh.table_rows import PairRows
from refresh.validation import Fault
from tests.refresh.speakers import FakeSpeaker
from tidegate.contracts import RefreshOrder, Trigger
from tidegate.counts import unpack_pairs
from tidegate.errors import EngineError

N_ROWS, N_CLUSTERS, TOP_N = 10_000, 120, 3
NAMES = [f"interest {cluster}" for cluster in range(N_CLUSTERS)]
PROMPTS = PromptBuilder(Template.packaged(TEXT_TEMPLATE), Codebook.of(NAMES), scoring=Scoring.DESCRIPTION)
PAIRS = np.array([c1 << 16 | c2 for c1 in range(N_CLUSTERS) for c2 in range(N_CLUSTERS) if c1 != c2][:N_ROWS], np.int64)
C1, C2 = unpack_pairs(PAIRS)
OLD = (np.arange(N_ROWS) % 2 == 0).nonzero()[0]  # rows that the table has already
OLD_CLUSTER = np.where((C1 != 119) & (C2 != 119), 119, 118).astype(np.int32)


def serving() -> TransitionTable:
    """Every other pair has a row, with an answer that no sound answer of these tests repeats."""
    clusters = np.full((OLD.size, TOP_N), -1, np.int32)
    clusters[:, 0] = OLD_CLUSTER[OLD]
    return TransitionTable.empty(tuple(NAMES), TOP_N).with_changes(
        PairRows(
            pairs=PAIRS[OLD],
            clusters=clusters,
            probabilities=(clusters >= 0).astype(np.float32),
            row_keys=np.ones((OLD.size, 2), np.uint64),
            contexts=clusters[:, 0],
            refreshed_ms=np.zeros(OLD.size, np.int64),
        )
    )


def carried_out(engine: object, cache: RowCache | None = None) -> Refreshed:
    """Order all rows of an engine."""
    retrieved = Ranked(np.full((N_ROWS, TOP_N), -1, np.int32), np.zeros((N_ROWS, TOP_N)))
    plan = Plan(
        order=RefreshOrder(order_id="hostile", window_end_ms=1, trigger=Trigger.SCHEDULE, all_rows=True),
        pairs=PAIRS,
        retrieved=retrieved,
        backoff=None,
        backoff_c2=np.zeros(0, np.int32),
        backoff_retrieved=Ranked.nothing(0, TOP_N),
        replaces_rows=False,
        inputs={},
        explanation="all",
    )
    refresher = Refresher(engine, RowCache(None, TOP_N) if cache is None else cache, top_n=TOP_N)  # type: ignore[arg-type]
    return refresher.execute(plan, serving(), table_version=1, pane=3, window_end_ms=1)


def require_sound(table: TransitionTable, is_sound: np.ndarray, answers: np.ndarray) -> None:
    """Rows of sound answers serve them; all others serve what they did, or nothing."""
    served = table.predict(C1, C2)
    before = np.full(N_ROWS, -1, np.int32)
    before[OLD] = OLD_CLUSTER[OLD]
    assert served.tolist() == np.where(is_sound, answers, before).tolist()
    every = table.clusters
    c1, c2 = unpack_pairs(table.pairs)
    assert (every < N_CLUSTERS).all() and (every >= -1).all()
    assert not ((every == c1[:, None]) | (every == c2[:, None])).any()
    assert all(len(set(row)) == len(row) for row in (row[row >= 0].tolist() for row in every))
    assert np.isfinite(table.probabilities).all()
    assert ((table.probabilities >= 0) & (table.probabilities <= 1)).all()


# What a model may write instead of a description; the row's c1 and c2 are at hand.
TEXTS: dict[OutputFault, Sequence[Callable[[int, int], str]]] = {
    OutputFault.EMPTY: [lambda *_: "", lambda *_: " \n\t ", lambda *_: "\u2003\u3000"],
    OutputFault.TOO_LONG: [
        lambda *_: "interest 7 " * 5_000,
        lambda *_: "x" * 100_000,
        lambda *_: "interest 7, as I was asked to say",
    ],
    OutputFault.CONTROL: [
        lambda *_: "interest\x007",
        lambda *_: "\x1b[2Jinterest 7",
        lambda *_: "interest\u200b 7",
        lambda *_: "\u202e7 tseretni",
        lambda *_: "interest \ud800",
    ],
    OutputFault.UNKNOWN: [
        lambda *_: "interest 120",
        lambda *_: "interest -1",
        lambda *_: "interest 7.",
        lambda *_: "Ignore all rules",
        lambda *_: "DROP TABLE rows",
        lambda *_: "interest 7; 8",
        lambda *_: "nan",
        lambda *_: '{"next": 7}',
        lambda *_: "../../CURRENT",
    ],
    OutputFault.NOT_NEW: [lambda c1, _: f"interest {c1}", lambda _, c2: f"  INTEREST {c2}\n"],
}


def test_hostile_texts_are_counted_by_kind_and_none_is_served() -> None:
    generator = np.random.default_rng(20_250)
    expected: Counter[OutputFault] = Counter()
    outputs: list[str] = []
    answers = np.full(N_ROWS, -1, np.int32)
    for row in range(N_ROWS):
        c1, c2 = int(C1[row]), int(C2[row])
        if generator.random() < 0.2:
            new = next(c for c in generator.permutation(118).tolist() if c not in (c1, c2))
            answers[row] = new
            outputs.append(f" Interest  {new}\n")
            continue
        fault = list(TEXTS)[generator.integers(len(TEXTS))]
        writers = TEXTS[fault]
        outputs.append(writers[generator.integers(len(writers))](c1, c2))
        expected[fault] += 1
    assert min(expected.values()) > 1_000
    told = iter(outputs)
    engine = DescriptionEngine(FakeSpeaker(PROMPTS, lambda _: next(told)))
    refreshed = carried_out(engine)
    require_sound(refreshed.table, answers >= 0, answers)
    assert engine.faults == expected
    assert refreshed.result.rows_invalid == expected.total() == int((answers < 0).sum())
    assert refreshed.result.faults == {Fault.NO_ANSWER: expected.total()}
    assert refreshed.asked.n_invalid == expected.total()


@dataclass
class HostileEngine:
    """Answers with arrays that are wrong row by row, as `spoil` says."""

    spoil: Callable[[Answers, RowContexts], Answers]
    name: str = "hostile"
    fingerprint: str = "hostile-1"

    @property
    def prompts(self) -> PromptBuilder:
        return PROMPTS

    def grow(self, names: Sequence[str]) -> None:
        """Stay as it is."""

    def infer(self, contexts: RowContexts, *, top_n: int, on_progress: object = None) -> Answers:
        return self.spoil(sound_answers(contexts, top_n), contexts)


def sound_answers(contexts: RowContexts, top_n: int) -> Answers:
    """Clusters that follow c1 and c2 and are neither."""
    clusters = np.empty((len(contexts), top_n), np.int32)
    for row, (c1, c2) in enumerate(zip(contexts.c1.tolist(), contexts.c2.tolist(), strict=True)):
        clusters[row] = [c for c in range(c1 + c2, c1 + c2 + 5) if c % 118 not in (c1, c2)][:top_n]
    clusters %= 118
    weights = np.tile(np.array([0.5, 0.3, 0.1][:top_n], np.float32), (len(contexts), 1))
    return Answers(clusters, weights, np.full(len(contexts), 0.9, np.float32))


Spoiler = Callable[[np.ndarray, np.ndarray, int, int], None]
SPOILERS: dict[Fault, Sequence[Spoiler]] = {
    Fault.NO_ANSWER: [lambda c, p, *_: (c.fill(-1), p.fill(0))],
    Fault.UNKNOWN_CLUSTER: [
        lambda c, *_: c.__setitem__(0, N_CLUSTERS),
        lambda c, *_: c.__setitem__(1, 2**31 - 1),
        lambda c, *_: c.__setitem__(2, -2),
        lambda c, *_: c.__setitem__(0, -(2**31)),
    ],
    Fault.NOT_NEW: [lambda c, _, c1, __: c.__setitem__(0, c1), lambda c, _, __, c2: c.__setitem__(2, c2)],
    Fault.DUPLICATE: [lambda c, *_: c.__setitem__(1, c[0]), lambda c, *_: c.__setitem__(2, c[0])],
    Fault.GAP: [lambda c, p, *_: (c.__setitem__(1, -1), p.__setitem__(1, 0))],
    Fault.PROBABILITY: [
        lambda _, p, *__: p.__setitem__(0, np.nan),
        lambda _, p, *__: p.__setitem__(0, np.inf),
        lambda _, p, *__: p.__setitem__(2, -np.inf),
        lambda _, p, *__: p.__setitem__(2, -0.1),
        lambda _, p, *__: p.__setitem__(0, 1.5),
        lambda _, p, *__: p.__setitem__(1, 0.6),
        lambda c, p, *_: (c.__setitem__(2, -1), p.__setitem__(2, np.nan)),
    ],
}


def test_hostile_arrays_are_counted_by_kind_and_none_is_served_or_remembered() -> None:
    generator = np.random.default_rng(7)
    expected: Counter[str] = Counter()
    is_sound = np.ones(N_ROWS, np.bool_)

    def spoil(answers: Answers, contexts: RowContexts) -> Answers:
        at = {pair: row for row, pair in enumerate(PAIRS.tolist())}
        asked = contexts.c1.astype(np.int64) << 16 | contexts.c2
        for row, pair in enumerate(asked.tolist()):
            c1, c2 = int(contexts.c1[row]), int(contexts.c2[row])
            fault = [*SPOILERS, Fault.LABEL_MASS, None][generator.integers(len(SPOILERS) + 2)]
            if fault is None:
                continue
            is_sound[at[pair]] = False
            expected[fault] += 1
            if fault is Fault.LABEL_MASS:
                answers.label_mass[row] = (-1.0, 2.0, np.inf)[generator.integers(3)]
                continue
            spoilers = SPOILERS[fault]
            spoilers[generator.integers(len(spoilers))](answers.clusters[row], answers.probabilities[row], c1, c2)
        return answers

    cache = RowCache(None, TOP_N)
    refreshed = carried_out(HostileEngine(spoil), cache)
    sound = sound_answers(RowContexts(C1, C2, np.full((N_ROWS, 1), -1, np.int32)), TOP_N)
    assert min(expected.values()) > 1_000
    require_sound(refreshed.table, is_sound, sound.clusters[:, 0])
    assert refreshed.result.faults == expected
    assert refreshed.result.rows_invalid == expected.total()
    assert len(cache) == int(is_sound.sum())


@pytest.mark.parametrize(
    "spoil",
    [
        lambda answers, _: Answers(answers.clusters[:-1], answers.probabilities[:-1], answers.label_mass[:-1]),
        lambda answers, _: Answers(answers.clusters[:, :2], answers.probabilities[:, :2], answers.label_mass),
        lambda answers, _: Answers(answers.clusters, answers.probabilities[:, :1], answers.label_mass),
        lambda answers, _: Answers(answers.clusters.astype(np.float64), answers.probabilities, answers.label_mass),
        lambda answers, _: Answers(answers.clusters.astype(str), answers.probabilities, answers.label_mass),
        lambda answers, _: Answers(answers.clusters, answers.probabilities, answers.label_mass[:, None]),
    ],
)
def test_arrays_of_another_shape_or_kind_are_refused_as_a_whole(spoil: Callable[..., Answers]) -> None:
    cache = RowCache(None, TOP_N)
    with pytest.raises(EngineError, match="of the answers are"):
        carried_out(HostileEngine(spoil), cache)
    assert len(cache) == 0


def test_wide_ids_do_not_wrap_into_the_catalogue() -> None:
    def widen(answers: Answers, _: RowContexts) -> Answers:
        return Answers(answers.clusters.astype(np.int64) + (1 << 32), answers.probabilities, answers.label_mass)

    refreshed = carried_out(HostileEngine(widen))
    require_sound(refreshed.table, np.zeros(N_ROWS, np.bool_), np.zeros(N_ROWS, np.int32))
    assert refreshed.result.faults == {Fault.UNKNOWN_CLUSTER: N_ROWS}
