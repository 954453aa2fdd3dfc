"""Speech as an HTTP answer: sent while it is being made, in the format that was asked for."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from typing import Any

from starlette.responses import Response, StreamingResponse

from server.sound_in import in_thread
from server.sound_out import MEDIA, RATE_HZ, Format, encoder, wav_header

WHOLE_S = 1.0
"""How long a WAV may keep its first byte back, so as to say in it how long it is."""
PUSH_BYTES = RATE_HZ // 2
"""Sound that is encoded in one go: a quarter of a second."""


async def respond(
    pieces: AsyncGenerator[bytes, None], format: Format, on_over: Callable[[], Awaitable[None]]
) -> Response:
    """The answer for speech at `RATE_HZ`, s16le mono. `on_over` is awaited once, however it ends.

    What the voice raises before its first sound is raised here: no byte has been sent then.
    """
    stream = _Stream(pieces, on_over)
    try:
        first = await stream.next()
        assert first is not None
        if format != "wav":
            return _Sending(stream, _encoded(stream, first, format), format)
        return await _wav(stream, first)
    except BaseException:
        await stream.aclose()
        raise


class _Stream:
    """Sound on its way to a client."""

    def __init__(self, pieces: AsyncGenerator[bytes, None], on_over: Callable[[], Awaitable[None]]) -> None:
        self._pieces, self._on_over = pieces, on_over
        self._pending: asyncio.Task[bytes] | None = None
        self._is_open = True

    async def next(self, within_s: float | None = None) -> bytes | None:
        """The next piece, b"" at the end; None when it is not there in time (it is waited for next time)."""
        if self._pending is None:
            self._pending = asyncio.create_task(_piece(self._pieces))
        done, _ = await asyncio.wait((self._pending,), timeout=within_s)
        if not done:
            return None
        piece, self._pending = self._pending, None
        return piece.result()

    async def aclose(self) -> None:
        if not self._is_open:
            return
        self._is_open = False
        if self._pending is not None:
            self._pending.cancel()
            with suppress(asyncio.CancelledError, Exception):  # nobody wants the rest, nor why it failed
                await self._pending
        await self._pieces.aclose()
        await self._on_over()


async def _piece(pieces: AsyncGenerator[bytes, None]) -> bytes:
    return await anext(pieces, b"")


class _Sending(StreamingResponse):
    """Gives the voice back when the client has everything, or has gone."""

    def __init__(self, stream: _Stream, content: AsyncGenerator[bytes, None], format: Format) -> None:
        super().__init__(content, media_type=MEDIA[format])
        self._stream, self._content = stream, content

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._content.aclose()
            await self._stream.aclose()


async def _wav(stream: _Stream, first: bytes) -> Response:
    """Whole, if that takes no longer than a moment: then its length is known. Else as it comes."""
    clock = asyncio.get_running_loop().time
    collected, until = bytearray(first), clock() + WHOLE_S
    while (piece := await stream.next(max(0.0, until - clock()))) is not None:
        if not piece:
            await stream.aclose()
            return Response(bytes(wav_header(len(collected)) + collected), media_type=MEDIA["wav"])
        collected += piece
    return _Sending(stream, _rest_of_wav(stream, bytes(collected)), "wav")


async def _rest_of_wav(stream: _Stream, collected: bytes) -> AsyncGenerator[bytes, None]:
    yield wav_header() + collected
    while piece := await stream.next():
        yield piece


async def _encoded(stream: _Stream, first: bytes, format: Format) -> AsyncGenerator[bytes, None]:
    made = await in_thread(lambda: encoder(format))
    waiting, piece = b"", first
    while piece:
        waiting += piece
        if len(waiting) >= PUSH_BYTES:
            if out := await in_thread(lambda pcm=waiting: made.push(pcm)):  # type: ignore[misc]
                yield out
            waiting = b""
        piece = await stream.next() or b""
    yield await in_thread(lambda: made.push(waiting) + made.finish())
