"""The avatars of the live talks, where those come from elsewhere: opens them, feeds them, does without them.

It listens to what is put into a session's outbox, so that an avatar gets exactly what the client gets, and
the session knows nothing of it. Whatever goes wrong with an avatar ends the avatar, never the talk: the page
draws and speaks by itself until one is there, and again when it is gone.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from pipeline.contracts import Avatar, AvatarEngine, AvatarError, AvatarSetup
from pipeline.outbox import Event, Outbox
from pipeline.setup import Setup

log = logging.getLogger(__name__)

CLOSE_S = 5.0
"""How long an avatar may take to go."""


class Figures:
    """All avatars from elsewhere, by session. One engine makes them."""

    def __init__(
        self, name: str = "orb", engine: AvatarEngine | None = None, timeout_s: float = 15.0
    ) -> None:
        """`engine` is None where it cannot run: then nobody gets more than what the page draws."""
        self.name = name
        self._engine, self._timeout_s = engine, timeout_s
        self._live: dict[str, Figure] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def frames(self) -> Sequence[str]:
        """The origins whose pages the talk page shows."""
        return self._engine.frames if self._engine is not None else ()

    def name_for(self, wish: str) -> str:
        """What a talk's client is told: its agent's wish, else the installation's."""
        return wish or self.name

    def follow(self, session_id: str, setup: Setup, outbox: Outbox) -> None:
        """Give a session its avatar, with the first thing that happens in it. Only a client that asks for
        marks gets one: others have no use for a picture, and it is paid by the minute."""
        engine = self._engine
        if engine is None or engine.drawn or self.name_for(setup.avatar) != self.name:
            return
        figure = Figure(engine, AvatarSetup(setup.language), self._timeout_s, outbox.put)
        self._live[session_id] = figure

        def tap(item: Event | bytes | None) -> None:
            if figure.task is None and item is not None and setup.marks:
                figure.task = asyncio.get_running_loop().create_task(figure.run(session_id))
                self._tasks.add(figure.task)
                figure.task.add_done_callback(self._tasks.discard)
            if item is None:
                self._live.pop(session_id, None)
            figure.take(item)

        outbox.tap = tap

    def told(self, session_id: str) -> Event:
        """What `connected` tells a client that comes back, if an avatar is there."""
        figure = self._live.get(session_id)
        return {"avatar": figure.view} if figure is not None and figure.view is not None else {}

    async def aclose(self) -> None:
        """Every avatar goes."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Figure:
    """One talk's avatar: waits for it, passes on what the client gets, notices when it is gone."""

    def __init__(
        self, engine: AvatarEngine, setup: AvatarSetup, timeout_s: float, tell: Callable[[Event], None]
    ) -> None:
        self.view: Event | None = None
        self.task: asyncio.Task[None] | None = None
        self._engine, self._setup, self._timeout_s, self._tell = engine, setup, timeout_s, tell
        self._avatar: Avatar | None = None
        self._speaks = False
        """It got this reply from its beginning: one that is there too late waits for the next."""
        self._text = ""
        self._over = asyncio.Event()

    async def run(self, session_id: str) -> None:
        """From the first event of the talk to its end, or the avatar's."""
        try:
            async with asyncio.timeout(self._timeout_s):
                avatar = await self._engine.open(self._setup)
        except (AvatarError, TimeoutError) as error:
            why = str(error) or f"it was not there after {self._timeout_s:g} s"
            log.warning("session %s: no avatar: %s", session_id, why)
            return
        try:
            if not self._over.is_set():
                self._avatar, self.view = avatar, shown(avatar)
                self._tell({"type": "avatar", "view": self.view})
                await self._until_over(avatar)
        except AvatarError as error:
            log.warning("session %s: the avatar is gone: %s", session_id, error)
        finally:
            self._avatar = None
            if self.view is not None and not self._over.is_set():
                self._tell({"type": "avatar", "view": None})
            self.view = None
            try:
                async with asyncio.timeout(CLOSE_S):
                    await avatar.aclose()
            except TimeoutError:
                log.warning("session %s: the avatar did not go within %g s", session_id, CLOSE_S)

    async def _until_over(self, avatar: Avatar) -> None:
        gone = asyncio.ensure_future(avatar.gone())
        over = asyncio.ensure_future(self._over.wait())
        try:
            await asyncio.wait((gone, over), return_when=asyncio.FIRST_COMPLETED)
            if gone.done():
                gone.result()
        finally:
            for task in (gone, over):
                task.cancel()
            await asyncio.gather(gone, over, return_exceptions=True)

    def take(self, item: Event | bytes | None) -> None:
        """What the client is sent next; None: the talk is over."""
        if isinstance(item, bytes):
            if self._speaks and self._avatar is not None:
                self._avatar.feed(item)
        elif item is None:
            self._over.set()
        else:
            self._on_event(item)

    def _on_event(self, event: Event) -> None:
        match event["type"]:
            case "response.begin":
                self._text = ""
            case "agent_response":
                self._text = event["text"] if event["final"] else self._text + event["text"]
            case "audio.begin" if self._avatar is not None:
                self._begin(self._avatar, event)
            case _ if self._speaks and self._avatar is not None:
                self._pass_on(self._avatar, event)
            case _:
                pass

    def _begin(self, avatar: Avatar, event: Event) -> None:
        offset_ms = event.get("offset_ms", 0)
        if offset_ms and not self._speaks:
            return  # the rest of a reply that the page has begun
        self._speaks = True
        if offset_ms:
            avatar.interrupt()  # it may have more of the reply than was heard
        avatar.begin(event["response_id"], event["rate"], offset_ms)

    def _pass_on(self, avatar: Avatar, event: Event) -> None:
        match event["type"]:
            case "audio.mark":
                avatar.mark(self._text[event["text_start"] : event["text_end"]], event["start_ms"])
            case "audio.end":
                avatar.finish()
            case "duck" | "unduck":
                avatar.duck(event["type"] == "duck")
            case "interrupted":
                avatar.interrupt()
            case _:
                pass


def shown(avatar: Avatar) -> dict[str, Any]:
    """A view as clients are told of it."""
    return {key: value for key, value in asdict(avatar.view).items() if value}
