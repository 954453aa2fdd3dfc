"""An avatar plug-in for tests: a page of a local server, and a list of what it was fed."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.contracts import AvatarError, AvatarSetup, AvatarView, Env


@dataclass(frozen=True, slots=True)
class Options:
    """No keys: the environment's ELSEWHERE_URL and ELSEWHERE_HOW say what to do."""


def create(options: Options, env: Env) -> "Elsewhere":
    del options
    return Elsewhere(env.keys.get("ELSEWHERE_URL", ""), env.keys.get("ELSEWHERE_HOW", ""))


class Elsewhere:
    """`how`: "" works, "never" never says that it plays, "refused" fails, "hang" never answers."""

    drawn = False

    def __init__(self, url: str = "", how: str = "") -> None:
        self.frames: Sequence[str] = (url.rstrip("/"),) if url else ()
        self._url, self._how = url, how
        self.opened: list[Picture] = []

    async def warm(self) -> None: ...

    async def aclose(self) -> None: ...

    async def open(self, setup: AvatarSetup) -> "Picture":
        if self._how == "refused":
            raise AvatarError("refused by the test")
        if self._how == "hang":
            await asyncio.Event().wait()
        picture = Picture(f"{self._url}#{self._how}", setup)
        self.opened.append(picture)
        return picture


class Picture:
    """The `Avatar`: writes down everything."""

    def __init__(self, url: str, setup: AvatarSetup) -> None:
        self.view = AvatarView("embed", url)
        self.setup = setup
        self.told: list[tuple[Any, ...]] = []
        self.fed = bytearray()
        self.closed = False
        self.lost = asyncio.get_running_loop().create_future()

    def begin(self, reply_id: str, rate_hz: int, offset_ms: int) -> None:
        self.told.append(("begin", reply_id, rate_hz, offset_ms))

    def feed(self, pcm: bytes) -> None:
        self.fed += pcm

    def mark(self, text: str, start_ms: int) -> None:
        self.told.append(("mark", text, start_ms))

    def finish(self) -> None:
        self.told.append(("finish",))

    def duck(self, paused: bool) -> None:
        self.told.append(("duck", paused))

    def interrupt(self) -> None:
        self.told.append(("interrupt",))

    async def gone(self) -> None:
        await asyncio.shield(self.lost)

    async def aclose(self) -> None:
        self.closed = True
