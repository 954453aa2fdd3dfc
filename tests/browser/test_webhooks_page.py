"""Administrators see which webhooks could not be delivered, and send them again."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Playwright, expect

from tests.browser.conftest import CHROMIUM, FLAGS, Talk
from tests.support.live import SCRIPTED, LiveServer
from tests.support.receiver import SECRET

pytestmark = pytest.mark.browser
NOBODY = "http://127.0.0.1:9/hook"
"""Where nobody listens."""


@pytest.fixture
def browser(playwright: Playwright) -> Iterator[Browser]:
    browser = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=FLAGS)
    yield browser
    browser.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LiveServer]:
    hook = {
        "PARLEY_WEBHOOKS__CRM__URL": NOBODY,
        "PARLEY_WEBHOOKS__EVENTS": "session.ended",
        "PARLEY_WEBHOOKS__TRIES": "1",
        "WEBHOOK_SECRET": SECRET,
    }
    server = LiveServer(tmp_path / "server", {**SCRIPTED, **hook})
    yield server
    server.stop()


def test_an_administrator_sends_a_dead_webhook_again(browser: Browser, server: LiveServer) -> None:
    context = browser.new_context(locale="en-GB")
    talk = Talk(context.new_page(), context)
    talk.watch()
    account = {"email": "ann@example.org", "password": "a long and odd sentence"}
    assert context.request.post(f"{server.url}/api/auth/register", data=account).status == 201
    made = context.request.post(f"{server.url}/sessions/", data={"mode": "text"}).json()
    said = context.request.post(f"{server.url}/sessions/{made['id']}/message", data={"message": "Hello."})
    assert said.ok
    assert context.request.post(f"{server.url}/sessions/{made['id']}/end").ok
    page = talk.page
    dead = page.locator("#dead .item")
    for _ in range(50):
        page.goto(f"{server.url}/admin")
        page.wait_for_selector("#dead:not([aria-busy])")
        if dead.count():
            break
    expect(dead).to_have_count(1)
    expect(dead).to_contain_text("session.ended, crm")
    expect(dead).to_contain_text("cannot be reached")
    expect(page.locator("#receivers")).to_have_text("crm: 0 delivered, 0 waiting, 1 given up")
    with page.expect_response("**/retry") as again:
        dead.get_by_role("button").click()
    assert again.value.json()["state"] == "waiting"
    context.close()
    assert talk.unexpected() == []
