"""How long a chain waits for whom: the deadlines that adapters need not know."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import TypeVar

from pipeline.contracts import Failure, ProviderError

P = TypeVar("P")


def share(left_s: float, is_last: bool) -> float:
    """How much of a stage's time a member gets: half of what is left while somebody stands behind it, so
    that the others have a chance before the caller gives up."""
    return left_s if is_last else left_s / 2


async def timed(
    name: str,
    stream: AsyncIterator[P],
    first_s: float,
    stall_s: float,
    error_type: type[ProviderError],
) -> AsyncGenerator[P, None]:
    """The stream, with a deadline for its first piece and for each one after it. Closes the stream."""
    patience, what = first_s, "the first piece"
    iterator = aiter(stream)
    try:
        while True:
            try:
                async with asyncio.timeout(patience):
                    piece = await anext(iterator)
            except StopAsyncIteration:
                return
            except TimeoutError as error:
                raise error_type(
                    f"{name} did not send {what} within {patience:g} s", Failure.TIMEOUT
                ) from error
            patience, what = stall_s, "more"
            yield piece
    finally:
        close = getattr(iterator, "aclose", None)
        if close is not None:
            await close()
