"""What the fakes of models that stream server-sent events have in common: troubles, and something to say."""

import asyncio
import json
import re
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from tests.support.vendors.place import Cut, Seen, Trouble, Vendor

Json = Mapping[str, Any]


class Refused(Exception):
    """The request is answered with an error in the vendor's own words."""

    def __init__(self, status: int, body: Json) -> None:
        super().__init__(status)
        self.status, self.body = status, body


@dataclass
class Script:
    """One streamed answer. Trouble counts, and delays come before, `pieces`."""

    head: Sequence[bytes] = ()
    pieces: Sequence[bytes] = ()
    tail: Sequence[bytes] = ()


@dataclass
class Reply:
    """What the model has a mind to answer."""

    text: str = ""
    calls: list[tuple[str, str, Json]] = field(default_factory=list)
    """(id, name, arguments)"""

    @property
    def words(self) -> list[str]:
        """The text in pieces that join to it."""
        return re.findall(r"\s*\S+", self.text)


class Talker(Vendor, ABC):
    """Base of the fakes. The subclass gives `check`, `error`, `script` and `late_error`."""

    id_prefix = "call_"

    def __init__(self, *troubles: Trouble) -> None:
        super().__init__(*troubles)
        self.scripts: deque[Script] = deque()
        """What to answer with instead of its own words, one per request."""
        self._numbers = count(1)

    @property
    def asked(self) -> list[Seen]:
        """The requests for an answer, without the questions about models."""
        return [seen for seen in self.seen if seen.method == "POST"]

    @abstractmethod
    def check(self, request: Request, body: Any) -> None:
        """What the vendor insists on. Raises `Refused`."""

    @abstractmethod
    def error(self, status: int, message: str) -> Json:
        """The vendor's error body."""

    @abstractmethod
    def script(self, body: Any, empty: bool) -> Script:
        """A good day's answer, or one in which nothing is said."""

    @abstractmethod
    def late_error(self, trouble: Trouble) -> bytes:
        """The vendor's error in the middle of a stream."""

    def reply(self, text: str, result: str, offered: Sequence[str]) -> Reply:
        """To the last thing the user said, or to a tool's result. It calls the first tool it is offered when
        it hears "time"."""
        if result:
            told = json.loads(result) if result.startswith("{") else {}
            return Reply(f"It says {told.get('time') or 'something'}, as far as I can tell.")
        if offered and "time" in text.lower():
            return Reply(calls=[(f"{self.id_prefix}{next(self._numbers)}", offered[0], {})])
        return Reply(f"You said {len(text)} letters: {' '.join(text.split()[:6])}. What else?")

    async def answer(self, request: Request) -> Response:
        """The handler of a request for an answer."""
        seen = await self.see(request)
        trouble = self.trouble()
        if trouble.hang and trouble.after is None:
            await self._left(request)
            seen.closed.set()
            return Response()
        try:
            if trouble.status and trouble.after is None:
                raise Refused(trouble.status, self.error(trouble.status, trouble.message))
            self.check(request, seen.json)
        except Refused as refused:
            seen.closed.set()
            headers = {"retry-after": trouble.retry_after} if trouble.retry_after else None
            return JSONResponse(refused.body, refused.status, headers)
        script = self.scripts.popleft() if self.scripts else self.script(seen.json, trouble.empty)
        return StreamingResponse(
            self._sent(request, seen, trouble, script), media_type="text/event-stream; charset=utf-8"
        )

    async def _sent(
        self, request: Request, seen: Seen, trouble: Trouble, script: Script
    ) -> AsyncIterator[bytes]:
        try:
            for event in script.head:
                yield event
            for index, piece in enumerate(script.pieces):
                if index == trouble.after:
                    if trouble.hang:
                        await self._left(request)
                        return
                    if not trouble.status:
                        raise Cut
                    yield self.late_error(trouble)
                    return
                await self.pause(trouble, index)
                yield piece
            for event in script.tail:
                yield event
        finally:
            seen.closed.set()

    async def _left(self, request: Request) -> None:
        """Until the client is gone, or the fake is closed."""

        async def gone() -> None:
            while (await request.receive())["type"] != "http.disconnect":
                pass

        waits = [asyncio.create_task(gone()), asyncio.create_task(self.hang())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)


def sse(data: Any, event: str = "") -> bytes:
    """One server-sent event; text goes as it is, all else as JSON."""
    line = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
    return (f"event: {event}\n" if event else "").encode() + f"data: {line}\n\n".encode()
