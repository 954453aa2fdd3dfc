"""Deepgram's two streaming recognizers on a local port.

`/v1/listen` (Nova): https://developers.deepgram.com/reference/speech-to-text/listen-streaming, with
https://developers.deepgram.com/docs/finalize, /docs/audio-keep-alive and /docs/close-stream.
`/v2/listen` (Flux): https://developers.deepgram.com/reference/speech-to-text/listen-flux, with
https://developers.deepgram.com/docs/flux/state, /docs/flux/force-end-turn and /docs/flux/close-stream.
Refusals: https://developers.deepgram.com/docs/errors. Close codes:
https://developers.deepgram.com/docs/stt-troubleshooting-websocket-data-and-net-errors.
"""

import json
from collections.abc import Sequence
from typing import Any

from starlette.routing import BaseRoute, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from tests.support.vendors.place import KEY, Seen, Trouble, Vendor, refusal
from tests.support.vendors.sound import FRAME_BYTES, Ear

NOVA_MODELS = ("nova-3", "nova-3-general", "nova-2")
FLUX_MODELS = ("flux-general-en", "flux-general-multi")
REQUEST_ID = "8c8ebea9-dbec-45fa-a035-e4632cb05b5f"
WORD_MS = 200
WORDS_PER_FINAL = 3
"""Nova closes a stretch by itself every few seconds; here after so many words."""
UPDATE_MS = 250
SURE_AFTER_MS = 400
"""Flux's confidence grows with the silence, to 1 after this much."""
CODES = {400: "Bad Request", 401: "INVALID_AUTH", 402: "ASR_PAYMENT_REQUIRED", 429: "TOO_MANY_REQUESTS"}


class Gone(Exception):
    """The connection is over."""


class DeepgramListen(Vendor):
    """Both of them; hears `sound.WORDS`. `sent` is all that was said."""

    def __init__(self, *troubles: Trouble) -> None:
        super().__init__(*troubles)
        self.sent: list[dict[str, Any]] = []

    def routes(self) -> Sequence[BaseRoute]:
        return [WebSocketRoute("/v1/listen", self._nova), WebSocketRoute("/v2/listen", self._flux)]

    async def _nova(self, socket: WebSocket) -> None:
        await self._talk(socket, Nova)

    async def _flux(self, socket: WebSocket) -> None:
        await self._talk(socket, Flux)

    async def _talk(self, socket: WebSocket, kind: "type[Nova] | type[Flux]") -> None:
        seen = self.see_socket(socket)
        trouble = self.trouble()
        try:
            why = (trouble.status, trouble.message) if trouble.after is None else (0, "")
            status, message = why if why[0] else kind.objection(seen)
            if status:
                body = {"err_code": CODES.get(status, "ERROR"), "err_msg": message, "request_id": REQUEST_ID}
                refused = Trouble(status=status, retry_after=trouble.retry_after)
                await socket.send_denial_response(refusal(refused, body))
                return
            await socket.accept()
            await kind(self, socket, seen, trouble).run()
        except (Gone, WebSocketDisconnect):
            pass
        finally:
            seen.closed.set()


def objection(seen: Seen, models: Sequence[str]) -> tuple[int, str]:
    """What is wrong with a handshake: (status, message), or (0, "")."""
    if seen.headers.get("authorization") != f"Token {KEY}":
        return 401, "Invalid credentials."
    if seen.query.get("model") not in models:
        return 400, "Bad Request: No such model/language/tier combination found."
    if (seen.query.get("encoding"), seen.query.get("sample_rate")) != ("linear16", "16000"):
        return 400, "Bad Request: unsupported encoding or sample rate"
    return 0, ""


class Stream:
    """One connection: reads what comes, and sends with the trouble that was scripted."""

    def __init__(self, vendor: DeepgramListen, socket: WebSocket, seen: Seen, trouble: Trouble) -> None:
        self._vendor, self._socket, self._seen, self._trouble = vendor, socket, seen, trouble
        self._sent = 0
        self._heard_ms = 0
        self._ear = Ear()
        self._ear_ms = 0
        self._rest = b""

    async def run(self) -> None:
        if self._trouble.hang and self._trouble.after is None:
            await self._vendor.hang()
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                raise Gone
            if message.get("bytes") is not None:
                self._seen.messages.append(message["bytes"])
                await self._audio(message["bytes"])
            else:
                order = json.loads(message["text"])
                self._seen.messages.append(order)
                await self.order(order["type"])

    async def order(self, name: str) -> None:
        raise AssertionError(name)

    async def frame(self, new: bool, loud: bool) -> None:
        """20 ms were heard; `new`: with them a word ended."""
        raise AssertionError(new, loud)

    async def _audio(self, pcm: bytes) -> None:
        if not pcm:
            return  # Nova takes an empty message for CloseStream; nobody here sends one
        data = self._rest + pcm
        whole = len(data) - len(data) % FRAME_BYTES
        self._rest = data[whole:]
        for at in range(0, whole, FRAME_BYTES):
            loud = self._ear.loud
            new = self._ear.hear(data[at : at + FRAME_BYTES])
            self._heard_ms += 20
            await self.frame(bool(new), self._ear.loud > loud)

    def _begin_to_listen(self) -> None:
        """What comes now has nothing to do with what was."""
        self._ear, self._ear_ms = Ear(), self._heard_ms

    def _words(self, since: int = 0) -> list[dict[str, Any]]:
        if self._trouble.empty:
            return []
        pairs = list(zip(self._ear.words, self._ear.ends_ms, strict=True))[since:]
        return [
            {
                "word": word,
                "start": (self._ear_ms + end_ms - WORD_MS) / 1000,
                "end": (self._ear_ms + end_ms) / 1000,
                "confidence": 0.98,
            }
            for word, end_ms in pairs
        ]

    async def _send(self, message: dict[str, Any]) -> None:
        trouble = self._trouble
        if trouble.after is not None and self._sent >= trouble.after:
            if trouble.hang:
                await self._vendor.hang()
            if trouble.status:
                await self._raw(self.error(trouble.message))
            await self._socket.close(1011, "NET-0000: the service did not answer in time")
            raise Gone
        await self._vendor.pause(trouble, self._sent)
        self._sent += 1
        await self._raw(message)

    async def _raw(self, message: dict[str, Any]) -> None:
        self._vendor.sent.append(message)
        try:
            await self._socket.send_text(json.dumps(message))
        except (WebSocketDisconnect, RuntimeError) as error:
            raise Gone from error

    @staticmethod
    def error(message: str) -> dict[str, Any]:
        raise AssertionError(message)


class Nova(Stream):
    """`Results`, interim and final."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self._from_ms = 0
        """Where the open stretch begins."""
        self._before = 0
        """Words that are final already."""

    @staticmethod
    def objection(seen: Seen) -> tuple[int, str]:
        flags = [seen.query.get(k) for k in ("interim_results", "endpointing", "channels")]
        assert flags == ["true", "false", "1"]
        assert "keyterm" not in seen.query or seen.query["model"].startswith("nova-3")
        return objection(seen, NOVA_MODELS)

    @staticmethod
    def error(message: str) -> dict[str, Any]:
        return {"type": "Error", "variant": "InternalError", "description": message}

    async def frame(self, new: bool, loud: bool) -> None:
        del loud
        if new and len(self._ear.words) - self._before >= WORDS_PER_FINAL:
            await self._results(final=True)
        elif new:
            await self._results()

    async def order(self, name: str) -> None:
        if name == "Finalize":
            # The answer "typically occurs when there is a noticeable amount of audio buffered".
            if self._heard_ms - self._from_ms >= 100:
                await self._results(final=True, forced=True)
            self._begin_to_listen()
            self._before = 0
        elif name == "CloseStream":
            if self._heard_ms > self._from_ms:
                await self._results(final=True)
            await self._raw(
                {
                    "type": "Metadata",
                    "transaction_key": "deprecated",
                    "request_id": REQUEST_ID,
                    "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
                    "created": "2026-11-21T12:00:00.000Z",
                    "duration": self._heard_ms / 1000,
                    "channels": 1,
                }
            )
            await self._socket.close(1000)
            raise Gone
        elif name != "KeepAlive":
            await self._raw({"type": "Error", "variant": "SchemaError", "description": f"unknown: {name}"})

    async def _results(self, *, final: bool = False, forced: bool = False) -> None:
        words = self._words(self._before)
        for word in words:
            word["punctuated_word"] = word["word"]
        message = {
            "type": "Results",
            "channel_index": [0, 1],
            "duration": (self._heard_ms - self._from_ms) / 1000,
            "start": self._from_ms / 1000,
            "is_final": final,
            "speech_final": False,
            "channel": {
                "alternatives": [
                    {
                        "transcript": " ".join(w["word"] for w in words),
                        "confidence": 0.98 if words else 0.0,
                        "words": words,
                        **({"languages": ["en"]} if self._seen.query["language"] == "multi" else {}),
                    }
                ]
            },
            "metadata": {
                "request_id": REQUEST_ID,
                "model_info": {"name": "general-nova-3", "version": "2025-04-17.21547", "arch": "nova-3"},
                "model_uuid": "40bd3654-e622-47c4-a111-63a61b23bfe8",
            },
            **({"from_finalize": forced} if final else {}),
        }
        if final:
            self._from_ms, self._before = self._heard_ms, len(self._ear.words)
        await self._send(message)


class Flux(Stream):
    """`TurnInfo`: what was said in the turn, and how surely it is over."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self._sequence = self._turn = self._silence_ms = 0
        self._told_ms = 0
        self._going = self._eager = False

    @staticmethod
    def objection(seen: Seen) -> tuple[int, str]:
        query = seen.query
        if query.get("model") == "flux-general-en" and "language_hint" in query:
            return 400, "Bad Request: language_hint is for flux-general-multi"
        return objection(seen, FLUX_MODELS)

    @staticmethod
    def error(message: str) -> dict[str, Any]:
        return {
            "type": "Error",
            "sequence_id": 99,
            "code": "INTERNAL_SERVER_ERROR",
            "description": message,
        }

    async def run(self) -> None:
        if not self._trouble.hang or self._trouble.after is not None:
            await self._raw({"type": "Connected", "request_id": REQUEST_ID, "sequence_id": 0})
        await super().run()

    async def frame(self, new: bool, loud: bool) -> None:
        self._silence_ms = 0 if loud else self._silence_ms + 20
        sure, query = self._sure, self._seen.query
        eager = float(query.get("eager_eot_threshold", "2"))
        if new and not self._going:
            self._going = True
            await self._info("StartOfTurn")
        elif self._going and self._eager and (loud or new):
            self._eager = False
            await self._info("TurnResumed")
        elif self._going and sure >= float(query["eot_threshold"]):
            await self._end("model")
        elif self._going and not self._eager and sure >= eager and not self._trouble.empty:
            self._eager = True
            await self._info("EagerEndOfTurn")
        elif self._heard_ms - self._told_ms >= UPDATE_MS:
            await self._info("Update")

    async def order(self, name: str) -> None:
        if name == "ForceEndTurn":
            if self._going:  # else it is ignored
                await self._end("manual")
        elif name == "CloseStream":
            # What was heard is told as Updates; then the connection ends, without a close code.
            await self._info("Update")
            await self._socket.close()
            raise Gone
        else:
            await self._raw({**self.error(f"unknown message: {name}"), "code": "UNPARSABLE_CLIENT_MESSAGE"})

    @property
    def _sure(self) -> float:
        return min(1.0, self._silence_ms / SURE_AFTER_MS) if self._going else 0.0

    async def _end(self, trigger: str) -> None:
        await self._info("EndOfTurn", trigger=trigger)
        self._turn += 1
        self._going = self._eager = False
        self._begin_to_listen()

    async def _info(self, event: str, **more: Any) -> None:
        words = self._words()
        self._sequence += 1
        message = {
            "type": "TurnInfo",
            "request_id": REQUEST_ID,
            "sequence_id": self._sequence,
            "event": event,
            "turn_index": self._turn,
            "audio_window_start": self._ear_ms / 1000,
            "audio_window_end": self._heard_ms / 1000,
            "transcript": " ".join(w["word"] for w in words),
            "words": words,
            "end_of_turn_confidence": round(self._sure, 4),
            **more,
        }
        self._told_ms = self._heard_ms
        await self._send(message)
