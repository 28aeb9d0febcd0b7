"""Gates before publishing: what a candidate table must show before it may replace the one that serves."""

from refresh.gates.answers import Asked, Probed
from refresh.gates.bounds import GateBounds
from refresh.gates.held_out import Support
from refresh.gates.judging import Candidate, failed, judge

__all__ = ["Asked", "Candidate", "GateBounds", "Probed", "Support", "failed", "judge"]
