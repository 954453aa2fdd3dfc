"""Models in a row. After something was said the next one goes on from there, if it can be told to."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

from pipeline.chain.member import Chain, Member, Report, ignore, now
from pipeline.chain.patience import share, timed
from pipeline.contracts import Failure, LlmError, Message, Prompt, Responder, ToolCall, Usage
from pipeline.request import Outcome, Request

LOST_THREAD = " I am sorry, I have lost my thread there."
GO_ON = (
    "Your last answer broke off. Go on with it from exactly where it stopped, in the same language, "
    "beginning with the very next word. Repeat nothing and do not mention the interruption."
)
CHARS_PER_TOKEN = 4
"""Of English text, the rule of thumb of OpenAI's and Google's token pages: for who does not count."""


class LlmChain:
    """Answers a prompt through the first responder that manages it."""

    def __init__(self, chain: Chain[Responder], first_timeout_s: float, stall_s: float) -> None:
        self.chain = chain
        self._first_s, self._stall_s = first_timeout_s, stall_s

    def preferring(self, name: str) -> "LlmChain":
        """The same, that member first."""
        return LlmChain(self.chain.preferring(name), self._first_s, self._stall_s)

    def able(self, mark: str, *, free: bool = False) -> "LlmChain | None":
        """The same, of those members only whose engine has that mark (and cost nothing, if `free`); None when
        whoever would be asked first is not among them."""
        members = [m for m in self.chain.members if getattr(m.engine, mark, False) and (m.free or not free)]
        if next(self.chain.in_order(thrifty=free), None) not in members:
            return None
        return LlmChain(self.chain.of(members), self._first_s, self._stall_s)

    async def tokens(
        self,
        prompt: Prompt,
        report: Report = ignore,
        bill: list[Request] | None = None,
        *,
        thrifty: bool = False,
    ) -> AsyncGenerator[tuple[str, str | ToolCall | Usage], None]:
        """Yield (plug-in, piece). Each request is appended to `bill`. Raises `LlmError` when nobody could
        say anything."""
        last = LlmError("no responder is configured")
        until, said, acted = now() + self._first_s, "", False
        behind = list(self.chain.in_order(thrifty=thrifty))
        while behind:
            member = behind.pop(0)
            if said and not _goes_on(member):
                continue
            patience = self._stall_s if said else share(max(0.0, until - now()), not behind)
            asked = _continued(prompt, said) if said else prompt
            request = Request("llm", member.name, member.model, now(), input_tokens=_guess(asked))
            if bill is not None:
                bill.append(request)
            try:
                stream = timed(member.name, member.engine.tokens(asked), patience, self._stall_s, LlmError)
                something = False
                async with aclosing(stream):
                    async for piece in stream:
                        _count(request, piece)
                        if isinstance(piece, str):
                            if asked is not prompt and not something:
                                piece = _joint(said, piece)
                            said += piece
                        elif isinstance(piece, ToolCall):
                            acted = True
                        something = something or not isinstance(piece, Usage)
                        yield member.name, piece
                if not something and not said:
                    raise LlmError(f"{member.name} answered nothing", Failure.EMPTY)
                member.worked()
                request.end(Outcome.OK)
                return
            except LlmError as error:
                last = error
                self.chain.failed(member, error)
                request.end(Outcome.FAILED, error.kind)
                report(error, member.name)
                if acted:
                    return  # the tool's result will be talked about; asking again would run it twice
            finally:
                request.end(Outcome.CANCELLED)
        if not said:
            raise last
        yield member.name, LOST_THREAD


def _goes_on(member: Member[Responder]) -> bool:
    """Whether it understands being told to go on with an answer that another one began."""
    return bool(getattr(member.engine, "goes_on", False))


def _continued(prompt: Prompt, said: str) -> Prompt:
    more = (Message("assistant", said), Message("user", GO_ON))
    return replace(prompt, messages=(*prompt.messages, *more))


def _joint(said: str, piece: str) -> str:
    """The first piece of a continuation: it begins with a word of its own, told to or not."""
    return f" {piece}" if said[-1:].isalnum() and piece[:1].isalnum() else piece


def _guess(prompt: Prompt) -> int:
    return sum(len(m.content) for m in prompt.messages) // CHARS_PER_TOKEN


def _count(request: Request, piece: str | ToolCall | Usage) -> None:
    request.answered(now())
    if isinstance(piece, Usage):
        request.count(piece)
    elif not request.counted:
        request.output_tokens += 1  # providers stream about a token a piece
