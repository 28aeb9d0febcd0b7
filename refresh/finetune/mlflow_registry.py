"""Approved weights in MLflow's model registry, under an alias (extra ``mlflow``, loaded where it is asked for).

1. The registered model is made, where there is none yet.
2. A version of it is made of the candidate, its files uploaded with the numbers of its gates; a candidate that is a
   version already stays the version that it is.
3. The alias moves to that version. Doing it all again changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from refresh.finetune.lifecycle import approval
from tidegate.contracts import FineTune
from tidegate.errors import ConfigError, FineTuneError, TransitionError

_CANDIDATE = "tidegate.candidate"
_FOLDER = "candidate"
_NAME = re.compile(r"[\w.\- ]{1,200}")


class _Info(Protocol):
    run_id: str
    artifact_uri: str


class _Run(Protocol):
    info: _Info


class _Version(Protocol):
    version: str
    tags: Mapping[str, str]


class _Experiment(Protocol):
    experiment_id: str


class Client(Protocol):
    """What is used of ``mlflow.MlflowClient``."""

    def search_registered_models(self, filter_string: str) -> Sequence[Any]:
        """Find registered models."""

    def create_registered_model(self, name: str) -> Any:
        """Make one."""

    def search_model_versions(self, filter_string: str) -> Sequence[_Version]:
        """Find versions of models."""

    def get_experiment_by_name(self, name: str) -> _Experiment | None:
        """Find an experiment."""

    def create_experiment(self, name: str) -> str:
        """Make one, and give its id."""

    def create_run(self, experiment_id: str, *, tags: dict[str, str], run_name: str) -> _Run:
        """Begin a run of an experiment."""

    def log_metric(self, run_id: str, key: str, value: float) -> Any:
        """Note a number of a run."""

    def log_artifacts(self, run_id: str, local_dir: str, artifact_path: str) -> None:
        """Upload a folder to where a run's artefacts are kept."""

    def set_terminated(self, run_id: str) -> None:
        """End a run."""

    def create_model_version(
        self, name: str, source: str, run_id: str, *, tags: dict[str, str], description: str
    ) -> _Version:
        """Make a version of a registered model."""

    def set_registered_model_alias(self, name: str, alias: str, version: str) -> None:
        """Let an alias name a version."""


@dataclass(frozen=True, slots=True)
class MlflowRegistry:
    """A registered model, and the alias that names the version which serves.

    Attributes
    ----------
    client : Client
    model, alias : str
    """

    client: Client
    model: str
    alias: str

    def __post_init__(self) -> None:
        for name in (self.model, self.alias):
            if not _NAME.fullmatch(name):
                raise ConfigError(
                    f"{name!r} is no name for MLflow", "Use letters, digits and . _ - in it", place="--mlflow-model"
                )

    def register(self, record: FineTune, folder: Path) -> str:
        """Register an approved candidate and move the alias to it; returns its version.

        Parameters
        ----------
        folder : Path    of the candidate

        Raises
        ------
        TransitionError
            If no person has approved it.
        FineTuneError
            If MLflow refuses, or is away: registering again goes on from there.
        """
        step = approval(record)
        if step is None:
            raise TransitionError("no person has approved it", "Approve it first", place=record.fine_tune_id)
        try:
            version = self._known(record) or self._made(record, folder, f"approved by {step.by}: {step.why}")
            self.client.set_registered_model_alias(self.model, self.alias, version)  # 3
        except Exception as error:  # mlflow's own, and those of whatever its artefacts are kept by
            raise FineTuneError(
                f"MLflow did not take it ({type(error).__name__}: {' '.join(str(error).split())[:300]})",
                "It serves all the same; approve it again to register it",
                place=record.fine_tune_id,
            ) from error
        return version

    def _known(self, record: FineTune) -> str | None:
        """Find the version that the candidate is already, making the model where there is none."""
        if not self.client.search_registered_models(f"name='{self.model}'"):
            self.client.create_registered_model(self.model)  # 1
        versions = self.client.search_model_versions(f"name='{self.model}'")
        mine = (each for each in versions if each.tags.get(_CANDIDATE) == record.candidate_fingerprint)
        found = next(mine, None)
        return None if found is None else str(found.version)

    def _made(self, record: FineTune, folder: Path, why: str) -> str:  # 2
        tags = {
            _CANDIDATE: record.candidate_fingerprint or "",
            "tidegate.fine_tune": record.fine_tune_id,
            "tidegate.run": record.run_id,
            "tidegate.base": record.base_fingerprint or "",
            "tidegate.samples": record.sample_checksum or "",
        }
        experiment = self.client.get_experiment_by_name(self.model)
        place = experiment.experiment_id if experiment else self.client.create_experiment(self.model)
        run = self.client.create_run(place, tags=tags, run_name=record.fine_tune_id)
        for verdict in record.gates:
            if verdict.found is not None:
                self.client.log_metric(run.info.run_id, f"gate_{verdict.gate}", verdict.found)
        self.client.log_artifacts(run.info.run_id, str(folder), _FOLDER)
        self.client.set_terminated(run.info.run_id)
        source = f"{run.info.artifact_uri}/{_FOLDER}"
        made = self.client.create_model_version(self.model, source, run.info.run_id, tags=tags, description=why)
        return str(made.version)


def open_registry(url: str, model: str, alias: str) -> MlflowRegistry:
    """Open the registry of an MLflow server, or of whatever else its URI names.

    Raises
    ------
    ConfigError
        If MLflow is not installed, or will not have the URI, or the names are none.
    """
    try:
        from mlflow import MlflowClient
    except ImportError as error:
        raise ConfigError(
            f"MLflow is not installed, or cannot be imported ({error})",
            "Install it into this environment: pip install 'tidegate[mlflow]'",
            place="--mlflow-url",
        ) from error
    try:
        client = MlflowClient(tracking_uri=url, registry_uri=url)
    except Exception as error:  # mlflow's own have no common base with others that it lets through
        raise ConfigError(
            f"MLflow will not have the URI ({' '.join(str(error).split())[:300]})",
            "Give http(s)://HOST:PORT of its server",
            place="--mlflow-url",
        ) from error
    return MlflowRegistry(client, model, alias)
