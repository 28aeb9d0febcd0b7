"""What the console's pages say, without a browser."""

from __future__ import annotations

from dataclasses import replace

import pytest
from markupsafe import Markup

from monitoring.console import views, words
from monitoring.console.bill import bill_of
from monitoring.console.charts import Chart, Series, draw
from monitoring.console.facts import Prices, ShardFacts
from tests.monitoring.console_world import (
    DAY_MS,
    FIRST_PANE,
    FakeSource,
    Visitor,
    alert,
    end_ms,
    facts,
    fine_tune,
    flag,
    held,
    ordered,
    pair,
    report,
    result,
    versions,
    world,
)
from tidegate.contracts import FineTuneStatus, FrontDrift
from tidegate.errors import StoreUnavailableError

LAST = FIRST_PANE + 9


def test_the_overview_begins_with_the_verdict_and_what_waits() -> None:
    source = world()
    source.kept, source.tunes = [held()], [fine_tune()]
    text = Visitor(source).get("/").text
    verdict, waits, drifted = (
        text.index(part) for part in ("Drifting, being refreshed", "Waits for you", "What drifted")
    )
    assert verdict < waits < drifted
    assert "Fine-tune ft-1 waits for approval." in text
    assert 'Orders <span class="badge">1' in text


def test_pairs_are_named_the_busiest_first_with_all_numbers_and_words() -> None:
    rows = views.drifted_pairs(report(LAST, alarmed=True, flagged=world().flagged), ["jazz", "rock", "a", "b", "soul"])
    assert [(row.c1, row.c2, row.pair.n_window) for row in rows] == [
        ("jazz", "soul", 300),
        ("a", "b", 120),
        ("cluster 9", "rock", 30),
    ]
    assert rows[0].meaning == "about 1.7 of its 5 top successors stayed, where 3.8 would have without drift"
    assert views.drifted_pairs(None, []) == []


def test_pairs_of_the_newest_pane_alone_follow_and_are_not_repeated() -> None:
    front = FrontDrift(
        transitions=9, pairs=2, table_z=5.0, table_p=0.001, alarmed=True, flagged=(pair(0, 1), pair(1, 0, n_window=999))
    )
    found = replace_report(flagged=(pair(0, 1),), front=front)
    rows = views.drifted_pairs(found, ["jazz", "rock"])
    assert [(row.c1, row.is_of_front) for row in rows] == [("jazz", False), ("rock", True)]


def replace_report(**changes: object) -> object:
    import msgspec

    return msgspec.structs.replace(report(LAST), **changes)


def test_decisions_are_filtered_and_turned_over() -> None:
    panes = [facts(FIRST_PANE + i) for i in range(120)]
    panes[3] = ordered(FIRST_PANE + 3, 2)
    panes[5] = ordered(FIRST_PANE + 5, 2, "gate_failed")
    panes[7] = facts(FIRST_PANE + 7, flag=flag(FIRST_PANE + 7))
    panes[9] = facts(FIRST_PANE + 9, explanation=None)
    panes[11] = facts(FIRST_PANE + 11, result=result(FIRST_PANE + 11, 2, "backoff_only"))
    found = {show: [pane.pane - FIRST_PANE for pane in views.chosen(panes, show)] for show in views.FILTERS}
    assert len(found["all"]) == 119
    assert (found["refresh"], found["refused"], found["flag"]) == ([5, 3], [5], [7])
    assert len(found["nothing"]) == 117
    visitor = Visitor(FakeSource(pane_facts=panes, table_facts=versions()))
    first = visitor.get("/decisions").text
    assert first.count("/decisions/one?pane=") == 50
    assert f"before={FIRST_PANE + 70}" in first
    older = visitor.get(f"/decisions?before={FIRST_PANE + 70}").text
    assert f"pane={FIRST_PANE + 69}" in older
    assert f"pane={FIRST_PANE + 70}&" not in older
    assert "119 decisions" in visitor.get("/decisions?show=nonsense").text


def test_one_decision_is_shown_with_its_numbers_rows_gates_and_tokens() -> None:
    source = world()
    source.pane_facts[-1] = ordered(LAST, 2, "gate_failed", flag=flag(LAST))
    text = Visitor(source).get(f"/decisions/one?pane={LAST}").text
    for said in (
        "price of a call, in misses",
        "drift 90",
        "4.5",
        "FAILED",
        "3,100",
        "1,000 from cache",
        "12 seconds",
    ):
        assert said in text
    assert "although context is fresh" in text
    for path in ("/decisions/one?pane=1", "/decisions/one", "/decisions/one?pane=x"):
        assert Visitor(source).get(path).status_code == 404


def test_versions_are_compared_in_names_and_corrupt_ones_cannot_be_gone_back_to() -> None:
    visitor = Visitor(world())
    text = visitor.get("/tables").text
    assert "a byte of clusters.npy differs" in text
    assert "rollback?to=1" in text
    assert "rollback?to=2" not in text
    assert "rollback?to=3" not in text
    diff = visitor.get("/tables/diff?old=1&new=2").text
    assert "&lt;img src=x onerror=alert(1)&gt;" in diff
    assert "jazz&nbsp;" in diff
    assert visitor.get("/tables/diff?old=1").status_code == 400


def test_what_cannot_be_read_is_said_and_the_rest_is_shown() -> None:
    source = world()
    source.table_facts = None
    answer = Visitor(source).get("/")
    assert answer.status_code == 200
    assert answer.text.count("the bucket does not answer. Wait, or mend it") == 1
    assert "What was decided" in answer.text


def test_a_store_that_is_away_leaves_pages_that_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    source = world()

    def away(*_: object) -> object:
        raise StoreUnavailableError("the store is locked", "Wait", place="runs.db")

    for name in (
        "run",
        "panes",
        "detail",
        "cluster_names",
        "open_order",
        "shards",
        "progress",
        "fine_tunes",
        "candidates",
    ):
        monkeypatch.setattr(source, name, away)
    for path in ("/", "/drift", "/decisions", "/tables", "/orders", "/fine-tunes", "/bill", "/roles"):
        answer = Visitor(source).get(path)
        assert answer.status_code == 200, path
        assert answer.text.count("the store is locked") == 1, path
    assert Visitor(source).get(f"/decisions/one?pane={LAST}").status_code == 503


def test_a_fault_of_ours_is_logged_and_shown_as_one(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    source = world()
    monkeypatch.setattr(source, "panes", lambda: 1 / 0)
    answer = Visitor(source).get("/")
    assert answer.status_code == 500
    assert "fault of Tidegate" in answer.text
    assert "ZeroDivisionError" in caplog.text


def test_an_empty_store_has_pages_too() -> None:
    source = FakeSource(run_facts=None, table_facts=replace(versions(None), versions=(), moves=()))
    for path in ("/", "/drift", "/decisions", "/tables", "/orders", "/fine-tunes", "/bill", "/roles"):
        assert Visitor(source).get(path).status_code == 200, path
    assert "The store holds no run yet" in Visitor(source).get("/").text


def test_a_page_that_has_not_changed_is_not_sent_again() -> None:
    visitor, live = Visitor(world()), {"tidegate-live": "1"}
    first = visitor.get("/", headers=live)
    again = visitor.get("/", headers={**live, "if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    visitor.clock.advance_ms(3 * DAY_MS)
    assert visitor.get("/", headers={**live, "if-none-match": first.headers["etag"]}).status_code == 200


def test_a_notice_waits_for_the_person_not_for_the_page_that_looks_by_itself() -> None:
    visitor = Visitor(world())
    csrf = visitor.log_in()
    visitor.post("/tables/rollback", {"to": "1", "serving": "2", "why": "x", "csrf": csrf})
    assert "Done:" not in visitor.get("/tables", headers={"tidegate-live": "1"}).text
    assert "Done: roll back 1." in visitor.get("/tables").text


def test_the_bill_adds_up_by_day_and_by_reason() -> None:
    panes = [ordered(FIRST_PANE, 1), facts(FIRST_PANE + 1), ordered(FIRST_PANE + 2, 2)]
    bill = bill_of(panes)
    assert [line.name for line in bill.days] == [words.day_of(end_ms(FIRST_PANE + 2)), words.day_of(end_ms(FIRST_PANE))]
    assert {line.name: round(line.n_calls) for line in bill.reasons} == {"drift": 150, "changed context that pays": 50}
    assert (bill.total.n_calls, bill.total.n_reused, bill.total.prompt_tokens, bill.total.seconds) == (
        200,
        40,
        6_000,
        25.0,
    )
    assert bill.total.cost(Prices(2.0)) == pytest.approx(6_200 * 2 / 1e6)
    assert sum(line.cost(Prices(2.0)) or 0 for line in bill.reasons) == pytest.approx(bill.total.cost(Prices(2.0)))
    assert bill.total.cost(Prices(None, 0.5)) == 100
    assert bill.total.cost(Prices()) is None


def test_tokens_that_an_engine_does_not_tell_are_no_cost_of_nothing() -> None:
    panes = [ordered(FIRST_PANE, 1), ordered(FIRST_PANE + 1, 2)]
    panes[1] = replace(panes[1], result=result(FIRST_PANE + 1, 2, prompt_tokens=None, output_tokens=None))
    bill = bill_of(panes)
    assert bill.total.cost(Prices(2.0)) is None
    assert not bill.total.tells_tokens
    assert bill.days[-1].cost(Prices(2.0)) is not None


def test_alerts_that_asked_for_a_refresh_are_listed_and_billed() -> None:
    source = world()
    source.alert_facts = [alert(2, status="suppressed", order=None, outcome=None), alert()]
    text = Visitor(source).get("/orders").text
    assert "TidegateDrift &lt;img" in text
    assert "suppressed" in text
    bill = bill_of([*source.panes(), *source.alerts()])
    assert {line.name: round(line.n_calls) for line in bill.reasons}["a person or an alert"] == 10


def test_the_roles_page_names_owners_and_lags() -> None:
    source = world()
    source.shard_facts = [
        ShardFacts(0, "host:1", end_ms(LAST), end_ms(LAST), end_ms(LAST), is_idle=False, is_finished=False),
        ShardFacts(-1, "", None, None, None, is_idle=True, is_finished=False),
    ]
    source.how_far = replace(
        source.how_far, closed_end_ms=end_ms(LAST), recorded_end_ms=end_ms(LAST - 2), is_shared=True
    )
    text = Visitor(source).get("/roles").text
    assert "1 hour" in text
    assert "host:1" in text
    assert "2 panes" in text


def test_fine_tunes_that_wait_come_first() -> None:
    source = world()
    source.tunes = [replace_tune("ft-9", FineTuneStatus.SERVING), fine_tune()]
    text = Visitor(source).get("/fine-tunes").text
    assert text.index("ft-1") < text.index("ft-9")
    assert text.count("decide?verdict=approve") == 1


def test_whatever_was_not_answered_can_be_rejected_and_only_what_was_reviewed_approved() -> None:
    source = world()
    for status in FineTuneStatus:
        source.tunes = [fine_tune(status)]
        text = Visitor(source).get("/fine-tunes").text
        is_answered = status in ("approved", "rejected", "serving", "retired")
        assert ("decide?verdict=reject" in text) is not is_answered, status
        assert ("decide?verdict=approve" in text) is (status == "pending_review"), status


@pytest.mark.parametrize(
    ("weights", "since_ms", "said"),
    [
        (None, None, None),
        (0, None, "The weights that the run began with answer."),
        (2, end_ms(FIRST_PANE + 7), "Weights version 2 answers, since the pane that ended 2023-12-17"),
    ],
)
def test_the_weights_that_answer_are_told_where_there_are_any(
    weights: int | None, since_ms: int | None, said: str | None
) -> None:
    source = world()
    source.pane_facts[-1] = replace(source.pane_facts[-1], weights=weights, weights_since_ms=since_ms)
    text = Visitor(source).get("/fine-tunes").text
    assert said in text if said else "answer" not in text


def replace_tune(name: str, status: FineTuneStatus) -> object:
    import msgspec

    return msgspec.structs.replace(fine_tune(status), fine_tune_id=name)


def chart(*values: float | None, n_series: int = 1) -> Markup | None:
    ends = [end_ms(FIRST_PANE + i) for i in range(len(values))]
    return draw(Chart("c", "A <b>title</b>", "text", ends, [Series(f"s{i}", "found", values) for i in range(n_series)]))


def test_charts_break_where_a_value_is_missing_and_escape_what_they_quote() -> None:
    drawn = chart(0.1, None, 0.3, 0.2)
    assert drawn is not None
    assert drawn.count("M38") >= 2
    path = drawn.split('class="line found" d="')[1].split('"')[0]
    assert (path.count("M"), path.count("L")) == (2, 1)
    assert "&lt;b&gt;" in drawn
    assert "<b>" not in drawn


def test_charts_of_nothing_of_one_value_and_of_equal_values() -> None:
    assert chart(None, None) is None
    assert chart(float("nan")) is None
    for drawn in (chart(0.0), chart(0.5, 0.5), chart(-0.2, 1_000_000.0), chart(1e-9, 2e-9)):
        assert drawn is not None
        assert "nan" not in drawn
        assert drawn.count("<svg") == 3


def test_names_of_series_do_not_lie_on_each_other() -> None:
    drawn = chart(0.5, 0.5, n_series=3)
    assert drawn is not None
    places = [float(part.split('y="')[1].split('"')[0]) for part in drawn.split('class="name')[1:4]]
    assert all(below - above >= 14 for above, below in zip(sorted(places), sorted(places)[1:], strict=False))


def test_words_of_unknown_names_are_their_letters() -> None:
    assert words.reason("some_new") == words.outcome("some_new") == words.gate("some_new") == "some new"
    assert words.flag("some_new") == words.input_name("some_new") == "some new"
    assert words.outcome(None) == words.chance(None) == words.instant(None) == "–"
    assert words.chance(1e-9) == "below 1 in a million"
    assert words.duration(90_000) == "1 day 1 hour"
    assert words.duration(86_400) == "1 day"
