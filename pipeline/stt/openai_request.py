"""What OpenAI's recognizers may be told about an utterance: its language and the words to expect.

Which model takes what: https://platform.openai.com/docs/api-reference/audio/createTranscription and
https://platform.openai.com/docs/guides/realtime-transcription
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_WIDELY_SPOKEN = "ar bg ca cs da de el en es et fa fi fr he hi hr hu id it ja ko lt lv ms nl no pl pt ro ru"
_OTHERS = "sk sl sr sv ta th tr uk ur vi zh af az be bs cy gl hy is kk kn mi mk mr ne sw tl"
LANGUAGES = tuple(f"{_WIDELY_SPOKEN} {_OTHERS}".split())
"""https://platform.openai.com/docs/guides/speech-to-text#supported-languages; another one is an error."""
LIVE_MODELS = ("gpt-live-transcribe", "gpt-realtime-whisper")
"""They hear while one speaks, and exist in realtime sessions only. The others begin at the commit."""
KEYWORD_MODELS = ("gpt-transcribe", "gpt-live-transcribe")
MOST_KEYWORDS = 100
LONGEST_PROMPT = 600
"""Characters. Whisper reads the last 224 tokens of a prompt."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What goes with the sound."""

    model: str
    language: str = ""
    """ISO 639-1, "" = find out."""
    prompt: str = ""
    hints: tuple[str, ...] = ()

    @classmethod
    def of(cls, model: str, language: str, prompt: str, hints: Sequence[str]) -> "Asked":
        """`language` is a BCP 47 tag; one that is not known is left out."""
        base = language.replace("_", "-").partition("-")[0].lower()
        base = {"nb": "no", "nn": "no", "fil": "tl"}.get(base, base)
        return cls(model, base if base in LANGUAGES else "", prompt, tuple(h for h in hints if h.strip()))

    def fields(self) -> dict[str, Any]:
        """The request's own, and the session's `transcription` object: they are called the same."""
        fields: dict[str, Any] = {"model": self.model}
        if self.language:
            fields["language"] = self.language
        texts = [self.prompt]
        if self.model in KEYWORD_MODELS:
            if self.hints:
                fields["keywords"] = list(self.hints[:MOST_KEYWORDS])
        else:
            texts.append(", ".join(self.hints))
        prompt = " ".join(text for text in texts if text)[:LONGEST_PROMPT]
        if prompt and self.model not in ("gpt-realtime-whisper", "gpt-4o-transcribe-diarize"):
            fields["prompt"] = prompt
        return fields
