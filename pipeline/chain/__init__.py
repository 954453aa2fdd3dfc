"""Ordered chains of engines: the first that can run is used, the next ones take over when it fails.

A chain is what the session talks to, so a session cannot tell one engine from five. It owns the deadlines
(first piece, next piece, empty output) and the health of its members; adapters only raise. What the user has
already heard is never repeated. Every request leaves a `Request` for the bill.
"""

from pipeline.chain.llm import LOST_THREAD, LlmChain
from pipeline.chain.member import Chain, Member, Report, build
from pipeline.chain.stt import SttChain, SttUtterance
from pipeline.chain.tts import GUESSED_CHARS_PER_S, TtsChain

__all__ = [
    "GUESSED_CHARS_PER_S",
    "LOST_THREAD",
    "Chain",
    "LlmChain",
    "Member",
    "Report",
    "SttChain",
    "SttUtterance",
    "TtsChain",
    "build",
]
