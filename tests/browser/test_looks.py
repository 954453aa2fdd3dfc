"""How the page looks and is reached: themes, phones, keyboards, screen readers, languages."""

import pytest

from tests.browser.conftest import Opener, Talk, silence
from tests.support.live import LiveServer

pytestmark = pytest.mark.browser

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}

CONTRASTS = """
() => {
  const parse = (text) => {
    const srgb = text.startsWith("color(srgb");
    const [r, g, b, a = 1] = text.match(/[\\d.]+/g).map(Number);
    return srgb ? [r * 255, g * 255, b * 255, a] : [r, g, b, a];
  };
  const over = (top, under) => top.slice(0, 3).map((c, i) => c * top[3] + under[i] * (1 - top[3]));
  const light = (c) => {
    const [r, g, b] = c.map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    const layers = [];
    for (let at = element; at; at = at.parentElement) {
      layers.push(parse(getComputedStyle(at).backgroundColor));
    }
    return layers.reverse().reduce((under, layer) => over(layer, under), [255, 255, 255]);
  };
  const poor = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!own || !element.checkVisibility()) continue;
    if (element.closest(".hidden, .skip, :disabled, noscript")) continue;
    const back = ground(element);
    const [a, b] = [light(over(parse(getComputedStyle(element).color), back)), light(back)];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) poor.push(`${element.className || element.tagName}: ${ratio.toFixed(2)}`);
  }
  return poor;
}
"""

UNNAMED = """
() => [...document.querySelectorAll("button, a, input, select, textarea, audio, [tabindex='0']")]
  .filter((e) => e.checkVisibility())
  .filter((e) => !(e.ariaLabel || e.innerText?.trim() || e.labels?.length))
  .filter((e) => !e.hasAttribute("aria-labelledby"))
  .map((e) => e.outerHTML)
"""


def overflow(talk: Talk) -> int:
    """By how many pixels the page could be scrolled sideways."""
    return int(
        talk.page.evaluate(
            """() => Math.max(...[...document.querySelectorAll("*")]
                 .filter((e) => !e.closest(".hidden, .skip, svg, .orb") && e.checkVisibility())
                 .map((e) => e.getBoundingClientRect().right)) - innerWidth"""
        )
    )


def through_a_talk(talk: Talk) -> None:
    """Say, hear, open what can be opened, and stop before the end."""
    talk.page.click("#orb")
    talk.until("listening")
    talk.page.fill("#message", "Averylongwordwithoutanyplacetobreakitinto" * 3)
    talk.page.press("#message", "Enter")
    talk.until("speaking")
    talk.until("listening")
    talk.page.click(".metrics summary")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_enough_in_every_state(
    talking_server: LiveServer, open_talk: Opener, scheme: str
) -> None:
    talk = open_talk(talking_server.url, mic=silence(60), color_scheme=scheme, reduced_motion="reduce")
    assert talk.page.evaluate(CONTRASTS) == []
    through_a_talk(talk)
    talk.page.fill("#message", "and again")
    talk.page.press("#message", "Enter")
    talk.until("speaking")
    assert talk.page.evaluate(CONTRASTS) == []
    talk.page.click("#orb")
    talk.text(".aside")
    assert talk.page.evaluate(CONTRASTS) == []
    talk.page.click("#end")
    talk.until("ended")
    talk.text(".keep .file")
    assert talk.page.evaluate(CONTRASTS) == []
    talk.page.click("#settings-button")
    talk.text("#settings-title")
    assert talk.page.evaluate(CONTRASTS) == []


def test_everything_fits_on_a_phone(talking_server: LiveServer, open_talk: Opener) -> None:
    talk = open_talk(talking_server.url, mic=silence(60), **PHONE)
    assert overflow(talk) <= 0
    talk.page.click("#settings-button")
    assert overflow(talk) <= 0
    talk.page.keyboard.press("Escape")
    through_a_talk(talk)
    assert overflow(talk) <= 0
    # The main control is big enough for a thumb and wholly in view; so is the composer.
    for part in ("#orb", "#end", "#mute", "#send"):
        box = talk.page.locator(part).bounding_box()
        assert box is not None
        assert min(box["width"], box["height"]) >= 38
        assert box["y"] + box["height"] <= 844
    talk.page.click("#end")
    talk.until("ended")
    talk.text(".keep .file")
    assert overflow(talk) <= 0


def test_a_finger_holds_to_talk(talking_server: LiveServer, open_talk: Opener) -> None:
    talk = open_talk(talking_server.url, mic=silence(60), **PHONE)
    talk.page.tap("text=Hold to talk")
    talk.page.tap("#orb")
    talk.until("ready")
    assert talk.text("#hint") == "Press and keep pressing"
    box = talk.page.locator("#orb").bounding_box()
    assert box is not None
    touch = talk.context.new_cdp_session(talk.page)
    point = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
    touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [point]})
    talk.until("hearing")
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    talk.until("ready", "thinking")
    assert [m["type"] for m in talk.sent if m["type"].startswith("talk.")] == ["talk.begin", "talk.end"]


def test_the_theme_follows_the_system_until_one_is_chosen(
    talking_server: LiveServer, open_talk: Opener
) -> None:
    talk = open_talk(talking_server.url, color_scheme="dark")
    background = "() => getComputedStyle(document.body).backgroundColor"
    dark = talk.page.evaluate(background)
    talk.page.emulate_media(color_scheme="light")
    light = talk.page.evaluate(background)
    assert dark != light
    talk.page.click("#settings-button")
    talk.page.locator(".settings label", has_text="Dark").click()
    assert talk.page.evaluate(background) == dark
    talk.page.reload()
    assert talk.page.evaluate(background) == dark
    talk.page.click("#settings-button")
    talk.page.locator(".settings label", has_text="Automatic").click()
    assert talk.page.evaluate(background) == light


def test_a_whole_talk_needs_only_the_keyboard(talking_server: LiveServer, open_talk: Opener) -> None:
    talk = open_talk(talking_server.url, mic=silence(60))
    press = talk.page.keyboard.press

    def tab_to(selector: str) -> None:
        for _ in range(20):
            press("Tab")
            if talk.page.evaluate("s => document.activeElement.matches(s)", selector):
                outline = (
                    "() => getComputedStyle(document.activeElement.closest('form') || document.activeElement)"
                )
                seen = talk.page.evaluate(f"{outline}.boxShadow") if selector == "#message" else "outline"
                assert seen != "none"
                return
        raise AssertionError(f"{selector} cannot be reached by Tab")

    tab_to("#orb")
    press("Enter")
    talk.until("listening")
    tab_to("#message")
    talk.page.keyboard.type("hello")
    press("Enter")
    talk.until("speaking")
    press("Escape")
    talk.until("interrupted", "listening")
    press("Shift+Tab")
    talk.page.focus("#orb")
    tab_to("#mute")
    press("Space")
    talk.until("muted")
    tab_to("#end")
    press("Enter")
    talk.until("ended")
    assert talk.page.evaluate("document.activeElement.id") == "orb"


def test_every_control_has_a_name_in_every_state(talking_server: LiveServer, open_talk: Opener) -> None:
    talk = open_talk(talking_server.url, mic=silence(60))
    assert talk.page.evaluate(UNNAMED) == []
    through_a_talk(talk)
    assert talk.page.evaluate(UNNAMED) == []
    talk.page.click("#settings-button")
    assert talk.page.evaluate(UNNAMED) == []
    talk.page.keyboard.press("Escape")
    talk.page.click("#end")
    talk.until("ended")
    talk.text(".keep .file")
    assert talk.page.evaluate(UNNAMED) == []


def test_a_screen_reader_is_told_whole_sentences_and_no_partials(
    talking_server: LiveServer, open_talk: Opener
) -> None:
    talk = open_talk(talking_server.url, mic=silence(60))
    talk.page.click("#orb")
    talk.until("listening")
    assert talk.page.locator("#say-state").inner_text() == "Connected."
    talk.page.fill("#message", "hello")
    talk.page.press("#message", "Enter")
    talk.until("speaking")
    talk.until("listening")
    told = talk.page.locator("#say-talk p").all_inner_texts()
    assert told[0] == "Agent: Hello! How can I help?"
    assert told[1] == "You: hello"
    assert len(told) == 3
    talk.page.click("#mute")
    assert talk.page.locator("#say-state").inner_text() == "Microphone off."


def test_the_page_speaks_spanish_to_those_who_do(talking_server: LiveServer, open_talk: Opener) -> None:
    talk = open_talk(talking_server.url, locale="es-ES")
    assert talk.text("#state") == "Empezar a hablar"
    assert talk.page.evaluate("document.documentElement.lang") == "es"
    talk.page.click("#settings-button")
    talk.page.select_option("#settings-page", "en")
    assert talk.text("#settings-title") == "Settings"
    talk.page.reload()
    assert talk.text("#state") == "Start talking"


def test_voice_and_language_are_sent_with_the_next_talk(
    talking_server: LiveServer, open_talk: Opener
) -> None:
    talk = open_talk("about:blank")
    voices = [
        {"id": "v1", "name": "Alba", "language": "en-GB", "gender": "female"},
        {"id": "v2", "name": "Lucía", "language": "es", "gender": "female"},
    ]
    talk.page.route("**/api/voices*", lambda route: route.fulfill(json={"items": voices, "total": 2}))
    talk.page.goto(talking_server.url)
    talk.page.click("#settings-button")
    talk.page.select_option("#settings-language", label="Spanish")
    assert talk.page.locator("#settings-voice option").all_inner_texts() == ["Server’s choice", "Lucía"]
    talk.page.select_option("#settings-voice", "v2")
    talk.page.keyboard.press("Escape")
    talk.page.click("#type-instead")
    talk.until("typing", "speaking")
    [start] = talk.said("start")
    assert (start["voice"], start["language"]) == ("v2", "es")


def test_the_orb_draws_both_the_microphone_and_the_voice(
    talking_server: LiveServer, open_talk: Opener
) -> None:
    talk = open_talk("about:blank")
    talk.page.goto(f"{talking_server.url}/static/icon.svg")
    # Ink outside the body, in the ring of ticks: more when the microphone hears something.
    ink = """
    async ({mic, voice}) => {
      const { Orb } = await import("/static/orb.js");
      const canvas = document.createElementNS("http://www.w3.org/1999/xhtml", "canvas");
      Object.defineProperty(canvas, "clientWidth", {value: 340});
      const orb = new Orb(canvas, () => ({activity: "speaking", mic, voice}));
      for (let at = 100; at < 3000; at += 50) orb.draw(at);
      const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
      let ring = 0, body = 0;
      for (let y = 0; y < canvas.height; y++) for (let x = 0; x < canvas.width; x++) {
        const r = Math.hypot(x - canvas.width / 2, y - canvas.height / 2) / canvas.width;
        const alpha = data[(y * canvas.width + x) * 4 + 3];
        if (r > 0.33 && r < 0.39) ring += alpha;
        if (r < 0.31) body += alpha;
      }
      return {ring, body};
    }
    """
    quiet = talk.page.evaluate(ink, {"mic": 0, "voice": 0})
    heard = talk.page.evaluate(ink, {"mic": 0.2, "voice": 0})
    spoken = talk.page.evaluate(ink, {"mic": 0, "voice": 0.2})
    assert heard["ring"] > quiet["ring"] * 1.1
    assert spoken["body"] > quiet["body"]
