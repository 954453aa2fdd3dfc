"""Where a transcriber puts what it has understood and its one reader takes it from."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator

from pipeline.contracts import SttError, Transcript


class Outlet:
    """A bounded, never-blocking channel of transcripts.

    A partial that nobody has read yet is replaced by the next one: each holds the whole utterance, so only
    the newest matters. Settled ones and the final are all kept; there are as many as there were pauses.
    """

    __slots__ = ("_done", "_error", "_items", "_wake")

    def __init__(self) -> None:
        self._items: deque[Transcript] = deque()
        self._error: SttError | None = None
        self._done = False
        self._wake: asyncio.Future[None] | None = None

    @property
    def is_done(self) -> bool:
        """Whether the final, an error or the end has been put in: everything after it is dropped."""
        return self._done

    def put(self, transcript: Transcript) -> None:
        """Hand over a transcript; a final one is the last."""
        if self._done:
            return
        if self._items and not (self._items[-1].settled or self._items[-1].final):
            self._items.pop()
        self._items.append(transcript)
        self._done = transcript.final
        self._ring()

    def fail(self, error: SttError) -> None:
        """End with an error, which the reader gets after what was put in before."""
        if not self._done:
            self._error, self._done = error, True
            self._ring()

    def close(self) -> None:
        """End without a final; what was not read is forgotten."""
        self._items.clear()
        self._error, self._done = None, True
        self._ring()

    def close_after_all(self) -> None:
        """Nothing more will be put in; what was can still be read."""
        self._done = True
        self._ring()

    async def read(self) -> AsyncIterator[Transcript]:
        """Yield until the final, the error or the end. For one reader."""
        while True:
            while self._items:
                yield self._items.popleft()
            if self._error is not None:
                raise self._error
            if self._done:
                return
            self._wake = asyncio.get_running_loop().create_future()
            await self._wake

    def _ring(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)
