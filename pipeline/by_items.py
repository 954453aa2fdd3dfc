"""A session whose client keeps the conversation itself, as OpenAI's realtime clients do.

It may change everything at any time, says who is answered and when, runs tools of its own, and knows best how
much was heard. All of it is a session's business otherwise; the session stays the one that does it.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from pipeline.contracts import LlmError, Message, Prompt, Tool, ToolCall, ToolSpec, Usage
from pipeline.reply import Wish
from pipeline.request import Request
from pipeline.session import Session

Piece = str | ToolCall | LlmError | list[Request]
"""What comes of a thought: pieces, perhaps an error, and at last the requests."""


class ByItems:
    """What such a client may do. Its `Setup` says `by_items`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def retune(self, **told: Any) -> None:
        """From now on the talk is like that: fields of `Setup`, as `Setup.take` has them."""
        session = self._session
        session.change(**told)
        session.hearing.language = session.setup.language
        session.floor.hold_to_talk = session.setup.mode == "hold-to-talk"
        session.floor.retime(session.timing())

    def equip(self, tools: Mapping[str, Tool] | None) -> None:
        """From the next reply on the agent has these tools; None = its own."""
        session = self._session
        session.toolbox.tools = session.engines.tools if tools is None else tools

    def respond(self, wish: Wish, said: str = "") -> None:
        """Answer, though nobody may have said anything: no reply may be in the making. `said`: what the user
        has written, which is in the dialogue already."""
        session = self._session
        now = session.now()
        if said:
            session.commit(session.floor.on_told(said, now), told=True)
        session.speaking.wish = wish
        session.run(session.floor.on_respond(now))
        session.arm()

    def cut_off(self) -> None:
        """The user is done, whatever the microphone says."""
        session = self._session
        session.run(session.floor.on_cut_off(session.now()))
        session.arm()

    def forget_speech(self) -> None:
        """What the user has been saying is taken back."""
        session = self._session
        session.speaking.wish = Wish()
        session.run(session.floor.on_forget(session.now()))
        session.arm()

    def returned(self, call_id: str, output: str, key: str) -> bool:
        """The client has run a tool of its own; see `Toolbox.returned`."""
        return self._session.toolbox.returned(call_id, output, key)

    def think(
        self, messages: Sequence[Message], tools: Sequence[ToolSpec] | None, tell: Callable[[Piece], None]
    ) -> None:
        """Ask the model something beside the talk: nothing of it is said, kept or run."""
        session = self._session
        offered = session.toolbox.specs if tools is None else tuple(tools)
        prompt = Prompt(tuple(messages), offered, session.setup.language, session.id)
        session.spawn(self._think(prompt, tell))

    async def _think(self, prompt: Prompt, tell: Callable[[Piece], None]) -> None:
        session = self._session
        asked: list[Request] = []
        thrifty = bool(session.minutes.bill.why_spent())
        try:
            async with aclosing(session.engines.llm.tokens(prompt, bill=asked, thrifty=thrifty)) as pieces:
                async for _, piece in pieces:
                    if not isinstance(piece, Usage):
                        tell(piece)
        except LlmError as error:
            tell(error)
        finally:
            session.minutes.bill.charge(asked, session.floor.turn, session.now())
        tell(asked)
