"""The messages of Gemini Live: https://ai.google.dev/api/live

The server numbers nothing: it answers one activity after the other, so replies are matched by their order.
Three things that it cannot do are done otherwise:

* cut its memory to what was heard: the next activity begins with a note of what was heard (`cut`);
* take a reply that it did not make: a note as well (`remember`);
* forget audio that it was sent, or change its instructions: the talk is replaced by another one with the
  right history (`leaving`, `instruct` says False).
"""

import base64
import json
import logging
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline import vendor
from pipeline.contracts import (
    Asked,
    Ended,
    Failure,
    Said,
    Sounded,
    TalkError,
    TalkEvent,
    TalkSetup,
    ToolCall,
    Understood,
    Usage,
    Used,
)
from pipeline.core.messages import Message as Remembered
from pipeline.lines import LineLost, Message
from pipeline.talk.live import wrong_message

log = logging.getLogger(__name__)

WHO = "Gemini Live"
RATE_HZ = 24_000
VOICES = ("Puck", "Charon", "Kore", "Fenrir", "Aoede", "Leda", "Orus", "Zephyr")
CUT = 'Note: the user interrupted you. Of your last answer they heard only this: "{}"'
CUT_UNHEARD = "Note: the user interrupted you before they heard anything of your last answer."
SAID = 'Note: you have just said this to the user: "{}"'


@dataclass(slots=True)
class _Reply:
    """One answer that is owed."""

    number: int
    begun: bool = False
    is_cut: bool = False


class GeminiWire:
    """A `live.Wire`."""

    def __init__(self, model: str, voice: str) -> None:
        self.out: list[Message] = []
        self.ready = self.leaving = False
        self._model = model if model.startswith("models/") else f"models/{model}"
        self._voice = voice
        self._history: tuple[Remembered, ...] = ()
        self._notes: list[str] = []
        self._owed: deque[_Reply] = deque()
        self._utterance = 0
        self._text = ""
        self._dropped = False
        self._asked: dict[str, str] = {}
        """Names of the calls that were asked for, by their ids."""
        self._usage: Usage | None = None
        self._last = 0
        """The reply that ended last: for the usage that comes behind it."""
        self._merged = False
        """A reply that nothing had come of was cut: the server may say so, or say nothing of it."""
        self._skip = False

    # -- out -----------------------------------------------------------------------------------------------

    def open(self, setup: TalkSetup) -> None:
        voice = setup.voice if setup.voice in VOICES else self._voice
        config: dict[str, Any] = {
            "model": self._model,
            "generationConfig": {
                "responseModalities": ["AUDIO"],  # the native-audio models know no other
                "speechConfig": {"voiceConfig": {"prebuiltVoiceConfig": {"voiceName": voice}}},
            },
            "realtimeInputConfig": {
                "automaticActivityDetection": {"disabled": True},
                "activityHandling": "START_OF_ACTIVITY_INTERRUPTS",
                "turnCoverage": "TURN_INCLUDES_ONLY_ACTIVITY",
            },
            "inputAudioTranscription": {},
            "outputAudioTranscription": {},
            "contextWindowCompression": {"slidingWindow": {}},
        }
        if setup.instructions:
            config["systemInstruction"] = {"parts": [{"text": setup.instructions}]}
        if setup.tools:
            config["tools"] = [{"functionDeclarations": [_declared(t) for t in setup.tools]}]
        self._history = setup.history
        if setup.history:  # with it the server waits for `clientContent` before anything else
            config["historyConfig"] = {"initialHistoryInClientContent": True}
        self._send("setup", config)

    def begin(self, utterance: int) -> None:
        self._utterance, self._text, self._dropped = utterance, "", False
        self._start_activity()

    def audio(self, pcm: bytes, *, last: bool) -> None:
        del last
        if pcm and not self._dropped:
            data = base64.b64encode(pcm).decode()
            self._send("realtimeInput", {"audio": {"data": data, "mimeType": "audio/pcm;rate=16000"}})

    def finish(self, utterance: int, reply: int) -> None:
        del utterance
        self._owed.append(_Reply(reply))
        self._send("realtimeInput", {"activityEnd": {}})

    def drop(self, utterance: int) -> None:
        if utterance == self._utterance:
            self._dropped = True
            self.leaving = True  # it has heard what it should not: another talk goes on without that

    def say(self, text: str, reply: int) -> None:
        self._start_activity()
        self._send("realtimeInput", {"text": text or "Please answer what I said last."})
        self._owed.append(_Reply(reply))
        self._send("realtimeInput", {"activityEnd": {}})

    def answer(self, reply: int, results: Sequence[tuple[ToolCall, str]], *, go_on: bool) -> None:
        del reply, go_on  # the server goes on by itself, and what comes of a cut reply is not listened to
        responses = [
            {"id": call.id, "name": call.name, "response": _json(output)}
            for call, output in results
            if self._asked.pop(call.id, None)
        ]
        if responses:
            self._send("toolResponse", {"functionResponses": responses})

    def cut(self, reply: int, heard_ms: float, heard_text: str) -> None:
        del heard_ms
        owed = next((r for r in self._owed if r.number == reply), None)
        if owed is not None:
            owed.is_cut = True
        if owed is None or owed.begun:
            self._notes.append(CUT.format(heard_text) if heard_text else CUT_UNHEARD)

    def remember(self, text: str) -> None:
        self._notes.append(SAID.format(text))

    def instruct(self, instructions: str) -> bool:
        del instructions
        return False

    def _send(self, kind: str, body: Mapping[str, Any]) -> None:
        self.out.append(json.dumps({kind: body}, ensure_ascii=False))

    def _start_activity(self) -> None:
        """Interrupts what is being generated. An answer that had not begun yet may be merged into the next
        one by the server, without a word, or be reported as interrupted."""
        if self._owed and not self._owed[0].begun:
            self._owed.popleft()
            self._merged = True
        self._send("realtimeInput", {"activityStart": {}})
        notes, self._notes = self._notes, []
        for note in notes:
            self._send("realtimeInput", {"text": note})

    def _replay(self) -> None:
        turns = [turn for message in self._history if (turn := _turn(message))]
        self._send("clientContent", {"turns": turns, "turnComplete": True})

    # -- in ------------------------------------------------------------------------------------------------

    def heard(self, message: Message) -> Sequence[TalkEvent]:
        try:
            event: dict[str, Any] = json.loads(message)
            event.keys()  # nothing but an object
            return self._heard(event)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise wrong_message(WHO, message) from error

    def _heard(self, event: Mapping[str, Any]) -> Sequence[TalkEvent]:
        events: list[TalkEvent] = []
        if "setupComplete" in event:
            self.ready = True
            if self._history:
                self._replay()
        if "goAway" in event:
            self.leaving = True
        if "usageMetadata" in event:
            self._usage = _usage(event["usageMetadata"])
        if "serverContent" in event:
            events += self._content(event["serverContent"])
        if "toolCall" in event:
            events += self._tools(event["toolCall"].get("functionCalls") or ())
        if self._usage is not None and not self._owed and self._last:
            events.append(Used(self._last, self._usage))  # it came behind its reply
            self._usage = None
        return events

    def _content(self, content: Mapping[str, Any]) -> list[TalkEvent]:
        events: list[TalkEvent] = []
        if (heard := content.get("inputTranscription")) and heard.get("text") and not self._dropped:
            self._text += heard["text"]
            events.append(Understood(self._utterance, self._text.strip()))  # never known to be the last
        reply = self._owed[0] if self._owed else None
        if content.get("interrupted") and self._merged:
            self._merged, self._skip = False, True  # its `turnComplete` follows
            return events
        if reply is not None:
            events += self._of_reply(reply, content)
        if content.get("turnComplete"):
            events += self._complete()
        return events

    def _of_reply(self, reply: _Reply, content: Mapping[str, Any]) -> list[TalkEvent]:
        events: list[TalkEvent] = []
        spoken = content.get("outputTranscription")
        parts = (content.get("modelTurn") or {}).get("parts") or ()
        if spoken or parts:
            reply.begun, self._merged = True, False
        if spoken and spoken.get("text"):
            events.append(Said(reply.number, spoken["text"]))
        for part in parts:
            if data := (part.get("inlineData") or {}).get("data"):
                events.append(Sounded(reply.number, base64.b64decode(data)))
        return events

    def _complete(self) -> list[TalkEvent]:
        if self._skip or not self._owed:
            self._skip = False
            return []
        events: list[TalkEvent] = []
        reply = self._owed.popleft()
        self._last = reply.number
        if self._usage is not None:
            events.append(Used(reply.number, self._usage))
            self._usage = None
        return [*events, Ended(reply.number)]

    def _tools(self, calls: Sequence[Mapping[str, Any]]) -> list[TalkEvent]:
        if not self._owed or not calls:
            return []
        reply = self._owed[0]
        reply.begun = True
        self._asked |= {call["id"]: call["name"] for call in calls}
        wanted = tuple(ToolCall(c["id"], c["name"], c.get("args") or {}) for c in calls)
        return [] if reply.is_cut else [Asked(reply.number, wanted)]

    def lost(self, lost: LineLost) -> TalkError:
        """Google says why in the close frame: 1007 for what it does not accept, the key included, 1008 for a
        model it does not know, 1011 for its own trouble, a spent quota included."""
        words = vendor.short(lost.reason)
        low = lost.reason.lower()
        if "api key" in low or "api_key" in low or "permission" in low:
            return TalkError(f"{WHO} refused the API key (GEMINI_API_KEY): {words}", Failure.AUTH)
        if "quota" in low or "resource_exhausted" in low:
            message = f"{WHO} has had too many requests or has no credit left: {words}"
            return TalkError(message, Failure.QUOTA)
        if "not found" in low:
            return TalkError(f"{WHO} does not know [talk.gemini-live] model: {words}", Failure.BAD_REQUEST)
        if lost.code in (1007, 1008):
            return TalkError(f"{WHO} did not accept the request: {words}", Failure.BAD_REQUEST)
        return vendor.unreachable(TalkError, WHO, lost)


def _declared(tool: Any) -> dict[str, Any]:
    declared = {"name": tool.name, "description": tool.description}
    if dict(tool.parameters).get("properties"):  # an object without properties is refused
        declared["parametersJsonSchema"] = tool.parameters
    return declared


def _turn(message: Remembered) -> dict[str, Any] | None:
    """One turn of the history. Tool calls are told as text: the server refuses calls without their ids."""
    if message.role == "user" and message.content:
        return {"role": "user", "parts": [{"text": message.content}]}
    if message.role == "assistant" and message.content:
        return {"role": "model", "parts": [{"text": message.content}]}
    if message.role == "tool":
        return {"role": "user", "parts": [{"text": f"({message.name} answered: {message.content})"}]}
    return None


def _json(text: str) -> Any:
    try:
        value = json.loads(text)
    except ValueError:
        value = text
    return value if isinstance(value, dict) else {"output": value}


def _usage(usage: Mapping[str, Any]) -> Usage:
    """https://ai.google.dev/api/live#UsageMetadata. What the details do not tell is text. Live models do not
    cache: what was said before is charged again in each turn."""
    into, out = _by_modality(usage, "promptTokensDetails"), _by_modality(usage, "responseTokensDetails")
    heard, spoken = into.get("AUDIO", 0), out.get("AUDIO", 0)
    tools, thoughts = usage.get("toolUsePromptTokenCount") or 0, usage.get("thoughtsTokenCount") or 0
    asked = int(usage.get("promptTokenCount") or 0) + int(tools)
    made = int(usage.get("responseTokenCount") or 0) + int(thoughts)
    return Usage(
        input_tokens=max(0, asked - heard),
        input_audio_tokens=heard,
        output_tokens=max(0, made - spoken),
        output_audio_tokens=spoken,
    )


def _by_modality(usage: Mapping[str, Any], key: str) -> dict[str, int]:
    return {d.get("modality", "TEXT"): int(d.get("tokenCount") or 0) for d in usage.get(key) or ()}
