"""Approved weights in a registry of models: one version a candidate, the alias on what serves."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import pytest

from refresh.finetune.mlflow_registry import MlflowRegistry, open_registry
from tests.fine_tunes import in_status
from tidegate.contracts import FineTuneStatus
from tidegate.errors import ConfigError, FineTuneError, TransitionError

SERVING = in_status(FineTuneStatus.SERVING)


@dataclass
class Named:
    """Whatever MLflow gives back."""

    run_id: str = ""
    artifact_uri: str = ""
    experiment_id: str = ""
    version: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)

    @property
    def info(self) -> Named:
        return self


@dataclass
class FakeMlflow:
    """MLflow's tracking API, as far as it is used."""

    models: list[str] = field(default_factory=list)
    versions: list[Named] = field(default_factory=list)
    aliases: dict[str, str] = field(default_factory=dict)
    experiments: dict[str, Named] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    uploads: list[tuple[str, str, str]] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    away_at: str = ""

    def _call(self, name: str) -> None:
        if name == self.away_at:
            raise ConnectionError("nobody\nanswers")

    def search_registered_models(self, filter_string: str) -> list[Named]:
        self._call("search_registered_models")
        return [Named(aliases=self.aliases) for name in self.models if filter_string == f"name='{name}'"]

    def create_registered_model(self, name: str) -> None:
        self._call("create_registered_model")
        self.models.append(name)

    def search_model_versions(self, filter_string: str) -> list[Named]:
        return self.versions

    def get_experiment_by_name(self, name: str) -> Named | None:
        return self.experiments.get(name)

    def create_experiment(self, name: str) -> str:
        self.experiments[name] = Named(experiment_id="7")
        return "7"

    def create_run(self, experiment_id: str, *, tags: dict[str, str], run_name: str) -> Named:
        return Named(run_id=f"run of {run_name}", artifact_uri=f"mlflow-artifacts:/{experiment_id}/a")

    def log_metric(self, run_id: str, key: str, value: float) -> None:
        self.metrics[key] = value

    def log_artifacts(self, run_id: str, local_dir: str, artifact_path: str) -> None:
        self._call("log_artifacts")
        self.uploads.append((run_id, local_dir, artifact_path))

    def set_terminated(self, run_id: str) -> None:
        print(f"View run {run_id}")  # as MLflow's own does
        self.ended.append(run_id)

    def create_model_version(
        self, name: str, source: str, run_id: str, *, tags: dict[str, str], description: str
    ) -> Named:
        self.sources.append(source)
        self.versions.append(Named(version=str(len(self.versions) + 1), tags=tags | {"why": description}))
        return self.versions[-1]

    def set_registered_model_alias(self, name: str, alias: str, version: str) -> None:
        self._call("set_registered_model_alias")
        self.aliases[alias] = version

    def delete_registered_model_alias(self, name: str, alias: str) -> None:
        del self.aliases[alias]


def registry(fake: FakeMlflow) -> MlflowRegistry:
    return MlflowRegistry(fake, "interests", "serving")


def test_an_approved_candidate_is_uploaded_as_a_version_that_the_alias_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake = FakeMlflow()
    assert registry(fake).register(SERVING, tmp_path) == "1"
    assert (fake.models, fake.aliases, fake.metrics) == (["interests"], {"serving": "1"}, {"gate_recall": 0.3})
    assert fake.uploads == [("run of run-1", str(tmp_path), "candidate")]
    assert (fake.sources, fake.ended) == (["mlflow-artifacts:/7/a/candidate"], ["run of run-1"])
    assert capsys.readouterr() == ("", "View run run of run-1\n")  # standard output may be JSON
    tags = fake.versions[0].tags
    assert (tags["tidegate.candidate"], tags["tidegate.base"], tags["why"]) == (
        *("candidate", "base", "approved by ann: looks good"),
    )


def test_registering_again_finds_the_version_and_moves_the_alias_back(tmp_path: Path) -> None:
    fake = FakeMlflow()
    registry(fake).register(SERVING, tmp_path)
    fake.aliases["serving"] = "9"
    assert registry(fake).register(SERVING, tmp_path) == "1"
    assert (fake.aliases, len(fake.versions), len(fake.uploads)) == ({"serving": "1"}, 1, 1)


@pytest.mark.parametrize("away_at", ["create_registered_model", "log_artifacts", "set_registered_model_alias"])
def test_what_mlflow_refuses_is_said_on_one_line_and_made_good_later(tmp_path: Path, away_at: str) -> None:
    fake = FakeMlflow(away_at=away_at)
    with pytest.raises(FineTuneError, match=r"MLflow did not take it \(ConnectionError: nobody answers\)"):
        registry(fake).register(SERVING, tmp_path)
    fake.away_at = ""
    assert registry(fake).register(SERVING, tmp_path) == "1"
    assert fake.aliases == {"serving": "1"}


def test_the_alias_is_taken_away_where_it_names_weights_of_the_run_and_no_others(tmp_path: Path) -> None:
    fake = FakeMlflow()
    assert not registry(fake).withdraw("run", mend="Later")  # no such model yet
    registry(fake).register(SERVING, tmp_path)
    fake.aliases["champion"] = "1"
    assert not registry(fake).withdraw("another run", mend="Later")
    assert fake.aliases == {"serving": "1", "champion": "1"}
    assert registry(fake).withdraw("run", mend="Later")
    assert fake.aliases == {"champion": "1"}
    assert not registry(fake).withdraw("run", mend="Later")
    fake.away_at = "search_registered_models"
    with pytest.raises(FineTuneError, match=r"nobody answers\)\. Later"):
        registry(fake).withdraw("run", mend="Later")


def test_nothing_is_registered_that_no_person_has_approved(tmp_path: Path) -> None:
    fake = FakeMlflow()
    with pytest.raises(TransitionError, match="no person has approved it"):
        registry(fake).register(in_status(FineTuneStatus.PENDING_REVIEW), tmp_path)
    assert fake == FakeMlflow()


@pytest.mark.parametrize("name", ["", "it's", "a/b", "x" * 201])
def test_a_name_that_would_end_a_filter_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="is no name for MLflow"):
        MlflowRegistry(FakeMlflow(), name, "serving")


def test_without_mlflow_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(ConfigError, match=r"pip install 'tidegate\[mlflow\]'"):
        open_registry("http://mlflow:5000", "interests", "serving")


def test_what_mlflow_says_of_the_uri_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: str) -> None:
        raise RuntimeError("no such\nscheme")

    module = ModuleType("mlflow")
    module.MlflowClient = refuse  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mlflow", module)
    with pytest.raises(ConfigError, match=r"MLflow will not have the URI \(no such scheme\)"):
        open_registry("gopher://mlflow", "interests", "serving")
    opened = FakeMlflow()
    module.MlflowClient = lambda **_: opened  # type: ignore[attr-defined]
    assert open_registry("http://mlflow", "interests", "serving").client is opened
