"""The command line, run as people run it, and the talk it holds with a server."""

import asyncio
import io
import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from pipeline.core.audio import read_wav
from server import talk
from server.cli import main
from server.client import ClientError
from server.config import load
from server.talk import TalkError, TalkOptions, load_speech, run
from server.terminal import Terminal, bar, harmless, level, waterfall
from tests.support.fake_server import fake_server, tone

ROOT = Path(__file__).parent.parent
SCRIPTED = {
    "PARLEY_STT__PLUGIN": "scripted",
    "PARLEY_LLM__PLUGIN": "scripted",
    "PARLEY_TTS__PLUGIN": "scripted",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder and an environment without settings."""
    monkeypatch.chdir(tmp_path)
    for name in [n for n in os.environ if n.startswith("PARLEY_")]:
        monkeypatch.delenv(name)
    return tmp_path


@pytest.fixture
def scripted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, value in SCRIPTED.items():
        monkeypatch.setenv(name, value)
    with socket.create_server(("127.0.0.1", 0)) as free:
        monkeypatch.setenv("PARLEY_SERVER__PORT", str(free.getsockname()[1]))
    return folder


# -- the command ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [[], ["serve"], ["check"], ["talk"], ["models"]])
def test_every_command_explains_itself(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([*command, "--help"])
    assert caught.value.code == 0
    assert "usage: parley" in capsys.readouterr().out


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out.startswith("parley 0.")


def test_a_wrong_configuration_stops_every_command_with_one_line(folder: Path) -> None:
    (folder / "config.toml").write_text("[server]\nprot = 1\n")
    for command in (["check"], ["serve"]):
        done = subprocess.run(
            [sys.executable, "-m", "server.cli", *command],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 1
        assert done.stdout == ""
        assert done.stderr == "parley: config.toml: [server] prot is not a key; did you mean 'port'?\n"


@pytest.mark.parametrize("arguments", [["--port", "http"], ["--port", "70000"], ["--workers", "0"]])
def test_a_wrong_argument_names_what_it_must_be(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["serve", *arguments])
    assert caught.value.code == 2
    assert "must be a whole number from" in capsys.readouterr().err


def test_the_models_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    out = capsys.readouterr().out
    assert "en-us" in out
    assert "stt pocketsphinx" in out


def test_an_unknown_model_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "fetch", "giant"]) == 1
    assert capsys.readouterr().err.startswith("parley: 'giant' is not a model")


# -- check ----------------------------------------------------------------------------------------------


def test_check_says_what_each_stage_would_use(scripted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    for kind in ("stt", "llm", "tts"):
        assert [kind, "scripted", "ready"] in lines
    assert ["tools", "appointments", "ready"] in lines
    assert ["clock", "ready"] in lines
    assert ["database", "parley.db", "will", "be", "created"] in lines
    assert ["talks", "conversations", "will", "be", "created"] in lines
    assert lines[-1] == ["Ready:", "parley", "serve"]
    assert list(scripted.iterdir()) == []  # looking changes nothing


def plugin(folder: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> str:
    """A plug-in of a stranger, by "module:create"."""
    (folder / "stranger.py").write_text(
        "from pipeline.contracts import Unavailable\n"
        "class Engine:\n"
        "    async def warm(self):\n"
        f"        {body}\n"
        "    async def aclose(self): pass\n"
        "def create(options, env): return Engine()\n"
    )
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "stranger", raising=False)
    return "stranger:create"


def test_a_first_choice_that_cannot_run_is_a_note(
    scripted: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name = plugin(scripted, monkeypatch, "raise Unavailable('set STRANGER_API_KEY')")
    monkeypatch.setenv("PARLEY_LLM__PLUGIN", f'["{name}", "scripted"]')
    assert main(["check"]) == 0
    out = capsys.readouterr().out
    assert "stranger:create  cannot run: set STRANGER_API_KEY" in out
    assert "scripted         ready\n" in out
    assert "so scripted is used" in out


def test_a_stage_in_which_nothing_can_run_is_an_error(
    scripted: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name = plugin(scripted, monkeypatch, "raise Unavailable('set STRANGER_API_KEY')")
    monkeypatch.setenv("PARLEY_TTS__PLUGIN", name)
    assert main(["check"]) == 1
    assert "1 problem to solve." in capsys.readouterr().out


def test_a_broken_plugin_does_not_break_the_check(
    scripted: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name = plugin(scripted, monkeypatch, "raise KeyError('oops')")
    monkeypatch.setenv("PARLEY_TTS__PLUGIN", name)
    assert main(["check"]) == 1
    assert "it is broken (KeyError: 'oops')" in capsys.readouterr().out


def test_check_finds_folders_database_and_port_that_cannot_be_used(
    scripted: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (scripted / "file").write_text("")
    (scripted / "bad.db").write_text("this is no database, " * 100)
    monkeypatch.setenv("PARLEY_STORAGE__AUDIO_DIR", "file/audio")
    monkeypatch.setenv("PARLEY_STORAGE__URL", "sqlite+aiosqlite:///bad.db")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setenv("PARLEY_SERVER__PORT", str(taken.getsockname()[1]))
        assert main(["check"]) == 1
    out = capsys.readouterr().out
    assert "file is a file, not a folder" in out
    assert "file is not a database" in out
    assert "is Parley running already?" in out
    assert "2 problems to solve." in out


@pytest.mark.usefixtures("scripted")
def test_a_password_in_the_databases_url_is_not_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PARLEY_STORAGE__URL", "postgresql+nodriver://me:hunter2@127.0.0.1:1/x")
    assert main(["check"]) == 1
    assert "hunter2" not in capsys.readouterr().out


# -- talk -----------------------------------------------------------------------------------------------


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fake server answers at once, so nothing has to settle for long."""
    monkeypatch.setattr(talk, "SETTLE_S", 0.1)
    monkeypatch.setattr(talk, "GREETING_S", 0.1)


def recording(folder: Path, rate_hz: int = 16_000, channels: int = 1, ms: int = 300) -> Path:
    sound = np.frombuffer(tone(ms, rate_hz), "<i2")
    path = folder / f"said_{rate_hz}_{channels}.wav"
    soundfile.write(path, np.stack([sound] * channels, axis=1), rate_hz)
    return path


@pytest.mark.parametrize(("rate_hz", "channels"), [(8_000, 1), (16_000, 1), (44_100, 2), (48_000, 6)])
def test_a_recording_of_any_kind_becomes_16_khz_mono(folder: Path, rate_hz: int, channels: int) -> None:
    pcm = load_speech(recording(folder, rate_hz, channels, ms=1000))
    assert abs(len(pcm) // 2 - 16_000) <= 2
    peak = np.abs(np.frombuffer(pcm, "<i2")).max()
    assert 0.25 < peak / 32768 < 0.35


@pytest.mark.parametrize("content", [None, b"", b"RIFF nonsense"])
def test_a_recording_that_cannot_be_read_is_one_sentence(folder: Path, content: bytes | None) -> None:
    path = folder / "x.wav"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(TalkError, match=r"x\.wav (does not exist|cannot be read as sound)"):
        load_speech(path)


@pytest.mark.usefixtures("no_leaks", "quick")
async def test_a_recording_is_spoken_and_the_reply_written(folder: Path) -> None:
    out = io.StringIO()
    async with fake_server(greeting="hi") as server:
        await run(TalkOptions(server.url, recording(folder), out=folder / "reply.wav"), out)
        assert server.of_type("start")[0]["mode"] == "open-mic"
        assert server.of_type("end")
        played = {m["response_id"]: m["played_ms"] for m in server.of_type("playback")}
    assert played == {"r0": 300, "r1": 300}
    pcm, rate_hz = read_wav((folder / "reply.wav").read_bytes())
    assert (pcm, rate_hz) == (tone(300), 24_000)
    text = out.getvalue()
    assert "agent hi\n" in text
    assert "you   some  [31mwords\n" in text  # what came over the network cannot colour our terminal
    assert "turn 1: answered after 650 ms (silence)" in text


@pytest.mark.usefixtures("no_leaks", "quick")
async def test_the_microphone_waits_for_the_greeting_and_keeps_real_time(folder: Path) -> None:
    async with fake_server(greeting="hi") as server:
        begun = asyncio.get_running_loop().time()
        await run(TalkOptions(server.url, recording(folder), out=folder / "r.wav"), io.StringIO())
        seconds = asyncio.get_running_loop().time() - begun
        sent_s = len(server.audio) / 32_000
    assert sent_s <= seconds
    assert server.first_loud_at_s - server.greeted_at_s >= 0.28  # the greeting lasts 300 ms


@pytest.mark.usefixtures("no_leaks", "quick")
async def test_hold_to_talk_presses_and_releases(folder: Path) -> None:
    async with fake_server() as server:
        options = TalkOptions(
            server.url, recording(folder), out=folder / "r.wav", start={"mode": "hold-to-talk"}
        )
        await run(options, io.StringIO())
        types = [m["type"] for m in server.messages if m["type"].startswith("talk.")]
    assert types == ["talk.begin", "talk.end"]


@pytest.mark.usefixtures("no_leaks", "quick")
async def test_a_typed_message_needs_no_recording(folder: Path) -> None:
    out = io.StringIO()
    async with fake_server() as server:
        await run(TalkOptions(server.url, text="hello", out=folder / "r.wav", as_json=True), out)
    events = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [e["type"] for e in events if e["type"] != "turn.metrics"] == [
        *("user_message", "response.begin", "agent_response", "audio.begin", "audio.end", "summary", "ended"),
    ]


@pytest.mark.usefixtures("no_leaks", "quick")
async def test_of_an_interrupted_reply_only_what_was_heard_is_written(folder: Path) -> None:
    async with fake_server(reply=tone(2000), interrupt_after_ms=200) as server:
        await run(TalkOptions(server.url, text="hello", out=folder / "r.wav"), io.StringIO())
    pcm, rate_hz = read_wav((folder / "r.wav").read_bytes())
    assert 100 < len(pcm) * 500 // rate_hz < 600


@pytest.mark.usefixtures("no_leaks", "quick")
@pytest.mark.parametrize(
    ("behaviour", "complaint"),
    [
        ({"answers": False}, r"No reply came|Nothing more came"),
        ({"reply": bytes(24_000)}, "The reply is silence"),
        ({"reply": b""}, "not with sound"),
    ],
)
async def test_a_reply_that_cannot_be_heard_is_a_failure(
    folder: Path, behaviour: dict[str, Any], complaint: str
) -> None:
    async with fake_server(**behaviour) as server:
        options = TalkOptions(server.url, text="hello", out=folder / "r.wav", wait_s=0.5)
        with pytest.raises(TalkError, match=complaint):
            await run(options, io.StringIO())
        assert not (folder / "r.wav").exists()


@pytest.mark.usefixtures("no_leaks", "quick")
async def test_a_server_that_hangs_up_is_one_sentence(folder: Path) -> None:
    async with fake_server(close_after_audio=(1001, "")) as server:
        with pytest.raises(ClientError, match="shutting down"):
            await run(TalkOptions(server.url, recording(folder), out=folder / "r.wav"), io.StringIO())


@pytest.mark.usefixtures("quick")
async def test_the_exit_status_says_whether_a_reply_was_heard(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with fake_server() as server:
        heard = await asyncio.to_thread(main, ["talk", "--text", "hi", "--url", server.url])
    assert heard == 0
    assert "The reply is in reply.wav." in capsys.readouterr().out
    assert (folder / "reply.wav").exists()
    unheard = await asyncio.to_thread(main, ["talk", "--text", "hi", "--url", server.url])
    assert unheard == 1
    assert capsys.readouterr().err.startswith("parley: Nobody answers at ws://127.0.0.1:")


def test_talk_without_anything_to_say_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["talk"]) == 1
    assert "there is nothing to say" in capsys.readouterr().err


@pytest.mark.slow
def test_a_recording_spoken_into_a_served_parley_is_answered(
    scripted: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PARLEY_PIPELINE__GREETING", "")
    monkeypatch.setenv("PARLEY_LLM__SCRIPTED__TEXT", "Ten meters it is.")
    command = [sys.executable, "-m", "server.cli", "serve", "--port", "0"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, cwd=scripted, env=env, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        port = re.search(r"http://127\.0\.0\.1:(\d+)", server.stdout.readline())
        assert port is not None
        said = str(ROOT / "tests" / "data" / "goforward.wav")
        try:
            status = main(["talk", said, "--url", f"ws://127.0.0.1:{port[1]}", "--out", "reply.wav"])
        finally:
            server.terminate()
        assert server.wait(20) == 0
    out = capsys.readouterr().out
    assert status == 0
    assert "you   what can you do for me today\n" in out
    assert "agent Ten meters it is.\n" in out
    assert "interrupted" not in out
    pcm, _ = read_wav((scripted / "reply.wav").read_bytes())
    assert len(pcm) > 24_000  # 17 characters of 40 ms


GOES_AWAY_WHEN_READY = """
import gc, sys
from server import cli, serving

class Server(serving._Server):
    async def serve(self, sockets):
        self._on_ready("http://here")

serving._Server = Server
status = cli.main(["serve", "--port", "0"])
print(status, gc.isenabled(), gc.get_freeze_count() > 50_000)
"""


@pytest.mark.slow
def test_what_is_there_from_the_start_is_no_garbage_to_look_through(scripted: Path) -> None:
    command, env = [sys.executable, "-c", GOES_AWAY_WHEN_READY], {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=scripted, env=env, capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "0 True True", done.stderr


# -- the terminal ---------------------------------------------------------------------------------------


class Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_is_exact_to_an_eighth_of_a_cell() -> None:
    assert [bar(n) for n in (0, 0.125, 1, 2.5)] == ["", "▏", "█", "██▌"]


def test_the_level_meter_spans_sixty_decibels() -> None:
    assert level(0.0).strip() == level(0.001).strip() == ""
    assert level(1.0) == "█" * 12
    assert len(level(0.1)) == 12


def test_the_waterfall_tiles_the_turn() -> None:
    metrics = {
        "turn": 2,
        "endpoint_ms": 100,
        "stt_ms": 100,
        "llm_ttft_ms": 100,
        "tts_ttfb_ms": 100,
        "voice_to_voice_ms": 400,
        "speculated": True,
        "reason": "looks finished",
    }
    assert waterfall(metrics, Terminal(io.StringIO())) == [
        "  turn 2: answered after 400 ms (looks finished, speculated)",
        "  endpoint    100 ms  ██████████",
        "  stt         100 ms            ██████████",
        "  llm         100 ms                      ██████████",
        "  tts         100 ms                                ██████████",
    ]


def test_only_a_terminal_gets_colour_and_a_live_line() -> None:
    tty, log = Terminal(Tty()), Terminal(io.StringIO())
    for terminal in (tty, log):
        terminal.live("hel")
        terminal.live("hello")
        terminal.line(terminal.colour("red", "done"))
    assert log.out.getvalue() == "done\n"  # type: ignore[attr-defined]
    expected = "\r\x1b[Khel\r\x1b[Khello\r\x1b[K\x1b[31mdone\x1b[0m\n"
    assert tty.out.getvalue() == expected  # type: ignore[attr-defined]


def test_control_characters_from_the_network_do_not_reach_the_terminal() -> None:
    assert harmless("a\x1b[2Jb\r\n\u202ec") == "a [2Jb   c"


def test_the_shipped_configuration_is_checked_without_complaint(folder: Path) -> None:
    shipped = ROOT / "config.toml"
    assert load(str(shipped), {}, folder).server.port == 8000
