"""What both Gemini plug-ins say and understand: a prompt as the API's JSON, an answer as text and tool calls.

The wire is `models.streamGenerateContent` of v1beta, https://ai.google.dev/api/generate-content. The API is
strict about the order of `contents`; whatever the history is like, what is made here is accepted:

* it begins with the user, ends with the user (or a tool's result), and nothing in it is empty;
* a function call comes right after the user or a result, and right before as many results as it had calls.

It knows neither SDK: what they received comes here as `Chunk`s, what they raised as status and body.
"""

import base64
import json
import logging
import re
import uuid
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline import vendor
from pipeline.contracts import Failure, LlmError, Message, Prompt, ToolCall, ToolSpec, Usage
from pipeline.llm.gemini_schema import reduced, restored
from pipeline.llm.refusal import sorry

log = logging.getLogger(__name__)

BASE_URL = "https://generativelanguage.googleapis.com"
KEYS = ("GEMINI_API_KEY", "GOOGLE_API_KEY")

OPENING = "(The user is on the line and has said nothing yet.)"
"""Stands where the API insists on a word of the user's: before a greeting, and in an empty history."""
GO_ON = "(Please go on.)"
"""Follows an answer that is the last of the history: it may not end with the model's own words."""
NO_RESULT = {"ok": False, "message": "The tool was interrupted before it answered."}
ANY_SIGNATURE = base64.b64encode(b"skip_thought_signature_validator").decode()
"""Google's own stand-in for a call that another model made, or one from before a restart.
https://ai.google.dev/gemini-api/docs/thought-signatures (FAQ)"""
MOST_SIGNATURES = 512

DECLINING = frozenset(
    (
        "SAFETY",
        "RECITATION",
        "LANGUAGE",
        "BLOCKLIST",
        "PROHIBITED_CONTENT",
        "SPII",
        "IMAGE_SAFETY",
        "ESCALATION",
    )
)
"""Finish reasons by which the model, or a filter behind it, will not say it, asked again or not."""
DONE = frozenset(("STOP", "MAX_TOKENS"))


class Shared(dict[str, Any]):
    """A piece of a request that is not copied: google-genai copies its configuration three times over, which
    took 5 ms for 400 messages. Nobody changes it once it is made."""

    def __deepcopy__(self, memo: Any) -> "Shared":
        return self


# -- what is asked --------------------------------------------------------------------------------------


class Signatures:
    """What Gemini wants back with a call that it made: its encrypted thoughts about it (base64), by call id.

    Kept by the process, not by the history: only the turn that is being answered is checked.
    """

    def __init__(self) -> None:
        self._known: OrderedDict[str, str] = OrderedDict()

    def keep(self, call_id: str, signature: str) -> None:
        self._known[call_id] = signature
        while len(self._known) > MOST_SIGNATURES:
            self._known.popitem(last=False)

    def of(self, call_id: str) -> str:
        return self._known.get(call_id, "")


class Toolset:
    """The tools of one prompt under names that the API accepts (a letter or _, then [A-Za-z0-9_.-], 64)."""

    def __init__(self, tools: Sequence[ToolSpec], *, old: bool = False) -> None:
        self._specs: dict[str, ToolSpec] = {}
        self._names: dict[str, str] = {}
        self.declarations: list[dict[str, Any]] = []
        for spec in tools:
            name = self._free(_plain_name(spec.name))
            self._specs[name], self._names[spec.name] = spec, name
            declaration: dict[str, Any] = {"name": name, "description": clean(spec.description) or name}
            parameters = reduced(spec.parameters, old=old)
            if parameters["type"] == "OBJECT":  # without any parameters there is no schema
                declaration["parameters"] = parameters
            self.declarations.append(declaration)

    def name(self, real: str) -> str:
        """How the tool is called on the wire, also one that is not offered (any more)."""
        return self._names.get(real) or _plain_name(real)

    def call(self, call_id: str, name: str, arguments: Mapping[str, Any]) -> ToolCall:
        """What the model asked for, in our words."""
        spec = self._specs.get(name)
        call_id = call_id or f"call_{uuid.uuid4().hex[:16]}"  # models before 3 give none
        if spec is None:
            return ToolCall(call_id, name, dict(arguments))
        return ToolCall(call_id, spec.name, restored(dict(arguments), spec.parameters))

    def _free(self, name: str) -> str:
        free, n = name, 2
        while free in self._specs:
            free, n = f"{name[:60]}_{n}", n + 1
        return free


def body(
    prompt: Prompt,
    tools: Toolset,
    *,
    calls: bool = True,
    signature: Callable[[str, bool], str] | None = None,
    generation: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The request's JSON. `signature(call_id, is_first_of_its_step)` is what a call carries, "" for nothing.
    Without `calls` the tools' results are told as text: for a model that wants signatures which the SDK
    cannot carry."""
    request: dict[str, Any] = {"contents": _Contents(prompt.messages, tools, calls, signature).made}
    system = [clean(m.content) for m in prompt.messages if m.role == "system"]
    if text := "\n\n".join(t for t in system if t.strip()):
        request["systemInstruction"] = Shared(parts=[{"text": text}])
    if tools.declarations:
        request["tools"] = [Shared(functionDeclarations=tools.declarations)]
    if generation:
        request["generationConfig"] = Shared(generation)
    return request


class _Contents:
    """The turns of the talk as the API wants them."""

    def __init__(
        self,
        messages: Sequence[Message],
        tools: Toolset,
        calls: bool,
        signature: Callable[[str, bool], str] | None,
    ) -> None:
        self._messages, self._tools, self._signature = messages, tools, signature
        self._results: dict[str, deque[int]] = {}
        self._used: set[int] = set()
        for i, message in enumerate(messages):
            if message.role == "tool":
                self._results.setdefault(message.tool_call_id, deque()).append(i)
        self.made: list[Shared] = []
        for i, message in enumerate(messages):
            if message.role == "user":
                self._say("user", message.content)
            elif message.role == "assistant":
                self._say("model", message.content)
                if message.tool_calls and calls:
                    self._call(i, message.tool_calls)
            elif message.role == "tool" and i not in self._used:
                self._say("user", f"(The tool {message.name or 'that was asked'} said: {message.content})")
        if not self.made:
            self._say("user", OPENING)
        if self.made[-1]["role"] == "model":
            self._say("user", GO_ON)

    def _say(self, role: str, text: str) -> None:
        text = clean(text)
        if text.strip():
            self._parts(role).append({"text": text})

    def _parts(self, role: str) -> list[dict[str, Any]]:
        """Where the next part of this role belongs: turns alternate, results stand alone."""
        if not self.made and role == "model":
            self.made.append(Shared(role="user", parts=[{"text": OPENING}]))
        last = self.made[-1] if self.made else None
        if last is None or last["role"] != role or "functionResponse" in last["parts"][-1]:
            last = Shared(role=role, parts=[])
            self.made.append(last)
        parts: list[dict[str, Any]] = last["parts"]
        return parts

    def _call(self, at: int, asked: Sequence[ToolCall]) -> None:
        parts = self._parts("model")
        answers = []
        for n, call in enumerate(asked):
            identity = {"id": call.id} if call.id else {}
            name = self._tools.name(call.name)
            part: dict[str, Any] = {
                "functionCall": {**identity, "name": name, "args": _plain(call.arguments)}
            }
            if self._signature and (signature := self._signature(call.id, n == 0)):
                part["thoughtSignature"] = signature
            parts.append(part)
            result = {**identity, "name": name, "response": self._result(at, call.id)}
            answers.append({"functionResponse": result})
        self.made.append(Shared(role="user", parts=answers))

    def _result(self, at: int, call_id: str) -> dict[str, Any]:
        waiting = self._results.get(call_id, deque())
        while waiting:
            i = waiting.popleft()
            if i > at:
                self._used.add(i)
                return _object(self._messages[i].content)
        return NO_RESULT


def _object(content: str) -> dict[str, Any]:
    content = clean(content)
    try:
        value = json.loads(content)
    except ValueError:
        value = content
    return value if isinstance(value, dict) else {"result": value}


def _plain(arguments: Mapping[str, Any]) -> Any:
    """Arguments as JSON can say them, whoever called."""
    return json.loads(clean(json.dumps(arguments, default=str, ensure_ascii=False)))


def clean(text: str) -> str:
    """Text that can be sent as UTF-8: half a surrogate pair cannot."""
    return text.encode("utf-8", "replace").decode() if not text.isascii() else text


def _plain_name(name: str) -> str:
    plain = re.sub(r"[^A-Za-z0-9_.-]", "_", name)[:64]
    return plain if re.match(r"[A-Za-z_]", plain) else f"_{plain}"[:64]


# -- models ---------------------------------------------------------------------------------------------

_MINIMAL = ("gemini-3-flash", "gemini-3.1-flash-lite", "gemini-3.5-flash-lite")
_BUDGETS = {"low": 1024, "medium": 8192, "high": 24576}
"""Tokens, as Google itself translates these words: https://ai.google.dev/gemini-api/docs/openai#thinking"""


def generation_of(model: str) -> float:
    """2.5 for gemini-2.5-flash; 0 for what is no Gemini. An alias such as gemini-flash-latest is new."""
    if found := re.match(r"gemini-(\d+(?:\.\d+)?)", model):
        return float(found[1])
    return 99.0 if re.match(r"gemini-.*latest", model) else 0.0


def wants_signatures(model: str) -> bool:
    """Since 3, a call of the current turn that lacks its signature is refused."""
    return generation_of(model) >= 3


def thinking(model: str, amount: str) -> dict[str, Any] | None:
    """The `thinkingConfig` for "least", "low", "medium", "high"; None leaves it to the model.

    Models of 2.5 take a budget of tokens, later ones a level; which is allowed differs by model, a wrong one
    is refused (https://ai.google.dev/gemini-api/docs/thinking). Only some know "minimal"; all know "low".
    """
    generation = generation_of(model)
    if amount == "default" or generation < 2.5:
        return None
    if generation < 3:
        least = 128 if "-pro" in model else 0  # Pro cannot be kept from thinking
        return {"thinkingBudget": _BUDGETS.get(amount, least)}
    least_level = "minimal" if model.startswith(_MINIMAL) else "low"
    return {"thinkingLevel": least_level if amount == "least" else amount}


# -- what is answered -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Call:
    """A function call as it came."""

    name: str
    arguments: Mapping[str, Any]
    id: str = ""
    signature: str = ""


@dataclass(frozen=True, slots=True)
class Chunk:
    """One piece of an answer as it came, thoughts already left out."""

    texts: Sequence[str] = ()
    calls: Sequence[Call] = ()
    finish: str = ""
    message: str = ""
    """What the vendor says about the finish."""
    blocked: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    """With those of the thoughts: they are charged alike. Both count from the answer's beginning."""


class Answer:
    """Reads one answer: chunks in, text and tool calls out, and in the end its usage or what went wrong."""

    def __init__(
        self, where: str, tools: Toolset, signatures: Signatures | None = None, language: str = ""
    ) -> None:
        self._where, self._tools, self._signatures, self._language = where, tools, signatures, language
        self._finish = ""
        self._something = False
        self._input_tokens = self._output_tokens = 0

    def take(self, chunk: Chunk) -> Iterator[str | ToolCall]:
        """What can be said or run; a refusal of the model or a filter is said. Raises `LlmError`."""
        self._input_tokens = chunk.input_tokens or self._input_tokens
        self._output_tokens = chunk.output_tokens or self._output_tokens
        for text in chunk.texts:
            if text:
                self._something = True
                yield text
        for asked in chunk.calls:
            self._something = True
            call = self._tools.call(asked.id, asked.name, asked.arguments)
            if asked.signature and self._signatures is not None:
                self._signatures.keep(call.id, asked.signature)
            yield call
        self._finish = chunk.finish or self._finish
        if chunk.blocked or chunk.finish in DECLINING:
            reason = chunk.blocked or chunk.finish
            log.info("%s would not answer (%s) %s", self._where, reason, vendor.short(chunk.message))
            self._finish = reason
            yield sorry(self._language, self._something)
            return
        if chunk.finish and chunk.finish not in DONE:
            said = f": {vendor.short(chunk.message)}" if chunk.message else ""
            raise LlmError(f"{self._where} broke off ({chunk.finish}){said}", Failure.TRANSIENT)

    def end(self) -> Usage | None:
        """The stream has ended. Raises `LlmError` when it ended before its end."""
        if not self._finish:
            raise LlmError(f"{self._where} ended before it was done", Failure.TRANSIENT)
        if self._finish == "MAX_TOKENS":
            if not self._something:
                raise LlmError(
                    f"{self._where} used up max_output_tokens before the first word (thinking counts too): "
                    "raise it, or let it think less",
                    Failure.BAD_REQUEST,
                )
            log.info("%s was cut short by max_output_tokens", self._where)
        if not (self._input_tokens or self._output_tokens):
            return None
        return Usage(input_tokens=self._input_tokens, output_tokens=self._output_tokens)


# -- what goes wrong ------------------------------------------------------------------------------------


def refused(plugin: str, status: int, answer: Any, headers: Mapping[str, str]) -> LlmError:
    """The error for a refusal. `answer` is Google's body, `{"error": {"code", "message", "details"}}`; the
    one of a stream comes in a list.

    A wrong key is no 401 here but 400 with the reason API_KEY_INVALID, and when to come back stands in the
    details (google.rpc.RetryInfo): https://cloud.google.com/apis/design/errors#error_model
    """
    if isinstance(answer, list) and answer:
        answer = answer[0]
    error = answer.get("error", answer) if isinstance(answer, Mapping) else {}
    error = error if isinstance(error, Mapping) else {}
    message = str(error.get("message") or "")
    details = [d for d in error.get("details") or () if isinstance(d, Mapping)]
    reasons = {str(d.get("reason", "")) for d in details}
    who = f"[llm] {plugin}"
    if any(r.startswith("API_KEY") for r in reasons) or (status == 400 and "api key" in message.lower()):
        text = f"{who}: Google refused the API key ({status}): {vendor.short(message)}"
        return LlmError(f"{text}; set {KEYS[0]} (or {KEYS[1]})", Failure.AUTH)
    made = vendor.refused(LlmError, who, status, message, headers)
    hint = ""
    if made.kind is Failure.AUTH:
        hint = f"; set {KEYS[0]} (or {KEYS[1]})"
    elif status == 404:
        hint = f"; change [llm.{plugin}] model"
    waits = [w for d in details if (w := _seconds(d.get("retryDelay"))) is not None]
    wait = max([*waits, made.retry_after_s or 0.0]) if waits else made.retry_after_s
    return LlmError(f"{made}{hint}", made.kind, retry_after_s=wait)


def unknown_model(plugin: str, model: str, known: Sequence[str]) -> LlmError:
    """The error for a model that is not there, with those that are."""
    listed = f"; there are {', '.join(sorted(known)[:12])}" if known else ""
    return LlmError(f"[llm.{plugin}] model {model!r} is unknown to Google{listed}", Failure.BAD_REQUEST)


def _seconds(text: Any) -> float | None:
    """A google.protobuf.Duration in JSON, "37s" or "0.5s"."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)s", str(text or ""))
    return float(found[1]) if found else None
