"""Makes docs/page.png: the talk page of a real server in a real browser, while the agent speaks.

    .venv/bin/python docs/make_picture.py

The speech is a recording and the voice the embedded one; what is recognized and answered is scripted, so
that the picture is the same on every machine.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import wave
from pathlib import Path

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parents[1]
SPEECH = ROOT / "tests" / "data" / "goforward.wav"
SAID = "Go forward ten meters."
ANSWER = (
    "Going forward ten meters. I will tell you when I am there. "
    "If you see something in my way, just say stop: I am listening all the while."
)
BEFORE_S, AFTER_S = 4.0, 30.0
"""Silence around the recording: for the greeting, and because the browser repeats the last buffer."""
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or "/usr/bin/chromium"


def microphone(folder: Path) -> Path:
    """The recording with silence around it."""
    path = folder / "microphone.wav"
    with wave.open(str(SPEECH)) as speech, wave.open(str(path), "wb") as file:
        file.setparams(speech.getparams())
        rate_hz = speech.getframerate()
        file.writeframes(bytes(int(BEFORE_S * rate_hz) * 2))
        file.writeframes(speech.readframes(speech.getnframes()))
        file.writeframes(bytes(int(AFTER_S * rate_hz) * 2))
    return path


def serve(folder: Path) -> tuple["subprocess.Popen[str]", str]:
    """A server with its own folder, and its address."""
    environ = {
        **{k: v for k, v in os.environ.items() if not k.startswith("PARLEY_")},
        "PARLEY_STT__PLUGIN": "scripted",
        "PARLEY_STT__SCRIPTED__TEXT": SAID,
        "PARLEY_LLM__PLUGIN": "scripted",
        "PARLEY_LLM__SCRIPTED__TEXT": ANSWER,
        "PARLEY_TTS__PLUGIN": "espeak",
    }
    command = [sys.executable, "-m", "server.cli", "serve", "--port", "0"]
    environ["PYTHONPATH"] = str(ROOT)
    server = subprocess.Popen(command, cwd=folder, env=environ, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    for line in server.stdout:
        if match := re.search(r"open (http://\S+)", line):
            return server, match[1]
    raise SystemExit("the server did not start")


def take(url: str, sound: Path, picture: Path) -> None:
    """Talk, and photograph the page in the middle of the answer."""
    flags = [
        "--no-sandbox",
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-audio-capture={sound}%noloop",
    ]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        context = browser.new_context(
            viewport={"width": 1120, "height": 700},
            device_scale_factor=2,
            color_scheme="light",
            locale="en-GB",
        )
        page = context.new_page()
        page.goto(url)
        page.click("#orb")
        page.locator("#lines").get_by_text("Going forward ten meters").wait_for(timeout=60_000)
        page.wait_for_function("document.body.dataset.activity === 'speaking'", timeout=20_000)
        page.locator("#lines summary").first.click()  # where the time went
        page.wait_for_timeout(2500)  # long enough that some words have been spoken and others not
        page.screenshot(path=picture)
        browser.close()


def main() -> None:
    picture = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "page.png"
    with tempfile.TemporaryDirectory() as name:
        server, url = serve(Path(name))
        try:
            take(url, microphone(Path(name)), picture)
        finally:
            server.terminate()
            server.wait(20)
    print(picture)


if __name__ == "__main__":
    main()
