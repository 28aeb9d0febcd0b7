"""The arms of a study put together: the log once more, the first weights, fine-tunes, and one section of it all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from refresh.served_weights import served_weights
from stream.drift.options import DriftOptions
from stream.study.windows import StudiedLog, in_fewer_buckets
from tidegate.cli.arm_figures import ArmFacts, arms_section
from tidegate.cli.arm_options import ArmRequest
from tidegate.cli.arm_playing import Playing
from tidegate.cli.arm_tuning import OnProgress, Tuning
from tidegate.cli.arms import open_arm
from tidegate.cli.assembly import flag_options, policy_options
from tidegate.cli.engine_keeper import open_keeper
from tidegate.cli.engine_settings import retrieval_of
from tidegate.cli.history import reach_panes
from tidegate.cli.log_panes import LogPanes
from tidegate.cli.stream_settings import course_options, sequence_options
from tidegate.config import RunSettings
from tidegate.durations import format_duration


@dataclass(frozen=True, slots=True)
class ArmStudy:
    """Arms over a studied log.

    Attributes
    ----------
    studied : StudiedLog
    drift : DriftOptions
    settings : RunSettings
    request : ArmRequest
    cadence_panes : int    between two refreshes on the calendar
    """

    studied: StudiedLog
    drift: DriftOptions
    settings: RunSettings
    request: ArmRequest
    cadence_panes: int

    def figures(
        self, model: Path, folder: Path, on_progress: OnProgress, on_pane: Callable[[int, int], None]
    ) -> dict[str, Any]:
        """Play them.

        Parameters
        ----------
        model : of the first weights
        folder : for fine-tunes

        Raises
        ------
        RequestError
            If nothing comes after the first window.
        """
        base = served_weights(model).base
        playing = self._playing(base, folder, on_progress, on_pane)
        sequences, log = playing.panes.sequences, self.studied.log
        options = policy_options(self.settings, sequences)
        plays = playing.play(
            [
                open_arm(name, self.cadence_panes, sequences.pane_ms, options, self.settings.top_n)
                for name in self.request.names
            ]
        )
        facts = ArmFacts(
            fine_tune_every=self.request.fine_tune_every,
            refreshed_every=format_duration(self.cadence_panes * sequences.pane_ms),
            fine_tune_panes=playing.fine_tune_panes,
            pane_ms=sequences.pane_ms,
            gpu=self.request.gpu,
            prompt_tokens=plays[0].weights.engine.prompts.n_tokens,
            flags=playing.flags,
            policy=options,
        )
        return arms_section(plays, range(log.first_pane + sequences.window_panes, log.last_pane + 1), facts)

    def _playing(
        self, base: Path, folder: Path, on_progress: OnProgress, on_pane: Callable[[int, int], None]
    ) -> Playing:
        settings = self.settings.model_copy(update={"model": base, "home": folder})
        sequences = sequence_options(settings)
        counts = [in_fewer_buckets(each, self.drift.n_buckets) for each in self.studied.panes]
        return Playing(
            panes=LogPanes(
                self.studied.log,
                sequences,
                self.drift,
                course_options(settings, sequences),
                open_keeper(settings, "arms"),
                settings.top_n,
                retrieval_of(settings),
            ),
            counts=counts,
            tuning=Tuning(
                counts=counts,
                first_pane=self.studied.log.first_pane,
                window_panes=sequences.window_panes,
                reach_panes=reach_panes(sequences.window_panes),
                seed=settings.seed,
                top_n=settings.top_n,
                folder=folder / "arms",
                teaching=self.request.teaching,
                on_progress=on_progress,
            ),
            first=base,
            fine_tune_panes=self.request.fine_tune_panes(sequences.pane_ms),
            flags=flag_options(sequences),
            on_pane=on_pane,
        )
