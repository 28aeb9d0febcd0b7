"""Policies that refresh everything or nothing: a trigger says when, a frame says with what."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from refresh.evidence import Ranked
from refresh.policies import triggers
from refresh.policies.frames import Frame, most_popular
from refresh.policies.ordering import drift_inputs
from refresh.policies.plan import Plan, View
from tidegate.contracts import RefreshOrder, Trigger


@dataclass(frozen=True, slots=True)
class WholePolicy:
    """Asks for every pair of the window when its trigger says so, and for the first table.

    Attributes
    ----------
    name : str
    trigger : triggers.Trigger
    frame : Frame
    top_n : int
    """

    name: str
    trigger: triggers.Trigger
    frame: Frame
    top_n: int = 5

    def plan(self, view: View) -> Plan:
        """Answer what the trigger says; the frame supplies the context."""
        is_first = view.table is None
        is_due, state = (True, view.state) if is_first else self.trigger.observe(view)
        state = triggers.after_refresh(state) if is_due and not isinstance(self.trigger, triggers.Budget) else state
        cause = Trigger.FIRST_TABLE if is_first else Trigger.SCHEDULE
        ranked = self.frame.ranked(view, self.top_n) if is_due else Ranked.nothing(0, self.top_n)
        pairs = view.window.pairs if is_due else view.window.pairs[:0]
        order = RefreshOrder(order_id=view.order_id, window_end_ms=view.window_end_ms, trigger=cause, all_rows=True)
        return Plan(
            order=order if is_due else None,
            pairs=pairs,
            retrieved=ranked,
            backoff=self.frame.free_backoff(view, self.top_n),
            backoff_c2=np.zeros(0, np.int32),
            backoff_retrieved=Ranked.nothing(0, self.top_n),
            replaces_rows=self.frame.replaces_rows,
            inputs={
                "panes_since_first_table": view.panes_since_first_table,
                "statistic": state.statistic,
                **drift_inputs(view.report),
            },
            explanation=f"{cause}: all {pairs.shape[0]} pairs of the window" if is_due else "not due",
            state=state,
        )


@dataclass(frozen=True, slots=True)
class BackoffPolicy:
    """No rows of pairs and no call: every pane has the counts' answer by ``c2``, or the one most popular cluster."""

    name: str
    frame: Frame
    is_popular: bool = False
    top_n: int = 5

    def plan(self, view: View) -> Plan:
        """Bring the backoff level up to date."""
        ranked = most_popular(view, self.top_n) if self.is_popular else self.frame.backoff(view, self.top_n)
        order = RefreshOrder(order_id=view.order_id, window_end_ms=view.window_end_ms, trigger=Trigger.FIRST_TABLE)
        return Plan(
            order=order if view.table is None else None,
            pairs=view.window.pairs[:0],
            retrieved=Ranked.nothing(0, self.top_n),
            backoff=ranked,
            backoff_c2=np.zeros(0, np.int32),
            backoff_retrieved=Ranked.nothing(0, self.top_n),
            replaces_rows=False,
            inputs=drift_inputs(view.report),
            explanation="rows by c2 from the counts, no call",
            state=view.state,
        )
