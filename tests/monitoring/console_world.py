"""A run as the console may find it, made up: hostile names, drift, a refused order, a fine-tune that waits."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import httpx

from monitoring.console import ConsoleOptions, build_console
from monitoring.console.facts import (
    AlertFacts,
    CandidateFacts,
    DiffFacts,
    DiffRow,
    MoveFacts,
    OpenOrder,
    OrderFacts,
    PaneDetail,
    PaneFacts,
    Prices,
    ProgressFacts,
    RunFacts,
    ShardFacts,
    TableFacts,
    VersionFacts,
)
from monitoring.console.sessions import Sessions
from tidegate.clock import ManualClock
from tidegate.contracts import (
    Decision,
    DriftReport,
    FineTune,
    FineTuneAction,
    FineTuneFlag,
    FineTuneReason,
    FineTuneStatus,
    FineTuneStep,
    GateVerdict,
    PairDrift,
    Reason,
    RefreshOrder,
    RefreshResult,
    RowOrder,
    Trigger,
)
from tidegate.errors import TableUnavailableError
from tidegate.tokens import tokens_of

DAY_MS = 86_400_000
FIRST_PANE = 19_700
TOKEN = "a-token-of-sixteen-and-more"
MARKUP = "<img src=x onerror=alert(1)>"
NAMES = ("jazz", "rock", MARKUP, "\"'><script>alert(2)</script>", "soul\u202ednilb\x1b[2J")
GATES = (
    GateVerdict(gate="coverage", found=0.4, required=0.5, is_passed=False, sentence="answers 0.4 of the window"),
    GateVerdict(gate="validity", found=0.0, required=0.02, is_passed=True, sentence="no answer is invalid"),
)


def end_ms(pane: int) -> int:
    return (pane + 1) * DAY_MS


def pair(c1: int = 0, c2: int = 1, **changes: Any) -> PairDrift:
    fields = {"n_window": 120, "n_reference": 90, "jaccard": 0.2, "null": 0.6, "drift": 0.66, "p_value": 0.0005}
    return PairDrift(c1=c1, c2=c2, flagged=True, **{**fields, **changes})


def report(pane: int, *, alarmed: bool = False, flagged: tuple[PairDrift, ...] = ()) -> DriftReport:
    return DriftReport(
        run_id="run1",
        window_start_ms=end_ms(pane) - 3 * DAY_MS,
        window_end_ms=end_ms(pane),
        pane_ms=DAY_MS,
        min_support=20,
        transitions=9_000,
        pairs=40,
        flagged_pairs=len(flagged),
        jaccard_mean=0.5,
        jaccard_variance=0.02,
        null_mean=0.55,
        drift_mean=0.3 if alarmed else 0.01,
        drift_traffic_mean=0.25 if alarmed else 0.0,
        table_z=9.0 if alarmed else 0.3,
        table_p=0.0004 if alarmed else 0.4,
        alarmed=alarmed,
        jaccard_matched_mean=0.4 if alarmed else 0.54,
        flagged=flagged,
    )


def result(pane: int, version: int, outcome: str = "completed", **changes: Any) -> RefreshResult:
    fields: dict[str, Any] = {
        "order_id": f"run1-{pane}",
        "window_end_ms": end_ms(pane),
        "trigger": Trigger.POLICY,
        "outcome": outcome,
        "table_version": version,
        "llm_calls": 100,
        "reused": 20,
        "rows_changed": 80,
        "rows_invalid": 1,
        "rows_retired": 2,
        "duration_seconds": 12.5,
        "prompt_tokens": 3_000,
        "cached_tokens": 1_000,
        "output_tokens": 100,
    }
    return RefreshResult(**{**fields, **changes})


def facts(pane: int, **changes: Any) -> PaneFacts:
    """A pane in which nothing happened."""
    plain = PaneFacts(
        pane=pane,
        end_ms=end_ms(pane),
        scored=1_000,
        answered=900,
        hits_next=200 + pane % 5,
        hits_sequence=240 + pane % 5,
        report=report(pane),
        explanation="no row pays: nothing to refresh",
        order=None,
        flag=None,
        result=None,
        table_version=1,
    )
    return replace(plain, **changes)


def ordered(pane: int, version: int, outcome: str = "completed", **changes: Any) -> PaneFacts:
    """A pane whose order was carried out."""
    order = OrderFacts(f"run1-{pane}", "policy", 120, False, 2, {"drift": 90, "evidence": 30}, 55.0)
    done = result(pane, version, outcome, gates=GATES if outcome == "gate_failed" else ())
    text = "rows taken: 90 by drift, 30 by evidence"
    return facts(pane, order=order, result=done, explanation=text, table_version=version, **changes)


def alert(number: int = 1, pane: int = FIRST_PANE + 9, outcome: str | None = "completed", **changes: Any) -> AlertFacts:
    """An alert that was answered by a refresh right after a pane."""
    order = OrderFacts(f"run1-{pane}-alert-{number}", "operator", 10, False, 0, {"operator": 10}, 3.0)
    done = None if outcome is None else result(pane, 2, outcome, order_id=order.order_id, llm_calls=10, gates=GATES)
    plain = AlertFacts(
        number, f"TidegateDrift {MARKUP}", end_ms(pane) + 60_000, "answered", pane, end_ms(pane), order, done
    )
    return replace(plain, **changes)


def flag(pane: int) -> FineTuneFlag:
    return FineTuneFlag(
        flag_id=f"run1-{end_ms(pane)}",
        window_end_ms=end_ms(pane),
        reason=FineTuneReason.HIT_RATE,
        numbers={"hit_rate": 0.15, "hit_rate_level": 0.2, "panes": 6},
    )


def fine_tune(status: FineTuneStatus = FineTuneStatus.PENDING_REVIEW) -> FineTune:
    step = FineTuneStep(
        action=FineTuneAction.PASS,
        from_status=FineTuneStatus.GATED,
        to_status=status,
        by="tidegate@host",
        is_person=False,
        at_ms=end_ms(FIRST_PANE + 9),
        why=f"all gates passed {MARKUP}",
        numbers={"loss": 1.25},
    )
    return FineTune(
        fine_tune_id="ft-1",
        run_id="run1",
        status=status,
        flag=flag(FIRST_PANE + 8),
        steps=(step,),
        revision=5,
        candidate_fingerprint="c0ffee",
        gates=GATES[1:],
    )


@dataclass
class FakeSource:
    """Answers with what is set."""

    run_facts: RunFacts | None = field(
        default_factory=lambda: RunFacts(
            "run1",
            f"watches-{MARKUP}.csv",
            "adaptive",
            "embedded",
            DAY_MS,
            3 * DAY_MS,
            end_ms(FIRST_PANE + 9),
            None,
            False,
        )
    )
    pane_facts: list[PaneFacts] = field(default_factory=list)
    table_facts: TableFacts | None = None
    order: OpenOrder | None = None
    kept: list[CandidateFacts] = field(default_factory=list)
    tunes: list[FineTune] = field(default_factory=list)
    shard_facts: list[ShardFacts] = field(default_factory=list)
    how_far: ProgressFacts = field(default_factory=lambda: ProgressFacts(None, None, None, None, False))
    flagged: tuple[PairDrift, ...] = ()
    alert_facts: list[AlertFacts] = field(default_factory=list)

    def run(self) -> RunFacts | None:
        return self.run_facts

    def panes(self) -> Sequence[PaneFacts]:
        return self.pane_facts

    def detail(self, pane: int) -> PaneDetail | None:
        found = next((each for each in self.pane_facts if each.pane == pane), None)
        if found is None:
            return None
        rows = (RowOrder(c1=2, c2=3, reason=Reason.DRIFT, gain_hits=4.5, replaces=1),)
        order = RefreshOrder(
            order_id=f"run1-{pane}",
            window_end_ms=found.end_ms,
            trigger=Trigger.POLICY,
            rows=rows if found.order else (),
        )
        decision = Decision(
            run_id="run1",
            window_end_ms=found.end_ms,
            policy="adaptive",
            inputs={"price": 0.3, "alarmed": found.is_drifting, "rows_bought": 120},
            order=order if found.order else None,
            flag=found.flag,
            explanation=found.explanation or "",
        )
        full = report(pane, alarmed=found.is_drifting, flagged=self.flagged)
        return PaneDetail(found, full, decision, order.rows)

    def cluster_names(self) -> Sequence[str]:
        return NAMES

    def open_order(self) -> OpenOrder | None:
        return self.order

    def alerts(self) -> Sequence[AlertFacts]:
        return self.alert_facts

    def shards(self) -> Sequence[ShardFacts]:
        return self.shard_facts

    def progress(self) -> ProgressFacts:
        return self.how_far

    def tables(self) -> TableFacts:
        if self.table_facts is None:
            raise TableUnavailableError("the bucket does not answer", "Wait, or mend it", place="s3://bucket")
        return self.table_facts

    def diff(self, old: int, new: int, limit: int) -> DiffFacts:
        rows = (
            DiffRow("changed", NAMES[2], NAMES[3], ((NAMES[0], 0.5),), ((NAMES[1], 0.6), (NAMES[0], 0.1))),
            DiffRow("added", None, NAMES[4], (), ((NAMES[2], 0.9),)),
        )
        return DiffFacts(old, new, 1, 0, 1, 7, rows[:limit])

    def candidates(self) -> Sequence[CandidateFacts]:
        return self.kept

    def fine_tunes(self) -> Sequence[FineTune]:
        return self.tunes


@dataclass
class FakeActions:
    """Notes what was done."""

    done: list[tuple[Any, ...]] = field(default_factory=list)
    error: Exception | None = None

    def _do(self, *deed: Any) -> str:
        if self.error is not None:
            raise self.error
        self.done.append(deed)
        return f"Done: {deed[0]} {deed[1]}."

    def roll_back(self, to: int, *, serving: int | None, why: str, who: str) -> str:
        return self._do("roll back", to, serving, why, who)

    def override(self, order_id: str, *, why: str, who: str) -> str:
        return self._do("override", order_id, why, who)

    def decide(self, fine_tune_id: str, verdict: str, *, revision: int | None, why: str, who: str) -> str:
        return self._do(verdict, fine_tune_id, revision, why, who)


def versions(serving: int | None = 2, *moves: MoveFacts) -> TableFacts:
    made = {"window_end_ms": end_ms(FIRST_PANE + 7), "trigger": "policy", "engine": "embedded", "rows": 900}
    found = (
        VersionFacts(3, problem="a byte of clusters.npy differs"),
        VersionFacts(2, parent=1, created_ms=end_ms(FIRST_PANE + 8), reasons={"drift": 90}, **made),
        VersionFacts(1, created_ms=end_ms(FIRST_PANE + 3), reasons={"first_table": 900}, **made),
    )
    return TableFacts(
        serving, found, moves or (MoveFacts(end_ms(FIRST_PANE + 8), "publish", 1, 2, "tidegate", "policy"),)
    )


def held() -> CandidateFacts:
    return CandidateFacts(f"run1-{FIRST_PANE + 9}", end_ms(FIRST_PANE + 9), GATES, 2, is_publishable=True)


def world() -> FakeSource:
    """Ten quiet panes, drift in the last one, and an order that is served."""
    quiet = [facts(FIRST_PANE + i) for i in range(9)]
    flagged = (pair(2, 3), pair(0, 4, n_window=300), pair(9, 1, n_window=30))
    last = ordered(FIRST_PANE + 9, 2, report=report(FIRST_PANE + 9, alarmed=True))
    return FakeSource(pane_facts=[*quiet, last], table_facts=versions(), flagged=flagged)


class Visitor:
    """A browser without eyes: requests to a console in this process, with cookies."""

    def __init__(
        self, source: FakeSource, actions: FakeActions | None = None, *, token: str | None = TOKEN, **options: Any
    ) -> None:
        self.clock = ManualClock(end_ms(FIRST_PANE + 9) + 3_600_000)
        self.actions = actions or FakeActions()
        tokens = None if token is None else tokens_of(token, place="test")
        self.sessions = Sessions(self.clock, tokens)
        chosen = ConsoleOptions(**{"prices": Prices(2.0, currency="EUR"), **options})
        self.app = build_console(source, self.actions, self.sessions, chosen, self.clock)
        self.cookies: dict[str, str] = {}

    async def ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        """Send one request; redirects are not followed."""
        cookie = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        headers = {"host": "127.0.0.1:9465", "cookie": cookie, **more.pop("headers", {})}
        transport = httpx.ASGITransport(app=self.app, client=("10.0.0.9", 1234))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:9465") as client:
            answer = await client.request(method, path, headers=headers, **more)
        self.cookies |= dict(answer.cookies)
        return answer

    def get(self, path: str, **more: Any) -> httpx.Response:
        return asyncio.run(self.ask("GET", path, **more))

    def post(self, path: str, data: Any = None, **more: Any) -> httpx.Response:
        return asyncio.run(self.ask("POST", path, data=data, **more))

    def log_in(self, who: str = "Ana") -> str:
        """Log in; returns the secret that forms carry."""
        answer = self.post("/login", {"who": who, "token": TOKEN, "next": "/tables"})
        assert answer.status_code == 303, answer.text
        session = self.sessions.find(self.cookies["tidegate_console"])
        assert session is not None
        return session.csrf
