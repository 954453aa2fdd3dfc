"""A real browser with a microphone that plays a recording, in front of a real server.

Chromium is the system's (no browser is downloaded); where there is none, these tests are skipped and say
so. Every page is watched: an error in its console, an exception or a breach of the Content-Security-Policy
fails the test that opened it.
"""

import json
import os
import shutil
import threading
import wave
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Playwright,
    TimeoutError,
    WebSocket,
    sync_playwright,
)

from tests.support.live import SCRIPTED, LiveServer
from tests.support.speech import clip

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome") or ""
ROOT = Path(__file__).resolve().parents[2]
RATE_HZ = 16_000
WAIT_MS = 20_000
"""How long a page may take to get into a state: far more than it ever needs, on a busy machine too."""

FLAGS = [
    "--no-sandbox",  # as root there is no other way
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
FAKE_DEVICE = "--use-fake-device-for-media-stream"
GRANTED = "--use-fake-ui-for-media-stream"


UNHURRIED = """
    const draw = globalThis.requestAnimationFrame.bind(globalThis);
    globalThis.requestAnimationFrame = (run) => setTimeout(() => draw(run), 120);
"""
"""Eight pictures a second: without a graphics card, drawing the orb costs more than all that is tested."""

REPLY = "I can tell you the time. I can also book appointments. What would you like to do today?"
"""What the scripted agent answers: some three and a half seconds of its tone."""


def silence(seconds: float) -> bytes:
    return bytes(int(seconds * RATE_HZ) * 2)


def speech(seconds: float | None = None, name: str = "austen_0890.wav") -> bytes:
    """Recorded speech, from its beginning."""
    pcm = clip(name)
    return pcm if seconds is None else pcm[: int(seconds * RATE_HZ) * 2]


@dataclass
class Talk:
    """The talk page in a browser."""

    page: Page
    context: BrowserContext
    troubles: list[str] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)
    """Parts of console errors that the test provokes."""
    sent: list[dict[str, Any]] = field(default_factory=list)
    received: list[dict[str, Any]] = field(default_factory=list)
    """The JSON messages on the voice socket, as they went."""
    frames: list[int] = field(default_factory=list)
    """The sizes of the microphone's messages."""

    def watch(self) -> None:
        self.page.on("console", self._on_console)
        self.page.on("websocket", self._on_socket)
        self.page.on("pageerror", lambda error: self.troubles.append(f"exception: {error}"))

    def _on_socket(self, socket: WebSocket) -> None:
        socket.on("framesent", self._on_sent)
        socket.on("framereceived", self._on_received)

    def _on_sent(self, payload: str | bytes) -> None:
        if isinstance(payload, bytes):
            self.frames.append(len(payload))
        else:
            self.sent.append(json.loads(payload))

    def _on_received(self, payload: str | bytes) -> None:
        if isinstance(payload, str):
            self.received.append(json.loads(payload))

    def told(self, kind: str) -> list[dict[str, Any]]:
        """What the server said, by type."""
        return [message for message in self.received if message["type"] == kind]

    def said(self, kind: str) -> list[dict[str, Any]]:
        """What the page said, by type."""
        return [message for message in self.sent if message["type"] == kind]

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.troubles.append(f"console: {message.text}")

    def until(self, *activities: str) -> str:
        """Wait for one of these states of the talk. (Looking by the clock: a busy chromium may not draw.)"""
        try:
            self.page.wait_for_function(
                "wanted => wanted.includes(document.body.dataset.activity)",
                arg=list(activities),
                timeout=WAIT_MS,
                polling=50,
            )
        except TimeoutError as error:
            last = [m["type"] for m in self.received[-8:]]
            told = f"after {last}, having said {[m['type'] for m in self.sent[-4:]]}"
            raise AssertionError(f"{self.activity}, not {' or '.join(activities)}: {told}") from error
        return self.activity

    @property
    def activity(self) -> str:
        return str(self.page.evaluate("document.body.dataset.activity"))

    def text(self, selector: str, containing: str = "") -> str:
        """Wait for an element, and for a text in it."""
        found = self.page.locator(selector).filter(has_text=containing).first
        found.wait_for(timeout=WAIT_MS)
        return found.inner_text()

    def unexpected(self) -> list[str]:
        return [t for t in self.troubles if not any(part in t for part in self.expected)]


Opener = Callable[..., Talk]


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    """Per module, not per session: while it lives a loop counts as running, and no async test could."""
    if not CHROMIUM:
        pytest.skip("chromium is not installed: apt-get install chromium, or set CHROMIUM to one")
    with sync_playwright() as started:
        yield started


@pytest.fixture
def open_talk(playwright: Playwright, tmp_path: Path) -> Iterator[Opener]:
    """Open a page: `open_talk(url, mic=pcm)`.

    `mic` is what the microphone hears, once; None is a machine without one. `granted=False` refuses it.
    `smooth` draws as often as for people. Further keywords go to the browser's context (viewport, has_touch,
    color_scheme, ...).
    """
    browsers: list[Browser] = []
    talks: list[Talk] = []

    def start(
        url: str, *, mic: bytes | None = b"", granted: bool = True, smooth: bool = False, **context: Any
    ) -> Talk:
        flags = list(FLAGS)
        if mic is not None:
            flags += [FAKE_DEVICE, f"--use-file-for-fake-audio-capture={_wav(tmp_path, mic)}%noloop"]
        if granted:
            flags.append(GRANTED)
        browser = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=flags)
        browsers.append(browser)
        made = browser.new_context(
            **{"locale": "en-GB", "viewport": {"width": 1280, "height": 800}, **context}
        )
        if not smooth:
            made.add_init_script(UNHURRIED)
        talk = Talk(made.new_page(), made)
        talks.append(talk)
        talk.page.set_default_timeout(WAIT_MS)
        talk.watch()
        talk.page.goto(url)
        return talk

    yield start
    for browser in browsers:
        browser.close()
    for talk in talks:
        assert talk.unexpected() == []


def _wav(folder: Path, pcm: bytes) -> Path:
    """A recording for the fake microphone. Chromium repeats the last buffer for ever: it must be silent."""
    path = folder / "microphone.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes(pcm + silence(3))
    return path


@pytest.fixture(scope="session")
def talking_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A server whose agent always hears and says the same; shared by all tests that leave it alone."""
    folder = tmp_path_factory.mktemp("talking")
    server = LiveServer(folder, {**SCRIPTED, "PARLEY_LLM__SCRIPTED__TEXT": REPLY})
    yield server
    server.stop()


class _Site(SimpleHTTPRequestHandler):
    """The repository's files, and an empty page to import them from."""

    def do_GET(self) -> None:
        if self.path not in ("/", "/favicon.ico"):
            super().do_GET()
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def modules(playwright: Playwright) -> Iterator[Page]:
    """An empty page in which `import("/static/...")` works: for tests of single modules and worklets."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Site, directory=str(ROOT)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    browser = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=FLAGS)
    page = browser.new_page()
    page.goto(f"http://127.0.0.1:{server.server_port}/")
    yield page
    browser.close()
    server.shutdown()
    thread.join()
    server.server_close()
