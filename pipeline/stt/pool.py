"""Recognition in worker processes: which worker an utterance goes to, and what it has said so far.

Shared by the engines that run on this machine. The worker of each engine understands the messages below;
what recognizes in it is its own affair.
"""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from pipeline.child import Child, ChildFailed
from pipeline.contracts import Failure, SttError, Transcript, Unavailable
from pipeline.stt.messages import BYTES_PER_MS, CLOSE, FAILED, FEED, FINAL, FINISH, OPEN, SETTLE, SETTLED
from pipeline.stt.outlet import Outlet
from pipeline.worker import Note

BATCH_BYTES = (
    60 * BYTES_PER_MS
)  # three frames a message: a pipe write per frame would cost as much as the rest
SLACK_BYTES = 60 * BYTES_PER_MS  # how far "no new speech" may be off: the detector's frames and ours
MAX_BYTES = 600_000 * BYTES_PER_MS  # ten minutes without a pause: a stuck microphone, or the wrong file
MAX_UNSENT_BYTES = 3 * MAX_BYTES  # a file arrives all at once; a worker further behind than this is stuck


def auto_workers(wanted: int) -> int:
    """How many workers `workers = 0` means: one or two, so that the server keeps a core for its sessions."""
    return wanted if wanted > 0 else max(1, min(2, os.cpu_count() or 1))


class Pool:
    """The worker processes of one engine; a `TranscriberEngine` in all but its options."""

    def __init__(
        self, plugin: str, module: str, settings: Mapping[str, Any], workers: int, languages: tuple[str, ...]
    ) -> None:
        self.languages = languages
        """What it can recognize, as BCP 47 primary tags; () = anything."""
        self._plugin = plugin
        self._slots = [_Slot(plugin, module, settings) for _ in range(workers)]
        self._next_id = 0

    def configure(self, **settings: Any) -> None:
        """Add to what the workers are told when they start. Before `warm`."""
        for slot in self._slots:
            slot.child.configure(**settings)

    async def warm(self) -> None:
        """Start every worker and wait until its model is loaded."""
        results = await asyncio.gather(
            *(s.child.start(timeout_s=60.0) for s in self._slots), return_exceptions=True
        )
        for result in results:
            if isinstance(result, ChildFailed):
                await self.aclose()
                raise Unavailable(f"[stt] {self._plugin}: {result}") from result
            if isinstance(result, BaseException):
                await self.aclose()
                raise result

    async def aclose(self) -> None:
        """End every worker, and whatever they had in hand."""
        for slot in self._slots:
            for utterance in list(slot.utterances.values()):
                utterance.fail(SttError(f"{self._plugin} was closed", Failure.TRANSIENT))
        await asyncio.gather(*(s.child.aclose() for s in self._slots))

    def open(self, language: str = "", hints: Sequence[str] = ()) -> "Utterance":
        """Start an utterance on the least busy worker."""
        return self._open({"language": language, "hints": list(hints)})

    def _open(self, asked: Mapping[str, Any]) -> "Utterance":
        running = [s for s in self._slots if s.child.is_running] or self._slots
        slot = min(running, key=lambda s: len(s.utterances))
        self._next_id = self._next_id % 0xFFFF_FFFF + 1
        return Utterance(slot, self._next_id, self._plugin, asked)

    def tell(self, kind: int, fields: Mapping[str, Any]) -> None:
        """Something that every worker is to know; those that are not running will not."""
        for slot in self._slots:
            if slot.child.is_running:
                slot.child.send(kind, 0, json.dumps(fields).encode())

    @property
    def facts(self) -> dict[str, Any]:
        """What a worker said of itself when it was ready."""
        return self._slots[0].child.facts

    @property
    def pids(self) -> list[int]:
        """The worker processes that exist now; for /health and tests."""
        return [s.child.pid for s in self._slots if s.child.pid is not None]


class _Slot:
    """One worker and the utterances it has in hand."""

    def __init__(self, plugin: str, module: str, settings: Mapping[str, Any]) -> None:
        self.plugin = plugin
        self.utterances: dict[int, Utterance] = {}
        # A little behind the event loop, which must keep its 20 ms beat; not much: people wait for the words.
        self.child = Child(
            module, {"nice": 2, **settings}, self._take, self._lost, max_unsent_bytes=MAX_UNSENT_BYTES
        )

    def _take(self, note: Note) -> None:
        if utterance := self.utterances.get(note.ident):  # else: closed in the meantime
            utterance.heard(note.kind, json.loads(note.payload))

    def _lost(self, reason: str) -> None:
        for utterance in list(self.utterances.values()):
            utterance.fail(SttError(f"the {self.plugin} worker died ({reason})", Failure.TRANSIENT))


class Utterance:
    """One `Transcriber` whose work is done in a worker."""

    def __init__(self, slot: _Slot, ident: int, plugin: str, asked: Mapping[str, Any]) -> None:
        self._slot, self._id, self._plugin = slot, ident, plugin
        self._outlet = Outlet()
        self._unsent = bytearray()
        self._sent_bytes = 0
        self._after_settle: int | None = None  # bytes fed since the last settle; None = never settled
        self._settles = 0  # how often the worker was asked to settle: the number of the last time
        self._settled: Transcript | None = None  # the answer to the last settle
        self._final_due = False  # the last settle's answer is to be the final
        slot.utterances[ident] = self
        self._send(OPEN, json.dumps(asked).encode())

    def feed(self, pcm: bytes) -> None:
        """Gather audio and pass it on in batches."""
        unsent = self._unsent
        unsent += pcm
        if self._after_settle is not None:
            self._after_settle += len(pcm)
        if len(unsent) >= BATCH_BYTES:
            self._flush()

    def settle(self, silence_ms: int) -> None:
        """Ask for a text of everything so far; asks nobody when the last answer still covers it."""
        if self._outlet.is_done:
            return
        if self._is_still_settled(silence_ms):
            if self._settled is not None:
                self._outlet.put(self._settled)
            return  # else: the answer on its way is the answer
        self._flush()
        self._after_settle, self._settled = 0, None
        self._settles += 1
        self._send(SETTLE, json.dumps({"silence_ms": silence_ms, "number": self._settles}).encode())

    def finish(self, silence_ms: int) -> None:
        """Ask for the final; when nothing was said since the last settle, its text is the final."""
        if self._outlet.is_done or self._final_due:
            return
        if self._is_still_settled(silence_ms):
            self._final_due = True
            self._finish_with_settled()
            return
        self._flush()
        self._send(FINISH, json.dumps({"silence_ms": silence_ms}).encode())

    def transcripts(self) -> AsyncIterator[Transcript]:
        """Partials, then the final."""
        return self._outlet.read()

    async def aclose(self) -> None:
        """Forget the utterance here and in the worker."""
        self._outlet.close()
        self._let_go()

    def heard(self, kind: int, fields: Mapping[str, Any]) -> None:
        """The worker has answered."""
        if kind == FAILED:
            self.fail(SttError(str(fields["message"]), Failure.TRANSIENT))
            return
        # A settle that was overtaken by more speech and another settle is only a partial by now.
        settled = kind == FINAL or (kind == SETTLED and fields["number"] == self._settles)
        transcript = Transcript(
            str(fields["text"]),
            final=kind == FINAL,
            settled=settled,
            language=fields.get("language"),
            plugin=self._plugin,
        )
        if settled and kind == SETTLED:
            self._settled = transcript
            if self._final_due:
                self._finish_with_settled()
                return
        self._outlet.put(transcript)
        if kind == FINAL:
            self._slot.utterances.pop(self._id, None)  # the worker has forgotten it, too

    def fail(self, error: SttError) -> None:
        """No final will come."""
        self._outlet.fail(error)
        self._let_go()

    def _is_still_settled(self, silence_ms: int) -> bool:
        fed = self._after_settle
        return fed is not None and fed <= silence_ms * BYTES_PER_MS + SLACK_BYTES

    def _finish_with_settled(self) -> None:
        settled = self._settled
        if settled is not None:
            self._outlet.put(
                Transcript(
                    settled.text, final=True, settled=True, language=settled.language, plugin=self._plugin
                )
            )
            self._let_go()

    def _flush(self) -> None:
        end = len(self._unsent) & ~1  # whole samples: the worker decodes message by message
        if end:
            pcm, self._unsent = bytes(self._unsent[:end]), self._unsent[end:]
            self._sent_bytes += len(pcm)
            if self._sent_bytes > MAX_BYTES:
                self.fail(SttError("an utterance of more than ten minutes", Failure.BAD_REQUEST))
            self._send(FEED, pcm)

    def _send(self, kind: int, payload: bytes) -> None:
        if not self._outlet.is_done and not self._slot.child.send(kind, self._id, payload):
            self.fail(SttError(f"no {self._plugin} worker is running", Failure.TRANSIENT))

    def _let_go(self) -> None:
        if self._slot.utterances.pop(self._id, None) is not None:
            self._slot.child.send(CLOSE, self._id)
