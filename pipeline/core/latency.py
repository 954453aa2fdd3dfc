"""Where a turn's time went. The spans tile the turn: they add up to voice-to-voice, to the millisecond.

    last speech sample   turn over   text there   first token   first sample leaves
            |--endpoint_ms--|--stt_ms--|--llm_ttft_ms--|--tts_ttfb_ms--|
            |---------------------- voice_to_voice_ms ------------------|

Work done ahead (speculation) ended before its span began, so its span is 0: only what the user waited for
is counted. `now` values come from the session's one monotonic clock.
"""

from dataclasses import dataclass, field
from itertools import pairwise


@dataclass(slots=True)
class TurnClock:
    """The moments of one turn, in seconds; None = has not happened."""

    turn: int
    reason: str
    speech_ended_at: float
    ended_at: float
    settled_at: float
    speculated: bool = False
    first_token_at: float | None = None
    first_audio_at: float | None = None
    plugins: dict[str, str] = field(default_factory=dict)
    """Who answered, by stage."""
    failovers: list[dict[str, str]] = field(default_factory=list)
    """Who failed before, and why: {stage, plugin, kind}."""

    def spans(self) -> dict[str, int]:
        """The five numbers of `turn.metrics`, in whole ms. Of a reply without sound, the first token is
        the end; of one that never came, nothing is invented."""
        moments = [
            self.speech_ended_at,
            self.ended_at,
            self.settled_at,
            self.first_token_at,
            self.first_audio_at,
        ]
        edges, latest = [], self.speech_ended_at
        for moment in moments:
            latest = max(latest, moment if moment is not None else latest)
            edges.append(round((latest - self.speech_ended_at) * 1000))
        spans = [b - a for a, b in pairwise(edges)]
        names = ("endpoint_ms", "stt_ms", "llm_ttft_ms", "tts_ttfb_ms")
        return {**dict(zip(names, spans, strict=True)), "voice_to_voice_ms": edges[-1]}
