"""What a policy does after an order that was not published: it does not pay for the same one again at each pane.

The first order that fails is tried again at the next pane: its rows are in the row cache, so it costs what is new, and
a window that has moved on may mend it. Each further one in a row waits twice as long, up to a window: by then nothing
that the failed candidate was made of is in the window any more. Rows that cost no call (the backoff level from the
counts) go on being brought up to date meanwhile. An order that is published ends the wait.
"""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np

from refresh.policies.plan import Plan, PolicyState, View


def after_failure(
    left: PolicyState, before: PolicyState, *, pane: int, llm_calls: int, window_panes: int
) -> PolicyState:
    """State to go on with where the order of `pane` was not published.

    Parameters
    ----------
    left : the state that its plan left, as if it would be
    before : the state that the plan was shown
    llm_calls : rows that were asked for all the same; they count against a budget
    window_panes : the longest wait
    """
    n_failed = before.n_failed_orders + 1
    n_waited = min(2 ** min(n_failed - 1, 16), max(window_panes, 1))
    calls = tuple((at, llm_calls if at == pane else n) for at, n in left.calls)
    unplaced = _unplaced(left, before)
    return msgspec.structs.replace(unplaced, calls=calls, n_failed_orders=n_failed, held_until_pane=pane + n_waited)


def after_success(left: PolicyState) -> PolicyState:
    """State to go on with where the order was published."""
    return msgspec.structs.replace(left, n_failed_orders=0, held_until_pane=0) if left.n_failed_orders else left


def held(plan: Plan, view: View) -> Plan:
    """Take the order out of a plan while orders wait; without a table there is nothing to keep fresh either.

    What was asked for from outside is never held.
    """
    if plan.order is None or plan.order.trigger.is_apart or view.pane >= view.state.held_until_pane:
        return plan
    n_failed, n_panes = view.state.n_failed_orders, view.state.held_until_pane - view.pane
    without_this = tuple((pane, n) for pane, n in plan.state.calls if pane != view.pane)
    return replace(
        plan,
        order=None,
        pairs=plan.pairs[:0],
        retrieved=plan.retrieved[np.zeros(0, np.int64)],
        backoff=None if view.table is None else plan.backoff,
        backoff_c2=plan.backoff_c2[:0],
        backoff_retrieved=plan.backoff_retrieved[np.zeros(0, np.int64)],
        inputs={**plan.inputs, "failed_orders": n_failed, "held_panes": n_panes},
        explanation=(
            f"no order for {n_panes} more panes, since the last {n_failed} were not published; else: {plan.explanation}"
        ),
        state=msgspec.structs.replace(_unplaced(plan.state, view.state), calls=without_this),
    )


def _unplaced(left: PolicyState, before: PolicyState) -> PolicyState:
    """Take back what a plan noted of its order: nothing is expected of it, and a trigger that was reset stays due."""
    was_reset = left.level is None and left.statistic == 0.0 and left.n_panes_since_refresh == 0
    accumulated = before if was_reset else left
    return msgspec.structs.replace(
        left,
        placed_hits=0.0,
        statistic=accumulated.statistic,
        level=accumulated.level,
        n_panes_since_refresh=accumulated.n_panes_since_refresh,
    )
