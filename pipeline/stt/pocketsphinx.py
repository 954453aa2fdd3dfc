"""Speech recognition in the box: PocketSphinx with the English model in its wheel. No key, no network.

Free speech comes out rough (about 6 words in 10 wrong on our mixed clips, 3 in 10 on clean ones); a
`grammar` makes a narrow task work well. So does knowing what was asked: digits, a date or a yes are heard by
a second, narrow decoder (`pocketsphinx_narrow`). It cannot tell noise from speech, and it has no use for
`hints`.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

from pipeline.contracts import Env, Expected, Unavailable
from pipeline.stt.messages import PREPARE
from pipeline.stt.pool import Pool, Utterance, auto_workers


@dataclass(frozen=True, slots=True)
class Options:
    """[stt.pocketsphinx]"""

    workers: int = 0
    """Processes that recognize; 0 = one or two, by the number of cores."""
    decoders: int = 4
    """How many utterances a worker may have in hand at once; each decoder takes 91 MB once it was needed."""
    grammar: str = ""
    """A JSGF grammar (a file, or the text itself): only its sentences are recognized. "" = free speech."""
    language: str = "en"
    """What the model below speaks."""
    acoustic_model: str = ""
    """Folder of another acoustic model; "" = the en-us model of the wheel. The same for the next two."""
    language_model: str = ""
    dictionary: str = ""


def create(options: Options, env: Env) -> "PocketSphinx":
    """Check what can be checked without loading anything. Raises `Unavailable`."""
    del env
    if find_spec("pocketsphinx") is None:
        raise Unavailable("[stt] pocketsphinx is not installed; run `pip install pocketsphinx`")
    for key in ("acoustic_model", "language_model", "dictionary", "grammar"):
        value = getattr(options, key)
        if value and not _is_grammar_text(value) and not Path(value).exists():
            raise Unavailable(f"[stt.pocketsphinx] {key} = {value!r} does not exist")
    return PocketSphinx(options)


class PocketSphinx(Pool):
    """The worker pool."""

    def __init__(self, options: Options) -> None:
        settings = {
            "decoders": max(1, options.decoders),
            "grammar": options.grammar,
            "acoustic_model": options.acoustic_model,
            "language_model": options.language_model,
            "dictionary": options.dictionary,
        }
        super().__init__(
            "pocketsphinx",
            "pipeline.stt.pocketsphinx_worker",
            settings,
            auto_workers(options.workers),
            (options.language.split("-")[0].lower(),),
        )
        own = (options.grammar, options.acoustic_model, options.language_model, options.dictionary)
        self._expects = self.languages == ("en",) and not any(own)
        """The examples of answers are for the model that is shipped."""

    def expect(self, phrases: Sequence[str]) -> None:
        """Make the models for such answers, if there are none yet."""
        if self._expects:
            self.tell(PREPARE, {"phrases": list(phrases)})

    def listen(self, expected: Expected, language: str = "", hints: Sequence[str] = ()) -> Utterance:
        """Start an utterance that answers a question."""
        if not self._expects or language.partition("-")[0].lower() not in ("", "en"):
            return self.open(language, hints)
        return self._open({"language": language, "hints": list(hints), "expected": asdict(expected)})


def _is_grammar_text(value: str) -> bool:
    return value.lstrip().startswith("#JSGF")
