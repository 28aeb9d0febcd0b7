"""Approved weights in MLflow's model registry, under an alias (extra ``mlflow``, loaded where it is asked for).

1. The registered model is made, where there is none yet.
2. A version of it is made of the candidate, its files uploaded with the numbers of its gates; a candidate that is a
   version already stays the version that it is.
3. The alias moves to that version. Doing it all again changes nothing.

Where weights serve that are no version of it (the run's own, from before any fine-tune) the alias is taken away: it
names what serves, or nothing.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from refresh.finetune.lifecycle import approval
from tidegate.contracts import FineTune
from tidegate.errors import ConfigError, FineTuneError, TransitionError

_CANDIDATE = "tidegate.candidate"
_RUN = "tidegate.run"
_APPROVE_AGAIN = "It serves all the same; approve it again to register it"
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


class _Model(Protocol):
    aliases: Mapping[str, str]


class _Experiment(Protocol):
    experiment_id: str


class Client(Protocol):
    """What is used of ``mlflow.MlflowClient``."""

    def search_registered_models(self, filter_string: str) -> Sequence[_Model]:
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

    def delete_registered_model_alias(self, name: str, alias: str) -> None:
        """Take an alias away."""


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

    def register(self, record: FineTune, folder: Path, *, mend: str = _APPROVE_AGAIN) -> str:
        """Register an approved candidate and move the alias to it; returns its version.

        Parameters
        ----------
        folder : Path    of the candidate
        mend : str       what a person does where MLflow does not take it

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
        with _told_of_failure(record.fine_tune_id, mend):
            version = self._known(record) or self._made(record, folder, f"approved by {step.by}: {step.why}")
            self.client.set_registered_model_alias(self.model, self.alias, version)  # 3
        return version

    def withdraw(self, run_id: str, *, mend: str) -> bool:
        """Take the alias away where it names weights of a run; returns whether it did.

        Parameters
        ----------
        run_id : str    of the run that weights serve which are no version; the alias on those of others stays
        mend : str      as for `register`

        Raises
        ------
        FineTuneError
            If MLflow refuses, or is away.
        """
        with _told_of_failure(run_id, mend):
            models = self.client.search_registered_models(f"name='{self.model}'")
            named = {str(model.aliases[self.alias]) for model in models if self.alias in model.aliases}
            is_mine = any(str(each.version) in named and each.tags.get(_RUN) == run_id for each in self._versions())
            if is_mine:
                self.client.delete_registered_model_alias(self.model, self.alias)
        return is_mine

    def _versions(self) -> Sequence[_Version]:
        return self.client.search_model_versions(f"name='{self.model}'")

    def _known(self, record: FineTune) -> str | None:
        """Find the version that the candidate is already, making the model where there is none."""
        if not self.client.search_registered_models(f"name='{self.model}'"):
            self.client.create_registered_model(self.model)  # 1
        mine = (each for each in self._versions() if each.tags.get(_CANDIDATE) == record.candidate_fingerprint)
        found = next(mine, None)
        return None if found is None else str(found.version)

    def _made(self, record: FineTune, folder: Path, why: str) -> str:  # 2
        tags = {
            _CANDIDATE: record.candidate_fingerprint or "",
            "tidegate.fine_tune": record.fine_tune_id,
            _RUN: record.run_id,
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


@contextmanager
def _told_of_failure(place: str, mend: str) -> Iterator[None]:
    """Say what MLflow says, and what to do. What it writes on standard output is no part of ours."""
    try:
        with redirect_stdout(sys.stderr):
            yield
    except Exception as error:  # mlflow's own, and those of whatever its artefacts are kept by
        raise FineTuneError(
            f"MLflow did not take it ({type(error).__name__}: {' '.join(str(error).split())[:300]})",
            mend,
            place=place,
        ) from error


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
            "Install it into this environment: pip install 'tidegate[mlflow]', or leave out --mlflow-url",
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
