"""Speech in one request: a recording to text, a text to sound, a recorded or typed turn and its answer."""

import base64
import re
from contextlib import aclosing
from typing import Annotated, Any

from pydantic import BaseModel, Field, StringConstraints
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import BaseRoute

from pipeline.contracts import SttError, TtsError
from pipeline.core.audio import write_wav
from server import visits
from server.api import Body, Call, Endpoint, Part, unauthorized
from server.dictation import Busy, Dictated, Errand
from server.limits import Limit
from server.parts import Parts
from server.routes.turns import live, typed
from server.sound_in import BadSound, TooLong, decoded, in_thread
from server.sound_out import MEDIA, RATE_HZ, Format
from server.spoken import respond

MOST_UPLOAD_BYTES = 25 << 20
"""As much as OpenAI's transcription takes."""
MOST_RECORDING_S = 600.0
MOST_TURN_S = 120.0
"""An utterance of a talk is no longer either."""
MOST_TEXT_CHARS = 4096
"""As much as OpenAI's speech takes: some five minutes."""
LANGUAGE = r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*$"
ONE_SHOT = Limit("one-shot speech", "60 per minute")
SHARED = "Speech in one request"
NO_EARS = "No recognizer can do this right now. Try again later."
NO_VOICE = "No voice can say this right now. Try again later."


class Transcription(BaseModel):
    """What was said in the recording."""

    text: str
    language: str
    duration_seconds: float


class Speech(Body):
    text: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MOST_TEXT_CHARS)]
    voice: str | None = Field(None, max_length=200, description="One of `/api/voices`")
    format: Format = "wav"
    language: str | None = Field(
        None, max_length=35, pattern=LANGUAGE, description="As in `es` or `es-MX`; else the voice's"
    )


class Processed(BaseModel):
    """A recorded turn and its answer."""

    session_id: str
    user_input: str
    agent_response: str
    audio_base64: str = Field(description="The answer's sound, a WAV; empty if it is in writing only")


class ConversationStart(Body):
    customer_id: str | None = Field(None, max_length=200, description="The agent is told it")


class Started(BaseModel):
    session_id: str
    greeting: str


class Turn(Body):
    session_id: str = Field(max_length=64)
    text: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=8000)]


class TurnAnswer(BaseModel):
    """What the agent says to it."""

    response: str


class OneShot:
    """Recordings to text and texts to sound, of no talk: with the caller's wishes, on a bill of their own."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def hear(self, call: Call, field: str) -> Dictated:
        """What is said in the form's file of that name, at most ten minutes. Raises 413, 415, 422, 503."""
        language = str(call.form.get("language") or self._language(call))
        if not re.fullmatch(LANGUAGE, language):
            raise HTTPException(422, "language must be a code such as es or es-MX")
        errand = self._errand()
        try:
            async with aclosing(decoded(_file(call, field), MOST_RECORDING_S)) as blocks:
                return await self._parts.errands.listen(errand, blocks, language)
        except BadSound as error:
            raise _refused(error) from error
        except SttError as error:
            raise HTTPException(503, NO_EARS) from error
        finally:
            await self._settle(errand, call)

    async def say(
        self, call: Call, text: str, format: Format, voice: str, language: str, speed: float = 1.0
    ) -> Response:
        """The text as sound, sent while it is spoken. No voice, no language: the caller's. Raises 503."""
        voice = voice or self._wish(call, "preferred_voice") or self._parts.config.pipeline.voice
        language = language or self._language_of(voice) or self._language(call)
        errand = self._errand()
        spoken = self._parts.errands.speak(errand, text, voice, language, RATE_HZ, speed)
        try:
            return await respond(spoken, format, lambda: self._settle(errand, call))
        except TtsError as error:
            raise HTTPException(503, NO_VOICE) from error

    def _errand(self) -> Errand:
        try:
            return self._parts.errands.begin()
        except Busy as error:
            raise HTTPException(503, str(error), {"Retry-After": "5"}) from error

    async def _settle(self, errand: Errand, call: Call) -> None:
        await self._parts.errands.settle(errand, call.who.user.id if call.who.user else None)

    def _wish(self, call: Call, name: str) -> str:
        return str((call.who.user.preferences if call.who.user else {}).get(name) or "")

    def _language(self, call: Call) -> str:
        return self._wish(call, "preferred_language") or self._parts.config.pipeline.language

    def _language_of(self, voice: str) -> str:
        voices = self._parts.engines.tts.voices() if voice else []
        return next((v.language for v in voices if v.id == voice), "")


class _Routes:
    """The handlers."""

    def __init__(self, parts: Parts) -> None:
        self._parts, self._one_shot = parts, OneShot(parts)

    async def transcribe(self, call: Call) -> Transcription:
        """A recording as text: WAV, MP3, FLAC, OGG, WebM or MP4, at most 25 MB and ten minutes."""
        found = await self._one_shot.hear(call, "audio_file")
        return Transcription(text=found.text, language=found.language, duration_seconds=found.duration_s)

    async def speak(self, call: Call) -> Response:
        """A text as sound: WAV, MP3, PCM (s16le, mono, 24 kHz), Opus in OGG, FLAC; sent while spoken."""
        body: Speech = call.body
        return await self._one_shot.say(call, body.text, body.format, body.voice or "", body.language or "")

    # -- of a talk -----------------------------------------------------------------------------------------

    async def process(self, call: Call) -> Processed:
        """A recorded turn, at most two minutes, in a session: the agent's answer in writing and as sound.
        Without a `session_id`, or with an empty one, in a new session."""
        try:
            async with aclosing(decoded(_file(call, "audio_file"), MOST_TURN_S)) as blocks:
                pcm = b"".join([block async for block in blocks])
        except BadSound as error:
            raise _refused(error) from error
        session_id = str(call.form.get("session_id") or "") or await self._new(call)
        session = await live(self._parts.lobby, session_id, call)
        try:
            answer = await visits.play(session, pcm)
        except visits.VisitError as error:
            raise HTTPException(_STATUS[type(error)], str(error)) from error
        sound = await in_thread(lambda: _base64_wav(bytes(answer.pcm), answer.rate_hz))
        return Processed(
            session_id=session.id, user_input=answer.heard, agent_response=answer.text, audio_base64=sound
        )

    async def start(self, call: Call) -> Started:
        """A new session, which the agent opens with its greeting."""
        session = await live(self._parts.lobby, await self._new(call, call.body.customer_id), call)
        session.greet()
        return Started(session_id=session.id, greeting=session.setup.greeting)

    async def turn(self, call: Call) -> TurnAnswer:
        """A typed turn. Who is connected to the session by voice hears the answer."""
        session = await live(self._parts.lobby, call.body.session_id, call)
        answer = await typed(session, call.body.text)
        return TurnAnswer(response=answer.text)

    async def _new(self, call: Call, customer_id: str | None = None) -> str:
        """A session made for whoever asks. Returns its id."""
        who = call.who
        if who.user is None and not self._parts.gate.guests:
            raise unauthorized("Log in first: guests are not allowed here.")
        row = await self._parts.talks.create(
            self._parts.sessions.new_id(),
            who.owner or None,
            user_id=who.user.id if who.user else None,
            conversation_context={"customer_id": customer_id} if customer_id else {},
        )
        return str(row["id"])


_STATUS: dict[type[visits.VisitError], int] = {
    visits.LineBusy: 409,
    visits.NothingHeard: 422,
    visits.NoAnswer: 503,
}


def _file(call: Call, field: str) -> Any:
    upload = call.form[field]
    assert isinstance(upload, UploadFile)
    upload.file.seek(0)  # another worker may have been sent it
    return upload.file


def _refused(error: BadSound) -> HTTPException:
    return HTTPException(413 if isinstance(error, TooLong) else 415, str(error))


def _base64_wav(pcm: bytes, rate_hz: int) -> str:
    return base64.b64encode(write_wav(pcm, rate_hz)).decode() if pcm else ""


def routes(parts: Parts) -> list[BaseRoute]:
    """The routes under `/voice`, `/voice-agent` and `/conversation`."""
    handlers = _Routes(parts)

    def post(path: str, handler: Any, summary: str, **more: Any) -> Endpoint:
        return Endpoint("POST", path, handler, summary, SHARED, "anyone", limit=ONE_SHOT, **more)

    sound = Part("audio_file", "WAV, MP3, FLAC, OGG, WebM or MP4", is_file=True)
    language = Part("language", "What is spoken, such as `es`", required=False)
    session = Part(
        "session_id", "Of a session that goes on; without one a new session is made", required=False
    )
    heard = {"form": (sound, language), "form_bytes": MOST_UPLOAD_BYTES, "answers": Transcription}
    said: dict[str, Any] = {
        "body": Speech,
        "media": tuple(MEDIA.values()),
        "example": {"text": "Hello there."},
    }
    processed: dict[str, Any] = {"form": (sound, session), "answers": Processed, "at_session": True}
    started: dict[str, Any] = {"body": ConversationStart, "body_required": False, "answers": Started}
    started["example"] = {"customer_id": "4711"}
    hello = {"session_id": "20261121_100900_k3v9x2m7q6w4f5h6t2rb", "text": "Are you open on Friday?"}
    turn = {"body": Turn, "answers": TurnAnswer, "at_session": True, "example": hello}
    late, lost = {"errors": (503,)}, {"errors": (404, 409, 503)}
    return parts.gate.routes(
        [
            post("/voice/speech-to-text", handlers.transcribe, "A recording to text", **heard, **late),
            post("/voice/text-to-speech", handlers.speak, "A text to sound", **said, **late),
            post(
                "/voice-agent/process",
                handlers.process,
                "A recorded turn",
                form_bytes=MOST_UPLOAD_BYTES,
                **processed,
                **lost,
            ),
            post("/conversation/start", handlers.start, "Begin to talk", status=201, **started, **late),
            post("/conversation/process", handlers.turn, "A typed turn", **turn, **lost),
        ]
    )
