"""OpenAI's recognizers, and every server that has its `/audio/transcriptions`.

Over the realtime socket the sound is there before the sentence is over (`openai_realtime`); otherwise it is
sent when there is a pause (`openai_rest`).
"""

from dataclasses import dataclass
from typing import Literal

from pipeline.contracts import Env
from pipeline.openai_http import Place
from pipeline.stt.openai_realtime import OpenAiRealtime
from pipeline.stt.openai_request import LIVE_MODELS
from pipeline.stt.openai_rest import OpenAiRest


@dataclass(frozen=True, slots=True)
class Options:
    """[stt.openai]"""

    model: str = "gpt-live-transcribe"
    mode: Literal["auto", "realtime", "rest"] = "auto"
    """"auto" = realtime at OpenAI for every model but whisper-1, else REST."""
    language: str = ""
    """When the session does not say: a BCP 47 tag, "" = the installation's, "auto" = found out each time."""
    prompt: str = ""
    """What talks are about, in a sentence: it helps with names."""
    base_url: str = ""
    """A server that speaks this API, such as "http://127.0.0.1:8000/v1"; "" = OpenAI."""
    settle: bool = True
    """REST only: ask at each pause already. When the pause turns out to be the end, the text is there;
    when it does not, that request was for nothing."""
    partial_every_ms: int = 0
    """REST only: while one speaks, send all that was heard so far again after each so many ms. It shows
    text early and costs a multiple. 0 = never."""
    key_variable: str = "OPENAI_API_KEY"
    """The environment variable that holds the key."""

    def __post_init__(self) -> None:
        if self.mode == "rest" and self.model in LIVE_MODELS:
            raise ValueError(f'model = "{self.model}" exists in realtime sessions only; mode = "realtime"')
        if 0 < self.partial_every_ms < 250:
            raise ValueError(f"partial_every_ms = {self.partial_every_ms} must be 0 or at least 250")


def create(options: Options, env: Env) -> OpenAiRealtime | OpenAiRest:
    """Raises `MissingKey`, `Unavailable`."""
    place = Place.of(env, "stt", options.key_variable, options.base_url)
    language = options.language or env.language
    language = "" if language == "auto" else language
    is_live = options.model in LIVE_MODELS or (place.is_openai and options.model != "whisper-1")
    if options.mode == "realtime" or (options.mode == "auto" and is_live):
        return OpenAiRealtime(place, options.model, language, options.prompt)
    return OpenAiRest(
        place, options.model, language, options.prompt, options.settle, options.partial_every_ms
    )
