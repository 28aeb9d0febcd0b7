"""MLflow's alias follows the weights that serve: the options that name it, and its move."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from refresh.finetune.book import FineTuneBook
from refresh.finetune.fine_tuning import CANDIDATE
from refresh.finetune.mlflow_registry import MlflowRegistry
from refresh.weights import WeightsStore
from tidegate.contracts import FineTune
from tidegate.errors import FineTuneError

FOLDER = "finetunes"
_F = TypeVar("_F", bound=Callable[..., Any])


def with_mlflow(function: _F) -> _F:
    """Add the options of the registry of models."""
    url = click.option("--mlflow-url", envvar="TIDEGATE_MLFLOW_URL", help="MLflow's server: what serves is registered.")
    model = click.option(
        "--mlflow-model",
        envvar="TIDEGATE_MLFLOW_MODEL",
        default="tidegate",
        show_default=True,
        help="Name of the registered model.",
    )
    alias = click.option(
        "--mlflow-alias",
        envvar="TIDEGATE_MLFLOW_ALIAS",
        default="serving",
        show_default=True,
        help="Alias of the version that serves.",
    )
    return url(model(alias(function)))


def candidate_folder(home: Path, record: FineTune) -> Path:
    """Folder of a fine-tune's candidate."""
    return home / FOLDER / record.fine_tune_id / CANDIDATE


def move_alias(registry: MlflowRegistry, home: Path, book: FineTuneBook, run_id: str, *, mend: str) -> str | None:
    """Let the alias name the weights of a run that serve; doing it again changes nothing.

    Parameters
    ----------
    mend : str    what a person does where MLflow does not take it

    Returns
    -------
    str, optional
        Their version in the registry; None where it has none: no fine-tune serves, and the alias is taken away.

    Raises
    ------
    FineTuneError
        If MLflow refuses, or is away, or the store does not know the fine-tune; what serves goes on serving.
    """
    serving = WeightsStore(home / "models" / run_id).serving()
    if serving is None or serving.fine_tune_id is None:
        registry.withdraw(run_id, mend=mend)
        return None
    record = book.get(serving.fine_tune_id)
    if record is None:
        raise FineTuneError(
            f"the store does not know the fine-tune {serving.fine_tune_id}, whose weights serve: the alias stays",
            "Name the store of the run with --store",
            place=run_id,
        )
    return registry.register(record, candidate_folder(home, record), mend=mend)
