"""What a person or an alert orders: all pairs of the window, as the paper does, or what a policy would buy now."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import msgspec

from refresh.policies.adaptive import PolicyOptions
from refresh.policies.naming import Policy, open_policy
from refresh.policies.plan import Plan, View
from tidegate.contracts import RefreshOrder, Trigger

Rows = Literal["all", "ordered"]


@dataclass(frozen=True, slots=True)
class ByHand:
    """A policy whose orders a person places.

    Known rows are taken as they are, and the order is known by what it was placed with, so that one that was
    interrupted is found again, and that of the run itself is another.

    Attributes
    ----------
    policy : Policy     that plans
    rows : ``all`` or ``ordered``
    """

    policy: Policy
    rows: Rows

    @property
    def name(self) -> str:
        """What was asked for."""
        return f"{self.rows} rows by hand"

    def plan(self, view: View) -> Plan:
        """Plan as the policy does, and sign the order."""
        plan = self.policy.plan(view)
        if plan.order is None:
            return plan
        order_id = f"{view.order_id}-{self.rows}"
        order = msgspec.structs.replace(plan.order, order_id=order_id, trigger=Trigger.OPERATOR)
        return replace(plan, order=order, replaces_rows=False, explanation=f"by hand: {plan.explanation}")


@dataclass(frozen=True, slots=True)
class ByAlert:
    """A policy whose order an alert places: the rows that pay now.

    There always is an order, be it one without rows, so that what the alert brought about is known by one.

    Attributes
    ----------
    policy : Policy     that plans
    number : int        of the request, in its run
    alert : str         its name, for people
    """

    policy: Policy
    number: int
    alert: str

    @property
    def name(self) -> str:
        """What was asked for."""
        return f"{self.policy.name} by alert"

    def plan(self, view: View) -> Plan:
        """Plan as the policy does, and sign the order."""
        plan = self.policy.plan(view)
        order = plan.order or RefreshOrder(order_id="", window_end_ms=view.window_end_ms, trigger=Trigger.ALERT)
        signed = msgspec.structs.replace(order, order_id=f"{view.order_id}-alert-{self.number}", trigger=Trigger.ALERT)
        explanation = f"asked for by the alert {self.alert}: {plan.explanation}"
        return replace(plan, order=signed, replaces_rows=False, explanation=explanation)


def open_by_alert(
    policy: str, pane_ms: int, options: PolicyOptions, top_n: int = 5, *, number: int, alert: str
) -> ByAlert:
    """Make what plans an alert's order.

    Parameters
    ----------
    policy : that of the run, as `open_policy` takes it: an adaptive one weighs rows as it always does; of another one
        an alert makes the refresh due, in its frame (estimator and backoff)

    Raises
    ------
    RequestError
        If there is no such policy.
    """
    is_adaptive = policy.startswith("adaptive")
    options = replace(options, probes=False)  # what pays is asked for, not what is to be learned
    planner = open_policy(policy, pane_ms, options, top_n)
    if not is_adaptive:
        planner = open_policy("always+own" if policy.endswith("+own") else "always", pane_ms, options, top_n)
    return ByAlert(planner, number, alert)


def open_by_hand(rows: Rows, policy: str, pane_ms: int, options: PolicyOptions, top_n: int = 5) -> ByHand:
    """Make what plans a person's order.

    Parameters
    ----------
    rows : ``all`` asks for every pair of the window, in the frame (estimator and backoff) of `policy`
    policy : as `open_policy` takes it

    Raises
    ------
    RequestError
        If there is no such policy.

    Examples
    --------
    >>> open_by_hand("all", "adaptive", 86_400_000, PolicyOptions()).policy.name
    'always+own'
    """
    planner = open_policy(policy, pane_ms, replace(options, probes=False), top_n)
    if rows == "all":
        has_own_frame = policy.endswith("+own") or policy.startswith("adaptive")
        planner = open_policy("always+own" if has_own_frame else "always", pane_ms, options, top_n)
    return ByHand(planner, rows)
