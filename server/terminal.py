"""Lines for people at a terminal: colour where there is one, a level bar, a waterfall of a turn's time.

Text that came over the network is stripped of control characters before it is shown.
"""

import math
import shutil
import unicodedata
from collections.abc import Mapping
from typing import Any, TextIO

BAR_CELLS = 40
LEVEL_CELLS = 12
_EIGHTHS = " ▏▎▍▌▋▊▉█"
_COLOURS = {"red": 31, "green": 32, "yellow": 33, "blue": 34, "magenta": 35, "cyan": 36, "dim": 2, "bold": 1}
_SPANS = (("endpoint", "cyan"), ("stt", "blue"), ("llm", "magenta"), ("tts", "green"))
_FIELDS = {
    "endpoint": "endpoint_ms",
    "stt": "stt_ms",
    "llm": "llm_ttft_ms",
    "tts": "tts_ttfb_ms",
}


class Terminal:
    """Writes lines, and on a TTY one last line that can be rewritten."""

    def __init__(self, out: TextIO) -> None:
        self.out = out
        self.is_tty = out.isatty()
        self._live = ""

    def line(self, text: str = "") -> None:
        """A line that stays."""
        live, self._live = self._live, ""
        self.out.write(("\r\x1b[K" if live else "") + text + "\n")
        self.out.flush()

    def live(self, text: str) -> None:
        """The line being rewritten. Shown only on a TTY: a log file would keep every version of it."""
        text = text[: shutil.get_terminal_size().columns - 1]  # a wrapped line cannot be rewritten
        if self.is_tty and text != self._live:
            self._live = text
            self.out.write("\r\x1b[K" + text)
            self.out.flush()

    def colour(self, name: str, text: str) -> str:
        return f"\x1b[{_COLOURS[name]}m{text}\x1b[0m" if self.is_tty else text


def harmless(text: str) -> str:
    """The text without anything that could move a cursor or change a terminal."""
    return "".join(" " if unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp") else c for c in text)


def bar(cells: float) -> str:
    """A bar that many character cells long, to an eighth."""
    eighths = max(0, round(cells * 8))
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()


def level(rms: float) -> str:
    """A meter of fixed width for an RMS level from 0 to 1: its whole length is -60 dB to full scale."""
    loudness = max(0.0, 1 + math.log10(max(rms, 1e-6)) / 3)
    return bar(loudness * LEVEL_CELLS).ljust(LEVEL_CELLS)


def waterfall(metrics: Mapping[str, Any], terminal: Terminal) -> list[str]:
    """The lines of a turn's metrics: where the time between your last word and the answer went."""
    spans = [(name, float(metrics.get(_FIELDS[name]) or 0), colour) for name, colour in _SPANS]
    whole = float(metrics.get("voice_to_voice_ms") or sum(ms for _, ms, _ in spans))
    cells_per_ms = BAR_CELLS / max(whole, sum(ms for _, ms, _ in spans), 1.0)
    notes = [harmless(str(metrics["reason"]))] if metrics.get("reason") else []
    notes += ["speculated"] if metrics.get("speculated") else []
    head = f"  turn {metrics.get('turn', '?')}: answered after {whole:.0f} ms"
    lines = [terminal.colour("bold", head) + (f" ({', '.join(notes)})" if notes else "")]
    begin = 0.0
    for name, ms, colour in spans:
        gap = " " * round(begin * cells_per_ms)
        lines.append(
            f"  {name:<9}{ms:>6.0f} ms  {gap}{terminal.colour(colour, bar(ms * cells_per_ms))}".rstrip()
        )
        begin += ms
    return lines
