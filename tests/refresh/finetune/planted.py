"""Planted bad candidates: each with the gate that has to refuse it, and words of its reason."""

from __future__ import annotations

from tests.refresh.finetune.planted_engines import ENGINES
from tests.refresh.finetune.planted_files import FILES
from tests.refresh.finetune.planted_models import MODELS
from tests.refresh.finetune.planted_weights import WEIGHT_FILES

PLANTED = {**FILES, **WEIGHT_FILES, **MODELS, **ENGINES}
"""By what is wrong with them."""
