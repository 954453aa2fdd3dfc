"""The minutes of a talk: what goes into its history, its journal and on its bill.

Everything that outlives a session passes here once: messages, turns, decisions, costs. It knows the
recorder's journal kinds (see docs/files.md) and the dialogue; it knows no socket and no engine.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from pipeline.bill import Bill
from pipeline.budget import Budget
from pipeline.contracts import Recorder, ToolCall
from pipeline.core.dialogue import Dialogue
from pipeline.core.latency import TurnClock
from pipeline.core.playout import Run
from pipeline.gist import Summary
from pipeline.reply import Reply
from pipeline.tariff import Tariff
from pipeline.timeline import TimeLine

AFTER_SPEECH_MS = 200
"""Kept after the last speech frame in an utterance's file: a word's end is softer than a detector hears."""

MOST_RUNS = 1000
"""Runs of detector bits after which they are written even if nothing else happens."""


def iso(moment: datetime) -> str:
    """ISO 8601 in UTC, milliseconds."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Minutes:
    """Writes down one session. `now` is session time in seconds; nothing here blocks."""

    def __init__(
        self,
        recorder: Recorder,
        dialogue: Dialogue,
        timeline: TimeLine,
        tariff: Tariff,
        budget: Budget,
        wall: Callable[[], datetime],
        started_at: float,
    ) -> None:
        self.recorder, self.dialogue, self.timeline = recorder, dialogue, timeline
        self._wall, self._started_at = wall, started_at
        self.bill = Bill(tariff, budget, wall, lambda entry, now: self.note("cost", now, entry))
        self._messages: list[dict[str, Any]] = []
        self._files = 0
        self._vad: list[int] = []
        self._vad_last = False
        self._last_ms = 0

    # -- what is kept for reading back ---------------------------------------------------------------------

    @property
    def messages(self) -> Sequence[Mapping[str, Any]]:
        """The messages so far, in the shape of the conversation file."""
        return self._messages

    def restore(self, conversation: Mapping[str, Any], files: int) -> None:
        """Go on with a conversation that a crash cut off."""
        self._messages = [dict(m) for m in conversation.get("messages", ())]
        self._files = files
        self.bill.restore(conversation.get("cost_breakdown") or {})
        self.dialogue.restore(self._messages)

    # -- the journal ---------------------------------------------------------------------------------------

    def note(self, kind: str, now: float, data: Mapping[str, Any]) -> None:
        """One journal entry, after the frames that led to it."""
        self._last_ms = self._ms(now)
        self._flush_vad(self._last_ms)
        self.recorder.record(kind, self._last_ms, data)

    def _flush_vad(self, at_ms: int) -> None:
        if self._vad:
            runs, self._vad = self._vad, []
            first = self._vad_last ^ (len(runs) % 2 == 0)
            self.recorder.record("vad", at_ms, {"first": first, "runs": runs})

    def frame(self, speech: bool) -> None:
        """The detector's bits, run-length coded: the hot path."""
        if speech is self._vad_last and self._vad:
            self._vad[-1] += 1
        else:
            if len(self._vad) > MOST_RUNS:  # noise without any event: don't let it pile up
                self._flush_vad(self._last_ms)
            self._vad.append(1)
            self._vad_last = speech

    def decide(self, now: float, what: str, reason: str, **numbers: Any) -> None:
        """Why something was done: for "why did it do that?"."""
        self.note("decision", now, {"what": what, "reason": reason, **numbers})

    def heard_last(self) -> str:
        """What the agent was heard to say last, of the replies that are over."""
        for message in reversed(self._messages):
            if message.get("role") == "assistant":
                heard = str(message.get("heard" if message.get("interrupted") else "content") or "")
                if heard:
                    return heard
        return ""

    # -- messages ------------------------------------------------------------------------------------------

    def user(self, turn: int, text: str, now: float, span: tuple[int, int] | None) -> None:
        """A user turn. `span` is its stretch of the time line in samples, None when it was typed."""
        message: dict[str, Any] = {"role": "user", "content": text, "turn": turn}
        if span is None:
            message["type"] = "text"
        else:
            name = self._next_file("user")
            message |= {"start_ms": span[0] // 16, "end_ms": span[1] // 16, "audio": name}
            end = min(span[1] + AFTER_SPEECH_MS * 16, self.timeline.at(now))
            self.note("utterance", now, {"file": name, "from": span[0], "to": max(end, span[1])})
        self.dialogue.user(text, user_key(turn))
        self._add(message, now)

    def told(self, turn: int, text: str, now: float) -> None:
        """A user turn that the dialogue has already: the client has written it there."""
        self._add({"role": "user", "content": text, "turn": turn, "type": "text"}, now)

    def correct(self, turn: int, text: str, now: float) -> bool:
        """What a user turn really said, learnt late. False when that is known already."""
        for number, message in enumerate(self._messages, 1):
            if message["role"] == "user" and message.get("turn") == turn:
                if message["content"] == text:
                    return False
                self.dialogue.correct(str(message["content"]), text)
                message["content"] = text
                self.note("message", now, {"n": number, "content": text})
                return True
        return False

    def agent_said(self, reply: Reply, now: float) -> None:
        """A reply's text is complete: it is written down now, lest a crash lose it while it plays."""
        if reply.text:
            reply.message = self._add(self._agent_message(reply), now)

    def agent(
        self, reply: Reply, now: float, heard: str | None, runs: Sequence[Run], extra: Mapping[str, Any]
    ) -> None:
        """What became of a reply. `heard` is None when it was heard to its end."""
        fate: dict[str, Any] = {}
        if heard is not None:
            fate |= {"interrupted": True, "heard": heard, **extra}
        if runs:
            name = self._next_file("agent")
            placed = [[r.offset, r.count, self.timeline.at(r.at)] for r in runs]
            last = placed[-1][2] + placed[-1][1] * 16_000 // reply.voice.rate_hz
            fate |= {"start_ms": placed[0][2] // 16, "end_ms": last // 16, "audio": name}
            if words := _words(reply, runs[-1].offset + runs[-1].count):
                fate["words"] = words
            entry = {"reply_id": reply.response_id, "file": name, "rate_hz": reply.voice.rate_hz}
            self.note("placed", now, {**entry, "runs": placed})
            reply.placed = entry | {"runs": placed}
        self.dialogue.assistant(reply.text if heard is None else heard, key=reply.response_id)
        if reply.message:
            self._messages[reply.message - 1].update(fate)
            self.note("message", now, {"n": reply.message, **fate})
        elif reply.text:
            reply.message = self._add({**self._agent_message(reply), **fate}, now)

    def reheard(self, reply: Reply, heard: str, heard_ms: int, now: float) -> None:
        """The client knows better how much was heard of a reply that is over."""
        self.dialogue.rewrite(reply.response_id, heard)
        if not reply.message:
            return
        fate: dict[str, Any] = {"interrupted": True, "heard": heard, "heard_ms": heard_ms, "estimated": None}
        if reply.placed:
            runs = _cut(reply.placed["runs"], heard_ms * reply.voice.rate_hz // 1000)
            self.note("placed", now, {**reply.placed, "runs": runs})
            if runs:
                fate["end_ms"] = (runs[-1][2] + runs[-1][1] * 16_000 // reply.voice.rate_hz) // 16
            else:
                fate |= {"audio": None, "start_ms": None, "end_ms": None}
            fate["words"] = _words(reply, sum(run[1] for run in runs)) or None
        message = {**self._messages[reply.message - 1], **fate}
        self._messages[reply.message - 1] = {k: v for k, v in message.items() if v is not None}
        self.note("message", now, {"n": reply.message, **fate})

    def _agent_message(self, reply: Reply) -> dict[str, Any]:
        message = {"role": "assistant", "content": reply.text, "turn": reply.turn}
        kind = {"type": reply.kind} if reply.kind else {}
        return {**message, "response_id": reply.response_id, **kind}

    def tool(
        self, call: ToolCall, result: Mapping[str, Any], now: float, key: str, *, name: str = ""
    ) -> None:
        """A tool ran. Written down also when the caller has barged in meanwhile. `key`: of the "tool" entry
        that was made when it began. `name`: in the dialogue."""
        self.dialogue.assistant("", [call], name)
        self.dialogue.tool(call, result, name)
        message = {
            "role": "tool",
            "name": call.name,
            "arguments": dict(call.arguments),
            "result": dict(result),
            "key": key,
        }
        self._add(message, now)

    def _add(self, message: dict[str, Any], now: float) -> int:
        """Write a message down. Returns its number."""
        message["time"] = iso(self._wall())
        self._messages.append(message)
        self.note("message", now, {"n": len(self._messages), **message})
        return len(self._messages)

    def _next_file(self, role: str) -> str:
        self._files += 1
        return f"{self._files:04}_{role}.mp3"

    # -- turns and money -----------------------------------------------------------------------------------

    def turn(self, clock: TurnClock, now: float, **more: Any) -> dict[str, Any]:
        """A turn's metrics as they stand, journalled. Returns what the client is told."""
        metrics = {
            "turn": clock.turn,
            **clock.spans(),
            "speculated": clock.speculated,
            "reason": clock.reason,
            "plugins": dict(clock.plugins),
            **({"failovers": list(clock.failovers)} if clock.failovers else {}),
            "cost": self.bill.of_turn(clock.turn),
            **more,
        }
        self.note("turn", now, metrics)
        return metrics

    def sync(self) -> None:
        self.recorder.sync()

    # -- the end -------------------------------------------------------------------------------------------

    def sum_up(self, summary: Summary, now: float) -> None:
        """What the talk amounts to. A later one replaces it."""
        self.note("summary", now, summary.told())

    def end(self, now: float, reason: str, over_at: datetime) -> None:
        """The talk is written; it was over at that time."""
        self.note("end", now, {"time": iso(over_at), "reason": reason})

    def elapsed_s(self, now: float) -> float:
        return max(0.0, now - self._started_at)

    def _ms(self, now: float) -> int:
        return max(0, round((now - self._started_at) * 1000))


def user_key(turn: int) -> str:
    """By which the dialogue names a user turn."""
    return f"u{turn}"


def _cut(runs: Sequence[Sequence[int]], samples: int) -> list[list[int]]:
    """[offset, count, position] of what was played, when it was so many samples in all: the last run is as
    long as it has to be."""
    kept = [list(run) for run in runs if run[0] < samples]
    if kept:
        kept[-1][1] = samples - kept[-1][0]
    return kept


def _words(reply: Reply, heard_samples: int) -> list[list[int]]:
    """[from, to, start_ms] of what was heard: these characters of the text sound from there on in the reply's
    file. A word each, or a whole sentence from a voice that tells no word times."""
    heard_ms = reply.ms(heard_samples)
    return [[m.start, m.end, round(m.start_ms)] for m in reply.said.marks if m.start_ms < heard_ms]
