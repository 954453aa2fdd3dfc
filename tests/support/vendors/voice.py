"""What the fakes of synthesizers have in common: what they were asked to say, and their sound in pieces."""

from collections.abc import AsyncIterator

from tests.support.vendors.place import Cut, Trouble, Vendor
from tests.support.vendors.sound import speech_of

ODD_STEP = 1001
"""Bytes of a piece that is cut in mid-sample."""


class Voice(Vendor):
    """Base of a fake synthesizer. The subclass appends to `said` and `connections`."""

    rate_hz = 24_000

    def __init__(self, *troubles: Trouble) -> None:
        super().__init__(*troubles)
        self.said: list[str] = []
        """The texts it was asked to speak, one per request or segment, as they came."""
        self.connections: set[object] = set()
        """One entry for each connection that was opened: how many handshakes there were."""

    async def pieces(self, text: str, trouble: Trouble) -> AsyncIterator[bytes]:
        """The sound of a text, with the trouble's delays. Stalls for ever, or raises `Cut`, after
        `trouble.after` pieces."""
        sound = b"".join(speech_of(text, self.rate_hz))
        step = ODD_STEP if trouble.odd else self.rate_hz // 10 * 2
        for index, at in enumerate(range(0, 0 if trouble.empty else len(sound), step)):
            if index == trouble.after:
                if trouble.hang:
                    await self.hang()
                raise Cut
            await self.pause(trouble, index)
            yield sound[at : at + step]
