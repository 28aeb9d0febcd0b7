"""Arms of a study: fine-tunes alone, retrieval alone, and both, on a calendar or when they pay.

An arm is a policy, a rule for fine-tunes, and whether rows are asked with their retrieved line.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from refresh.evidence import Ranked
from refresh.policies import Plan, Policy, PolicyOptions, View, open_policy
from refresh.policies.anew import asked_anew
from tidegate.cli.arm_tuning import ArmWeights
from tidegate.cli.contender import Contender
from tidegate.cli.log_panes import LogPanes, PaneFacts
from tidegate.errors import RequestError

ARMS = ("fine_tune_only", "rag_only", "hybrid_calendar", "hybrid_calendar+own", "hybrid_adaptive")


class Timing(StrEnum):
    """When an arm's weights are fine-tuned, after the start."""

    NEVER = "never"
    CALENDAR = "calendar"
    FLAG = "flag"  # where the judge of a run's weights flags it


@dataclass(frozen=True, slots=True)
class Arm:
    """One way to keep a recommender fresh.

    Attributes
    ----------
    name : str
    policy : Policy
    timing : Timing
    whole : Policy, optional     plans the pane that takes new weights on, where the policy is a calendar: all of the
                                 window, in the policy's own frame
    shows_lines : bool           whether rows are asked with their retrieved line
    """

    name: str
    policy: Policy
    timing: Timing
    whole: Policy | None = None
    shows_lines: bool = True


def open_arm(name: str, cadence_panes: int, pane_ms: int, options: PolicyOptions, top_n: int) -> Arm:
    """Make the arm that `name` names.

    Parameters
    ----------
    cadence_panes : between two refreshes by retrieval

    Raises
    ------
    RequestError
        If there is none of that name.

    Examples
    --------
    >>> open_arm("rag_only", 2, 86_400_000, PolicyOptions(), 5).policy.name
    'every:2'
    """

    def policy(text: str) -> Policy:
        return open_policy(text, pane_ms, options, top_n)

    every = f"every:{cadence_panes}"
    if name == "fine_tune_only":
        return Arm(name, policy("never"), Timing.CALENDAR, policy("always"), shows_lines=False)
    if name == "rag_only":
        return Arm(name, policy(every), Timing.NEVER)
    if name == "hybrid_calendar":
        return Arm(name, policy(every), Timing.CALENDAR, policy("always"))
    if name == "hybrid_calendar+own":
        return Arm(name, policy(f"{every}+own"), Timing.CALENDAR, policy("always+own"))
    if name == "hybrid_adaptive":
        return Arm(name, policy("adaptive"), Timing.FLAG)
    raise RequestError(f"there is no arm {name!r}", f"Give all, or some of {', '.join(ARMS)}", place="--arms")


class ArmContender(Contender):
    """A policy with weights that change on the way."""

    def __init__(self, arm: Arm, weights: ArmWeights, panes: LogPanes) -> None:
        super().__init__(arm.policy, weights.engine, panes.sequences, panes.top_n, panes.retrieval)
        self._arm, self._depth, self._asks_anew = arm, panes.top_n, False

    def take_on(self, weights: ArmWeights, pane: int) -> None:
        """Let new weights answer from the decision at a pane's end on, which asks all rows of the table anew."""
        self.take(weights.engine, pane)
        self._asks_anew = True

    def decide(self, facts: PaneFacts) -> None:
        """Plan and carry out; what new weights changed says nothing of rows that were bought."""
        super().decide(facts)
        if self._asks_anew:
            self._order, self._asks_anew = None, False

    def planned(self, view: View) -> Plan:
        """Give the policy's answer, for all rows where the weights are new."""
        if self._asks_anew:
            plan = asked_anew((self._arm.whole or self.policy).plan(view), view, self._depth)
        else:
            plan = self.policy.plan(view)
        return plan if self._arm.shows_lines else without_lines(plan)


def without_lines(plan: Plan) -> Plan:
    """Take all retrieved lines out of a plan: what the model answers, it has to know. Pure."""
    return replace(plan, retrieved=_no_lines(plan.retrieved), backoff_retrieved=_no_lines(plan.backoff_retrieved))


def _no_lines(lines: Ranked) -> Ranked:
    return Ranked(np.full_like(lines.clusters, -1), np.zeros_like(lines.shares))
