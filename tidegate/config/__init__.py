"""Settings of a run: command-line flags over environment over a TOML file over defaults.

Every field can be given as ``--flag``, as ``TIDEGATE_FIELD`` in the environment, as ``TIDEGATE_FIELD_FILE`` (the
value is what the file holds: for secrets) or as a key of the file that ``--config`` names. A librdkafka property
such as ``sasl.password`` is ``TIDEGATE_KAFKA__SASL_PASSWORD`` in the environment, also with ``_FILE``; one of the
schema registry's client is ``TIDEGATE_REGISTRY__…``.
"""

from __future__ import annotations

from tidegate.config.layers import load_settings
from tidegate.config.names import NEVER
from tidegate.config.settings import RunSettings

__all__ = ["NEVER", "RunSettings", "load_settings"]
