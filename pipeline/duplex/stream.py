"""One reply of a speech-to-speech model on its way from the socket to the mouth."""

import asyncio
from collections.abc import AsyncGenerator

from pipeline.contracts import Asked, TalkError
from pipeline.request import Request

Piece = str | bytes | Asked


class Stream:
    """The pieces of one reply. Bounded by the reply itself: the model sends all of it at once, and its owner
    cuts it at `MOST_REPLY_S`."""

    def __init__(self, number: int, attempt: int, question: str = "") -> None:
        self.number, self.attempt, self.question = number, attempt, question
        """The question, when it is asked in writing."""
        self.heard_ms = 0
        """How long it was, when it was spoken."""
        self.turn = 0
        self.request: Request | None = None
        """The one that is running; a reply with tools has several."""
        self.bill: list[Request] = []
        """All of its requests; the reply's own list once it has one."""
        self.begun = False
        self.ended = False
        self.is_cut = False
        self.made_bytes = 0
        self._error: TalkError | None = None
        self._pieces: asyncio.Queue[Piece | TalkError | None] = asyncio.Queue()

    @property
    def is_running(self) -> bool:
        return not self.ended and not self.is_cut

    @property
    def whole(self) -> bool:
        """It ended as the model meant it to."""
        return self.ended and self._error is None

    def put(self, piece: Piece) -> None:
        self.begun = True
        if isinstance(piece, bytes):
            self.made_bytes += len(piece)
        self._pieces.put_nowait(piece)

    def end(self, error: TalkError | None = None) -> None:
        """Nothing more comes; only the first end counts."""
        if not self.ended:
            self.ended, self._error = True, error
            self._pieces.put_nowait(error)

    async def read(self) -> AsyncGenerator[Piece, None]:
        """For one reader. Raises `TalkError`."""
        while (piece := await self._pieces.get()) is not None:
            if isinstance(piece, TalkError):
                raise piece
            yield piece
