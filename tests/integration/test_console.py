"""The console in a real browser, over a real run: what a person sees and does, by clicks and by keys alone."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from monitoring.console.facts import Prices
from refresh.gates.aside import Candidates
from refresh.table_store import TableStore
from stream.database import Database
from stream.fine_tune_book import StoredFineTunes
from tests.components import AXE
from tests.monitoring.console_world import GATES, MARKUP, fine_tune
from tests.runs import SYNTHETIC, run_quietly, small_log
from tidegate.cli import finetuning
from tidegate.cli.console import ConsoleSettings, running_console
from tidegate.clock import SystemClock
from tidegate.contracts import FineTune, FineTuneStatus, Trigger
from tidegate.tokens import tokens_of

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

TOKEN = "browser-token-of-sixteen"
HOSTILE = (MARKUP, "\"'><script>document.title='stolen'</script>", "a" * 80, "soul\u202e\x07nilb", "{{ 7*7 }}")
PATHS = (
    "/",
    "/drift",
    "/decisions",
    "/tables",
    "/tables/diff?old=1&new=2",
    "/orders",
    "/fine-tunes",
    "/bill",
    "/roles",
    "/login",
)
PICTURES = os.environ.get("TIDEGATE_PICTURES")  # a folder: what tests look at is kept there


def _hostile_log(folder: Path) -> Path:
    """A log whose first clusters have names that want to be more than names."""
    path = small_log(folder)
    lines = path.read_text().splitlines()
    at = lines[0].split(",").index("category")
    known: dict[str, str] = {}
    for i, line in enumerate(lines[1:], 1):
        cells = line.split(",")
        if cells[at] not in known:
            known[cells[at]] = HOSTILE[len(known)] if len(known) < len(HOSTILE) else cells[at]
        cells[at] = '"' + known[cells[at]].replace('"', '""') + '"'
        lines[i] = ",".join(cells)
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def run_of_a_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("console")
    summary = run_quietly(_hostile_log(home), home, **SYNTHETIC, window="2d")
    with closing(Database(home / "runs.db")) as database:
        assert StoredFineTunes(database).put(_fine_tune(summary["run_id"]))
    return home


def _fine_tune(run_id: str) -> FineTune:
    import msgspec

    return msgspec.structs.replace(fine_tune(), run_id=run_id, revision=1)


@pytest.fixture
def home(run_of_a_world: Path, tmp_path: Path) -> Path:
    """A copy, for each test to change; with a candidate that its gates have held back."""
    home = shutil.copytree(run_of_a_world, tmp_path / "home")
    tables = TableStore(home / "tables")
    serving = tables.current()
    assert serving is not None
    manifest = tables.manifest(serving)
    Candidates(home / "candidates").keep(
        tables.load(1),
        order_id="order-7",
        replaces=serving,
        gates=GATES,
        window_end_ms=manifest.window_end_ms,
        trigger=Trigger.POLICY,
        reasons={"drift": 3},
        engine_name="frequency",
        engine_fingerprint="abc",
    )
    return home


@dataclass
class Seen:
    """A console and a browser that looks at it; whatever a page complains of fails the test."""

    page: Page
    url: str
    home: Path
    complaints: list[str] = field(default_factory=list)

    def go(self, path: str) -> Page:
        answer = self.page.goto(self.url + path)
        assert answer is not None
        assert answer.status == 200, path
        return self.page

    def log_in(self) -> None:
        self.go("/login")
        self.page.get_by_label("Your name").fill("Ana")
        self.page.get_by_label("Token").fill(TOKEN)
        self.page.get_by_role("button", name="Log in").click()
        self.page.get_by_role("button", name="Log out").wait_for()

    def picture(self, name: str) -> None:
        if PICTURES:
            self.page.screenshot(path=Path(PICTURES) / f"{name}.png", full_page=True)


Open = Callable[..., Seen]


@pytest.fixture
def console(chromium: Browser, home: Path) -> Iterator[Open]:
    """Opens consoles over the run, each with a browser context of its own."""
    opened: list[Any] = []
    tokens = tokens_of(TOKEN, place="test")
    settings = ConsoleSettings(home, tokens=tokens, prices=Prices(per_call=0.002, currency="EUR"), live_seconds=1)
    seen: list[Seen] = []
    with running_console(settings, SystemClock()) as service:

        def look(**context: Any) -> Seen:
            made = chromium.new_context(**{"viewport": {"width": 1280, "height": 900}, **context})
            opened.append(made)
            found = Seen(made.new_page(), service.url, home)
            found.page.set_default_timeout(10_000)
            found.page.on("pageerror", lambda error: found.complaints.append(str(error)))
            found.page.on("console", lambda said: found.complaints.append(said.text) if said.type == "error" else None)
            found.page.on("dialog", lambda dialog: (found.complaints.append(dialog.message), dialog.dismiss()))
            seen.append(found)
            return found

        yield look
        for each in opened:
            each.close()
    assert [complaint for each in seen for complaint in each.complaints] == []


def _faults(page: Page, rules: str | None = None) -> list[str]:
    """What axe finds in a page; it is put in past the page's own policy, which allows no foreign script."""
    page.evaluate(AXE.read_text())
    only = f", runOnly: {rules}" if rules else ""
    found = page.evaluate(f"axe.run({{resultTypes: ['violations']{only}}})")
    return [f"{each['id']}: {node['html']}" for each in found["violations"] for node in each["nodes"]]


def _overflow(page: Page) -> int:
    """Pixels that a page is wider than its window."""
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


def test_every_page_is_accessible_and_harmless(console: Open) -> None:
    seen = console(color_scheme="light")
    seen.log_in()
    for path in PATHS:
        page = seen.go(path)
        assert page.title().endswith("· Tidegate")
        assert page.locator("main img, main script").count() == 0
        assert page.locator("h1").count() == 1
        assert _faults(page) == [], path
        seen.picture(f"{_file_name(path)}-light")
    assert "stolen" not in seen.go("/drift").title()


def test_colours_can_be_told_apart_in_the_dark(console: Open) -> None:
    seen = console(color_scheme="dark")
    seen.log_in()
    for path in ("/", "/drift", "/tables", "/orders", "/fine-tunes"):
        page = seen.go(path)
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(18, 21, 26)"
        assert _faults(page, "['color-contrast']") == [], path
        seen.picture(f"{_file_name(path)}-dark")


def _file_name(path: str) -> str:
    return path.strip("/").partition("?")[0].replace("/", "-") or "overview"


def test_the_page_of_a_phone_has_no_sideways_scrolling_and_loses_no_heading(console: Open) -> None:
    seen = console(viewport={"width": 360, "height": 740}, color_scheme="dark")
    seen.log_in()
    for path in PATHS:
        page = seen.go(path)
        assert _overflow(page) <= 0, path
        seen.picture(f"{_file_name(path)}-360")
    cell = page.evaluate("getComputedStyle(document.body).fontSize")
    assert float(cell.removesuffix("px")) >= 16


def test_the_overview_says_what_the_run_came_to(console: Open) -> None:
    page = console().go("/")
    assert page.get_by_role("heading", name="Waits for you").is_visible()
    assert page.locator("#verdict").get_attribute("data-announce") in ("fresh", "refreshing", "stale")
    assert page.get_by_role("img", name="Hit rates, by pane").is_visible()
    assert page.get_by_role("img", name="Drift against no drift, by window").is_visible()
    assert page.get_by_role("table").filter(has_text="The last decisions").get_by_role("row").count() == 6
    page.get_by_role("link", name="Decisions", exact=True).click()
    page.get_by_role("link", name="Refreshes").click()
    page.get_by_role("rowheader").first.get_by_role("link").click()
    assert page.get_by_role("table").filter(has_text="What policy adaptive looked at").is_visible()


def test_a_rollback_by_click_moves_the_pointer_with_name_and_reason(console: Open, home: Path) -> None:
    seen = console()
    page = seen.go("/tables")
    before = TableStore(home / "tables").current()
    page.get_by_role("link", name="Serve 1", exact=True).click()
    page.get_by_label("Your name").fill("Ana")
    page.get_by_label("Token").fill(TOKEN)
    page.get_by_role("button", name="Log in").click()
    page.get_by_role("heading", name="Let version 1 serve").wait_for()
    seen.picture("rollback-light")
    page.get_by_role("button", name="Let version 1 serve").click()  # without a reason the browser does not send it
    assert page.url.endswith("/tables/rollback?to=1")
    page.get_by_label("Why").fill(f"hits fell {MARKUP}")
    page.get_by_role("button", name="Let version 1 serve").click()
    page.get_by_text("Version 1 serves.").wait_for()
    moves = TableStore(home / "tables").history()
    assert TableStore(home / "tables").current() == 1 != before
    assert (moves[-1].action, moves[-1].who, moves[-1].why) == ("rollback", "Ana", f"hits fell {MARKUP}")
    assert "rolled back" in seen.go("/").locator("#verdict").inner_text()
    seen.picture("stale-light")


def test_a_rollback_from_a_page_that_is_out_of_date_is_refused(console: Open, home: Path) -> None:
    seen = console()
    seen.log_in()
    page = seen.go("/tables/rollback?to=1")
    TableStore(home / "tables").rollback(2, why="somebody was faster")
    page.get_by_label("Why").fill("hits fell")
    page.get_by_role("button", name="Let version 1 serve").click()
    assert "version 2 serves by now" in page.get_by_role("alert").inner_text()
    assert page.get_by_label("Why").input_value() == "hits fell"
    assert TableStore(home / "tables").current() == 2
    seen.complaints = [each for each in seen.complaints if "422" not in each]


def test_an_override_by_click_publishes_the_candidate(console: Open, home: Path) -> None:
    seen = console()
    seen.log_in()
    before = TableStore(home / "tables").current()
    page = seen.go("/orders")
    page.get_by_role("link", name="Override order order-7").click()
    assert page.get_by_text("answers 0.4 of the window").is_visible()
    page.get_by_label("Why").fill("checked by hand")
    page.get_by_role("button", name="Serve it all the same").click()
    page.get_by_text(re.compile(r"The candidate of order order-7 serves, as version \d+\.")).wait_for()
    tables = TableStore(home / "tables")
    assert tables.current() != before
    assert (tables.history()[-1].action, tables.history()[-1].who) == ("override", "Ana")
    kept = Candidates(home / "candidates").of_order("order-7")
    assert (kept.published_as, kept.who, kept.why) == (tables.current(), "Ana", "checked by hand")
    assert page.get_by_role("link", name="Override order order-7").count() == 0


def test_a_fine_tune_is_rejected_by_keys_alone(console: Open, home: Path) -> None:
    seen = console()
    seen.log_in()
    page = seen.go("/fine-tunes")
    assert page.get_by_role("link", name="Approve ft-1").is_visible()
    _tab_to(page, "Skip to the content")
    _tab_to(page, "Reject ft-1")
    seen.picture("fine-tunes-focus")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Reject fine-tune ft-1").wait_for()
    while page.evaluate("document.activeElement.id") != "why":
        page.keyboard.press("Tab")
    page.keyboard.type("the samples are of one week")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.get_by_text("Fine-tune ft-1 is rejected.").wait_for()
    assert page.evaluate("document.activeElement.id") == "notice"
    with closing(Database(home / "runs.db")) as database:
        record = StoredFineTunes(database).get("ft-1")
    assert record is not None
    assert record.status is FineTuneStatus.REJECTED
    assert (record.steps[-1].by, record.steps[-1].why, record.steps[-1].is_person) == (
        "Ana",
        "the samples are of one week",
        True,
    )


def test_a_fine_tune_is_approved_by_click(console: Open, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Candidate:
        fingerprint = "c0ffee"

    class Service:
        def carry_out(self, record: FineTune, _: object) -> FineTune:
            return record

    monkeypatch.setattr(finetuning, "open_candidate", lambda _: Candidate)
    monkeypatch.setattr(finetuning, "weights_serving_of", lambda *_: Service())
    seen = console()
    seen.log_in()
    page = seen.go("/fine-tunes")
    page.get_by_role("link", name="Approve ft-1").click()
    page.get_by_label("Why").fill("better on the held-out week")
    page.get_by_role("button", name="Approve it").click()
    page.get_by_text("Fine-tune ft-1 is approved.").wait_for()
    assert page.get_by_role("link", name="Approve ft-1").count() == 0
    with closing(Database(home / "runs.db")) as database:
        record = StoredFineTunes(database).get("ft-1")
    assert record is not None
    assert (record.status, record.steps[-1].by) == (FineTuneStatus.APPROVED, "Ana")


def _tab_to(page: Page, text: str) -> None:
    """Press the tabulator until something of that text has the focus, which has to be seen."""
    for _ in range(120):
        page.keyboard.press("Tab")
        focused = page.evaluate("document.activeElement.textContent.trim()")
        style = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert style != "none", focused
        if focused == text:
            return
    raise AssertionError(f"{text!r} cannot be reached by keys")


def test_an_open_page_follows_the_run_and_keeps_the_focus(console: Open, home: Path) -> None:
    seen = console()
    page = seen.go("/tables")
    link = page.get_by_role("link", name="with 1 (version 2)")
    link.focus()
    TableStore(home / "tables").rollback(1, why="from elsewhere", who="Ben")
    page.get_by_text("from elsewhere").wait_for()
    assert page.evaluate("document.activeElement.textContent").startswith("with 1")
    overview = seen.go("/")
    TableStore(home / "tables").rollback(2, why="and forth", who="Ben")
    overview.get_by_text("and forth").wait_for()
    assert overview.get_by_text(re.compile("^Live; last looked")).is_visible()


def test_a_page_whose_console_is_gone_says_that_it_may_be_old(chromium: Browser, home: Path) -> None:
    with _context(chromium) as page:
        with running_console(ConsoleSettings(home, live_seconds=1), SystemClock()) as service:
            page.goto(service.url)
        lost = page.locator("#live-state").filter(has_text="what you see may be old")
        lost.wait_for(timeout=20_000)
        assert page.locator("#announcement").inner_text() == lost.inner_text()
        assert lost.inner_text().startswith("The console does not answer since")


@contextmanager
def _context(chromium: Browser) -> Iterator[Page]:
    context = chromium.new_context()
    yield context.new_page()
    context.close()


def test_paper_and_pages_without_scripts_have_all_that_is_known(console: Open) -> None:
    seen = console(java_script_enabled=False)
    page = seen.go("/")
    page.emulate_media(media="print")
    assert page.locator(".verdict").is_visible()
    assert not page.locator(".bar nav").is_visible()
    page.emulate_media(media="screen")
    assert "does not follow without scripts" in page.locator("#live-state noscript").inner_text()
