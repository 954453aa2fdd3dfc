"""Talks as a person has them: by voice, by button, in writing, with interruptions, to the end."""

import json
from collections.abc import Callable

import pytest

from tests.browser.conftest import REPLY, WAIT_MS, Opener, silence, speech
from tests.support.live import SCRIPTED, LiveServer

pytestmark = pytest.mark.browser

HEARD = "what can you do for me today"
GREETING = "Hello! How can I help?"


def test_an_open_microphone_turn_is_heard_answered_and_explained(
    open_talk: Opener, talking_server: LiveServer
) -> None:
    talk = open_talk(talking_server.url, mic=silence(2.5) + speech(2.5))
    assert talk.activity == "idle"
    talk.page.click("#orb")
    talk.until("listening")
    assert talk.text(".line.agent .said") == GREETING
    talk.until("hearing")
    assert HEARD.startswith(talk.text(".line.you .words"))  # live, while it is still being said
    talk.until("speaking")
    assert talk.text(".line.you:not(.partial) .words") == HEARD
    talk.until("listening")
    assert talk.text(".line.agent:last-child .said") == REPLY
    assert talk.page.locator(".line.agent .ahead").last.inner_text() == ""

    talk.page.click(".metrics summary")
    bars = talk.page.locator(".metrics .fall")
    assert bars.count() == 5
    assert all(time.endswith((" ms", " s")) for time in talk.page.locator(".fall .time").all_inner_texts())
    assert "You were silent for" in talk.text(".why")

    assert set(talk.frames) == {640}
    [start] = talk.said("start")
    assert (start["mode"], start["input_rate"], start["marks"]) == ("open-mic", 16000, True)


def test_the_page_reports_what_was_played_to_the_last_sample(
    open_talk: Opener, talking_server: LiveServer
) -> None:
    talk = open_talk(talking_server.url)
    talk.page.click("#type-instead")
    talk.until("typing")
    talk.page.fill("#message", "hello")
    talk.page.press("#message", "Enter")
    talk.until("speaking")
    talk.until("typing")
    ended = talk.told("audio.end")[-1]
    reports = [m["played_ms"] for m in talk.said("playback") if m["response_id"] == ended["response_id"]]
    assert reports[-1] == ended["duration_ms"]
    assert reports == sorted(reports)
    assert len(reports) >= ended["duration_ms"] / 300
    # The text is heard word by word, in step with the marks.
    assert talk.told("audio.mark")


@pytest.mark.parametrize("by", ["mouse", "space"])
def test_hold_to_talk_listens_only_while_held(open_talk: Opener, talking_server: LiveServer, by: str) -> None:
    talk = open_talk(talking_server.url, mic=speech() + speech() + speech())
    talk.page.click("text=Hold to talk")
    talk.page.click("#orb")
    talk.until("speaking")
    talk.until("ready")
    assert talk.frames == []
    if by == "mouse":
        talk.page.hover("#orb")
        talk.page.mouse.down()
    else:
        talk.page.keyboard.down("Space")
    talk.until("hearing")
    assert talk.page.get_attribute("#orb", "aria-pressed") == "true"
    talk.text(".line.you", HEARD[:4])
    if by == "mouse":
        talk.page.mouse.up()
    else:
        talk.page.keyboard.up("Space")
    talk.until("thinking", "speaking")
    count = len(talk.frames)
    talk.until("ready")
    assert talk.text(".line.you:not(.partial) .words") == HEARD
    assert talk.text(".line.agent:last-child .said") == REPLY
    assert len(talk.frames) == count > 0
    assert [m["type"] for m in talk.sent if m["type"].startswith("talk.")] == ["talk.begin", "talk.end"]


def test_pressing_the_button_silences_the_agent_at_once(
    open_talk: Opener, talking_server: LiveServer
) -> None:
    talk = open_talk(talking_server.url, mic=speech() + speech())
    talk.page.click("text=Hold to talk")
    talk.page.click("#orb")
    talk.until("ready")
    talk.page.fill("#message", "tell me")
    talk.page.press("#message", "Enter")
    talk.until("speaking")
    talk.page.click("#lines")  # out of the text field
    talk.page.keyboard.down("Space")
    talk.until("hearing")
    talk.text(".line.agent .aside", "You interrupted")
    talk.page.keyboard.up("Space")


def test_a_window_that_loses_the_focus_lets_go_of_the_button(
    open_talk: Opener, talking_server: LiveServer
) -> None:
    talk = open_talk(talking_server.url, mic=speech())
    talk.page.click("text=Hold to talk")
    talk.page.click("#orb")
    talk.until("ready")
    talk.page.keyboard.down("Space")
    talk.until("hearing")
    talk.page.evaluate("window.dispatchEvent(new Event('blur'))")
    talk.until("thinking", "speaking", "ready")
    assert talk.said("talk.end")


def test_the_space_bar_writes_a_space_in_the_text_field(
    open_talk: Opener, talking_server: LiveServer
) -> None:
    talk = open_talk(talking_server.url)
    talk.page.click("text=Hold to talk")
    talk.page.click("#orb")
    talk.until("ready")
    talk.page.click("#message")
    talk.page.keyboard.type("two words")
    assert talk.page.input_value("#message") == "two words"
    assert talk.said("talk.begin") == []


def test_typing_needs_no_microphone_at_all(open_talk: Opener, talking_server: LiveServer) -> None:
    talk = open_talk(talking_server.url, mic=None)
    talk.page.click("#type-instead")
    talk.until("typing", "speaking")
    talk.page.keyboard.type("What can you do?")  # the field has the focus already
    talk.page.keyboard.press("Enter")
    assert talk.text(".line.you .words") == "What can you do?"
    assert talk.text(".line.agent:last-child", REPLY[-10:])
    assert talk.page.locator("#notices").inner_text() == ""


def test_talking_over_the_agent_greys_what_was_not_heard(
    live_server: Callable[..., LiveServer], open_talk: Opener
) -> None:
    server = live_server(**SCRIPTED)  # its reply is 60 words long
    talk = open_talk(server.url, mic=silence(2.5) + speech(2) + silence(3.5) + speech(3))
    talk.page.click("#orb")
    talk.until("speaking")
    talk.until("interrupted")
    cut = talk.page.locator(".line.agent", has=talk.page.locator(".aside")).last
    told = talk.told("interrupted")[-1]
    said, unheard = cut.locator(".said").inner_text(), cut.locator(".unheard").inner_text()
    assert said.strip() == told["heard_text"].strip() != ""
    assert unheard.strip()
    assert "The grey words were not heard" in cut.inner_text()
    colours = [cut.locator(part).evaluate("e => getComputedStyle(e).color") for part in (".said", ".unheard")]
    assert colours[0] != colours[1]
    # The report that the decision rested on, sent as play-out was ducked, is what was really played.
    reports = [m["played_ms"] for m in talk.said("playback") if m["response_id"] == told["response_id"]]
    assert abs(told["heard_ms"] - reports[-1]) <= 1
    cut.locator(".metrics summary").click()
    assert "You had spoken over it" in cut.inner_text() or "words over it" in cut.inner_text()


def test_a_tap_on_the_orb_interrupts(open_talk: Opener, talking_server: LiveServer) -> None:
    talk = open_talk(talking_server.url)
    talk.page.click("#type-instead")
    talk.until("typing")
    talk.page.fill("#message", "go on")
    talk.page.press("#message", "Enter")
    talk.until("speaking")
    talk.page.click("#orb")
    talk.until("interrupted")
    assert talk.told("interrupted")[-1]["heard_ms"] >= 0
    talk.until("typing")


def test_muting_keeps_every_frame_back(open_talk: Opener, talking_server: LiveServer) -> None:
    talk = open_talk(talking_server.url, mic=silence(20))
    talk.page.click("#orb")
    talk.until("listening")
    talk.page.click("#mute")
    talk.until("muted")
    count = len(talk.frames)
    talk.page.fill("#message", "still there?")
    talk.page.press("#message", "Enter")
    talk.until("speaking")
    talk.until("muted")
    assert len(talk.frames) == count
    talk.page.click("#orb")
    talk.until("listening")
    assert talk.page.get_attribute("#mute", "aria-pressed") == "false"


def test_after_the_end_everything_can_be_downloaded(open_talk: Opener, talking_server: LiveServer) -> None:
    talk = open_talk(talking_server.url, mic=silence(2.5) + speech(2.5))
    talk.page.click("#orb")
    talk.until("hearing")
    talk.until("speaking")
    talk.until("listening")
    talk.page.click("#end")
    talk.until("ended")
    talk.text(".keep .file", "The whole talk")
    assert "what can you do" in talk.text(".keep .told")  # the summary
    talk.page.click(".keep summary")
    links = talk.page.locator(".keep a[download]")
    addresses = [str(links.nth(i).get_attribute("href")) for i in range(links.count())]
    assert len(addresses) == 5  # whole, transcript, greeting, question, answer
    for address in addresses:
        answer = talk.context.request.get(talking_server.url + address)
        assert answer.ok
        if "/api/download/" in address:
            roles = [m["role"] for m in json.loads(answer.body())["messages"]]
            assert roles == ["assistant", "user", "assistant"]
    with talk.page.expect_download() as saved:
        links.first.click()
    assert saved.value.suggested_filename == "conversation.mp3"
    seconds = talk.page.evaluate(
        """() => new Promise((resolve, reject) => {
             const audio = document.querySelector('.keep audio');
             audio.onloadedmetadata = () => resolve(audio.duration);
             audio.onerror = () => reject(audio.error.message);
             audio.preload = 'metadata'; audio.load();
           })"""
    )
    assert seconds > 5
    assert talk.page.evaluate("sessionStorage.length") == 0


def test_a_reloaded_page_takes_the_talk_up_again(open_talk: Opener, talking_server: LiveServer) -> None:
    talk = open_talk(talking_server.url)
    talk.page.click("#type-instead")
    talk.until("typing")
    talk.page.fill("#message", "remember this")
    talk.page.press("#message", "Enter")
    talk.until("speaking")
    talk.until("typing")
    session = talk.told("connected")[0]["session_id"]
    talk.page.reload()
    assert talk.text("#state") == "Continue the talk"
    assert "still open" in talk.text("#hint")
    talk.page.click("#orb")
    talk.until("typing")
    assert talk.told("connected")[-1]["session_id"] == session
    lines = talk.page.locator("#lines .line").all_inner_texts()
    assert any("remember this" in line for line in lines)
    assert any(REPLY in line for line in lines)
    assert lines[-1] == "Your talk goes on."


def test_a_reply_goes_on_where_it_was_after_a_reload(
    live_server: Callable[..., LiveServer], open_talk: Opener
) -> None:
    talk = open_talk(live_server(**SCRIPTED).url)
    talk.page.click("#type-instead")
    talk.until("typing")
    talk.page.fill("#message", "a long story")
    talk.page.press("#message", "Enter")
    talk.until("speaking")
    talk.page.wait_for_function(
        "() => document.querySelector('.line.agent:last-child .said')?.textContent.length > 40"
    )
    talk.page.reload()
    talk.page.click("#orb")
    talk.until("speaking")
    begun = talk.told("audio.begin")[-1]
    assert begun["offset_ms"] > 1000
    talk.page.wait_for_function(
        "() => document.querySelectorAll('.line.agent')[1]?.querySelector('.said').textContent.length > 60",
        timeout=WAIT_MS,
    )


def test_a_new_talk_starts_clean_after_the_last(open_talk: Opener, talking_server: LiveServer) -> None:
    talk = open_talk(talking_server.url)
    talk.page.click("#type-instead")
    talk.until("typing")
    talk.page.click("#end")
    talk.until("ended")
    talk.text(".keep")
    talk.page.click("#type-instead")
    talk.until("typing", "speaking")
    assert talk.page.locator(".keep").count() == 0
    first, second = (m["session_id"] for m in talk.told("connected"))
    assert first != second
