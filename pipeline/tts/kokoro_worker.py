"""The process in which Kokoro speaks: the model through kokoro-onnx, the phonemes through eSpeak NG."""

import logging
import zipfile
from collections.abc import Iterator
from typing import Any

import kokoro_onnx
import numpy as np
from phonemizer.backend import EspeakBackend

from pipeline.tts.voice_times import Phone, is_sound, spread
from pipeline.tts.voice_worker import Desk, Samples, Session, Speech, brief, loaded, pcm16, serve
from pipeline.worker import Link, Refused, run

_SENTENCE_PAUSE_S, _CLAUSE_PAUSE_S = 0.25, 0.1  # kokoro-onnx's own; the silence the model makes is trimmed
_SILENT = 150  # of 32767: 47 dB below the loudest
_ESPEAK = {"en-US": "en-us", "en-GB": "en-gb", "fr-FR": "fr-fr", "pt-BR": "pt-br", "zh": "cmn"}


class KokoroSpeaker:
    """The `Speaker`."""

    rate_hz = kokoro_onnx.SAMPLE_RATE

    def __init__(self, desk: Desk, settings: dict[str, Any]) -> None:
        logging.getLogger("phonemizer").setLevel(logging.ERROR)  # it counts the words of every text, aloud
        what = "a Kokoro model ([tts.kokoro] model)"
        # Of the model, the only Round makes whole frames of the phonemes' durations.
        session = loaded(desk, settings["model"], int(settings["threads"]), "Round", {"style", "speed"}, what)
        self._backends: dict[str, EspeakBackend] = {}
        self._kokoro = _opened(session, settings["voices"])
        self.voices = self._kokoro.get_voices()
        voice = settings["voice"]
        if voice not in self.voices:
            known = ", ".join(self.voices[:8])
            raise Refused(f"[tts.kokoro] voice = {voice!r} is not in the voices' file; there are {known}")
        try:
            # The first run allocates what later ones use again; it also shows whether model and voices match.
            for _ in self.speak({"text": "Yes.", "voice": voice, "language": "en-US", "speed": 1.0}):
                pass
        except Exception as error:  # whatever a model made for something else raises
            message = f"[tts.kokoro] model and voices do not work together: {brief(error)}"
            raise Refused(message) from error

    def speak(self, job: dict[str, Any]) -> Iterator[Speech]:
        """In one run for what fits into the model: 510 phonemes, some forty seconds."""
        phonemes = self._phonemes(job["language"], job["text"])
        for batch in self._kokoro._split_phonemes(phonemes) if phonemes else ():
            audio, _, timings = self._kokoro.create_timed(
                batch, job["voice"], float(job["speed"]), is_phonemes=True
            )
            samples = pcm16(audio)
            length_ms = len(samples) * 1000 / self.rate_hz
            phones = [Phone(t.phoneme, t.start * 1000, t.end * 1000) for t in timings]
            missing = round(_pause_s(batch) * self.rate_hz) - _silent_at_end(samples)
            pause = np.zeros(max(0, missing), np.int16)
            yield Speech(np.concatenate((samples, pause)), phones or spread(list(batch), 0.0, length_ms))

    def size_of(self, job: dict[str, Any], word: str) -> int:
        return sum(is_sound(phoneme) for phoneme in self._phonemes(job["language"], word))

    def _phonemes(self, language: str, text: str) -> str:
        name = _ESPEAK.get(language, language)
        backend = self._backends.get(name)
        if backend is None:  # kokoro-onnx makes one for every text, which takes longer than short words
            backend = self._backends[name] = EspeakBackend(
                name, preserve_punctuation=True, with_stress=True, language_switch="remove-flags"
            )
        said = backend.phonemize([" ".join(text.split())])
        known = self._kokoro.tokenizer.known("".join(said))
        return " ".join(known.split())


def _opened(session: Session, voices: str) -> kokoro_onnx.Kokoro:
    try:
        kokoro = kokoro_onnx.Kokoro.from_session(session, voices)
        kokoro.get_voices()
        return kokoro
    except (ValueError, AttributeError, EOFError, zipfile.BadZipFile) as error:  # numpy's, for other files
        raise Refused(
            f"[tts.kokoro] voices = {voices!r} is not a file of Kokoro voices (voices-v1.0.bin)"
        ) from error
    except RuntimeError as error:
        raise Refused(f"[tts.kokoro] eSpeak NG cannot be used: {brief(error)}") from error


def _pause_s(phonemes: str) -> float:
    mark = phonemes[-1:]
    return _SENTENCE_PAUSE_S if mark in ".!?…" else _CLAUSE_PAUSE_S if mark in ",;:" else 0.0


def _silent_at_end(samples: Samples) -> int:
    loud = np.flatnonzero(np.abs(samples.astype(np.int32)) > _SILENT)
    return len(samples) - 1 - int(loud[-1]) if len(loud) else len(samples)


def work(link: Link, settings: dict[str, Any]) -> None:
    """Speak until the parent is gone."""
    desk = Desk(link)
    speaker = KokoroSpeaker(desk, settings)
    link.ready({"rate_hz": speaker.rate_hz, "voices": speaker.voices})
    serve(link, desk, speaker)


if __name__ == "__main__":
    run(work)
