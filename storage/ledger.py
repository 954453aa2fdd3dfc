"""One session as the writer's thread sees it: its fold, its spool, and what is still to be written.

Everything here runs on that one thread and may block on the disk. Nothing here knows the event loop: what has
to be said to the other side goes through the two callables of `Outside`.
"""

import logging
import os
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import soundfile

from storage import files, journal, sound
from storage.conversations import RowChange, row_change
from storage.ids import CONVERSATION_MP3
from storage.journal import Entry, Fold, Placed, Reading, Utterance
from storage.places import Places
from storage.spool import Piece, Spool

Steps = Generator[None, None, None]
"""Work that can be interrupted after every step. Close it or run it to its end."""

log = logging.getLogger(__name__)

MAX_MISSED_BYTES = 4 << 20  # journal lines kept in memory for a disk that may have room again at the end

CHARS_PER_S = 15.0  # about 180 English words a minute

# Kinds that the projections are made of; all others are for replay and can be lost with the disk's space.
_FOLDED = frozenset(
    {"open", "owner", "message", "turn", "cost", "summary", "utterance", "placed", "end", "resume", "detach"}
)


class Batch(NamedTuple):
    """What a recorder hands over."""

    entries: Sequence[Entry]
    pieces: Sequence[Piece]


@dataclass(frozen=True, slots=True)
class Outside:
    """How a ledger reaches the rest of the program. Both are called on the writer's thread."""

    rows: Callable[[RowChange], None]
    trouble: Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Keeping:
    """What is kept, and for whom."""

    places: Places
    owner: str
    """The name of the lock file of this process: see `storage.locks`."""
    journal: bool = True
    audio: bool = True
    summarize: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = None
    """Makes the summary of a conversation that has none: what its "summary" entry says."""


@dataclass(slots=True)
class Ledger:
    """Writes one session. Methods never raise; what the disk refuses ends the recording, once, with a
    sentence to `Outside.trouble`, and `close` tries again."""

    session_id: str
    keeping: Keeping
    outside: Outside
    fold: Fold = field(default_factory=Fold)
    failed: bool = False
    deleted: bool = False
    spool: Spool = field(init=False)
    _told: bool = False
    _journal_bytes: int = 0
    _missed: list[bytes] = field(default_factory=list)
    _missed_bytes: int = 0
    _rendered: dict[str, Utterance | Placed] = field(default_factory=dict)
    _rendering: dict[str, Steps] = field(default_factory=dict)
    """Sound files that are being written."""
    _old_conversation: bool = False
    """A conversation.mp3 whose spool is gone: an ended session that was gone on with. It is kept."""

    def __post_init__(self) -> None:
        self.spool = Spool(self.keeping.places.spool(self.session_id))

    # -- beginning --------------------------------------------------------------------------------------

    def begin(self, header: Mapping[str, Any]) -> None:
        """Start a journal, or take up the one that is there."""
        try:
            if self.keeping.journal and self._journal.exists():
                self.load()
                self._mark()
                return
        except (OSError, journal.NewerJournal) as error:
            self._fail(error)
            return
        opening = Entry(0, "open", {"session_id": self.session_id, **header})
        self.fold.add(opening)
        first = journal.HEAD + journal.encode(opening)
        try:
            self.keeping.places.make()
            self._mark()
            self._append(first)
        except OSError as error:
            self._missed.append(first)
            self._fail(error)

    def load(self) -> Reading:
        """Read what an earlier process wrote. Raises OSError, `NewerJournal`."""
        reading = Reading()
        for entry in journal.read(self._journal, reading):
            self.fold.add(entry)
        self._journal_bytes = files.size_of(self._journal)
        if reading.torn:
            self._append(b"\n")
        if reading.damaged:
            log.warning(
                "%s: %d unreadable lines in the journal were skipped", self.session_id, reading.damaged
            )
        self.spool.load()
        folder = self.keeping.places.folder(self.session_id)
        self._old_conversation = not self.spool and (folder / CONVERSATION_MP3).exists()
        for spec in self._sound_files():
            if not self.spool or _is_whole(folder / spec.file, spec):
                self._rendered[spec.file] = spec
        return reading

    def take_over(self) -> None:
        """After a crash: `load`, and keep others away. Raises OSError, `NewerJournal`."""
        stat = self._journal.stat()
        self.load()
        if self.fold.header:
            # Mending a torn line must not look like a sign of life.
            os.utime(self._journal, ns=(stat.st_atime_ns, stat.st_mtime_ns))
            self._mark()

    def abandon(self) -> None:
        """Take away a spool and a marker that no journal belongs to. Raises OSError."""
        self.spool.remove()
        self.keeping.places.marker(self.session_id).unlink(missing_ok=True)

    @property
    def end_of_replies(self) -> int:
        """The time line position at which the last spooled reply would end if it were played whole."""
        ends = [
            reply.position + (extent.start + extent.samples) * 16_000 // reply.rate_hz
            for reply_id, reply in self.spool.replies.items()
            if reply_id not in self.fold.settled
            for extent in reply.extents
        ]
        return max(ends, default=0)

    @property
    def _journal(self) -> Path:
        return self.keeping.places.journal(self.session_id)

    def _mark(self) -> None:
        self.keeping.places.marker(self.session_id).write_text(self.keeping.owner, "ascii")

    # -- going on ---------------------------------------------------------------------------------------

    def write(self, batch: Batch, *, sync: bool = False) -> None:
        """Put a batch on disk: its sound first, so that no line speaks of sound that is not there."""
        if self.deleted:
            return
        for entry in batch.entries:
            self.fold.add(entry)
        if self.failed:
            self._miss(batch.entries)
            if sync:
                with suppress(OSError):
                    self._append_missed()  # words are small: there is often still room for them
            return
        try:
            if batch.pieces and self.keeping.audio:
                self.spool.path.parent.mkdir(parents=True, exist_ok=True)
                self.spool.append(batch.pieces)
            self._append(b"".join(map(journal.encode, batch.entries)), sync=sync)
        except OSError as error:
            self._miss(batch.entries)
            self._fail(error)

    def project(self) -> Steps:
        """Bring rows and JSON up to date now; the iterator then renders the sound files that are new."""
        if self.deleted:
            return _nothing()
        self._rows()
        if self.failed:
            with suppress(OSError):
                self._write_json(self.fold.conversation())
            return _nothing()
        try:
            self._write_json(self.fold.conversation())
        except OSError as error:
            self._fail(error)
            return _nothing()
        return self._guarded(self._render_new())

    def _append(self, lines: bytes, *, sync: bool = False) -> None:
        if not self.keeping.journal or not (lines or sync):
            return
        try:
            files.append(self._journal, lines, sync=sync)
        except OSError:
            # Half a batch must not stay: it is written again at the end, and costs would count twice.
            with suppress(OSError):
                os.truncate(self._journal, self._journal_bytes)
            raise
        self._journal_bytes += len(lines)

    def _append_missed(self) -> None:
        if self._missed:
            self._append(b"".join(self._missed), sync=True)
            self._missed.clear()
            self._missed_bytes = 0

    def _rows(self) -> None:
        self.outside.rows(row_change(self.session_id, self.fold))
        self.fold.changed_messages.clear()
        self.fold.changed_turns.clear()
        self.fold.rows_of_requests = len(self.fold.requests)

    def _write_json(self, conversation: Mapping[str, Any]) -> None:
        files.replace(self.keeping.places.json(self.session_id), journal.as_json(conversation))

    # -- sound ------------------------------------------------------------------------------------------

    def _sound_files(self) -> list[Utterance | Placed]:
        return [*self.fold.utterances.values(), *self.fold.placed.values()]

    def _render_new(self) -> Steps:
        for spec in self._sound_files() if self.spool else ():
            if self._rendered.get(spec.file) != spec:
                self._rendered[spec.file] = spec
                if earlier := self._rendering.get(spec.file):
                    earlier.close()  # it is known better now what was heard: no file has two writers
                path = self.keeping.places.sound(self.session_id, spec.file)
                if isinstance(spec, Placed):
                    self._rendering[spec.file] = sound.render_reply(path, self.spool, spec)
                else:
                    steps = sound.render_utterance(path, self.spool, spec.start, spec.end)
                    self._rendering[spec.file] = steps
            if begun := self._rendering.get(spec.file):
                yield from begun  # perhaps by an earlier call, which then finds it done
                if self._rendering.get(spec.file) is begun:
                    del self._rendering[spec.file]

    def place_the_rest(self) -> None:
        """After a crash: settle the replies that nobody said anything about. Of each, what its client last
        reported was heard; without reports, everything to where the microphone stopped."""
        heard_until = self.spool.user_end
        for reply_id, reply in self.spool.replies.items():
            if reply_id in self.fold.settled:
                continue
            offset = min(extent.start for extent in reply.extents)
            sent = max(extent.start + extent.samples for extent in reply.extents) - offset
            count = sent
            if reply_id in self.fold.played_ms:
                count = min(sent, round(self.fold.played_ms[reply_id] * reply.rate_hz / 1000) - offset)
            elif heard_until > reply.position:
                count = min(sent, (heard_until - reply.position) * reply.rate_hz // 16_000)
            count = max(0, count)
            file = f"{self.fold.next_file:04d}_agent.mp3"
            placed = {
                "reply_id": reply_id,
                "file": file,
                "rate_hz": reply.rate_hz,
                "runs": [[offset, count, reply.position]],
                "estimated": True,
            }
            start_ms = reply.position // 16
            fate: dict[str, Any] = {"audio": file, "start_ms": start_ms}
            fate["end_ms"] = start_ms + count * 1000 // reply.rate_hz
            entries = [Entry(self.fold.last_at_ms, "placed", placed)]
            entries += self._fate(reply_id, fate, offset + count, offset + sent, reply.rate_hz)
            self.write(Batch(entries, ()))

    def _fate(self, reply_id: str, fate: dict[str, Any], heard: int, sent: int, rate_hz: int) -> list[Entry]:
        """The message of a reply that a crash cut off, amended by what became of it. `heard` and `sent` are
        samples.

        Its text is complete before its sound is. Of sound that was still being made the rest's length is not
        known: then an ordinary pace is assumed, if that is less.
        """
        for number, message in self.fold.messages.items():
            if message.get("response_id") != reply_id or "audio" in message:
                continue
            text = str(message.get("content", ""))
            share = heard / max(1, sent, self.fold.made.get(reply_id, 0))
            if text and reply_id not in self.fold.made:
                share = min(share, heard / rate_hz * CHARS_PER_S / len(text))
            if share < 1 or message.get("turn", 0) not in {0, *self.fold.turns}:
                cut = text[: round(len(text) * share)]
                whole = share >= 1 or text[len(cut) : len(cut) + 1].isspace()
                words = cut if whole else cut.rpartition(" ")[0]
                fate = {**fate, "interrupted": True, "heard": words, "estimated": True}
            return [Entry(self.fold.last_at_ms, "message", {"n": number, **fate})]
        return []

    # -- ending -----------------------------------------------------------------------------------------

    def end(self, reason: str) -> None:
        """Make sure that the journal has an end: when the last thing happened."""
        if not self.fold.ended:
            data = {"time": self.fold.last_time, "reason": reason}
            end = Entry(self.fold.last_at_ms, "end", data)
            self.write(Batch([*self._summed_up(), end], ()), sync=True)

    def _summed_up(self) -> list[Entry]:
        """A summary, if nobody has made one before the server died."""
        summarize = self.keeping.summarize
        if summarize is None or self.fold.summary.get("summary"):
            return []
        try:
            return [Entry(self.fold.last_at_ms, "summary", summarize(self.fold.conversation()))]
        except Exception:  # it is not ours, and reads what may be damaged: the end matters more
            log.exception("%s: no summary could be made", self.session_id)
            return []

    def close(self) -> Steps:
        """Write everything that is to be kept, and tidy up. Rows and JSON are there before the first step.

        What cannot be written stays marked, and is finished at the next start.
        """
        if self.deleted:
            return
        self._rows()
        yield from self._guarded(self._close())

    def _close(self) -> Steps:
        conversation = self.fold.conversation()
        try:
            self._append_missed()
            self._write_json(conversation)
        except OSError:
            if not self.spool or (self.keeping.journal and not self._missed):
                raise  # nothing to give up for it, or no need: the next start writes it from the journal
            log.error("%s: its sound is given up to make room for its words", self.session_id)
            self.spool.remove()
            self._append_missed()
            self._write_json(conversation)
        self.failed = False
        yield from self._render_new()
        folder = self.keeping.places.folder(self.session_id)
        if self.spool and not self._old_conversation:
            placed = self.fold.placed.values()
            yield from sound.render_conversation(folder / CONVERSATION_MP3, self.spool, placed)
        final = _as_kept(conversation, folder)
        if final != conversation:
            self._write_json(final)
        self.spool.remove()
        with suppress(OSError):
            folder.rmdir()  # only goes if there was no sound after all
        self.keeping.places.marker(self.session_id).unlink(missing_ok=True)

    def suspend(self) -> Steps:
        """Write everything there is so far, the whole talk's sound too, but stay resumable."""
        if self.deleted or self.failed:
            return
        self._rows()
        yield from self._guarded(self._write_so_far())

    def _write_so_far(self) -> Steps:
        self._write_json(self.fold.conversation())
        yield from self._render_new()
        folder = self.keeping.places.folder(self.session_id)
        if self.spool and not self._old_conversation:
            placed = self.fold.placed.values()
            yield from sound.render_conversation(folder / CONVERSATION_MP3, self.spool, placed)
            self._write_json(_as_kept(self.fold.conversation(), folder))

    def give(self, owner: Mapping[str, Any]) -> bool:
        """Say in the files of an ended talk whose it is from now on: `owner` has `user_id` and `owner`.

        Whether there was such a talk. Raises OSError, `NewerJournal`.
        """
        places = self.keeping.places
        conversation = files.read_json(places.json(self.session_id))
        if conversation is None or places.marker(self.session_id).exists():
            return False  # none, or one that is still being written
        with suppress(FileNotFoundError):
            self.load()
            self._append(journal.encode(Entry(self.fold.last_at_ms, "owner", dict(owner))), sync=True)
        self._write_json({**conversation, "user_id": owner["user_id"]})
        return True

    def delete(self) -> bool:
        """Remove every file of the session. Whether there was one. Raises OSError."""
        self.deleted = True
        places, found = self.keeping.places, False
        folder = places.folder(self.session_id)
        in_folder = list(folder.iterdir()) if folder.is_dir() else []
        names = [places.json(self.session_id), self._journal, places.marker(self.session_id)]
        for path in [*names, *map(files.part_of, names), *in_folder]:
            try:
                path.unlink()
                found = True
            except FileNotFoundError:
                continue
        if folder.is_dir():
            folder.rmdir()
        return found

    # -- trouble ----------------------------------------------------------------------------------------

    def _guarded(self, steps: Steps) -> Steps:
        try:
            while not self.deleted:
                try:
                    next(steps)
                except StopIteration:
                    return
                yield
        except OSError as error:
            self._fail(error)
        finally:
            steps.close()

    def _miss(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            if entry.kind in _FOLDED and self._missed_bytes < MAX_MISSED_BYTES:
                line = journal.encode(entry)
                self._missed.append(line)
                self._missed_bytes += len(line)

    def _fail(self, error: Exception) -> None:
        self.failed = True
        if self._told:
            log.error("%s: still cannot be written: %s", self.session_id, error)
            return
        self._told = True
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        log.error("%s: recording stopped: %s", self.session_id, error)
        self.outside.trouble(f"This conversation is no longer being recorded: {reason}.")


def _is_whole(path: Path, spec: Utterance | Placed) -> bool:
    """Whether a sound file on disk is what the journal says it should be, by its length."""
    try:
        info = soundfile.info(path)
    except soundfile.LibsndfileError:
        return False
    seconds = spec.samples / spec.rate_hz if isinstance(spec, Placed) else (spec.end - spec.start) / 16_000
    off: float = abs(info.frames / info.samplerate - seconds)
    return off < 0.001


def _as_kept(conversation: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The conversation with the sound that there is in the end: not every file named was worth writing
    (nothing was heard, or no disk), and the whole talk has one of its own."""
    there = {entry.name for entry in os.scandir(folder)} if folder.is_dir() else set()
    out = dict(conversation)
    out["messages"] = [
        {key: value for key, value in message.items() if key != "audio" or value in there}
        for message in conversation["messages"]
    ]
    out["audio_files"] = [entry for entry in conversation["audio_files"] if entry["filename"] in there]
    if CONVERSATION_MP3 in there:
        length_ms = round(soundfile.info(folder / CONVERSATION_MP3).duration * 1000)
        whole = {"filename": CONVERSATION_MP3, "role": "conversation", "start_ms": 0}
        out["audio_files"].append({**whole, "end_ms": length_ms, "duration_ms": length_ms})
    return out


def _nothing() -> Steps:
    yield from ()
