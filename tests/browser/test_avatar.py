"""The agent's face: a mouth that follows what is heard, states that show, less motion where it is wished."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, WebSocketRoute

from tests.browser.conftest import REPLY, WAIT_MS, Opener, Talk
from tests.support.live import SCRIPTED, LiveServer

pytestmark = pytest.mark.browser


# -- the arithmetic of a mouth ---------------------------------------------------------------------------


def mouth(page: Page, body: str, **given: Any) -> Any:
    """Run JavaScript with everything that mouth.js exports."""
    script = "async (given) => { const m = await import('/static/mouth.js');" + body + "}"
    return page.evaluate(script, given)


def shapes(page: Page, text: str) -> list[str | None]:
    """Per character: what the lips do, in words."""
    got = mouth(page, "return [...given.text].map((_, at) => m.letterShape(given.text, at));", text=text)
    return [shape if shape is None else name_of(shape) for shape in got]


def name_of(shape: dict[str, float]) -> str:
    if shape["open"] == 0:
        return "shut"
    if shape["open"] >= 0.7:
        return "open"
    return "round" if shape["width"] < 0.35 else "wide" if shape["width"] > 0.75 else "narrow"


def test_lips_meet_for_m_b_and_p_open_for_a_and_round_for_o_and_u(modules: Page) -> None:
    assert shapes(modules, "mapo") == ["shut", "open", "shut", "open"]
    assert shapes(modules, "fui") == ["narrow", "round", "wide"]
    assert shapes(modules, "Ñandú") == ["narrow", "open", "narrow", "narrow", "round"]


def test_groups_of_letters_have_one_shape(modules: Page) -> None:
    assert shapes(modules, "phone")[:2] == ["narrow", "narrow"]  # f, not p
    assert shapes(modules, "food") == ["narrow", "round", "round", "narrow"]
    assert shapes(modules, "she")[:2] == ["round", "round"]


def test_the_mouth_rests_at_punctuation_and_the_end_but_not_between_words(modules: Page) -> None:
    got = shapes(modules, "so a. Oh")
    assert got[2] == got[3] == "open"
    assert got[4] is None
    assert got[5] is None
    assert mouth(modules, "return m.letterShape('hi', 2);") is None
    assert mouth(modules, "return m.letterShape('', 0);") is None


def test_letters_of_any_script_and_emojis_are_harmless(modules: Page) -> None:
    assert shapes(modules, "你好") == ["open", "open"]
    assert mouth(modules, "return m.letterShape('\\u{1F600}', 0);") is None
    assert mouth(modules, "return m.letterShape('a\\u0000b', 1);") is None


def test_how_far_it_opens_is_how_loud_it_is(modules: Page) -> None:
    got = mouth(
        modules,
        """const a = m.letterShape("a", 0);
           return [0, 0.001, 0.01, 0.05, 0.3].map((level) => m.lips(level, a).open);""",
    )
    assert got[0] == got[1] == 0
    assert 0 < got[2] < got[3] < got[4] <= 1
    assert mouth(modules, "return m.lips(0.3, null).open;") == 0  # loud, but nothing is said here
    assert mouth(modules, "return m.lips(0.3, undefined).open;") > 0.5  # nobody knows what is said


def test_what_sounds_is_what_was_reported_when_it_reaches_the_ear(modules: Page) -> None:
    got = mouth(
        modules,
        """const sounding = new m.Sounding();
           sounding.hear("r1", 40, 0.1, 1050);
           sounding.hear("r1", 80, 0.2, 1090);
           const at = [1040, 1060, 1100, 1209, 1211].map((now) => sounding.at(now));
           sounding.hear("r1", 120, 0.3, 1300);
           const before = sounding.at(1310);
           sounding.hush();
           return {at, before, after: sounding.at(1311)};""",
    )
    assert got["at"][0] is None  # rendered, not heard yet
    assert got["at"][1] == {"id": "r1", "playedMs": 50, "level": 0.1}
    assert got["at"][2] == {"id": "r1", "playedMs": 90, "level": 0.2}
    assert got["at"][3] is not None
    assert got["at"][4] is None  # play-out has stopped, whoever stopped it
    assert got["before"]["level"] == 0.3
    assert got["after"] is None


def test_lips_have_weight_and_shut_at_once(modules: Page) -> None:
    got = mouth(
        modules,
        """const mouth = new m.Mouth();
           const opening = [1, 2, 3, 4].map(() => mouth.follow({open: 1, width: 0.6}, 0.016).open);
           const shut = mouth.follow(m.SHUT, 0.016).open;
           const still = [0.2, 0.9, 0.5].map((open) => mouth.follow({open, width: 0.1}, 0.016, true).open);
           return {opening, shut, still};""",
    )
    assert got["opening"] == sorted(got["opening"])
    assert 0.2 < got["opening"][0] < got["opening"][3] < 1
    assert got["shut"] == 0
    assert len(set(got["still"])) == 1  # no motion is wished for: one shape for all speech


# -- the face on the page --------------------------------------------------------------------------------

MEASURE = """
() => {
  const canvas = document.getElementById("orb-canvas");
  const box = [0.36, 0.55, 0.28, 0.16].map((share) => Math.round(share * canvas.width));
  const {data} = canvas.getContext("2d").getImageData(...box);
  let ink = 0;
  for (let i = 0; i < data.length; i += 4) ink += data[i] < 70 && data[i + 1] < 50 && data[i + 2] < 75;
  return ink / (data.length / 4);
}
"""
"""How much of the lower face is the dark of a mouth: a line when it is shut."""

WATCH = (
    "async (ms) => { const measure = "
    + MEASURE
    + """;
  const seen = [];
  const end = performance.now() + ms;
  while (performance.now() < end) {
    await new Promise(requestAnimationFrame);
    seen.push({at: performance.now(), ink: measure(), activity: document.body.dataset.activity});
  }
  return seen;
}"""
)

OPEN = 0.05  # of the box; a closed mouth takes less than 0.03


@pytest.fixture(scope="module")
def facing_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    more = {"PARLEY_LLM__SCRIPTED__TEXT": REPLY, "PARLEY_AVATAR__PLUGIN": "face"}
    server = LiveServer(tmp_path_factory.mktemp("facing"), {**SCRIPTED, **more})
    yield server
    server.stop()


def ask(talk: Talk, text: str = "hello") -> None:
    talk.page.fill("#message", text)
    talk.page.press("#message", "Enter")
    talk.until("speaking")


def typed(open_talk: Opener, server: LiveServer, **context: Any) -> Talk:
    talk = open_talk(server.url, smooth=True, **context)
    talk.page.click("#type-instead")
    talk.until("speaking")  # the greeting
    talk.until("typing")
    return talk


def watch(talk: Talk, ms: int) -> list[dict[str, Any]]:
    seen: list[dict[str, Any]] = talk.page.evaluate(WATCH, ms)
    return seen


def test_the_mouth_moves_while_the_agent_speaks_and_is_still_when_it_is_silent(
    open_talk: Opener, facing_server: LiveServer
) -> None:
    talk = typed(open_talk, facing_server)
    assert talk.told("connected")[0]["agent"]["avatar"] == "face"
    assert talk.page.evaluate("() => document.body.dataset.avatar") == "face"
    talk.page.wait_for_timeout(1200)
    assert max(one["ink"] for one in watch(talk, 500)) < OPEN
    ask(talk)
    spoken = [one["ink"] for one in watch(talk, 2000)]
    assert max(spoken) > OPEN * 1.5
    assert min(spoken) < OPEN  # m, p, b and the ends of sentences
    changes = sum((a > OPEN) != (b > OPEN) for a, b in pairwise(spoken))
    assert changes >= 2  # many more where pictures are drawn in time
    talk.until("typing")
    talk.page.wait_for_timeout(1200)
    assert max(one["ink"] for one in watch(talk, 400)) < OPEN
    assert talk.page.get_attribute("#orb-canvas", "aria-hidden") == "true"
    assert talk.text("#state") == "Ready"


def test_an_interruption_shuts_the_mouth_at_once(open_talk: Opener, facing_server: LiveServer) -> None:
    talk = typed(open_talk, facing_server)
    ask(talk)
    talk.page.wait_for_timeout(400)
    talk.page.evaluate("() => setTimeout(() => document.getElementById('orb').click(), 200)")
    seen = watch(talk, 1500)
    cut_at = next(one["at"] for one in seen if one["activity"] == "interrupted")
    assert max(one["ink"] for one in seen if one["at"] < cut_at) > OPEN
    # Two pictures later at the latest: the one under way, and the next (drawn every 15 ms or so).
    after = [one["ink"] for one in seen if one["at"] > cut_at + 60]
    assert len(after) > 5
    assert max(after) < OPEN


def test_a_duck_shuts_the_mouth_and_an_unduck_lets_it_go_on(
    open_talk: Opener, facing_server: LiveServer
) -> None:
    talk = open_talk(facing_server.url, smooth=True)
    sockets: list[WebSocketRoute] = []

    def between(socket: WebSocketRoute) -> None:
        socket.connect_to_server()
        sockets.append(socket)

    talk.page.route_web_socket("**/ws/voice*", between)
    talk.page.reload()
    talk.page.click("#type-instead")
    talk.until("typing")
    ask(talk)
    reply = talk.told("response.begin")[-1]["response_id"]
    talk.page.evaluate(f"() => {{ globalThis.watching = ({WATCH})(2400); }}")
    for kind, ms in (("duck", 700), ("unduck", 800)):
        talk.page.wait_for_timeout(ms)
        talk.page.evaluate(f"() => {{ globalThis.{kind} = performance.now(); }}")
        sockets[0].send(json.dumps({"type": kind, "response_id": reply}))
    seen = talk.page.evaluate("() => globalThis.watching")
    begin, end = talk.page.evaluate("() => [globalThis.duck, globalThis.unduck]")
    ducked = [one["ink"] for one in seen if begin + 400 < one["at"] < end]
    assert len(ducked) > 10
    assert max(ducked) < OPEN
    assert max(one["ink"] for one in seen if one["at"] < begin) > OPEN
    assert max(one["ink"] for one in seen if one["at"] > end) > OPEN


def test_with_less_motion_nothing_moves_but_the_mouth_s_two_states(
    open_talk: Opener, facing_server: LiveServer
) -> None:
    talk = typed(open_talk, facing_server, reduced_motion="reduce")
    moved = """
    async (ms) => {
      const canvas = document.getElementById("orb-canvas");
      const look = () => canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
      const before = look();
      await new Promise((resolve) => setTimeout(resolve, ms));
      // The faint end of the glow has no colour worth comparing.
      const solid = (at) => before[at | 3] > 64;
      return look().reduce((count, value, at) => count + (solid(at) && Math.abs(value - before[at]) > 8), 0);
    }
    """
    talk.page.wait_for_timeout(3000)  # colours have settled, on a busy machine too
    assert talk.page.evaluate(moved, 2500) == 0  # longer than between most blinks and glances
    ask(talk)
    inks = sorted(one["ink"] for one in watch(talk, 1500) if one["activity"] == "speaking")
    open_ones = [ink for ink in inks if ink > OPEN]
    assert open_ones
    assert open_ones[-1] - open_ones[0] < 0.02


def test_the_face_shows_the_state(modules: Page) -> None:
    got = modules.evaluate(
        """async () => {
             const { Face } = await import("/static/face.js");
             const of = (activity) => {
               const face = new Face();
               for (let i = 0; i < 100; i += 1) face.follow({activity}, {mic: 0, voice: 0}, 0.02, true);
               return face.pose;
             };
             return {listening: of("listening"), thinking: of("thinking"), hearing: of("hearing"),
                     muted: of("muted"), ended: of("ended"), failed: of("failed")};
           }"""
    )
    assert got["thinking"]["y"] < -0.4  # looks up
    assert got["listening"]["x"] == got["listening"]["y"] == 0  # looks at you
    assert (
        got["hearing"]["lids"] > got["listening"]["lids"] > got["muted"]["lids"] > got["ended"]["lids"] == 0
    )
    assert got["failed"]["smile"] < 0


def test_it_blinks_now_and_then(modules: Page) -> None:
    got = modules.evaluate(
        """async () => {
             const { Face } = await import("/static/face.js");
             const face = new Face();
             let blinks = 0, shut = false;
             for (let i = 0; i < 50 * 60; i += 1) {
               face.follow({activity: "listening"}, {mic: 0, voice: 0}, 0.02, false);
               if (!shut && face.lids < 0.3) blinks += 1;
               shut = face.lids < 0.3;
             }
             return blinks;
           }"""
    )
    assert 9 <= got <= 31  # in a minute


def test_one_chooses_how_the_agent_looks_and_it_stays(open_talk: Opener, facing_server: LiveServer) -> None:
    talk = typed(open_talk, facing_server)
    worn = "() => document.body.dataset.avatar"
    assert talk.page.evaluate(worn) == "face"
    talk.page.click("#settings-button")
    talk.page.click("text=Plain")
    assert talk.page.evaluate(worn) == "none"
    assert not talk.page.locator("#orb-canvas").is_visible()
    talk.page.reload()
    assert talk.page.evaluate(worn) == "none"
    talk.page.click("#settings-button")
    talk.page.click("text=Its own")
    assert talk.page.evaluate(worn) == "face"  # as it was told in the last talk


# -- an avatar from elsewhere ----------------------------------------------------------------------------

VIEWER = b"""<!doctype html><title>viewer</title><body style="background:#fc0"><script>
const say = (state) => parent.postMessage({type: "parley.avatar", state}, "*");
addEventListener("message", ({data}) => { fetch("/told?sound=" + data.sound); });
addEventListener("hashchange", () => say(location.hash.slice(1)));
if (!location.hash.includes("never")) setTimeout(() => say("playing"), 100);
</script>"""


class _Viewer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.told.append(self.path)  # type: ignore[attr-defined]
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(VIEWER)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def viewer() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Viewer)
    server.told = []  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def elsewhere(live_server: Callable[..., LiveServer], viewer: ThreadingHTTPServer, **more: str) -> LiveServer:
    """A server whose avatar is a page of that viewer."""
    folder = Path(__file__).parents[1] / "support"
    assert (folder / "avatar_elsewhere.py").is_file()
    plugin = "tests.support.avatar_elsewhere:create"
    return live_server(
        **SCRIPTED,
        PARLEY_LLM__SCRIPTED__TEXT=REPLY,
        PARLEY_AVATAR__PLUGIN=plugin,
        ELSEWHERE_URL=f"http://127.0.0.1:{viewer.server_port}/",
        **more,
    )


def volume(talk: Talk) -> None:
    """Remember what the page's own voice is turned to."""
    talk.page.evaluate(
        """async () => {
             const { Player } = await import("/static/player.js");
             const real = Player.prototype.mute;
             globalThis.muted = [];
             Player.prototype.mute = function (muted) {
               globalThis.muted.push(muted);
               return real.call(this, muted);
             };
           }"""
    )


def test_a_picture_from_elsewhere_takes_over_between_replies_and_gives_back(
    live_server: Callable[..., LiveServer], viewer: ThreadingHTTPServer, open_talk: Opener
) -> None:
    talk = open_talk(elsewhere(live_server, viewer).url, smooth=True)
    volume(talk)
    talk.page.click("#type-instead")
    talk.page.wait_for_function("() => document.body.dataset.embedded === 'true'")
    talk.until("typing")
    talk.page.wait_for_function("() => globalThis.muted.at(-1) === true")
    assert "/told?sound=true" in viewer.told  # type: ignore[attr-defined]
    ask(talk)
    talk.until("typing")  # it goes on counting what would have been heard
    ended = talk.told("audio.end")[-1]
    assert talk.said("playback")[-1]["played_ms"] == ended["duration_ms"]
    talk.page.evaluate(
        "() => { const f = document.querySelector('iframe'); f.src = f.src.split('#')[0] + '#gone'; }"
    )
    talk.page.wait_for_function("() => document.body.dataset.embedded === 'false'")
    assert talk.page.evaluate("() => globalThis.muted.at(-1)") is False
    assert talk.page.evaluate("() => document.body.dataset.avatar") == "face"


@pytest.mark.parametrize("how", ["never", "refused", "hang"])
def test_a_picture_that_does_not_come_is_not_noticed(
    live_server: Callable[..., LiveServer], viewer: ThreadingHTTPServer, open_talk: Opener, how: str
) -> None:
    talk = open_talk(elsewhere(live_server, viewer, ELSEWHERE_HOW=how).url, smooth=True)
    volume(talk)
    talk.page.click("#type-instead")
    talk.until("typing")
    ask(talk)
    assert max(one["ink"] for one in watch(talk, 1200)) > OPEN  # the page's own face speaks
    assert talk.page.evaluate("() => globalThis.muted.filter(Boolean)") == []
    assert talk.told("error") == []
    assert json.dumps(talk.page.locator("#notices").inner_text()) == '""'


def test_another_site_cannot_pretend_to_be_the_picture(
    live_server: Callable[..., LiveServer], viewer: ThreadingHTTPServer, open_talk: Opener
) -> None:
    talk = open_talk(elsewhere(live_server, viewer, ELSEWHERE_HOW="never").url, smooth=True)
    talk.page.click("#type-instead")
    talk.page.locator("iframe").wait_for(state="attached", timeout=WAIT_MS)
    talk.page.evaluate("() => postMessage({type: 'parley.avatar', state: 'playing'}, '*')")
    talk.page.wait_for_timeout(200)
    assert talk.page.evaluate("() => document.body.dataset.embedded ?? 'false'") == "false"


def test_who_prefers_a_face_gets_no_picture(
    live_server: Callable[..., LiveServer], viewer: ThreadingHTTPServer, open_talk: Opener
) -> None:
    talk = open_talk(elsewhere(live_server, viewer).url, smooth=True)
    talk.page.evaluate("() => localStorage.setItem('parley.avatar', 'orb')")
    talk.page.reload()
    talk.page.click("#type-instead")
    talk.until("typing")
    assert talk.told("avatar")[-1]["view"]["kind"] == "embed"
    assert talk.page.locator("iframe").count() == 0
