"""Teaching the embedded model: first to read the retrieved line, then the transitions of the log."""

from refresh.training.teach import TrainingBudget
from refresh.training.train import TrainingReport, train_model

__all__ = ["TrainingBudget", "TrainingReport", "train_model"]
