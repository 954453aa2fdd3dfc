"""What can go wrong, and that the page says it clearly and finds the way back where there is one."""

import signal
from collections.abc import Callable

import pytest

from tests.browser.conftest import REPLY, Opener, Talk
from tests.support.live import SCRIPTED, LiveServer

pytestmark = pytest.mark.browser

Servers = Callable[..., LiveServer]
LOST = "ERR_CONNECTION_REFUSED"
"""What the console says of each try while the server is down."""


def typed_talk(talk: Talk) -> None:
    """Open a talk without a microphone and let the greeting pass."""
    talk.page.click("#type-instead")
    talk.until("typing")
    talk.text(".line.agent .said")


def ask(talk: Talk, text: str) -> None:
    talk.page.fill("#message", text)
    talk.page.press("#message", "Enter")


def test_a_refused_microphone_is_explained_and_typing_still_works(
    talking_server: LiveServer, open_talk: Opener
) -> None:
    talk = open_talk(talking_server.url, granted=False)
    talk.page.click("#orb")
    assert "The microphone is blocked" in talk.text(".notice")
    assert talk.activity == "idle"
    assert "blocked" in talk.page.locator("#say-state").inner_text()
    talk.page.click("#type-instead")
    talk.until("typing", "speaking")
    assert talk.page.locator(".notice").count() == 0


def test_a_microphone_that_is_granted_later_can_be_turned_on_in_mid_talk(
    talking_server: LiveServer, open_talk: Opener
) -> None:
    talk = open_talk(talking_server.url, granted=False)
    typed_talk(talk)
    talk.page.click("#orb")
    assert "blocked" in talk.text(".notice")
    talk.context.grant_permissions(["microphone"])
    talk.page.click(".notice .button")
    talk.until("listening")
    assert talk.page.locator(".notice").count() == 0


def test_no_microphone_is_explained(talking_server: LiveServer, open_talk: Opener) -> None:
    talk = open_talk(talking_server.url, mic=None)
    talk.page.click("#orb")
    assert "No microphone found" in talk.text(".notice")
    assert "You can also type" in talk.text(".notice")


def test_a_full_server_is_explained_and_can_be_tried_again(live_server: Servers, open_talk: Opener) -> None:
    server = live_server(**SCRIPTED, PARLEY_SERVER__MAX_SESSIONS="1")
    first = open_talk(server.url)
    typed_talk(first)
    second = open_talk(server.url)
    second.page.click("#type-instead")
    assert "All lines are busy" in second.text(".notice")
    assert second.activity == "failed"
    first.page.click("#end")
    first.until("ended")
    second.page.click(".notice .button")
    second.until("typing", "speaking")


def test_a_server_that_is_gone_is_explained(live_server: Servers, open_talk: Opener) -> None:
    server = live_server(**SCRIPTED)
    talk = open_talk(server.url)
    talk.expected.append(LOST)
    server.stop()
    talk.page.click("#type-instead")
    assert "The server does not answer" in talk.text(".notice")


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_restarted_server_goes_on_with_the_talk(
    live_server: Servers, open_talk: Opener, how: signal.Signals
) -> None:
    overrides = {**SCRIPTED, "PARLEY_LLM__SCRIPTED__TEXT": REPLY}
    server = live_server(**overrides)
    talk = open_talk(server.url)
    talk.expected.append(LOST)
    typed_talk(talk)
    ask(talk, "before the restart")
    talk.until("speaking")
    talk.until("typing")
    server.stop(how)
    talk.until("reconnecting")
    assert "The connection was lost" in talk.text(".notice.calm")
    assert "Try " in talk.text("#hint")
    assert talk.page.locator("#send").is_disabled()
    live_server(port=server.port, folder=server.folder, **overrides)
    talk.until("typing")
    assert talk.page.locator(".notice").count() == 0
    assert "Connected again" in talk.text(".line.note")
    first, again = talk.told("connected")
    assert (again["session_id"], again["resumed"]) == (first["session_id"], True)
    ask(talk, "after the restart")
    talk.text(".line.agent:last-child .said", REPLY[-10:])
    words = talk.page.locator(".line.you .words").all_inner_texts()
    assert words == ["before the restart", "after the restart"]


def test_a_connection_that_breaks_in_a_reply_resumes_it_without_repeating(
    live_server: Servers, open_talk: Opener
) -> None:
    talk = open_talk("about:blank")
    # The page's own socket is cut, as a phone that changes cells would; the server knows nothing of it.
    talk.page.add_init_script(
        """const Real = WebSocket;
           window.sockets = [];
           window.WebSocket = class extends Real {
             constructor(...args) { super(...args); window.sockets.push(this); }
           };"""
    )
    talk.page.goto(live_server(**SCRIPTED).url)
    typed_talk(talk)
    ask(talk, "a long story")
    talk.page.wait_for_function(
        "() => document.querySelector('.line.agent:last-child .said')?.textContent.length > 40"
    )
    talk.page.evaluate("sockets.at(-1).onclose({code: 1006, reason: ''})")
    talk.until("reconnecting")
    talk.page.wait_for_function(
        "() => document.querySelector('.line.agent:nth-child(3) .said').textContent.length > 120"
    )
    begun = [m for m in talk.told("audio.begin") if m.get("offset_ms")]
    assert begun[-1]["offset_ms"] > 1000
    told = talk.told("response.begin")[-1]["response_id"]
    reports = [m["played_ms"] for m in talk.said("playback") if m["response_id"] == told]
    assert reports == sorted(reports)
    assert talk.page.locator(".line.agent").count() == 2


def test_a_talk_that_another_window_took_over_says_so(talking_server: LiveServer, open_talk: Opener) -> None:
    talk = open_talk(talking_server.url)
    typed_talk(talk)
    token = talk.told("connected")[0]["resume_token"]
    talk.page.evaluate(
        "token => { window.other = new WebSocket(`ws://${location.host}/ws/voice?resume=${token}`); }", token
    )
    assert "goes on elsewhere" in talk.text(".notice")
    assert talk.activity == "failed"


def test_a_talk_that_the_server_forgot_cannot_be_continued(
    talking_server: LiveServer, open_talk: Opener
) -> None:
    talk = open_talk(talking_server.url)
    typed_talk(talk)
    kept = talk.page.evaluate("sessionStorage.getItem('parley.talk')")
    talk.page.click("#end")
    talk.until("ended")
    talk.page.evaluate("kept => sessionStorage.setItem('parley.talk', kept)", kept)
    talk.page.reload()
    assert talk.text("#state") == "Continue the talk"
    talk.page.click("#orb")
    assert "could not be continued" in talk.text(".notice")


def test_an_idle_talk_is_closed_and_says_why(live_server: Servers, open_talk: Opener) -> None:
    talk = open_talk(live_server(**SCRIPTED, PARLEY_SERVER__IDLE_TIMEOUT_S="2").url)
    typed_talk(talk)
    talk.until("ended")
    assert "It was quiet for a long time" in talk.text(".keep")


def test_a_server_without_a_list_of_voices_is_no_trouble(
    talking_server: LiveServer, open_talk: Opener
) -> None:
    talk = open_talk("about:blank")
    talk.expected.append("404")
    talk.page.route("**/api/voices*", lambda route: route.fulfill(status=404, body="{}"))
    talk.page.goto(talking_server.url)
    talk.page.click("#settings-button")
    assert talk.text("#settings-title") == "Settings"
    assert talk.page.locator("#settings-voice").count() == 0
