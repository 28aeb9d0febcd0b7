"""What the log's past says about each pair's next cluster."""

from refresh.evidence.evidence import Evidence
from refresh.evidence.memory import Memory, memory_lengths
from refresh.evidence.ranking import Ranked
from refresh.evidence.spans import PaneSpans

__all__ = ["Evidence", "Memory", "PaneSpans", "Ranked", "memory_lengths"]
