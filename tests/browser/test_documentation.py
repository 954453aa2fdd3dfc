"""The documentation's pages in a real browser: they show what they should, under their policy (a breach fails
the test: see conftest), and ask nobody but this server."""

import pytest
from playwright.sync_api import Request

from tests.browser.conftest import WAIT_MS, Opener
from tests.support.live import LiveServer

pytestmark = pytest.mark.browser


def strangers(asked: list[Request], server: LiveServer) -> list[str]:
    """Addresses on other servers."""
    return [r.url for r in asked if not r.url.startswith((server.url, "data:", "blob:"))]


def test_swagger_ui_shows_every_route_and_tries_one_out(
    open_talk: Opener, talking_server: LiveServer
) -> None:
    talk = open_talk("about:blank", mic=None)
    asked: list[Request] = []
    talk.page.on("request", lambda request: asked.append(request))
    talk.page.goto(f"{talking_server.url}/docs")
    talk.text(".opblock-tag", "Accounts")
    described = talk.page.evaluate("fetch('/openapi.json').then(answer => answer.json())")
    shown = talk.page.locator(".opblock").count()
    assert shown == sum(len(operations) for operations in described["paths"].values())
    talk.page.locator("#operations-Operations-get_health .opblock-summary-control").click()
    talk.page.get_by_role("button", name="Try it out").click()
    talk.page.get_by_role("button", name="Execute").click()
    assert '"status"' in talk.text(".live-responses-table .response-col_description", "status")
    assert strangers(asked, talking_server) == []


def test_redoc_shows_every_route(open_talk: Opener, talking_server: LiveServer) -> None:
    talk = open_talk("about:blank", mic=None)
    asked: list[Request] = []
    talk.page.on("request", lambda request: asked.append(request))
    talk.page.goto(f"{talking_server.url}/redoc")
    talk.page.get_by_role("heading", name="Make an account").first.wait_for(timeout=WAIT_MS)
    talk.page.get_by_role("heading", name="A sound file (MP3), with Range").wait_for(timeout=WAIT_MS)
    assert strangers(asked, talking_server) == []


def test_the_page_on_the_socket_shows_every_message(open_talk: Opener, talking_server: LiveServer) -> None:
    talk = open_talk(f"{talking_server.url}/docs/websocket", mic=None)
    talk.text("article", "turn.metrics")
    described = talk.page.evaluate("fetch('/asyncapi.json').then(answer => answer.json())")
    shown = talk.page.locator("article h3").all_inner_texts()
    assert sorted(shown) == sorted(m["title"] for m in described["components"]["messages"].values())
    talk.page.get_by_role("link", name="HTTP: read it").click()
    talk.page.get_by_role("heading", name="Make an account").first.wait_for(timeout=WAIT_MS)


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/docs/websocket"])
def test_on_a_phone_nothing_sticks_out(open_talk: Opener, talking_server: LiveServer, path: str) -> None:
    talk = open_talk(f"{talking_server.url}{path}", mic=None, viewport={"width": 390, "height": 800})
    talk.page.get_by_text("Parley").nth(1).wait_for(timeout=WAIT_MS)
    assert talk.page.evaluate("document.documentElement.scrollWidth") <= 390
