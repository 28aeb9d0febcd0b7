"""Policies: what to do at a pane's end. One frame for ours and for those it is compared with."""

from refresh.policies.adaptive import AdaptivePolicy, PolicyOptions
from refresh.policies.naming import Policy, open_policy
from refresh.policies.plan import Plan, PolicyState, View

__all__ = ["AdaptivePolicy", "Plan", "Policy", "PolicyOptions", "PolicyState", "View", "open_policy"]
