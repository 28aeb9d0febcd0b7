"""Arms on their way over a log in memory, all over the same panes, none sees what is to come.

1. All begin alike: the first weights are fine-tuned on the first window, before the first table is made.
2. A pane is scored with the table that the pane before left. Then each arm takes note of the fine-tune of the pane
   before: what its gates let pass answers from here on, and all rows are asked anew; what they stopped does not serve.
   This is as if a person had approved, or rejected, at once.
3. Its policy plans, and the plan is carried out.
4. The weights are judged as a run judges them, and a fine-tune is made where the calendar or a flag asks for one: on
   panes up to this one, from the weights that answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from refresh.engines import Engine
from refresh.fine_tune_flag import FineTuneState, FlagOptions, PaneEvidence, answered, judge_weights
from stream.sequence_kernel import HITS_NEXT, SCORED
from stream.watch_log import Watches
from tidegate.cli.arm_tuning import ArmWeights, Tuned
from tidegate.cli.arms import Arm, ArmContender, Timing
from tidegate.cli.log_panes import LogPanes, PaneFacts
from tidegate.contracts import DriftReport
from tidegate.counts import BucketedCounts
from tidegate.errors import RequestError

START, CALENDAR = "start", "calendar"


class Tunes(Protocol):
    """What makes fine-tunes; `tidegate.cli.arm_tuning.Tuning` does."""

    def tune(self, base: ArmWeights, names: Sequence[str], pane: int, *, shows_lines: bool) -> Tuned:
        """Train on the panes up to and with `pane`, from `base`, and judge."""
        ...


@dataclass(frozen=True, slots=True)
class ArmFineTune:
    """One fine-tune of an arm.

    Attributes
    ----------
    pane : int               at whose end it came due; its samples end with it
    why : str                ``start``, ``calendar``, or the reason of the flag
    numbers : of the flag
    tuned : Tuned, optional  None where it came too late for any pane to be served by it
    taken_on_pane : int, optional    whose decision is the first with the new weights
    """

    pane: int
    why: str
    numbers: dict[str, float]
    tuned: Tuned | None
    taken_on_pane: int | None


@dataclass(slots=True)
class ArmPlay:
    """An arm on its way.

    Attributes
    ----------
    weights : ArmWeights      that answer
    state : FineTuneState     what is remembered of them
    fine_tunes : so far, the start among them
    """

    arm: Arm
    weights: ArmWeights
    contender: ArmContender
    state: FineTuneState
    fine_tunes: list[ArmFineTune]


@dataclass(slots=True)
class Playing:
    """Goes over a log with arms.

    Attributes
    ----------
    panes : LogPanes         opened with the first weights
    counts : of each pane of the log, in the user buckets that drift is measured with
    tuning : makes fine-tunes
    first : Path             folder of the first weights
    fine_tune_panes : int    between two fine-tunes on the calendar
    flags : FlagOptions      when weights are flagged
    """

    panes: LogPanes
    counts: Sequence[BucketedCounts]
    tuning: Tunes
    first: Path
    fine_tune_panes: int
    flags: FlagOptions
    on_pane: Callable[[int, int], None] = lambda _, __: None
    plays: list[ArmPlay] = field(default_factory=list, init=False)

    def play(self, arms: Sequence[Arm]) -> list[ArmPlay]:
        """Go over the log; the module's docstring numbers the steps.

        Raises
        ------
        RequestError
            If nothing comes after the first window that could be scored.
        """
        n_transitions = 0
        with_reports = any(arm.timing is Timing.FLAG for arm in arms)
        for watches, facts in self.panes.facts(with_reports=with_reports):
            if facts.index == 0:
                self.plays = [self._begin(arm, facts) for arm in arms]  # 1
            else:
                n_transitions += facts.counts.total
            for play in self.plays:
                self._step(play, watches, facts)
            self.on_pane(facts.pane - self.panes.log.first_pane + 1, self.panes.log.n_panes)
        if not n_transitions:
            raise RequestError(
                "no transition comes after the first window, so there is nothing to score arms on",
                "Give a longer log, or check --gap and --positive",
                place="--arms",
            )
        return self.plays

    def _begin(self, arm: Arm, facts: PaneFacts) -> ArmPlay:
        first = ArmWeights(self.first, facts.engine)
        tuned = self.tuning.tune(first, facts.names, facts.pane, shows_lines=arm.shows_lines)
        weights = tuned.weights or first
        start = ArmFineTune(facts.pane, START, {}, tuned, facts.pane if tuned.weights else None)
        state = FineTuneState(tuned_window_end_ms=facts.window_end_ms)
        return ArmPlay(arm, weights, ArmContender(arm, weights, self.panes), state, [start])

    def _step(self, play: ArmPlay, watches: list[Watches], facts: PaneFacts) -> None:
        play.contender.watch(watches, facts)  # 2
        if facts.is_last:
            return
        is_new = self._take_note(play, facts)
        _grow(play.weights.engine, facts.names)
        play.contender.decide(facts)  # 3
        why, numbers = self._asked_for(play, facts, is_new=is_new)  # 4
        if why is not None:
            play.fine_tunes.append(self._made(play, facts, why, numbers))

    def _take_note(self, play: ArmPlay, facts: PaneFacts) -> bool:
        """See what became of the fine-tune of the pane before; returns whether the weights are new."""
        last = play.fine_tunes[-1]
        if last.why == START or last.pane != facts.pane - 1 or last.tuned is None:
            return False
        if last.tuned.weights is None:
            play.state = answered(play.state, facts.window_end_ms)
            return False
        play.weights = last.tuned.weights
        play.contender.take_on(play.weights, facts.pane)
        play.state = FineTuneState(tuned_window_end_ms=facts.window_end_ms - facts.pane_ms)
        return True

    def _asked_for(self, play: ArmPlay, facts: PaneFacts, *, is_new: bool) -> tuple[str | None, dict[str, float]]:
        """Say why new weights are asked for, if they are."""
        if play.arm.timing is Timing.CALENDAR:
            is_due = facts.index > 0 and facts.index % self.fine_tune_panes == 0
            return (CALENDAR if is_due else None), {}
        if play.arm.timing is Timing.NEVER or is_new:  # the pane was served by rows of the weights before
            return None, {}
        stats = play.contender.sequences.stats.of_pane(facts.pane)
        evidence = PaneEvidence(
            run_id=play.arm.name,
            window_end_ms=facts.window_end_ms,
            since_fine_tune=self._since(play.state, facts),
            scored=int(stats[SCORED]),
            hits=int(stats[HITS_NEXT]),
        )
        play.state, flag = judge_weights(play.state, evidence, self.flags)
        return (None, {}) if flag is None else (str(flag.reason), dict(flag.numbers))

    def _since(self, state: FineTuneState, facts: PaneFacts) -> DriftReport | None:
        """Compare the window with the one that the weights were tuned on, once the two no longer overlap."""
        tuned_pane = state.tuned_window_end_ms // facts.pane_ms - 1
        if facts.pane - tuned_pane < self.panes.sequences.window_panes:
            return None
        return self.panes.compare(facts.pane, self._window(facts.pane), self._window(tuned_pane), facts.seeds)

    def _window(self, pane: int) -> BucketedCounts:
        at = pane - self.panes.log.first_pane
        return BucketedCounts.merge(list(self.counts[at + 1 - self.panes.sequences.window_panes : at + 1]))

    def _made(self, play: ArmPlay, facts: PaneFacts, why: str, numbers: dict[str, float]) -> ArmFineTune:
        if facts.pane + 1 >= self.panes.log.last_pane:  # no pane would be left that its rows could serve
            return ArmFineTune(facts.pane, why, numbers, None, None)
        tuned = self.tuning.tune(play.weights, facts.names, facts.pane, shows_lines=play.arm.shows_lines)
        taken_on_pane = facts.pane + 1 if tuned.weights is not None else None
        return ArmFineTune(facts.pane, why, numbers, tuned, taken_on_pane)


def _grow(engine: Engine, names: Sequence[str]) -> None:
    """Take the catalogue as it is now, as far as there are codes."""
    book = engine.prompts.codebook
    if len(book.names) < min(len(names), book.capacity):
        engine.grow(list(names[: book.capacity]))
