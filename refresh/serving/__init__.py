"""The lookup over HTTP."""

from refresh.serving.answers import Answers
from refresh.serving.app import build_app
from refresh.serving.protocol import Limits
from refresh.serving.server import RunningService, serve

__all__ = ["Answers", "Limits", "RunningService", "build_app", "serve"]
