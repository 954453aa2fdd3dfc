"""The process in which eSpeak NG runs: a program of its own (GPL-3.0-or-later), spoken to over a pipe.

eSpeak keeps global state and is single-threaded, and so is this file: one request at a time, in order of
arrival. While it synthesizes, its callback looks at the pipe and aborts when the request was cancelled.
"""

import ctypes
import json
import os
from pathlib import Path
from typing import Any

import espeakng_loader

from pipeline.tts.espeak_messages import AUDIO, CANCEL, DONE, FAILED, SPEAK, WORD
from pipeline.worker import Link, Note, Refused, run

# speak_lib.h of eSpeak NG 1.52.
_AUDIO_OUTPUT_SYNCHRONOUS = 2  # with mode 1 (RETRIEVAL) the call returned before its audio was there
_INITIALIZE_DONT_EXIT = 0x8000
_CHARS_UTF8 = 1  # and neither SSML (0x10) nor phoneme input (0x100): text is only ever text
_POS_CHARACTER = 1
_EVENT_WORD = 1
_RATE, _PITCH = 1, 3
_PIECE_MS = 60  # how often the callback runs: eSpeak makes this much speech in about 0.1 ms
_MORE_BYTES = 10 * 1024  # after the first piece, some 230 ms of audio a message


class _Voice(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("languages", ctypes.c_void_p),
        ("identifier", ctypes.c_char_p),
        ("gender", ctypes.c_ubyte),
        ("age", ctypes.c_ubyte),
        ("variant", ctypes.c_ubyte),
        ("xx1", ctypes.c_ubyte),
        ("score", ctypes.c_int),
        ("spare", ctypes.c_void_p),
    )


class _EventId(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _EventId),
    )


_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)


class Speaker:
    """eSpeak, as loaded into this process. There can be only one."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._lib = ctypes.CDLL(str(espeakng_loader.get_library_path()))
        self.rate_hz = self._initialize()
        self._voice = ""
        self._request = 0
        self._cancelled = False
        self._is_first = True
        self._audio = bytearray()
        self._callback = _CALLBACK(self._made)  # kept: C calls it later
        self._lib.espeak_SetSynthCallback(self._callback)

    def _initialize(self) -> int:
        # eSpeak refuses a data path of more than 160 characters: go there, and call it ".".
        os.chdir(Path(espeakng_loader.get_data_path()).parent)
        rate_hz = int(
            self._lib.espeak_Initialize(_AUDIO_OUTPUT_SYNCHRONOUS, _PIECE_MS, b".", _INITIALIZE_DONT_EXIT)
        )
        if rate_hz <= 0:
            raise Refused("eSpeak NG found no voices in its package; reinstall espeakng-loader")
        return rate_hz

    def voices(self, kind: bytes = b"") -> list[tuple[str, str, str, str]]:
        """(language tag, name, file, gender) of every voice, or, for kind "variant", of every variant."""
        self._lib.espeak_ListVoices.restype = ctypes.POINTER(ctypes.POINTER(_Voice))
        text = ctypes.create_string_buffer(kind)
        wanted = _Voice(languages=ctypes.cast(text, ctypes.c_void_p))
        found = self._lib.espeak_ListVoices(ctypes.byref(wanted) if kind else None)
        rows, i = [], 0
        while found[i]:
            voice = found[i].contents
            # The first of (priority byte, tag, NUL) entries.
            tag = ctypes.string_at(voice.languages + 1).decode() if voice.languages else ""
            gender = {1: "male", 2: "female"}.get(voice.gender, "")
            rows.append((tag, voice.name.decode().strip(), voice.identifier.decode(), gender))
            i += 1
        return rows

    def speak(self, ident: int, request: dict[str, Any]) -> None:
        """Synthesize one piece of text; the answers carry `ident`."""
        if request["voice"] != self._voice:
            if self._lib.espeak_SetVoiceByName(request["voice"].encode()) != 0:
                self._voice = ""
                self._fail(ident, f"eSpeak has no voice {request['voice']!r}")
                return
            self._voice = request["voice"]
        self._lib.espeak_SetParameter(_RATE, int(request["rate_wpm"]), 0)
        self._lib.espeak_SetParameter(_PITCH, int(request["pitch"]), 0)
        self._request, self._cancelled, self._is_first = ident, False, True
        self._audio.clear()
        data = request["text"].encode() + b"\0"
        error = self._lib.espeak_Synth(data, len(data), 0, _POS_CHARACTER, 0, _CHARS_UTF8, None, None)
        if self._cancelled:
            return
        if error != 0:
            self._fail(ident, f"eSpeak could not speak (error {error})")
            return
        self._flush()
        self._link.send(DONE, ident)

    def _made(self, wav: Any, count: int, events: Any) -> int:
        """Called by eSpeak with every piece of audio; 1 aborts."""
        notes = self._link.poll()
        if any(n.kind == CANCEL and n.ident == self._request for n in notes):
            self._cancelled = True
            return 1
        i = 0
        while events[i].type != 0:
            if events[i].type == _EVENT_WORD:
                # text_position counts characters from 1, in Unicode as well.
                place = {"at": events[i].text_position - 1, "ms": events[i].audio_position}
                self._link.send(WORD, self._request, json.dumps(place).encode())
            i += 1
        if wav and count > 0:
            self._audio += ctypes.string_at(wav, count * 2)
            if self._is_first or len(self._audio) >= _MORE_BYTES:
                self._flush()
        return 0

    def _flush(self) -> None:
        if self._audio:
            self._is_first = False
            self._link.send(AUDIO, self._request, bytes(self._audio))
            self._audio.clear()

    def _fail(self, ident: int, message: str) -> None:
        self._link.send(FAILED, ident, json.dumps({"message": message}).encode())


def work(link: Link, settings: dict[str, Any]) -> None:
    """Speak until the parent is gone."""
    del settings
    speaker = Speaker(link)
    link.ready(
        {"rate_hz": speaker.rate_hz, "voices": speaker.voices(), "variants": speaker.voices(b"variant")}
    )
    while True:
        note = link.next()
        if note.kind == SPEAK and not _is_cancelled(note, link):
            speaker.speak(note.ident, json.loads(note.payload))


def _is_cancelled(note: Note, link: Link) -> bool:
    return any(n.kind == CANCEL and n.ident == note.ident for n in link.poll())


if __name__ == "__main__":
    run(work)
