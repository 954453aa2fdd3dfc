"""What waits to be sent to a session's client: events and audio, in order, bounded.

The session puts, one sender task per attached socket takes. Events outlive a lost socket and are delivered
after a resume; audio doesn't: the session sends again what was not heard.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

Event = dict[str, Any]

MOST_EVENTS = 1000
"""Undelivered events after which a client counts as gone. A turn makes about twenty."""


class Outbox:
    """One reader, one writer, same event loop. `put` and `audio` never block."""

    __slots__ = ("_events", "_items", "_waiter", "closed", "overflowed", "tap")

    def __init__(self) -> None:
        self._items: deque[Event | bytes] = deque()
        self._events = 0
        self._waiter: asyncio.Future[None] | None = None
        self.closed = False
        """No more comes after what is in it now."""
        self.overflowed = False
        """Events were dropped, oldest first: the reader is hopelessly behind."""
        self.tap: Callable[[Event | bytes | None], None] | None = None
        """Told what is put in, in order, and None at the end: for an avatar that speaks what is sent."""

    def __len__(self) -> int:
        return len(self._items)

    def put(self, event: Event) -> None:
        if self._events >= MOST_EVENTS:
            self.overflowed = True
            self._drop_oldest_event()
        self._events += 1
        self._items.append(event)
        if self.tap is not None:
            self.tap(event)
        self._wake()

    def audio(self, pcm: bytes) -> None:
        """Bounded by the session: never more than the play-out lead."""
        self._items.append(pcm)
        if self.tap is not None:
            self.tap(pcm)
        self._wake()

    def purge_audio(self) -> None:
        """Drop audio that has not been taken yet."""
        if any(isinstance(item, bytes) for item in self._items):
            self._items = deque(item for item in self._items if not isinstance(item, bytes))

    def drop_deltas(self, response_id: str) -> None:
        """Drop text of a reply that its client is about to be told whole."""
        kept: deque[Event | bytes] = deque()
        for item in self._items:
            is_delta = not isinstance(item, bytes) and item["type"] == "agent_response" and not item["final"]
            if is_delta and item["response_id"] == response_id:  # type: ignore[call-overload]
                self._events -= 1
            else:
                kept.append(item)
        self._items = kept

    def close(self) -> None:
        self.closed = True
        if self.tap is not None:
            self.tap(None)
        self._wake()

    def take(self) -> Event | bytes | None:
        """The next item, or None when there is nothing right now."""
        if not self._items:
            return None
        item = self._items.popleft()
        if not isinstance(item, bytes):
            self._events -= 1
        return item

    def put_back(self, event: Event) -> None:
        """It could not be sent: the next client gets it first."""
        self._events += 1
        self._items.appendleft(event)

    async def wait(self) -> bool:
        """Until there is something to take; False when it is closed and empty."""
        while not self._items:
            if self.closed:
                return False
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return True

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _drop_oldest_event(self) -> None:
        for i, item in enumerate(self._items):
            if not isinstance(item, bytes):
                del self._items[i]
                self._events -= 1
                return
