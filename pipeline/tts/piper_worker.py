"""The process in which Piper speaks: a program of its own (GPL-3.0-or-later), spoken to over a pipe."""

import json
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import piper
import soxr
from piper.config import PiperConfig, SynthesisConfig

from pipeline.tts.voice_times import Phone, is_sound, spread
from pipeline.tts.voice_worker import Desk, Speech, brief, loaded, pcm16, serve
from pipeline.worker import Link, Refused, run

_KEPT_VOICES = 4  # in memory, some 100 MB each; the one not used for longest goes
_BOS, _EOS, _PAD = "^", "$", "_"


class PiperSpeaker:
    """The `Speaker`: the voices of a folder, each loaded when it is first needed."""

    def __init__(self, desk: Desk, settings: dict[str, Any]) -> None:
        self.rate_hz = int(settings["rate_hz"])
        self._desk, self._settings = desk, settings
        self._voices: OrderedDict[str, piper.PiperVoice] = OrderedDict()
        voice = str(settings["voice"])
        try:
            # The first run allocates what later ones use again; it also shows whether the voice works.
            for _ in self.speak({"text": "Yes.", "voice": voice, "speaker": None, "speed": 1.0}):
                pass
        except Refused:
            raise
        except Exception as error:  # whatever a model made for something else raises
            path = settings["voices"][voice]
            raise Refused(f"[tts.piper] model: {path} cannot be spoken with: {brief(error)}") from error

    def speak(self, job: dict[str, Any]) -> Iterator[Speech]:
        """Sentence by sentence, as eSpeak's phonemizer sees sentences."""
        voice = self._voice(job["voice"])
        config = SynthesisConfig(
            speaker_id=job["speaker"], length_scale=voice.config.length_scale / float(job["speed"])
        )
        for made in voice.synthesize(job["text"].replace("\n", " "), config, include_alignments=True):
            length_ms = len(made.audio_float_array) * 1000 / made.sample_rate
            counts = made.phoneme_id_samples
            phones = None if counts is None else _aligned(voice.config, made.phonemes, counts)
            samples = pcm16(np.atleast_1d(made.audio_float_array))
            if made.sample_rate != self.rate_hz:
                samples = soxr.resample(samples, made.sample_rate, self.rate_hz)
            yield Speech(samples, phones or spread(made.phonemes, 0.0, length_ms))

    def size_of(self, job: dict[str, Any], word: str) -> int:
        sentences = self._voice(job["voice"]).phonemize(word)
        return sum(is_sound(phoneme) for sentence in sentences for phoneme in sentence)

    def _voice(self, name: str) -> piper.PiperVoice:
        voice = self._voices.get(name)
        if voice is None:
            voice = self._voices[name] = self._load(name)
            if len(self._voices) > _KEPT_VOICES:
                self._voices.popitem(last=False)
        self._voices.move_to_end(name)
        return voice

    def _load(self, name: str) -> piper.PiperVoice:
        path = self._settings["voices"][name]
        config = PiperConfig.from_dict(json.loads(Path(f"{path}.json").read_text("utf-8")))
        # Of the model, the only Ceil is the phonemes' duration: what Piper's own patch tool makes an output.
        inputs = {"input", "input_lengths", "scales"} | ({"sid"} if config.num_speakers > 1 else set())
        what = "a Piper voice ([tts.piper] model)"
        session = loaded(self._desk, path, int(self._settings["threads"]), "Ceil", inputs, what)
        return piper.PiperVoice(session=cast(Any, session), config=config)


def _aligned(config: PiperConfig, phonemes: list[str], counts: Any) -> list[Phone] | None:
    """The phonemes' times; `counts` are samples per id, a pad after every phoneme. `None` when they do not
    match: a phonemizer that makes its ids in another way."""
    ids = config.phoneme_id_map
    pads = len(ids[_PAD])
    symbols = [(_BOS, len(ids[_BOS]) + pads)]
    symbols += [(phoneme, len(ids[phoneme]) + pads) for phoneme in phonemes if phoneme in ids]
    symbols.append((_EOS, len(ids[_EOS])))
    if sum(count for _, count in symbols) != len(counts):
        return None
    edges_ms = np.concatenate(([0], np.cumsum(counts))) * (1000 / config.sample_rate)
    phones, at = [], 0
    for symbol, count in symbols:
        phones.append(Phone(symbol, float(edges_ms[at]), float(edges_ms[at + count])))
        at += count
    return phones[1:-1]


def work(link: Link, settings: dict[str, Any]) -> None:
    """Speak until the parent is gone."""
    desk = Desk(link)
    speaker = PiperSpeaker(desk, settings)
    link.ready({"rate_hz": speaker.rate_hz})
    serve(link, desk, speaker)


if __name__ == "__main__":
    run(work)
