"""What the talk page draws by itself needs nothing from here: it is only named."""

from collections.abc import Sequence

from pipeline.contracts import Avatar, AvatarError, AvatarSetup, Failure


class Drawn:
    """The `AvatarEngine` of everything that the page draws from the voice it plays."""

    drawn = True
    frames: Sequence[str] = ()

    async def warm(self) -> None:
        """Nothing to load."""

    async def aclose(self) -> None:
        """Nothing to give back."""

    async def open(self, setup: AvatarSetup) -> Avatar:
        del setup
        raise AvatarError("the page draws this one by itself: there is nothing to open", Failure.BAD_REQUEST)
