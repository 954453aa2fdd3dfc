"""What OpenAI's clients ask for, under `/v1`: a recording to text, a text to sound, which models are here.

Existing clients work by changing their base URL. They name models that are not here, so any name is taken:
what answers is what this server is configured with. Fields that are not known are left alone, as OpenAI does.
"""

import json
from collections.abc import AsyncGenerator, Iterator
from typing import Any, Literal, get_args

from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import BaseRoute

from server.api import Call, Endpoint, Part
from server.dictation import Dictated
from server.parts import Parts
from server.routes.speech import MOST_TEXT_CHARS, MOST_UPLOAD_BYTES, ONE_SHOT, OneShot
from server.sound_out import MEDIA, Format
from server.subtitles import Cue, readable, srt, vtt

TAG = "OpenAI-compatible"
SPEEDS = 0.5, 2.0
"""What our voices can; OpenAI's go from 0.25 to 4."""
SINCE = 1_767_225_600  # 2026-01-01: models have a date there, and nobody looks at it
Shape = Literal["json", "text", "srt", "verbose_json", "vtt"]
SHAPES: tuple[str, ...] = get_args(Shape)


class NamedVoice(BaseModel, extra="allow"):
    id: str = Field(max_length=200)


class SpeechWish(BaseModel, extra="allow"):
    """A text to be spoken."""

    model: str = Field(max_length=200, description="Any name")
    input: str = Field(min_length=1, max_length=MOST_TEXT_CHARS)
    voice: str | NamedVoice = Field(
        "", description="One of `/api/voices`; for one that is not there the server's own speaks"
    )
    response_format: Format | Literal["aac"] = "mp3"
    speed: float = Field(1.0, ge=0.25, le=4.0)


class Model(BaseModel):
    id: str
    object: Literal["model"] = "model"
    created: int = SINCE
    owned_by: str = "parley"


class Models(BaseModel):
    """Whom this server asks."""

    object: Literal["list"] = "list"
    data: list[Model]


class Text(BaseModel, extra="allow"):
    """What was said in the recording."""

    text: str


class _Routes:
    """The handlers."""

    def __init__(self, parts: Parts) -> None:
        self._parts, self._speech = parts, OneShot(parts)

    async def models(self, call: Call) -> Models:  # noqa: ARG002 - every handler takes the call
        """The plug-ins that listen and speak, in the order in which they are asked. `model` in a request may
        be any name."""
        engines = self._parts.engines
        ears, voices = engines.stt.chain.members, engines.tts.chain.members
        names = dict.fromkeys([*(member.name for member in ears), *(member.name for member in voices)])
        return Models(data=[Model(id=name) for name in names])

    async def speech(self, call: Call) -> Response:
        """A text as sound, sent while it is spoken: MP3, Opus in OGG, FLAC, WAV, or PCM (s16le, mono,
        24 kHz). `instructions` and `stream_format` are left alone."""
        wish: SpeechWish = call.body
        if wish.response_format == "aac":
            raise HTTPException(422, f"response_format must be one of {', '.join(MEDIA)}: there is no AAC.")
        if not (text := wish.input.strip()):
            raise HTTPException(422, "input must not be blank")
        voice = wish.voice if isinstance(wish.voice, str) else wish.voice.id
        speed = min(SPEEDS[1], max(SPEEDS[0], wish.speed))
        return await self._speech.say(call, text, wish.response_format, voice, "", speed)

    async def transcription(self, call: Call) -> Response:
        """A recording as text, at most 25 MB and ten minutes. `response_format`: `json`, `text`, `srt`,
        `vtt`, or `verbose_json` with the times of its stretches and, with
        `timestamp_granularities[]=word` and where the recognizer tells them, of its words. With
        `stream=true` as server-sent events. `prompt` and `temperature` are left alone."""
        shape = str(call.form.get("response_format") or "json")
        if shape not in SHAPES:
            raise HTTPException(422, f"response_format must be one of {', '.join(SHAPES)}")
        found = await self._speech.hear(call, "file")
        if str(call.form.get("stream") or "").lower() == "true":
            return StreamingResponse(_events(found), media_type="text/event-stream")
        match shape:
            case "text":
                return PlainTextResponse(f"{found.text}\n")
            case "srt":
                return PlainTextResponse(srt(_cues(found)), media_type="application/x-subrip")
            case "vtt":
                return PlainTextResponse(vtt(_cues(found)), media_type="text/vtt")
            case "verbose_json":
                return _json(_verbose(found, str(call.form.get("timestamp_granularities[]") or "")))
            case _:
                return _json({"text": found.text})


def _json(body: dict[str, Any]) -> Response:
    return Response(json.dumps(body, ensure_ascii=False), media_type="application/json")


def _verbose(found: Dictated, granularities: str) -> dict[str, Any]:
    body: dict[str, Any] = {
        "task": "transcribe",
        "language": found.language,
        "duration": found.duration_s,
        "text": found.text,
        "segments": [
            {"id": number, "start": one.start_ms / 1000, "end": one.end_ms / 1000, "text": one.text}
            for number, one in enumerate(found.stretches)
        ],
    }
    if "word" in granularities.split(","):
        words = [word for one in found.stretches for word in one.words]
        body["words"] = [{"word": w.text, "start": w.start_ms / 1000, "end": w.end_ms / 1000} for w in words]
    return body


def _cues(found: Dictated) -> Iterator[Cue]:
    for one in found.stretches:
        yield from readable(one.text, one.start_ms, one.end_ms)


async def _events(found: Dictated) -> AsyncGenerator[str, None]:
    """As a stream: a stretch is a delta."""
    for number, one in enumerate(found.stretches):
        yield _event("transcript.text.delta", delta=f"{' ' if number else ''}{one.text}")
    yield _event("transcript.text.done", text=found.text)


def _event(kind: str, **data: str) -> str:
    return f"data: {json.dumps({'type': kind, **data}, ensure_ascii=False)}\n\n"


def routes(parts: Parts) -> list[BaseRoute]:
    """The routes under `/v1`."""
    handlers = _Routes(parts)
    form = (
        Part("file", "WAV, MP3, FLAC, OGG, WebM or MP4", is_file=True),
        Part("model", "Any name"),
        Part("language", "What is spoken, such as `es`", required=False),
        Part("response_format", " | ".join(SHAPES), required=False),
        Part("timestamp_granularities[]", "`word`, `segment`", required=False, many=True),
        Part("stream", "`true`: as server-sent events", required=False),
        *(
            Part(name, "Left alone", required=False)
            for name in ("prompt", "temperature", "chunking_strategy")
        ),
        Part("include[]", "Left alone", required=False, many=True),
    )
    return parts.gate.routes(
        [
            Endpoint(
                "GET", "/v1/models", handlers.models, "Who listens and speaks", TAG, "anyone", answers=Models
            ),
            Endpoint(
                "POST",
                "/v1/audio/speech",
                handlers.speech,
                "A text to sound",
                TAG,
                "anyone",
                body=SpeechWish,
                media=tuple(MEDIA.values()),
                example={"model": "tts-1", "input": "Hello there.", "voice": "alloy"},
                errors=(503,),
                limit=ONE_SHOT,
            ),
            Endpoint(
                "POST",
                "/v1/audio/transcriptions",
                handlers.transcription,
                "A recording to text",
                TAG,
                "anyone",
                form=form,
                form_bytes=MOST_UPLOAD_BYTES,
                answers=Text,
                media=(
                    "application/json",
                    "text/plain",
                    "text/vtt",
                    "application/x-subrip",
                    "text/event-stream",
                ),
                errors=(503,),
                limit=ONE_SHOT,
            ),
        ]
    )
