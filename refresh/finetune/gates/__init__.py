"""Gates over new weights: what a candidate must show before a person is asked whether it may serve."""

from refresh.finetune.gates.bounds import CandidateBounds
from refresh.finetune.gates.judge import CandidateJudge, sampled
from refresh.finetune.gates.judging import GATES, judge_candidate
from refresh.finetune.gates.labelled import Labelled
from refresh.finetune.gates.trial import Expected, Hearing, Sampled, Trial

__all__ = [
    "GATES",
    "CandidateBounds",
    "CandidateJudge",
    "Expected",
    "Hearing",
    "Labelled",
    "Sampled",
    "Trial",
    "judge_candidate",
    "sampled",
]
