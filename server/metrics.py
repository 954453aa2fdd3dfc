"""What `/metrics` tells: counts since the start of this process, in the form that Prometheus reads.

What is counted is what is written down: a session's recorder is watched, so each turn, request and tool's
result counts once, when its journal entry is made, and nothing is done for a frame. The rows that
`/api/analytics` sums are made from the same entries, so both say the same.

    session --> Watched (counts) --> the archive's recorder --> journal --> rows --> /api/analytics
                   |--> /metrics
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from pipeline.contracts import Archive, Recorder
from storage.tallies import outcome

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
LOOK_S = 0.5
"""How often it is measured how late the event loop is."""
SPEEDS_S = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0)
STAGES_S = (0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1.2, 2.0, 5.0)
LAGS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5)
SPANS = {"endpoint_ms": "endpoint", "stt_ms": "stt", "llm_ttft_ms": "llm", "tts_ttfb_ms": "tts"}
VOICES = {"tts", "talk"}
REASONS = (
    (re.compile(r"\d+ ms of silence: held open"), "held"),
    (re.compile(r"\d+ ms of silence: "), "sooner"),
    (re.compile(r"\d+ ms of silence$"), "silence"),
    (re.compile(r"\d+ s without a pause$"), "long"),
    (re.compile(r"the talk button was released$"), "released"),
    (re.compile(r"typed$"), "typed"),
)
"""Why turns ended, in a word: the sentences hold numbers, and words of the user's."""
UNKNOWN = "unknown"
WORKER_UP = "# HELP parley_worker_up Whether a worker has told its numbers.\n# TYPE parley_worker_up gauge\n"


class Metrics:
    """The counters of this process, with a registry of their own."""

    def __init__(self, tools: Collection[str]) -> None:
        """`tools`: those there are. A model may ask for others, by any name."""
        self._tools = tools
        self.registry = CollectorRegistry(auto_describe=False)
        asked = ("stage", "provider", "model")
        self._turns = self._count("turns", "Turns that were answered, by what ended them.", "reason")
        self._failed = self._count("turns_failed", "Turns that got an apology for an answer.")
        self._cut = self._count("interruptions", "Answers that somebody spoke, typed or clicked into.")
        self._requests = self._count("requests", "Requests to providers.", *asked, "outcome")
        self._cost = self._count("cost_dollars", "What they cost, in US dollars.", *asked)
        self._failures = self._count("request_failures", "Those that failed.", "stage", "provider", "kind")
        self._failovers = self._count(
            "failovers", "How often the next in the chain took over from it.", "stage", "provider"
        )
        self._calls = self._count("tool_calls", "What became of calls of tools.", "tool", "outcome")
        self._speed = self._time(
            "voice_to_voice",
            "From the user's last sound to the answer's first, of turns spoken by both.",
            SPEEDS_S,
        )
        self._stages = self._time("turn_stage", "The spans of those turns.", STAGES_S, "stage")
        self._lag = self._time("event_loop_lag", f"How late the event loop was, every {LOOK_S:g} s.", LAGS_S)
        ProcessCollector(registry=self.registry)

    def _count(self, name: str, about: str, *labels: str) -> Counter:
        return Counter(f"parley_{name}", about, labels, registry=self.registry)

    def _time(self, name: str, about: str, buckets: Sequence[float], *labels: str) -> Histogram:
        return Histogram(f"parley_{name}_seconds", about, labels, buckets=buckets, registry=self.registry)

    def tell(self, name: str, about: str, value: Callable[[], float], *, counter: bool = False) -> None:
        """Tell a number that somebody else knows, whenever it is asked for."""
        self.registry.register(_Known(name, about, value, "counter" if counter else "gauge"))

    async def follow_loop(self) -> None:
        """Measure how late things are done, for ever."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + LOOK_S
            await asyncio.sleep(LOOK_S)
            self._lag.observe(max(0.0, loop.time() - due))

    # -- what happens ----------------------------------------------------------------------------------------

    def turn(self, entry: Mapping[str, Any]) -> None:
        """A turn was answered; `entry` is its first `turn` in the journal."""
        reason = str(entry.get("reason"))
        self._turns.labels(reason_of(reason)).inc()
        if reason != "typed" and VOICES & set(entry.get("plugins") or ()):
            self._speed.observe(entry["voice_to_voice_ms"] / 1000)
            for span, stage in SPANS.items():
                self._stages.labels(stage).observe(entry[span] / 1000)

    def message(self, entry: Mapping[str, Any]) -> None:
        """A message was written down, or amended."""
        if entry.get("interrupted") and not entry.get("ended"):
            self._cut.inc()
        if entry.get("type") == "apology":
            self._failed.inc()
        if entry.get("role") == "tool":
            name = str(entry.get("name"))
            self._calls.labels(name if name in self._tools else UNKNOWN, outcome(entry.get("result"))).inc()

    def request(self, line: Mapping[str, Any]) -> None:
        """A line of a bill."""
        provider = (str(line["stage"]), str(line["provider"]), str(line["model"]))
        self._requests.labels(*provider, str(line["outcome"])).inc()
        self._cost.labels(*provider).inc(line["price"])
        if line["outcome"] == "failed":
            self._failures.labels(*provider[:2], str(line.get("error") or UNKNOWN)).inc()

    def decision(self, entry: Mapping[str, Any]) -> None:
        """Somebody decided something: that another provider takes over, for one."""
        stage, _, what = str(entry.get("what")).partition(" ")
        if what == "failover":
            self._failovers.labels(stage, str(entry.get("plugin"))).inc()

    # -- telling it ------------------------------------------------------------------------------------------

    async def families(self, worker: str = "") -> AsyncIterator[str]:
        """Each metric as text, one at a time, so that nobody waits for all of them. `worker` names this
        process where there are several."""
        for metric in self.registry.collect():
            yield generate_latest(_One(metric, {"worker": worker} if worker else {})).decode()
            await asyncio.sleep(0)


class _Known(Collector):
    """A number that is looked up."""

    def __init__(self, name: str, about: str, value: Callable[[], float], kind: str) -> None:
        self._name, self._about, self._value, self._kind = name, about, value, kind

    def collect(self) -> Iterable[Metric]:
        metric = Metric(self._name, self._about, self._kind)
        metric.add_sample(f"{self._name}_total" if self._kind == "counter" else self._name, {}, self._value())
        yield metric


class _One(Collector):
    """One metric, with labels more, without the times at which its samples began."""

    def __init__(self, metric: Metric, labels: Mapping[str, str]) -> None:
        self._metric = Metric(metric.name, metric.documentation, metric.type)
        self._metric.samples = [
            sample._replace(labels={**sample.labels, **labels})
            for sample in metric.samples
            if not sample.name.endswith("_created")
        ]

    def collect(self) -> Iterator[Metric]:
        yield self._metric


def reason_of(sentence: str) -> str:
    """Why a turn ended, in a word."""
    return next((word for pattern, word in REASONS if pattern.match(sentence)), "other")


class Watched:
    """A recorder whose entries are counted on their way."""

    def __init__(self, recorder: Recorder, metrics: Metrics) -> None:
        self._record, self._metrics = recorder.record, metrics
        self._last_turn = 0
        # Bound once: sound comes fifty times a second, and is none of our business.
        self.user_audio, self.agent_audio, self.sync = (
            recorder.user_audio,
            recorder.agent_audio,
            recorder.sync,
        )
        self.flush, self.close, self.suspend = recorder.flush, recorder.close, recorder.suspend

    def record(self, kind: str, at_ms: int, data: Mapping[str, Any]) -> None:
        self._record(kind, at_ms, data)
        match kind:
            case "turn" if data["turn"] > self._last_turn:  # a second one says that it was played
                self._last_turn = data["turn"]
                self._metrics.turn(data)
            case "cost":
                self._metrics.request(data)
            case "message":
                self._metrics.message(data)
            case "decision":
                self._metrics.decision(data)
            case _:
                pass


class WatchedArchive:
    """An archive whose recorders are watched."""

    def __init__(self, archive: Archive, metrics: Metrics) -> None:
        self._archive, self._metrics = archive, metrics

    def open(self, session_id: str, header: Mapping[str, Any], on_trouble: Callable[[str], None]) -> Recorder:
        return Watched(self._archive.open(session_id, header, on_trouble), self._metrics)


# -- several workers -------------------------------------------------------------------------------------


def merged(texts: Iterable[str]) -> str:
    """What several workers tell, as one: each metric's head once, then everybody's samples."""
    found: dict[str, list[str]] = {}
    for text in texts:
        for family in _families(text):
            lines = family.splitlines(keepends=True)
            head = "".join(line for line in lines if line.startswith("#"))
            found.setdefault(head, []).extend(line for line in lines if not line.startswith("#"))
    return "".join(head + "".join(samples) for head, samples in found.items())


def _families(text: str) -> Iterator[str]:
    for part in text.split("# HELP ")[1:]:
        yield f"# HELP {part}"
