"""Arms over small logs in memory, with fine-tunes that are made up: what is played is real, what is learnt is not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from refresh.engines import Answers
from refresh.engines.frequency import FrequencyEngine
from refresh.fine_tune_flag import FlagOptions
from refresh.policies import PolicyOptions
from refresh.prompts import RowContexts
from refresh.study.gpu_time import Work
from stream.drift.course import CourseOptions
from stream.drift.options import DriftOptions
from stream.study.windows import StudiedLog, in_fewer_buckets
from stream.watch_log import WatchLog
from tests.refresh.logs import N_CLUSTERS, NAMES, Log
from tests.watch_logs import PANE_MS, log_of, sequences
from tidegate.cli.arm_playing import ArmPlay, Playing
from tidegate.cli.arm_tuning import ArmWeights, Tuned
from tidegate.cli.arms import ARMS, open_arm
from tidegate.cli.log_panes import LogPanes

WINDOW_PANES, TOP_N, N_PANES = 2, 3, 13
PAIRS = [(a, b) for a in range(N_CLUSTERS) for b in range(4) if a != b]
FLAGS = FlagOptions(drift_share=1.0, patience_panes=2, level_panes=2, max_age_days=1_000)
DRIFT = DriftOptions(min_support=10, n_permutations=20, max_permutations=20, table_permutations=200, alarm_p=0.02)


def moving(step_of: Callable[[int], int], n_panes: int = N_PANES) -> WatchLog:
    """Give a log in which users go on from `a, b` to the cluster `step` after b."""
    panes = []
    for at in range(n_panes):
        log: Log = {}
        for a, b in PAIRS:
            others = [c for c in range(N_CLUSTERS) if c not in (a, b)]
            log[a, b, others[(a + b + step_of(at)) % len(others)]] = 6
        panes.append(log)
    return log_of(panes)


class Knowing(FrequencyEngine):
    """Weights of some name that answer the line or, without one, the cluster after c2; notes what it is asked."""

    def __init__(self, name: str) -> None:
        super().__init__(NAMES)
        self.fingerprint = name
        self.asked: list[RowContexts] = []

    def infer(self, contexts: RowContexts, *, top_n: int, on_progress: Callable[[int], None] | None = None) -> Answers:
        self.asked.append(contexts)
        line = contexts.columns(1)[:, 2]
        known = np.where(line >= 0, line, (contexts.c2 + 1) % N_CLUSTERS).astype(np.int32)
        told = RowContexts(contexts.c1, contexts.c2, known[:, None])
        return super().infer(told, top_n=top_n, on_progress=on_progress)

    @property
    def lines(self) -> set[int]:
        return {int(line) for contexts in self.asked for line in contexts.columns(1)[:, 2]}


@dataclass
class MadeUp:
    """Fine-tunes that take no time: new weights each, but for panes at whose end they come to nothing.

    Attributes
    ----------
    stopped : outcome by pane, counted from the log's first
    asked : pane, base and whether lines are shown, of each that was made
    """

    first_pane: int
    stopped: dict[int, Tuned] = field(default_factory=dict)
    asked: list[tuple[int, str, bool]] = field(default_factory=list)
    engines: dict[str, Knowing] = field(default_factory=dict)

    def tune(self, base: ArmWeights, names: Sequence[str], pane: int, *, shows_lines: bool) -> Tuned:
        at = pane - self.first_pane
        self.asked.append((at, str(base.folder), shows_lines))
        if at in self.stopped:
            return self.stopped[at]
        name = f"{'lines' if shows_lines else 'alone'}-{at}"
        engine = self.engines.setdefault(name, Knowing(name))
        return Tuned(ArmWeights(Path(name), engine), work=Work(n_taught=100, n_looked_at=10))


class FirstKeeper:
    """Keeps the first weights."""

    model: str | None = "first"

    def __init__(self) -> None:
        self.first = Knowing("first")

    def engine(self, names: list[str], *_: object) -> Knowing:
        self.first.grow(names)
        return self.first


@dataclass
class Scene:
    """What was played."""

    log: WatchLog
    tuning: MadeUp
    plays: dict[str, ArmPlay]

    def at(self, pane: int) -> int:
        return pane - self.log.first_pane

    def due(self, arm: str) -> list[int]:
        return [self.at(each.pane) for each in self.plays[arm].fine_tunes]


def play(
    log: WatchLog,
    *names: str,
    stopped: dict[int, Tuned] | None = None,
    fine_tune_panes: int = 4,
    flags: FlagOptions = FLAGS,
) -> Scene:
    """Play arms over a log; refreshes on the calendar are every two panes."""
    options = sequences(WINDOW_PANES)
    studied = StudiedLog.of_log(log, options)
    tuning = MadeUp(log.first_pane, stopped or {})
    course = CourseOptions(window_panes=WINDOW_PANES)
    playing = Playing(
        panes=LogPanes(log, options, DRIFT, course, FirstKeeper(), TOP_N),
        counts=[in_fewer_buckets(each, DRIFT.n_buckets) for each in studied.panes],
        tuning=tuning,
        first=Path("first"),
        fine_tune_panes=fine_tune_panes,
        flags=flags,
    )
    policy = PolicyOptions(price=1.0, window_panes=WINDOW_PANES)
    arms = [open_arm(name, 2, PANE_MS, policy, TOP_N) for name in names or ARMS]
    return Scene(log, tuning, {each.arm.name: each for each in playing.play(arms)})
