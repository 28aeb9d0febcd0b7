"""The brake on dead letters."""

from __future__ import annotations

import pytest

from stream.bad_share import BadShare
from tidegate.errors import BadRecordsError


def test_a_share_above_the_limit_is_refused_with_its_numbers_and_its_place() -> None:
    share = BadShare(0.1)
    share.add(900, 90, place="topic[0]@0")
    share.add(100, 10, place="topic[0]@900")
    with pytest.raises(
        BadRecordsError, match=r"10% of the last 1,001 records could not be counted, at most 10%"
    ) as bad:
        share.add(1, 1, place="topic[1]@7")
    assert bad.value.place == "topic[1]@7"
    assert "--max-bad-share" in bad.value.mend


def test_few_records_are_not_judged() -> None:
    share = BadShare(0.1)
    share.add(999, 999, place="topic[0]@0")
    with pytest.raises(BadRecordsError, match="100%"):
        share.add(1, 1, place="topic[0]@999")


def test_what_lies_back_weighs_less_so_that_a_producer_that_breaks_late_is_noticed() -> None:
    share = BadShare(0.5)
    share.add(1_000_000, 0, place="topic[0]@0")
    with pytest.raises(BadRecordsError):
        share.add(10_000, 10_000, place="topic[0]@1000000")


def test_a_limit_of_one_lets_everything_pass_and_nothing_read_is_no_share() -> None:
    share = BadShare(1.0)
    assert share.share == 0.0
    share.add(0, 0, place="topic[0]@0")
    share.add(5_000, 5_000, place="topic[0]@0")
    assert share.share == 1.0
