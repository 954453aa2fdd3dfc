"""Deepgram's streaming recognition over its WebSocket: the Nova models, and Flux, which knows turns.

Without the vendor's package: it imports `websockets.legacy`, which the pinned `websockets` warns about, and
hands `extra_headers` to a function that has none. What is said here is all on two pages of the vendor's
reference. Times of words are told.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from pipeline import lines, vendor
from pipeline.contracts import INPUT_RATE_HZ, Env, Failure, SttError
from pipeline.lines import Line, Lines
from pipeline.stt.deepgram_flux import FluxWire
from pipeline.stt.deepgram_line import WHO, DeepgramLine
from pipeline.stt.deepgram_nova import KEEP_ALIVE, NovaWire
from pipeline.stt.live import LiveUtterance, Wire

VENDOR_URL = "wss://api.deepgram.com"
VARIABLE = "DEEPGRAM_API_KEY"
BEAT_S = 4.0
"""Nova hangs up after 10 s without audio or KeepAlive; a beat every 3 to 5 s is advised."""
NOVA_IDLE_S = 120.0
FLUX_IDLE_S = 8.0
"""Flux documents no KeepAlive. Nova's 10 s are taken for its patience too."""
MOST_LINES = 4
MOST_KEYTERMS = 100
LONGEST_KEYTERM = 60
"""Deepgram takes 500 tokens of key terms altogether."""

FLUX_LANGUAGES = ("en", "es", "fr", "de", "hi", "ru", "pt", "ja", "it", "nl")
NOVA_LANGUAGES = (
    *FLUX_LANGUAGES,
    *("bg", "ca", "cs", "da", "el", "et", "fi", "hu", "id", "ko", "lt", "lv"),
    *("ms", "no", "pl", "ro", "sk", "sv", "tr", "uk", "vi"),
)
"""https://developers.deepgram.com/docs/models-languages-overview. Another one is heard as `multi`."""


@dataclass(frozen=True, slots=True)
class Options:
    """[stt.deepgram]"""

    model: str = "nova-3"
    """"nova-3", or "flux-general-en" and "flux-general-multi", which end turns themselves."""
    language: str = ""
    """"" = what the talk is in; "multi" = several, mixed (Nova)."""
    base_url: str = ""
    """"" = the vendor; such as "wss://api.eu.deepgram.com" or a server of one's own."""
    smart_format: bool = True
    """Nova: punctuation, numbers and dates the way they are written."""
    keyterms: tuple[str, ...] = ()
    """Names and words that are likely to be said."""
    eot_threshold: float = 0.7
    """Flux: how sure it must be to end a turn, 0.5 to 0.9."""
    eager_eot_threshold: float = 0.5
    """Flux: how sure it must be to say that a turn may be ending, 0.3 to 0.9; 0 = it does not say."""
    eot_timeout_ms: int = 5000
    """Flux: silence that ends a turn however unsure it is."""

    def __post_init__(self) -> None:
        if not 0.5 <= self.eot_threshold <= 0.9:
            raise ValueError(f"eot_threshold = {self.eot_threshold} must be between 0.5 and 0.9")
        if self.eager_eot_threshold and not 0.3 <= self.eager_eot_threshold <= self.eot_threshold:
            most = self.eot_threshold
            raise ValueError(
                f"eager_eot_threshold = {self.eager_eot_threshold} must be 0, or between 0.3 and "
                f"eot_threshold ({most})"
            )
        if not 500 <= self.eot_timeout_ms <= 60_000:
            raise ValueError(f"eot_timeout_ms = {self.eot_timeout_ms} must be between 500 and 60000")


def create(options: Options, env: Env) -> "Deepgram":
    """Raises `MissingKey`, unless the server is one's own."""
    own = options.base_url and "deepgram.com" not in options.base_url
    key = env.keys.get(VARIABLE, "").strip() if own else vendor.key(env, "[stt] deepgram", VARIABLE)
    return Deepgram(options, key, env.language)


class Deepgram:
    """The `TranscriberEngine`. A line is a WebSocket; its URL says everything about it, so it is its key."""

    hints_reconnect = True

    def __init__(self, options: Options, key: str, language: str) -> None:
        self._options, self._key, self._language = options, key, language
        self.model = options.model
        self._is_flux = options.model.startswith("flux")
        self.languages: tuple[str, ...] = NOVA_LANGUAGES
        if self._is_flux:
            self.languages = FLUX_LANGUAGES if options.model.endswith("multi") else ("en",)
        self._lines = Lines(
            self._connect,
            most=MOST_LINES,
            idle_s=FLUX_IDLE_S if self._is_flux else NOVA_IDLE_S,
            beat=None if self._is_flux else KEEP_ALIVE,
            beat_s=BEAT_S,
        )

    async def warm(self) -> None:
        """Nothing to load; lines are opened when a client connects."""

    async def aclose(self) -> None:
        """Ends the utterances too."""
        await self._lines.aclose()

    def prepare(self) -> None:
        self._lines.prepare(self._url("", ()))

    async def probe(self) -> None:
        """A handshake: it needs the key, names the model, and costs nothing without audio."""
        line = await self._connect(self._url("", ()))
        await line.close()

    def open(self, language: str = "", hints: Sequence[str] = ()) -> LiveUtterance:
        return LiveUtterance(WHO, self._lines, self._url(language, hints), self._wire)

    def _wire(self, line: Line) -> Wire:
        assert isinstance(line, DeepgramLine)  # `_connect` makes no other
        return FluxWire(line) if self._is_flux else NovaWire(line)

    async def _connect(self, url: str) -> Line:
        headers = {"Authorization": f"Token {self._key}"} if self._key else {}
        try:
            return DeepgramLine(await lines.dial(SttError, WHO, url, headers))
        except SttError as error:
            hint = {
                Failure.AUTH: f"is {VARIABLE} right, and may it use {self.model}?",
                Failure.BAD_REQUEST: f"is [stt.deepgram] model = {self.model!r} right?",
            }.get(error.kind)
            if hint is None:
                raise
            raise SttError(f"{error}; {hint}", error.kind) from error

    def _url(self, language: str, hints: Sequence[str]) -> str:
        options = self._options
        query = [("model", self.model), ("encoding", "linear16"), ("sample_rate", str(INPUT_RATE_HZ))]
        base = (language or self._language).partition("-")[0].lower()
        if self._is_flux:
            query += [("eot_threshold", f"{options.eot_threshold:g}")]
            if options.eager_eot_threshold:
                query += [("eager_eot_threshold", f"{options.eager_eot_threshold:g}")]
            query += [("eot_timeout_ms", str(options.eot_timeout_ms))]
            if self.model.endswith("multi") and base in FLUX_LANGUAGES:
                query += [("language_hint", base)]
        else:
            known = base if base in NOVA_LANGUAGES else "multi"
            query += [
                ("language", options.language or known),
                ("channels", "1"),
                ("interim_results", "true"),
                ("endpointing", "false"),
                ("smart_format" if options.smart_format else "punctuate", "true"),
            ]
        if self._is_flux or self.model.startswith("nova-3"):  # the older ones refuse them
            query += [("keyterm", term) for term in _terms(options.keyterms, hints)]
        path = "/v2/listen" if self._is_flux else "/v1/listen"
        return f"{(options.base_url or VENDOR_URL).rstrip('/')}{path}?{urlencode(query)}"


def _terms(*sources: Sequence[str]) -> list[str]:
    terms = dict.fromkeys(" ".join(t.split())[:LONGEST_KEYTERM] for source in sources for t in source)
    return [t for t in terms if t][:MOST_KEYTERMS]
