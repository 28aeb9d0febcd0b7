"""Whether new weights bring the hit rate back: ``python -m bench.finetune_recovery --seeds 0 1 2``.

``--policy adaptive`` plays it with another policy, ``--quick`` with half the traffic, without retrieval alone.

On a world where a pair's successors follow from groups that its clusters belong to, the weights know more than any
pair's own counts. A first fine-tune learns the groups; then nearly all clusters move to other ones. Retrieval brings
its lines up to date from day to day, and the hit rate stays low; the run flags it, a fine-tune is run (`tidegate
finetune run`), its gates judge, a person approves, and the run takes the new weights on at its next pane. Beside it:
the same run with retrieval alone after the first fine-tune.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bench.processes import cores
from bench.table import Figure, publish
from refresh.finetune.lifecycle import flagged
from refresh.finetune.recipe import FineTuneRecipe
from refresh.finetune.runner import Runner
from stream.run_reader import RunReader
from stream.sequence_kernel import HITS_NEXT, SCORED
from stream.worlds import World, world_named, write_log
from tidegate.cli.assembly import assemble
from tidegate.cli.fine_tune_work import FineTuneWork
from tidegate.cli.finetuning import FOLDER, Bench, open_bench
from tidegate.cli.pipeline import Pipeline
from tidegate.cli.records import PaneRecord
from tidegate.clock import SystemClock
from tidegate.config import load_settings
from tidegate.contracts import FineTune, FineTuneAction, FineTuneFlag, FineTuneReason, FineTuneStatus

GOAL_POINTS = 1.0
POLICY = "always+own"
FIRST_PANE_OF_FINE_TUNE, WINDOW_DAYS = 5, 2
FLAGS: dict[str, Any] = {
    "positive": "engagement >= 0.5",
    "gap": "30m",
    "window": f"{WINDOW_DAYS}d",
    "permutations": 20,
}


@dataclass(frozen=True, slots=True)
class Scene:
    """One run of the scene.

    Attributes
    ----------
    world : World
    repairs : bool        whether what the run flags is answered by a fine-tune
    recipe : FineTuneRecipe, optional    default: that of `tidegate finetune run`
    policy : str          that asks for rows
    """

    world: World
    repairs: bool = True
    recipe: FineTuneRecipe | None = None
    policy: str = POLICY

    def play(self, folder: Path) -> Played:
        """Run to the end, with a person who answers every flag before the next pane."""
        log = folder / "log.parquet"
        if not log.exists():
            write_log(self.world, log)
        home = folder / ("hybrid" if self.repairs else "retrieval")
        settings = load_settings(
            {**FLAGS, "policy": self.policy, "source": str(log), "home": home, "seed": self.world.seed}
        )
        played = Played(self.world)
        with assemble(settings, SystemClock()) as assembly, open_bench(home, None) as bench:
            run_id = assembly.parts.store.run_id

            def look(record: PaneRecord) -> None:
                played.note(record, assembly.parts.store)
                if len(played.panes) == FIRST_PANE_OF_FINE_TUNE:
                    played.answer(bench, _asked_for(bench, run_id, record), self.recipe)
                elif record.decision and record.decision.flag and self.repairs:
                    played.answer(bench, bench.desk.show(record.decision.flag.flag_id), self.recipe)

            pipeline = Pipeline(assembly.parts, assembly.last_record, look)
            assembly.parts.worker.run(pipeline.on_pane, pipeline.resume(), should_stop=threading.Event().is_set)
        return played


@dataclass(slots=True)
class Played:
    """What a scene came to, pane by pane.

    Attributes
    ----------
    panes, hits, scored, calls : of each pane in its order
    swaps : positions of panes that took new weights on
    flags : position and reason of each flag that the run raised
    fine_tunes : as they ended
    """

    world: World
    panes: list[int] = field(default_factory=list)
    hits: list[int] = field(default_factory=list)
    scored: list[int] = field(default_factory=list)
    calls: list[int] = field(default_factory=list)
    swaps: list[int] = field(default_factory=list)
    flags: list[tuple[int, FineTuneReason]] = field(default_factory=list)
    fine_tunes: list[FineTune] = field(default_factory=list)
    train_seconds: list[float] = field(default_factory=list)

    def note(self, record: PaneRecord, reader: RunReader) -> None:
        """Take a pane's figures down."""
        stats = reader.stats_of_pane(record.pane)
        at = len(self.panes)
        self.panes.append(record.pane)
        self.hits.append(int(stats[HITS_NEXT]))
        self.scored.append(int(stats[SCORED]))
        self.calls.append(record.result.llm_calls if record.result else 0)
        if record.weights is not None and record.weights_since_pane == record.pane:
            self.swaps.append(at)
        if record.decision and record.decision.flag:
            self.flags.append((at, record.decision.flag.reason))

    def answer(self, bench: Bench, record: FineTune, recipe: FineTuneRecipe | None = None) -> None:
        """Have a fine-tune run, and approve it where its gates let it pass."""
        started = time.perf_counter()
        work = FineTuneWork(bench.database, bench.home, recipe=recipe)
        folder = bench.home / FOLDER
        runner = Runner(bench.book, folder, work.curate, work.train, work.judge, bench.clock, by="bench")
        record = runner.run(record.fine_tune_id)
        self.train_seconds.append(time.perf_counter() - started)
        if record.status is FineTuneStatus.PENDING_REVIEW:
            record = bench.desk.decide(
                record.fine_tune_id, FineTuneAction.APPROVE, by="bench", reason="its gates passed"
            )
        self.fine_tunes.append(record)

    def rate(self, panes: Sequence[int]) -> float:
        """Hit rate over some panes, by their positions."""
        scored = sum(self.scored[at] for at in panes)
        return sum(self.hits[at] for at in panes) / scored if scored else 0.0

    @property
    def change(self) -> int:
        """Position of the first pane after the change."""
        return round(self.world.drifts[0].start * self.world.days)

    @property
    def level(self) -> float:
        """Hit rate after the first fine-tune, before the change."""
        return self.rate(range(self.swaps[0] + 1, self.change))

    @property
    def recovered(self) -> float:
        """Hit rate of the last panes: after the second fine-tune, where there was one."""
        last = range(len(self.panes) - 3, len(self.panes))
        return self.rate([at for at in last if len(self.swaps) < 2 or at > self.swaps[1]])


def _asked_for(bench: Bench, run_id: str, record: PaneRecord) -> FineTune:
    """Write the first fine-tune down, as a person's: the run's own first weights only read."""
    flag = FineTuneFlag(
        flag_id=f"{run_id}-first", window_end_ms=record.window_end_ms, reason=FineTuneReason.AGE, numbers={}
    )
    asked = flagged(flag, run_id, bench.clock.now_ms(), by="bench")
    bench.book.put(asked)
    return asked


def scene_world(seed: int, *, is_quick: bool = False) -> World:
    """The world of the scene: change in its middle."""
    world = replace(world_named("relations"), seed=seed)
    return replace(world, sessions_per_day=world.sessions_per_day // 2) if is_quick else world


def main() -> None:
    """Play the scene with each seed and publish the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.finetune_recovery", description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--policy", default=POLICY, help="that asks for rows (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="half the traffic, without the run by retrieval alone")
    given = parser.parse_args()
    figures: list[Figure] = []
    for seed in given.seeds:
        with tempfile.TemporaryDirectory() as folder:
            figures += _figures(seed, Path(folder), given.policy, is_quick=given.quick)
    publish("finetune_recovery", figures)


def _figures(seed: int, folder: Path, policy: str, *, is_quick: bool) -> list[Figure]:
    world = scene_world(seed, is_quick=is_quick)
    played = Scene(world, policy=policy).play(folder)
    flags = ", ".join(f"{reason} on day {at}" for at, reason in played.flags) or "none"
    ends = ", ".join(record.status for record in played.fine_tunes)
    of = f"{world.n_clusters} clusters in {world.n_groups} groups, {world.days} days, seed {seed}, {policy}, {cores()}"
    gap = 100 * (played.level - played.recovered)
    low = played.rate(range(played.change + WINDOW_DAYS, (played.swaps + [len(played.panes)] * 2)[1] + 1))
    figures = [
        Figure(f"hit rate after the first fine-tune, seed {seed}", 100 * played.level, "%", "", of),
        Figure(f"with fresh lines after the change, seed {seed}", 100 * low, "%", "", f"flags: {flags}"),
        Figure(f"after the second fine-tune, seed {seed}", 100 * played.recovered, "%", "", f"fine-tunes: {ends}"),
        Figure(f"points below the level, seed {seed}", gap, "points", f"<= {GOAL_POINTS:g}", "last three days"),
        Figure(f"rows asked of the model, seed {seed}", sum(played.calls), "calls", "", "of all days"),
        Figure(f"from samples to verdicts, seed {seed}", max(played.train_seconds), "s", "", "the longer of the two"),
    ]
    if not is_quick:
        alone = Scene(world, repairs=False, policy=policy).play(folder)
        figures.append(
            Figure(f"retrieval alone, last three days, seed {seed}", 100 * alone.recovered, "%", "", "no second one")
        )
    return figures


if __name__ == "__main__":
    main()
