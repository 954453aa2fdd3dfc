"""`parley talk`: plays a recording into a running server as a caller would, and shows what comes back.

Two tasks over one `VoiceClient`: one speaks in real time, one listens and prints. The talk is over when the
recording has been said, every turn has been answered and the answers have been played out.
"""

import asyncio
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import soundfile
import soxr

from pipeline.contracts import ParleyError
from pipeline.core.audio import rms, write_wav
from server.client import Audio, ClientError, Event, VoiceClient
from server.terminal import Terminal, harmless, level, waterfall

RATE_HZ = 16_000
FRAME_S = 0.02
FRAME_BYTES = 640
SILENCE = bytes(FRAME_BYTES)
AUDIBLE_RMS = 0.003  # about -50 dB: below it a listener hears nothing

SETTLE_S = 2.5  # longer than [turn] max_silence_ms: by then a turn that ended has been noticed
OWED_S = 8.0  # how long a transcript or a reply may take before we stop waiting for it
END_S = 10.0
GREETING_S = 1.5  # a greeting comes at the latest a second after connecting


class TalkError(ParleyError):
    """The talk did not work out. One sentence."""


@dataclass(frozen=True, slots=True)
class TalkOptions:
    """What to say, to whom, and where to put the answer."""

    url: str
    wav: Path | None = None
    text: str = ""
    out: Path = Path("reply.wav")
    token: str = ""
    wait_s: float = 30.0
    """The longest wait, without anything happening, for a reply."""
    as_json: bool = False
    start: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the `start` message."""


def load_speech(path: Path) -> bytes:
    """A recording of any rate and any number of channels as s16le mono 16 kHz. Raises `TalkError`."""
    try:
        sound, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    except (OSError, soundfile.LibsndfileError) as error:
        why = "does not exist" if not path.exists() else f"cannot be read as sound: {error}"
        raise TalkError(f"{path} {why}") from error
    mono = soxr.resample(sound.mean(axis=1), rate_hz, RATE_HZ)
    if not len(mono):
        raise TalkError(f"{path} has no sound in it")
    return bytes((np.clip(mono, -1, 1) * 32767).astype("<i2").tobytes())


async def talk(options: TalkOptions, out: TextIO = sys.stdout) -> None:
    """Hold the conversation and write the reply. Raises `TalkError` or `ClientError`."""
    speech = load_speech(options.wav) if options.wav else b""
    start = {"mode": "open-mic", **options.start, "input_rate": RATE_HZ}
    async with await VoiceClient.connect(options.url, token=options.token, **start) as call:
        listener = Listener(call, options, Terminal(out))
        async with asyncio.TaskGroup() as tasks:
            hearing = tasks.create_task(listener.listen(), name="listening")
            speaking = tasks.create_task(_speak(call, listener, speech, options), name="speaking")
            # A server that ends the session early also ends our speaking.
            hearing.add_done_callback(lambda _: speaking.cancel())
    _write_reply(call, listener, options.out)


async def run(options: TalkOptions, out: TextIO = sys.stdout) -> None:
    """`talk`, with the one error that matters taken out of its group."""
    try:
        await talk(options, out)
    except* ParleyError as group:
        raise _first(group) from None


def _first(group: BaseExceptionGroup[ParleyError]) -> ParleyError:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, ParleyError)
    return error


# -- speaking -------------------------------------------------------------------------------------------


async def _speak(call: VoiceClient, listener: "Listener", speech: bytes, options: TalkOptions) -> None:
    """Say everything, wait for the answers, end the session."""
    try:
        await _converse(call, listener, speech, options)
        await call.report()
        await call.end()
    except TalkError:
        await call.end()  # no answer will come, but the server should not keep the session for us
        raise
    except ClientError:
        return  # the session is gone; why, the listener learns as well
    await asyncio.sleep(END_S)
    raise TalkError(f"The server did not end the session within {END_S:g} s.")


async def _converse(call: VoiceClient, listener: "Listener", speech: bytes, options: TalkOptions) -> None:
    microphone = Microphone(call, listener)
    if options.text:
        listener.owes_reply()
        await call.say(options.text)
    if speech:
        if not options.text:
            await _let_greet(microphone, listener, options.wait_s)
        await _say_aloud(call, microphone, listener, speech, options.start.get("mode") == "hold-to-talk")
    listener.said_all()
    while not listener.is_done():
        await microphone.frame(SILENCE)


async def _let_greet(microphone: "Microphone", listener: "Listener", longest_s: float) -> None:
    """A polite caller lets the agent say hello: with speech from the first moment, it would be cut off."""
    for _ in range(round(GREETING_S / FRAME_S)):
        await microphone.frame(SILENCE)
        if listener.replies:
            break
    for _ in range(round(longest_s / FRAME_S)):
        if not listener.is_answering():
            break
        await microphone.frame(SILENCE)


async def _say_aloud(
    call: VoiceClient, microphone: "Microphone", listener: "Listener", speech: bytes, hold: bool
) -> None:
    if hold:
        await call.send("talk.begin")
    await microphone.play(speech)
    if hold:
        listener.owes_reply()
        await call.send("talk.end")


class Microphone:
    """Sends frames at the pace at which they would be spoken, without drifting."""

    def __init__(self, call: VoiceClient, listener: "Listener") -> None:
        self._call = call
        self._listener = listener
        self._clock = asyncio.get_running_loop().time
        self._due = self._clock()

    async def play(self, pcm: bytes) -> None:
        for begin in range(0, len(pcm), FRAME_BYTES):
            await self.frame(pcm[begin : begin + FRAME_BYTES])

    async def frame(self, pcm: bytes) -> None:
        """Say 20 ms, when their time has come."""
        self._due += FRAME_S
        await asyncio.sleep(max(0.0, self._due - self._clock()))
        await self._call.send_audio(pcm)
        self._listener.meter(pcm)


# -- listening ------------------------------------------------------------------------------------------


class Listener:
    """Reads the session's events, shows them, and knows whether something is still to be waited for."""

    def __init__(self, call: VoiceClient, options: TalkOptions, terminal: Terminal) -> None:
        self.replies: dict[str, int] = {}
        """response_id -> turn, in order."""
        self._call = call
        self._options = options
        self._terminal = terminal
        self._clock = asyncio.get_running_loop().time
        self._said_all_at: float | None = None
        self._last_event_at = self._clock()
        self._owed_until = 0.0
        self._is_speaking = False
        self._open_replies: set[str] = set()
        self._partial = ""
        self._level = 0.0

    async def listen(self) -> None:
        """Until the session has ended."""
        async for event in self._call:
            if isinstance(event, Audio):
                self._last_event_at = event.at_s
                continue
            if event.type not in ("pong", "turn.metrics"):
                self._last_event_at = event.at_s
            self._follow(event)
            if self._options.as_json:
                self._terminal.line(json.dumps(event.data, ensure_ascii=False))
            else:
                self._show(event)

    def owes_reply(self) -> None:
        """From now on the server owes something that we should wait for."""
        self._owed_until = self._clock() + self._options.wait_s

    def said_all(self) -> None:
        self._said_all_at = self._clock()

    def is_answering(self) -> bool:
        """A reply is being made or played."""
        self._call.player.advance(self._clock())
        return bool(self._open_replies) or not self._call.player.is_idle

    def is_done(self) -> bool:
        """Everything was said, answered and played. Raises `TalkError` when no answer will come."""
        now = self._clock()
        if self._said_all_at is None or self.is_answering():
            self._give_up_when_stuck(now)
            return False
        quiet_s = now - max(self._said_all_at, self._last_event_at)
        if self._is_speaking or now < self._owed_until:
            self._give_up_when_stuck(now)
            return False
        if any(turn > 0 for turn in self.replies.values()):
            return quiet_s > SETTLE_S
        if quiet_s > self._options.wait_s:
            raise TalkError(f"No reply came within {self._options.wait_s:g} s.")
        return False

    def _give_up_when_stuck(self, now: float) -> None:
        if self._said_all_at is None:
            return
        if (
            self._call.player.is_idle
            and now - max(self._said_all_at, self._last_event_at) > self._options.wait_s
        ):
            raise TalkError(f"Nothing more came for {self._options.wait_s:g} s.")

    def _follow(self, event: Event) -> None:
        """Keep count of what is owed."""
        data = event.data
        response_id = str(data.get("response_id", ""))
        match event.type:
            case "speech.started":
                self._is_speaking = True
            case "speech.stopped":
                self._is_speaking = False
                self._owed_until = max(self._owed_until, event.at_s + OWED_S)
            case "transcription" if data.get("final"):
                # Nothing understood: nothing will be answered.
                self._owed_until = event.at_s + OWED_S if data.get("text") else 0.0
            case "response.begin":
                self.replies[response_id] = int(data.get("turn", 0))
                self._open_replies.add(response_id)
                if data.get("turn"):
                    # A released button ends a turn without any speech.stopped.
                    self._owed_until, self._is_speaking = 0.0, False
            case "audio.end" | "interrupted":
                self._open_replies.discard(response_id)
            case "turn.metrics":
                for known, turn in self.replies.items():
                    if turn == data.get("turn"):
                        self._open_replies.discard(known)
            case "error" if data.get("fatal"):
                raise TalkError(harmless(str(data.get("message", "The server reported an error."))))

    # what people see

    def meter(self, pcm: bytes) -> None:
        """Show how loud the microphone is."""
        if self._terminal.is_tty and not self._options.as_json:
            self._level = max(rms(pcm), self._level * 0.8)
            self._terminal.live(f"  {level(self._level)} {self._partial}")

    def _show(self, event: Event) -> None:
        data, terminal = event.data, self._terminal
        text = harmless(str(data.get("text", "")))
        match event.type:
            case "transcription" if data.get("final"):
                self._partial = ""
                if text:
                    terminal.line(terminal.colour("cyan", "you   ") + text)
            case "transcription":
                self._partial = text
            case "user_message":
                terminal.line(terminal.colour("cyan", "you   ") + text)
            case "agent_response" if data.get("final"):
                terminal.line(terminal.colour("green", "agent ") + text)
            case "interrupted":
                heard = harmless(str(data.get("heard_text", "")))
                terminal.line(terminal.colour("yellow", f"  interrupted; heard: {heard or 'nothing'}"))
            case "tool.call":
                terminal.line(terminal.colour("dim", f"  tool {harmless(str(data.get('name', '')))} runs"))
            case "turn.metrics" if not data.get("played"):
                for line in waterfall(data, terminal):
                    terminal.line(line)
            case "error":
                terminal.line(terminal.colour("red", f"  error: {harmless(str(data.get('message', '')))}"))


# -- what was heard -------------------------------------------------------------------------------------


def _write_reply(call: VoiceClient, listener: Listener, path: Path) -> None:
    """Everything the agent was heard to answer, one reply after the other (not its greeting)."""
    heard = [
        call.player.replies[r]
        for r, turn in listener.replies.items()
        if turn > 0 and r in call.player.replies
    ]
    pcm = b"".join(bytes(reply.pcm) for reply in heard)
    if not pcm:
        raise TalkError(
            "The server answered, but not with sound." if listener.replies else "No reply was heard."
        )
    if rms(pcm) < AUDIBLE_RMS:
        raise TalkError("The reply is silence.")
    try:
        path.write_bytes(write_wav(pcm, heard[0].rate_hz))
    except OSError as error:
        raise TalkError(f"{path} cannot be written: {error.strerror}") from error
