"""Keeps conversations: hands out recorders, finishes what a crash left, reads back, deletes.

    session ──▶ Recorder ──once a second, and at turn ends──▶ Writer's thread ──▶ journal, spool
     (loop)     (memory)                                       Ledger per session ─▶ JSON, MP3s
                                                                    └──▶ RowKeeper (loop) ─▶ database

See docs/files.md for what is on disk when, and what happens after a crash.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from storage import files
from storage.conversations import Conversations, RowChange
from storage.database import Database
from storage.deliveries import Deliveries
from storage.ids import (
    CONVERSATION_MP3,
    checked_session_id,
    number_of,
    role_of,
    started_at,
    valid_session_id,
    valid_sound_file,
)
from storage.ledger import Batch, Keeping, Ledger, Outside
from storage.locks import WriterLock, is_alive
from storage.places import Places
from storage.recorder import Recorder
from storage.recovery import Unfinished, as_it_stands, recover
from storage.rows import RowKeeper
from storage.times import iso
from storage.writer import Writer

log = logging.getLogger(__name__)

TICK_S = 1.0  # what a crash may cost
CLOSE_TIMEOUT_S = 20.0  # for MP3s at shutdown; what is not done then is done at the next start

T = TypeVar("T")


class Archive:
    """All conversations of one server process. `start` it before anything else; `aclose` it at the end.

    Satisfies `pipeline.contracts.Archive`. Methods that take a session id or a file name from outside raise
    `ids.BadName` for one that is not ours.
    """

    def __init__(
        self,
        conversations_dir: Path | str,
        audio_dir: Path | str,
        database: Database | None = None,
        *,
        journal_enabled: bool = True,
        keep_audio: bool = True,
        summarize: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = None,
        outbox: Deliveries | None = None,
    ) -> None:
        """`summarize` sums up what a dead server left: see `Keeping`. `outbox` is for what other servers are
        to be told."""
        self._summarize = summarize
        self._places = Places(Path(conversations_dir), Path(audio_dir))
        self._journal_enabled, self._keep_audio = journal_enabled, keep_audio
        self._repository = Conversations(database, outbox) if database else None
        self._recorders: dict[str, Recorder] = {}
        self._ledgers: dict[str, Ledger] = {}  # the writer's thread adds and removes; see `_ledger`
        self._writer = Writer()

    async def start(self) -> None:
        """Make the folders and start the writer. Raises OSError if the folders cannot be written to."""
        self._loop = asyncio.get_running_loop()
        self._rows = RowKeeper(self._repository)
        await asyncio.to_thread(self._places.make)
        self._lock = WriterLock(self._places.conversations_dir)
        self._keeping = Keeping(
            self._places, self._lock.name, self._journal_enabled, self._keep_audio, self._summarize
        )
        self._writer.start()
        self._tick = self._loop.call_later(TICK_S, self._hand_over_all)

    async def aclose(self) -> None:
        """Write what is in memory and stop. Sessions that are still open stay resumable."""
        self._tick.cancel()
        for recorder in list(self._recorders.values()):
            recorder.hand_over(sync=True)
        self._recorders.clear()
        self._writer.stop()
        if not await asyncio.to_thread(self._writer.join, CLOSE_TIMEOUT_S):
            log.warning("sound files are left unfinished: the next start will finish them")
            self._writer.hurry()
            await asyncio.to_thread(self._writer.join, CLOSE_TIMEOUT_S)
        await asyncio.sleep(0)  # what the thread said last is still in the loop's queue
        await self._rows.aclose()
        self._lock.release()

    # -- recording --------------------------------------------------------------------------------------

    def open(self, session_id: str, header: Mapping[str, Any], on_trouble: Callable[[str], None]) -> Recorder:
        """Start a session's journal, or go on with the one that is there. Raises `BadName`.

        `header` is what the "open" entry says (of a known session, the old one holds).
        """
        checked_session_id(session_id)
        if session_id in self._recorders:
            raise ValueError(f"{session_id} is being recorded already")
        recorder = Recorder(session_id, self._submit, self._settle, self._close, self._suspend, on_trouble)
        self._recorders[session_id] = recorder
        kept = dict(header)
        self._writer.put(lambda: self._ledger(session_id).begin(kept))
        return recorder

    def _hand_over_all(self) -> None:
        for recorder in self._recorders.values():
            recorder.hand_over()
        self._tick = self._loop.call_later(TICK_S, self._hand_over_all)

    def _submit(self, recorder: Recorder, batch: Batch, sound_bytes: int, sync: bool) -> None:
        def write() -> None:
            ledger = self._ledger(recorder.session_id)
            ledger.write(batch, sync=sync)
            recorder.written += sound_bytes
            if sync:
                self._writer.add(ledger.project())

        self._writer.put(write)

    async def _settle(self, recorder: Recorder) -> None:
        if self._recorders.get(recorder.session_id) is recorder:
            recorder.sync()
            await self._on_writer(lambda: None)
            await self._rows.flush(recorder.session_id)

    async def _close(self, recorder: Recorder) -> None:
        session_id = recorder.session_id
        if self._recorders.get(session_id) is recorder:
            recorder.hand_over(sync=True)
            await self._wrap_up(session_id, "closed")
            self._recorders.pop(session_id, None)

    async def _suspend(self, recorder: Recorder) -> None:
        session_id = recorder.session_id
        if self._recorders.get(session_id) is not recorder:
            return
        recorder.hand_over(sync=True)
        done = self._loop.create_future()

        def over() -> None:
            self._call(_resolve, done, None)

        self._writer.put(lambda: self._writer.add(self._ledger(session_id).suspend(), over))
        await done
        await self._rows.flush(session_id)

    async def _wrap_up(self, session_id: str, reason: str) -> None:
        done = self._loop.create_future()

        def close() -> None:
            ledger = self._ledger(session_id)
            ledger.end(reason)
            self._writer.add(ledger.close(), over)

        def over() -> None:
            self._ledgers.pop(session_id, None)
            self._call(_resolve, done, None)

        self._writer.put(close)
        await done
        await self._rows.flush(session_id)

    def _ledger(self, session_id: str) -> Ledger:
        """The session's ledger. On the writer's thread."""
        ledger = self._ledgers.get(session_id)
        if ledger is None:
            ledger = self._ledgers[session_id] = self._new_ledger(session_id)
        return ledger

    def _new_ledger(self, session_id: str) -> Ledger:
        def rows(change: RowChange) -> None:
            self._call(self._rows.change, change)

        def trouble(sentence: str) -> None:
            self._call(self._trouble, session_id, sentence)

        return Ledger(session_id, self._keeping, Outside(rows, trouble))

    def _trouble(self, session_id: str, sentence: str) -> None:
        if recorder := self._recorders.get(session_id):
            recorder.stop(sentence)

    def _call(self, function: Callable[..., object], *arguments: object) -> None:
        with suppress(RuntimeError):  # the loop is gone: nobody is left to be told
            self._loop.call_soon_threadsafe(function, *arguments)

    async def _on_writer(self, function: Callable[[], T]) -> T:
        """Run something on the writer's thread, in order with everything else there."""
        done: asyncio.Future[T] = self._loop.create_future()

        def run() -> None:
            try:
                result = function()
            except Exception as error:  # noqa: BLE001 - whatever it is belongs to whoever asked
                self._call(_reject, done, error)
            else:
                self._call(_resolve, done, result)

        self._writer.put(run)
        return await done

    # -- after a crash ----------------------------------------------------------------------------------

    async def recover(self, resume_window_s: float, now: datetime) -> list[Unfinished]:
        """Look for what dead processes left. Call once, at start, before any session is opened.

        Sessions younger than the window are handed back: `open` those whose user returns, `finish` the
        others. All others are ended and written whole, in the background.
        """

        def look() -> list[Unfinished]:
            resumable, over = recover(self._places, self._lock.name, self._new_ledger, resume_window_s, now)
            for ledger in over:
                self._writer.put(lambda ledger=ledger: self._writer.add(self._finishing(ledger)))  # type: ignore[misc]
            return resumable

        return await self._on_writer(look)

    def _finishing(self, ledger: Ledger) -> Any:
        self._ledgers[ledger.session_id] = ledger
        ledger.place_the_rest()
        ledger.end("server stopped")
        yield from ledger.close()
        self._ledgers.pop(ledger.session_id, None)
        log.info("%s: finished after the server had stopped in mid-talk", ledger.session_id)

    async def finish(self, session_id: str, reason: str = "not resumed") -> None:
        """End a session that nobody came back to. Returns when its files are written."""
        checked_session_id(session_id)

        def load() -> bool:
            if session_id in self._ledgers or not self._places.journal(session_id).exists():
                return False
            ledger = self._ledger(session_id)
            ledger.take_over()
            ledger.place_the_rest()
            return True

        if session_id not in self._recorders and await self._on_writer(load):
            await self._wrap_up(session_id, reason)

    # -- whose it is ------------------------------------------------------------------------------------

    async def give(self, session_id: str, owner: str, user_id: str) -> bool:
        """Make an ended session somebody's, in its files and rows. Whether there was one that is over."""
        checked_session_id(session_id)

        def write() -> bool:
            if session_id in self._recorders or session_id in self._ledgers:
                return False
            return self._new_ledger(session_id).give({"owner": owner, "user_id": user_id})

        if not await self._on_writer(write):
            return False
        if self._repository:
            await self._repository.give(session_id, owner, user_id)
        return True

    async def is_open_elsewhere(self, session_id: str) -> bool:
        """Whether another process that is alive writes this session."""
        marker = self._places.marker(session_id)

        def look() -> bool:
            try:
                name = marker.read_text("ascii")
            except (FileNotFoundError, UnicodeDecodeError):
                return False
            # Our own lock must not be tried: to close its file again would be to let go of it.
            return name != self._lock.name and is_alive(self._places.conversations_dir, name)

        return await asyncio.to_thread(look)

    async def take_up(self, session_id: str, resume_window_s: float) -> Unfinished | None:
        """What is needed to go on with a session that has ended: `open` it next. None if there is no journal
        of it, or somebody writes it."""
        checked_session_id(session_id)

        def look() -> Unfinished | None:
            places = self._places
            if session_id in self._ledgers or places.marker(session_id).exists():
                return None
            if not places.journal(session_id).exists():
                return None
            ledger = self._new_ledger(session_id)
            ledger.load()
            return as_it_stands(ledger, places, resume_window_s, datetime.now(UTC))

        return await self._on_writer(look)

    # -- deleting ---------------------------------------------------------------------------------------

    async def delete(self, session_id: str) -> bool:
        """Remove everything there is of a session, also while it goes on. Whether there was anything."""
        checked_session_id(session_id)
        recorder = self._recorders.pop(session_id, None)
        if recorder:
            recorder.discard()
        self._rows.forget(session_id)

        def remove() -> bool:
            ledger = self._ledgers.pop(session_id, None) or self._new_ledger(session_id)
            return ledger.delete()

        found = await self._on_writer(remove)
        if self._repository:
            found = await self._repository.delete(session_id) or found
        self._rows.forgotten(session_id)
        return found

    async def delete_of(self, owner: str) -> int:
        """`delete` every session of an owner. How many that were. Needs the database."""
        ids = await self._repository.of_owner(owner) if self._repository else []
        return sum([await self.delete(session_id) for session_id in ids])

    async def delete_without_user(self) -> int:
        """`delete` what is left of users whose account is gone, but what is being written. How many."""
        ids = await self._repository.without_user() if self._repository else []
        deleted = 0
        for session_id in ids:
            if session_id not in self._recorders and not await self.is_open_elsewhere(session_id):
                deleted += await self.delete(session_id)
        return deleted

    async def purge(self, older_than: datetime, *, guests_only: bool = False) -> int:
        """Delete the sessions that began before `older_than`, but those that go on. How many that were.

        `guests_only` needs the database: only its rows tell whose a session was.
        """
        if guests_only:
            ids: Iterable[str] = ()
            if self._repository:
                ids = await self._repository.started_before(iso(older_than), guests_only=True)
        else:
            ids = await asyncio.to_thread(self._started_before, older_than)
        deleted = 0
        for session_id in ids:
            if session_id not in self._recorders and valid_session_id(session_id):
                deleted += await self.delete(session_id)
        return deleted

    def _started_before(self, older_than: datetime) -> list[str]:
        folders = (self._places.conversations_dir, self._places.audio_dir)
        names = {path.name.partition(".")[0] for folder in folders for path in folder.iterdir()}
        began = {name: started_at(name) for name in names if valid_session_id(name)}
        return sorted(name for name, when in began.items() if when and when < older_than.astimezone(UTC))

    # -- reading back -----------------------------------------------------------------------------------

    def json_path(self, session_id: str) -> Path:
        """Where the conversation JSON is, if there is one."""
        return self._places.json(session_id)

    def audio_path(self, session_id: str, filename: str) -> Path:
        """Where a sound file is, if there is one."""
        return self._places.sound(session_id, filename)

    def journal_path(self, session_id: str) -> Path:
        """Where the journal is, if there is one: what replay reads."""
        return self._places.journal(session_id)

    async def conversation(self, session_id: str) -> dict[str, Any] | None:
        """The conversation JSON as of its last turn; None if there is none (yet)."""
        return await asyncio.to_thread(files.read_json, self.json_path(session_id))

    async def audio_files(self, session_id: str) -> list[dict[str, Any]]:
        """The sound files of a session in order of their numbers, the whole conversation last.

        Each `{filename, role, start_ms, end_ms, duration_ms, bytes}`. Only what is on disk is listed.
        """
        folder, path = self._places.folder(session_id), self.json_path(session_id)
        return await asyncio.to_thread(_list_sound, folder, path)


def _list_sound(folder: Path, json_path: Path) -> list[dict[str, Any]]:
    if not folder.is_dir():
        return []
    conversation = files.read_json(json_path) or {}
    known = {entry["filename"]: entry for entry in conversation.get("audio_files", ())}
    there = {path.name: path.stat().st_size for path in folder.iterdir() if valid_sound_file(path.name)}
    nothing = {"start_ms": 0, "end_ms": 0, "duration_ms": 0}
    return [
        {"filename": name, "role": role_of(name), **nothing, **known.get(name, {}), "bytes": there[name]}
        for name in sorted(there, key=lambda name: (name == CONVERSATION_MP3, number_of(name), name))
    ]


def _resolve(future: "asyncio.Future[T]", result: T) -> None:
    if not future.done():
        future.set_result(result)


def _reject(future: "asyncio.Future[T]", error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
