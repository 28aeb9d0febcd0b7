"""Engines: what answers prompts. One contract, one suite of tests for all of them."""

from refresh.engines.contract import Answers, Engine, TextGenerator, Usage
from refresh.engines.opening import ENGINES, open_engine

__all__ = ["ENGINES", "Answers", "Engine", "TextGenerator", "Usage", "open_engine"]
