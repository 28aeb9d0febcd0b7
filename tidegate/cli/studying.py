"""A study put together: the log's windows, the mappings that are scored, the model, and all of it as one summary."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from refresh.evidence.plain import plain_backoff, plain_rank
from refresh.study.comparison import compare_ways
from refresh.study.origins import Origin
from refresh.study.reader import Reader
from refresh.study.repetition import repeat_window
from refresh.study.retrieval import ablate_retrieval
from stream.drift.options import DriftOptions
from stream.predictions import Predictions, index_predictions
from stream.study.adjacent import compare_adjacent
from stream.study.persistence import follow_first_window
from stream.study.trajectory import Trajectory, follow_mapping
from stream.study.windows import StudiedLog, in_fewer_buckets
from tidegate.cli.arm_options import ArmRequest
from tidegate.cli.arm_study import ArmStudy
from tidegate.cli.backtesting import OnPane
from tidegate.cli.engine_keeper import OnTraining, open_keeper
from tidegate.config import RunSettings
from tidegate.counts import BucketedCounts
from tidegate.durations import format_duration
from tidegate.hashing import cluster_seeds

_TWO_DAYS_MS = 172_800_000
_BACKOFF_RANKS = 3  # the first two may be c1 and c2 themselves


@dataclass(frozen=True, slots=True)
class _Opened:
    """The model under study, its folder (a server's has none), and a folder that is gone after the study."""

    reader: Reader
    model: Path | None
    folder: Path


@dataclass(frozen=True, slots=True)
class Study:
    """A log under study.

    Attributes
    ----------
    studied : StudiedLog
    drift : DriftOptions
    settings : RunSettings
    arms : ArmRequest, optional    to be played
    """

    studied: StudiedLog
    drift: DriftOptions
    settings: RunSettings
    arms: ArmRequest | None = None

    def figures(self, on_training: OnTraining | None = None, on_pane: OnPane = lambda *_: None) -> dict[str, Any]:
        """Measure everything; without a model (``--engine frequency``) what needs one is None.

        Raises
        ------
        TidegateError
            If the model cannot be trained or opened.
        """
        seed, min_support = self.settings.seed, self.drift.min_support
        origins = list(self._origins())
        with self._opened(on_training) as opened:
            reader = None if opened is None else opened.reader
            last = self._last_full_pane
            sections = {
                "adjacent": compare_adjacent(self.studied, self.drift, seed),
                "trajectories": self._trajectories(),
                "refreshed_every": format_duration(self._cadence_panes * self.studied.sequences.pane_ms),
                "persistence": follow_first_window(self.studied, min_support, seed),
                "model": None if reader is None else self._model(reader),
                "repetition": None
                if reader is None
                else repeat_window(reader.engine, self.studied.windows[-1].without_buckets(), self._seeds(last)),
                "comparison": compare_ways(origins, reader, min_support),
                "retrieval": ablate_retrieval(origins, reader),
                "arms": None if opened is None else self._arms(opened, on_training, on_pane),
            }
        built: dict[str, Any] = msgspec.to_builtins(sections)
        return built

    @property
    def _last_full_pane(self) -> int:
        return self.studied.last_pane_of(len(self.studied.windows) - 1)

    @property
    def _cadence_panes(self) -> int:
        """Panes in two days where these are whole, else two panes."""
        pane_ms = self.studied.sequences.pane_ms
        return 2 if _TWO_DAYS_MS % pane_ms else _TWO_DAYS_MS // pane_ms

    def _seeds(self, pane: int) -> NDArray[np.uint64]:
        """Seeds of the clusters that had been named by a pane's end."""
        return cluster_seeds(self.studied.log.cluster_names[: self.studied.n_known(pane)])

    def _origins(self) -> Iterator[Origin]:
        """Every window that has a full one after it."""
        windows, microbits = self.studied.windows, self.studied.microbits
        for number, (window, following) in enumerate(pairwise(windows)):
            yield Origin(
                before=windows[number - 1].without_buckets() if number else None,
                window=window.without_buckets(),
                following=following,
                seeds=self._seeds(self.studied.last_pane_of(number)),
                microbits=microbits,
            )

    def _trajectories(self) -> dict[str, Trajectory]:
        """Score mappings on everything after the first window, as the paper does; backoff and popular beside them."""
        first = self.studied.last_pane_of(0)
        schedules = {
            "fixed": _Mapping(self, [first]).exchange,
            "refreshed": _Mapping(self, range(first, self.studied.log.n_panes, self._cadence_panes)).exchange,
            "day_1_held": self._held_from_day_1,
            "backoff": self._backoff,
            "popular": self._popular,
        }
        return {name: follow_mapping(self.studied, exchange) for name, exchange in schedules.items()}

    def _held_from_day_1(self, pane: int) -> Predictions | None:
        """Count one pane, the last before anything is scored, and hold that."""
        if pane > self.studied.last_pane_of(0):
            return None
        return self.predictions(*_top(self.studied.panes[pane], self._seeds(pane)))

    def _backoff(self, pane: int) -> Predictions:
        ranked = plain_backoff(self.window(pane).without_buckets(), self._seeds(pane), _BACKOFF_RANKS)
        return self.predictions(*_NO_ROWS, ranked.clusters)

    def _popular(self, pane: int) -> Predictions:
        seeds = self._seeds(pane)
        totals = self.window(pane).without_buckets().successor_totals(seeds.shape[0])
        best = int(np.lexsort((seeds, -totals))[0])
        return self.predictions(*_NO_ROWS, np.full((seeds.shape[0], 1), best, np.int32))

    def window(self, pane: int) -> BucketedCounts:
        """Add up the window that ends with a pane."""
        return BucketedCounts.merge(
            self.studied.panes[max(0, pane + 1 - self.studied.sequences.window_panes) : pane + 1]
        )

    def top(self, pane: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Pairs of the window that ends with a pane, and the successor that each is most often followed by."""
        return _top(self.window(pane), self._seeds(pane))

    def predictions(
        self, pairs: NDArray[np.int64], answers: NDArray[np.int32], backoff: NDArray[np.int32] | None = None
    ) -> Predictions:
        """Index answers as the stream scores with them; without a backoff, pairs that have no row get no answer."""
        none = np.full((0, 1), -1, np.int32)
        return index_predictions(pairs, answers, none if backoff is None else backoff, self.studied.microbits)

    def _arms(self, opened: _Opened, on_training: OnTraining | None, on_pane: OnPane) -> dict[str, Any] | None:
        """Play the arms that are asked for."""
        if self.arms is None or opened.model is None:
            return None
        arms = ArmStudy(self.studied, self.drift, self.settings, self.arms, self._cadence_panes)
        return arms.figures(opened.model, opened.folder, on_training or (lambda *_: None), on_pane)

    @contextmanager
    def _opened(self, on_training: OnTraining | None) -> Iterator[_Opened | None]:
        """Open the model, trained on the first window where none was given; it is gone after the study."""
        if self.settings.engine == "frequency":
            yield None
            return
        with TemporaryDirectory(prefix="tidegate-study-") as folder:
            settings = self.settings.model_copy(update={"home": Path(folder)})
            keeper = open_keeper(settings, "study", on_training)
            first = self.studied.last_pane_of(0)
            names = self.studied.log.cluster_names
            window = in_fewer_buckets(self.studied.windows[0], self.drift.n_buckets)  # taught as a run teaches
            engine = keeper.engine(names[: self.studied.n_known(first)], window, first, None)
            engine.grow(names[: engine.prompts.codebook.capacity])
            yield _Opened(Reader(engine), None if keeper.model is None else Path(keeper.model), Path(folder))

    def _model(self, reader: Reader) -> dict[str, Any]:
        n_clusters = len(self.studied.log.cluster_names)
        return {
            "given": str(self.settings.model) if self.settings.model else None,
            "capacity": reader.capacity,
            "clusters_beyond_codebook": max(0, n_clusters - reader.capacity),
        }


_NO_ROWS = (np.zeros(0, np.int64), np.zeros(0, np.int32))


def _top(window: BucketedCounts, seeds: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    counts = window.without_buckets()
    answers = plain_rank(counts, seeds, 1).clusters[:, 0]
    return counts.pairs[answers >= 0], answers[answers >= 0]


class _Mapping:
    """A top-1 mapping that is counted anew after some panes; pairs that are no longer seen keep their row."""

    def __init__(self, study: Study, due: list[int] | range) -> None:
        self._study, self._due = study, due
        self._pairs, self._answers = _NO_ROWS

    def exchange(self, pane: int) -> Predictions | None:
        """Give the mapping that serves after a pane, None where it stays as it is."""
        if pane not in self._due:
            return None
        pairs, answers = self._study.top(pane)
        stays = ~np.isin(self._pairs, pairs, assume_unique=True)
        self._pairs = np.concatenate([self._pairs[stays], pairs])
        self._answers = np.concatenate([self._answers[stays], answers])
        return self._study.predictions(self._pairs, self._answers)
