"""Names of policies, and names that cannot be meant."""

from __future__ import annotations

import pytest

from refresh.policies import AdaptivePolicy, PolicyOptions, open_policy
from refresh.policies.frames import OwnFrame, PlainFrame
from refresh.policies.triggers import Budget, Calendar, CumulativeStaleness, HitRateCusum, RawJaccard, Trigger
from refresh.policies.whole import BackoffPolicy, WholePolicy
from tests.refresh.logs import DAY_MS, LOG, view
from tidegate.errors import RequestError

OPTIONS = PolicyOptions(price=0.7, window_panes=3)


@pytest.mark.parametrize("suffix", ["", "+own"])
@pytest.mark.parametrize(
    ("text", "trigger"),
    [
        ("never", Calendar(0)),
        ("always", Calendar(1)),
        ("every:3", Calendar(3)),
        ("every:2d", Calendar(2)),
        ("every:48h", Calendar(2)),
        ("jaccard:0.25", RawJaccard(0.25)),
        ("cusum", HitRateCusum()),
        ("cara", CumulativeStaleness(0.7)),
        ("cara:2.5", CumulativeStaleness(2.5)),
        ("budget:900", Budget(900, 3)),
    ],
)
def test_a_trigger_is_opened_by_its_name_in_either_frame(text: str, suffix: str, trigger: Trigger):
    policy = open_policy(text + suffix, DAY_MS, OPTIONS, top_n=4)
    assert isinstance(policy, WholePolicy)
    assert (policy.name, policy.trigger, policy.top_n) == (text + suffix, trigger, 4)
    assert isinstance(policy.frame, OwnFrame if suffix else PlainFrame)


@pytest.mark.parametrize("text", ["popular", "backoff", "popular+own", "backoff+own"])
def test_policies_without_rows_are_opened_by_name(text: str):
    policy = open_policy(text, DAY_MS, OPTIONS)
    assert isinstance(policy, BackoffPolicy)
    assert (policy.name, policy.is_popular) == (text, text.startswith("popular"))


@pytest.mark.parametrize(("text", "price"), [("adaptive", 0.7), ("adaptive:2.5", 2.5), ("adaptive:0", 0.0)])
def test_adaptive_takes_a_price_of_its_own(text: str, price: float):
    policy = open_policy(text, DAY_MS, OPTIONS)
    assert isinstance(policy, AdaptivePolicy)
    assert policy.name == text
    assert policy.plan(view(LOG, None)).inputs["price"] == price


@pytest.mark.parametrize(
    "text",
    [
        "sometimes",
        "",
        "every",
        "jaccard",
        "budget",
        "never:2",
        "always:1",
        "cusum:5",
        "popular:1",
        "backoff:1",
        "never+",
        "never+ours",
        "never+own+own",
        "adaptive+own",
        "adaptive:1+own",
        "oracle",
    ],
)
def test_a_policy_that_there_is_not_is_refused_with_those_that_there_are(text: str):
    with pytest.raises(RequestError, match="there is no policy") as refused:
        open_policy(text, DAY_MS, OPTIONS)
    assert (refused.value.place, refused.value.exit_code) == ("--policy", 2)
    assert "adaptive:PRICE" in refused.value.mend


@pytest.mark.parametrize(
    "text", ["adaptive:yes", "adaptive:-1", "adaptive:nan", "adaptive:inf", "jaccard:x", "cara:-2"]
)
def test_an_argument_that_is_no_number_is_refused_with_an_example(text: str):
    with pytest.raises(RequestError, match="is no number from 0 on") as refused:
        open_policy(text, DAY_MS, OPTIONS)
    assert "adaptive:0.1" in refused.value.mend


@pytest.mark.parametrize("text", ["every:0", "every:36h", "every:1h"])
def test_a_period_is_a_whole_number_of_panes(text: str):
    with pytest.raises(RequestError, match="not a whole number of panes") as refused:
        open_policy(text, DAY_MS, OPTIONS)
    assert "--pane" in refused.value.mend


def test_a_period_that_is_no_duration_is_refused():
    with pytest.raises(RequestError, match="--policy"):
        open_policy("every:x", DAY_MS, OPTIONS)
