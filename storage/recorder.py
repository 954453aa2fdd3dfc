"""The event loop's side of a recording: appends to memory and hands over. Nothing here touches a disk.

Once a second, and at every turn's end, what has come together goes to the writer as one batch. All of it
happens on the loop's thread, so there is no lock; the two counters that say how far behind the writer is have
one writing thread each.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

from storage.journal import Entry
from storage.ledger import Batch
from storage.spool import USER_RATE_HZ, Piece

log = logging.getLogger(__name__)

HAND_OVER_BYTES = 256 << 10  # a burst (a client that catches up) is not collected for a whole second
MAX_BEHIND_BYTES = 8 << 20  # of one session's sound not yet on disk: beyond this it is dropped, not piled up
FLUSH_S = 5.0  # the longest wait for a disk: an answer that was given is not kept back for longer
MAX_LINES = 20_000  # of its journal, likewise: a disk that hangs for minutes

TOO_SLOW = "The disk cannot keep up: some of this conversation's sound is not being recorded."


class Recorder:
    """Keeps one session; see `pipeline.contracts.Recorder`. Made by `Archive.open`."""

    __slots__ = (
        "_agent",
        "_agent_key",
        "_closing",
        "_entries",
        "_handed",
        "_on_close",
        "_on_trouble",
        "_pieces",
        "_settle",
        "_stopped",
        "_submit",
        "_suspend",
        "_told",
        "_user",
        "_user_next",
        "_user_start",
        "session_id",
        "written",
    )

    def __init__(
        self,
        session_id: str,
        submit: Callable[["Recorder", Batch, int, bool], None],
        settle: Callable[["Recorder"], Awaitable[None]],
        on_close: Callable[["Recorder"], Awaitable[None]],
        on_suspend: Callable[["Recorder"], Awaitable[None]],
        on_trouble: Callable[[str], None],
    ) -> None:
        self.session_id = session_id
        self.written = 0
        """Bytes of sound that the writer is done with. Written by its thread alone."""
        self._submit, self._on_close, self._on_trouble = submit, on_close, on_trouble
        self._settle, self._suspend = settle, on_suspend
        self._entries: list[Entry] = []
        self._pieces: list[Piece] = []
        self._user = bytearray()
        self._user_start = self._user_next = 0
        self._agent = bytearray()
        self._agent_key: tuple[str, int, int, int] = ("", 0, 0, 0)  # reply, rate, offset, position
        self._handed = 0
        self._stopped = self._told = False
        self._closing: asyncio.Future[None] | None = None

    def record(self, kind: str, at_ms: int, data: Mapping[str, Any]) -> None:
        """Append one journal entry. What `data` holds must not be changed afterwards."""
        if self._closing is None and len(self._entries) < MAX_LINES:
            self._entries.append(Entry(at_ms, kind, dict(data)))

    def user_audio(self, position: int, pcm: bytes) -> None:
        """Spool 16 kHz microphone audio (whole samples) that starts at `position`."""
        user = self._user
        if position != self._user_next or len(user) >= HAND_OVER_BYTES:
            user = self._new_user_piece(position)
        if not self._stopped:
            user += pcm
            self._user_next = position + (len(pcm) >> 1)

    def _new_user_piece(self, position: int) -> bytearray:
        full = len(self._user) >= HAND_OVER_BYTES
        self._cut_user()
        if full:
            self.hand_over()
        self._user_start = position
        return self._user

    def agent_audio(self, reply_id: str, rate_hz: int, offset: int, pcm: bytes, position: int) -> None:
        """Spool reply audio (whole samples) as it is sent; `position` is where it should start to play."""
        if self._stopped or not reply_id:
            return
        key_reply, key_rate, start, _ = self._agent_key
        agent = self._agent
        if (reply_id, rate_hz, offset) != (key_reply, key_rate, start + (len(agent) >> 1)):
            self._cut_agent()
            self._agent_key = (reply_id, rate_hz, offset, position)
            agent = self._agent
        agent += pcm
        if len(agent) >= HAND_OVER_BYTES:
            self.hand_over()

    def sync(self) -> None:
        """A turn is done: journal, JSON, rows and sound files are brought up to date soon."""
        if self._closing is None:
            self.hand_over(sync=True)

    async def flush(self) -> None:
        """`sync`, and wait until journal, JSON and rows are there: who looks then finds the turn there."""
        with suppress(TimeoutError):
            async with asyncio.timeout(FLUSH_S):
                await self._settle(self)

    async def close(self) -> None:
        """Write everything that is to be kept. Being cancelled only stops the waiting. Twice is once."""
        if self._closing is None:
            self._closing = asyncio.ensure_future(self._on_close(self))
            self._stopped = True
        await asyncio.shield(self._closing)

    async def suspend(self) -> None:
        """Write everything there is so far; the session may be gone on with by the next server."""
        await self._suspend(self)

    # -- for the archive --------------------------------------------------------------------------------

    def hand_over(self, *, sync: bool = False) -> None:
        """Give the writer what there is."""
        batch, sound_bytes = self.take()
        if batch.entries or batch.pieces or sync:
            self._submit(self, batch, sound_bytes, sync)

    def take(self) -> tuple[Batch, int]:
        """What has come together, and how many bytes of sound are in it."""
        self._cut_user()
        self._cut_agent()
        pieces, self._pieces = self._pieces, []
        entries, self._entries = self._entries, []
        sound_bytes = sum(len(piece.pcm) for piece in pieces)
        if sound_bytes and self.behind_bytes + sound_bytes > MAX_BEHIND_BYTES:
            pieces, sound_bytes = [], 0
            self._tell(TOO_SLOW)
        self._handed += sound_bytes
        return Batch(entries, pieces), sound_bytes

    @property
    def behind_bytes(self) -> int:
        """Sound handed over and not yet on disk."""
        return self._handed - self.written

    def stop(self, sentence: str) -> None:
        """Take no more sound; say why. The journal's lines are still taken, for the JSON at the end."""
        self._stopped = True
        self._user, self._agent, self._pieces = bytearray(), bytearray(), []
        self._told = False  # this is worse than being slow, and said even after that
        self._tell(sentence)

    def discard(self) -> None:
        """Take nothing more: the session has been deleted."""
        self._stopped = True
        self._user, self._agent, self._pieces, self._entries = bytearray(), bytearray(), [], []
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_future()
            self._closing.set_result(None)

    def _tell(self, sentence: str) -> None:
        if not self._told:
            self._told = True
            log.warning("%s: %s", self.session_id, sentence)
            self._on_trouble(sentence)

    def _cut_user(self) -> None:
        if self._user:
            start = self._user_start
            self._pieces.append(Piece("", USER_RATE_HZ, start, start, self._user))
            self._user, self._user_start = bytearray(), self._user_next

    def _cut_agent(self) -> None:
        if self._agent:
            reply_id, rate_hz, offset, position = self._agent_key
            self._pieces.append(Piece(reply_id, rate_hz, offset, position, self._agent))
            samples = len(self._agent) >> 1
            self._agent = bytearray()
            later = position + samples * USER_RATE_HZ // rate_hz
            self._agent_key = (reply_id, rate_hz, offset + samples, later)
