"""The loop of a process in which a neural voice runs: takes pieces of text, gives back sound and word times.

What makes the sound is a `Speaker`. A thread reads the pipe, so that a cancel reaches the model while it
computes. A first piece goes before later ones: somebody waits for it in silence.
"""

import json
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import onnxruntime

from pipeline.tts.onnx_outputs import with_output
from pipeline.tts.voice_messages import AUDIO, CANCEL, DONE, FAILED, SPEAK, WORDS
from pipeline.tts.voice_times import Phone, word_times
from pipeline.worker import Link, Note, Refused

_MESSAGE_SAMPLES = 5_000  # some 200 ms of sound: a client's first packet is not held up by the copying

Samples = npt.NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class Speech:
    """A stretch of sound, made in one run of the model."""

    samples: Samples
    phones: Sequence[Phone]
    """Their times count from the start of this stretch."""


class Speaker(Protocol):
    """A model and its phonemizer."""

    rate_hz: int

    def speak(self, job: dict[str, Any]) -> Iterator[Speech]:
        """Speak `job["text"]`, run by run."""

    def size_of(self, job: dict[str, Any], word: str) -> int:
        """How many phonemes the word has when said alone."""


class Stopped(Exception):
    """The piece being spoken was cancelled."""


class Desk:
    """The pieces that are asked for, and the one in work."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._changed = threading.Condition()
        self._waiting: dict[int, dict[str, Any]] = {}
        self._current = 0
        self._is_cancelled = False
        self._run: Any = None

    def open(self) -> None:
        """Start reading the pipe; the process ends when the pipe does."""
        threading.Thread(target=self._read, daemon=True, name="pipe").start()

    def take(self) -> tuple[int, dict[str, Any]]:
        """The next piece; waits for it."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting)
            ident = next(
                (i for i, job in self._waiting.items() if job["is_first"]), next(iter(self._waiting))
            )
            self._current, self._is_cancelled = ident, False
            return ident, self._waiting.pop(ident)

    def check(self) -> None:
        """Raise `Stopped` when the piece in work was cancelled."""
        if self._is_cancelled:
            raise Stopped

    def run(self, session: Any, names: Any, feeds: Any) -> Any:
        """Run the model for the piece in work. Raises `Stopped` soon after a cancel."""
        options = onnxruntime.RunOptions()
        with self._changed:
            self.check()
            self._run = options
        try:
            return session.run(names, feeds, options)
        except Exception as error:  # the runtime's own classes are not one family
            if self._is_cancelled:
                raise Stopped from error
            raise
        finally:
            self._run = None

    def _read(self) -> None:
        while True:
            self._heard(self._link.next())

    def _heard(self, note: Note) -> None:
        with self._changed:
            if note.kind == SPEAK:
                self._waiting[note.ident] = json.loads(note.payload)
                self._changed.notify()
            elif note.kind == CANCEL:
                if note.ident == self._current:
                    self._is_cancelled = True
                    if self._run is not None:
                        self._run.terminate = True
                self._waiting.pop(note.ident, None)


class Session:
    """An ONNX session whose runs end when the desk's piece is cancelled; passes for the runtime's own."""

    def __init__(self, desk: Desk, path: str, threads: int, timing_op: str) -> None:
        """Load the model; its phoneme durations, the value of its only `timing_op`, become its last output.

        Raises whatever the runtime raises for a file that is no model.
        """
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3  # its warnings about constant folding help nobody
        # Threads that spin while they wait would take the cores that the server's sessions need.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        model = with_output(Path(path).read_bytes(), timing_op, "duration")
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._desk = desk
        self._model_path = path  # kokoro-onnx asks for it

    def run(self, names: Any, feeds: Any) -> Any:
        """As `InferenceSession.run`."""
        return self._desk.run(self._session, names, feeds)

    def get_inputs(self) -> Any:
        return self._session.get_inputs()

    def get_outputs(self) -> Any:
        return self._session.get_outputs()

    def get_modelmeta(self) -> Any:
        return self._session.get_modelmeta()


def loaded(desk: Desk, path: str, threads: int, timing_op: str, inputs: set[str], what: str) -> Session:
    """A model that has these inputs. Raises `Refused`, with a sentence that says what the file is not."""
    try:
        session = Session(desk, path, threads, timing_op)
    except Exception as error:
        raise Refused(f"{path} is not {what}: {brief(error)}") from error
    missing = inputs - {i.name for i in session.get_inputs()}
    if missing:
        raise Refused(f"{path} is not {what}: it is a model without the input {min(missing)!r}")
    return session


def brief(error: BaseException) -> str:
    """The first line of an error that may have many."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:200] if lines else type(error).__name__


def pcm16(audio: npt.NDArray[np.float32]) -> Samples:
    """Samples of -1 to 1 as 16 bit."""
    return (np.clip(audio, -1.0, 1.0) * 32767.0).astype(np.int16)


def serve(link: Link, desk: Desk, speaker: Speaker) -> None:
    """Speak until the parent is gone."""
    desk.open()
    while True:
        ident, job = desk.take()
        try:
            _speak(link, desk, speaker, ident, job)
        except Stopped:
            continue
        except Exception as error:  # noqa: BLE001 - of a model anything may come; it is told to the parent
            link.send(FAILED, ident, json.dumps({"message": brief(error)}).encode())
        else:
            link.send(DONE, ident)


def _speak(link: Link, desk: Desk, speaker: Speaker, ident: int, job: dict[str, Any]) -> None:
    phones: list[Phone] = []
    made_ms = 0.0
    for speech in speaker.speak(job):
        for at in range(0, len(speech.samples), _MESSAGE_SAMPLES):
            desk.check()
            link.send(AUDIO, ident, speech.samples[at : at + _MESSAGE_SAMPLES].tobytes())
        phones += [Phone(p.symbol, p.start_ms + made_ms, p.end_ms + made_ms) for p in speech.phones]
        made_ms += len(speech.samples) * 1000 / speaker.rate_hz
        phones.append(Phone(" ", made_ms, made_ms))
    times = word_times(job["text"], phones, lambda word: speaker.size_of(job, word))
    if times:
        link.send(WORDS, ident, json.dumps(times).encode())
