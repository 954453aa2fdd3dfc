"""The page about how the talks went: drawn, for every reader, leading to where to listen."""

import asyncio
import json
import os
import random
import re
import threading
from collections.abc import Callable, Coroutine, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.request import Request, urlopen

import pytest
from playwright.sync_api import Browser, Playwright

from storage.database import open_database
from storage.times import iso
from tests.browser.conftest import CHROMIUM, FLAGS, Talk
from tests.browser.test_accounts_pages import PASSWORD, findings
from tests.browser.test_looks import CONTRASTS, PHONE, UNNAMED, overflow
from tests.storage.test_analytics import Story
from tests.support.live import SCRIPTED, LiveServer

pytestmark = pytest.mark.browser

PRICED = {
    **SCRIPTED,
    "PARLEY_ACCOUNTS__GUEST_RETENTION_H": "0",  # old talks of guests stay
    "PARLEY_PRICES__LLM": '{"scripted" = { input = 90000.0, output = 90000.0 }}',
    "PARLEY_LLM__SCRIPTED__TEXT": '["Yes, of course."]',
}
SHOTS = os.environ.get("PARLEY_SCREENSHOTS", "")
"""A folder for pictures of the page, for whoever wants to look at it."""
Open = Callable[..., Talk]


def aside(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Do it in a thread of its own: in this one playwright has a loop."""
    thread = threading.Thread(target=lambda: asyncio.run(work()))
    thread.start()
    thread.join()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """An administrator has talked on most of the last twenty days, with all that can happen."""
    folder = tmp_path_factory.mktemp("analytics")
    server = LiveServer(folder, PRICED)
    account = json.dumps({"email": "ann@example.org", "password": PASSWORD}).encode()
    asked = Request(f"{server.url}/api/auth/register", account, {"Content-Type": "application/json"})
    with urlopen(asked) as answer:
        user_id = json.load(answer)["id"]

    async def fill() -> None:
        database, dice = await open_database(f"sqlite+aiosqlite:///{folder}/parley.db"), random.Random(7)
        for back in range(20):
            for n in range(dice.randrange(4)):
                start = datetime.now(UTC) - timedelta(days=back, hours=1, minutes=n)
                name = f"{start:%Y%m%d_%H%M%S}_aaaaaaaaaaaaaaaaaaaa"
                header = {"owner": f"user:{user_id}", "user_id": user_id} if n < 2 else {}
                story = Story(name, iso(start), **header)
                for turn in range(1, 3 + dice.randrange(8)):
                    spans = (dice.randrange(300, 700), *(dice.randrange(20, 400) for _ in range(3)))
                    story.turn(turn, *spans)
                    cut = {"interrupted": True, "heard": ""} if dice.random() < 0.2 else {}
                    story.message(role="assistant", turn=turn, **cut)
                    story.cost(0.002 * dice.random(), turn)
                    story.cost(0.001, turn, stage="tts", provider="elevenlabs", model="", unit="character")
                story.message(role="assistant", type="apology", turn=turn)
                story.tool("book_appointment", {"ok": dice.random() < 0.7})
                await story.save(database, seconds=dice.randrange(60, 400))
        await database.aclose()

    aside(fill)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def browser(playwright: Playwright) -> Iterator[Browser]:
    browser = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=FLAGS)
    yield browser
    browser.close()


@pytest.fixture
def visit(browser: Browser, server: LiveServer) -> Iterator[Open]:
    """The page, as somebody who is logged in sees it; further keywords go to the browser's context."""
    talks: list[Talk] = []

    def start(email: str = "ann@example.org", **options: Any) -> Talk:
        size = {"width": 1280, "height": 900}
        context = browser.new_context(
            **{"locale": "en-GB", "viewport": size, "timezone_id": "UTC", **options}
        )
        login = {"email": email, "password": PASSWORD}
        if not context.request.post(f"{server.url}/api/auth/login", data=login).ok:
            assert context.request.post(f"{server.url}/api/auth/register", data=login).status == 201
        talk = Talk(context.new_page(), context)
        talks.append(talk)
        talk.page.set_default_timeout(20_000)
        talk.watch()
        talk.page.goto(f"{server.url}/analytics")
        talk.page.wait_for_selector("#report:not([aria-busy])")
        return talk

    yield start
    for talk in talks:
        talk.context.close()
    for talk in talks:
        assert talk.unexpected() == []


SIDEWAYS = "document.documentElement.scrollWidth - innerWidth"
"""By how much the page itself can be scrolled: its tables may, each in its box."""


def shot(talk: Talk, name: str) -> None:
    if SHOTS:
        talk.page.screenshot(path=f"{SHOTS}/{name}.png", full_page=True)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_draws_what_the_interface_says(server: LiveServer, visit: Open, scheme: str) -> None:
    talk = visit(color_scheme=scheme, reduced_motion="reduce")
    said = talk.context.request.get(f"{server.url}/api/analytics").json()
    assert talk.page.locator("canvas").count() == 4
    assert f"Talks\n{said['talks']}" in talk.page.locator("#figures").inner_text()
    assert talk.page.locator("#slowest tbody tr").count() == 10
    shot(talk, f"analytics-{scheme}")
    for summary in talk.page.locator(".numbers summary").all():
        summary.click()
    assert talk.page.locator("#talks .table tbody tr").count() == len(said["days"])
    assert findings(talk) == []
    assert talk.page.evaluate(UNNAMED) == []
    assert talk.page.evaluate(CONTRASTS) == []
    assert overflow(talk) <= 0
    # Ink is on every chart: neither empty nor one colour.
    inked = """() => [...document.querySelectorAll("canvas")].map((c) => new Set(
        new Uint32Array(c.getContext("2d").getImageData(0, 0, c.width, c.height).data.buffer)).size)"""
    assert min(talk.page.evaluate(inked)) > 5


def test_it_fits_on_a_phone_and_speaks_spanish(visit: Open) -> None:
    talk = visit(**{**PHONE, "locale": "es-ES"})
    assert talk.text("h1") == "Estadísticas"
    assert talk.page.locator(".chart .uplot").first.evaluate("e => e.clientWidth") < 390
    shot(talk, "analytics-phone")
    assert talk.page.evaluate(SIDEWAYS) <= 0
    assert findings(talk) == []


def test_days_are_chosen_tables_taken_along_and_talks_listened_to(server: LiveServer, visit: Open) -> None:
    talk = visit()
    request, home, page = talk.context.request, server.url, talk.page
    session = request.post(f"{home}/sessions/", data={}).json()["id"]
    for said in ("Where is my umbrella?", "And my hat?"):
        assert request.post(f"{home}/sessions/{session}/message", data={"message": said}).ok
    assert request.post(f"{home}/sessions/{session}/end").ok
    today = datetime.now(UTC).date().isoformat()
    page.select_option("#whose", "mine")
    page.fill("#from", today)
    page.fill("#to", today)
    page.click("#span button")
    page.wait_for_url(re.compile(rf"from={today}&to={today}&whose=mine"))
    page.wait_for_selector("#report:not([aria-busy])")
    with page.expect_download() as taken:
        page.click('[data-table="turns"]')
    lines = taken.value.path().read_text().splitlines()
    assert lines[0].startswith("session_id,turn,time")
    assert sum(line.startswith(session) for line in lines) == 2
    link = page.locator(f'#dearest a[href="/history/{session}?turn=2"]')
    link.click()
    here = page.locator(".line.here").first
    here.wait_for()
    assert "And my hat?" in here.inner_text()
    page.go_back()
    page.wait_for_selector("#figures div")
    assert page.input_value("#from") == today


def test_who_has_not_talked_is_told_so(visit: Open) -> None:
    talk = visit("new@example.org")
    assert talk.text("#nothing") == "Nobody talked in these days."
    assert not talk.page.locator(".part").first.is_visible()
    assert talk.page.locator("#whose").count() == 0
    assert findings(talk) == []
