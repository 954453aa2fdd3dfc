"""Makes failover.mp3: a call in which each stage's first vendor dies, as the server recorded it.

    python docs/make_failover.py

The vendors are the tests' fakes (tests/calls/test_vendors_die.py is the same call, asserted); so that one
hears who speaks, their voices are two of eSpeak's. Left the caller, right the agent.
"""

import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import soxr

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from pipeline import plugins  # noqa: E402
from pipeline.contracts import Env, SpeechRequest  # noqa: E402
from tests.calls import test_vendors_die as call  # noqa: E402
from tests.support.live import LiveServer  # noqa: E402
from tests.support.vendors.cartesia import Cartesia  # noqa: E402
from tests.support.vendors.deepgram_listen import DeepgramListen  # noqa: E402
from tests.support.vendors.elevenlabs_tts import ElevenLabsTts  # noqa: E402
from tests.support.vendors.place import Trouble  # noqa: E402
from tests.support.vendors.sound import MS_PER_CHAR  # noqa: E402


class Speaking:
    """Makes a fake say its texts in a voice, as long as its alignment promises."""

    voice = ""
    engine: Any = None

    async def pieces(self, text: str, trouble: Trouble) -> AsyncIterator[bytes]:
        found = [
            p async for p in self.engine.speak(SpeechRequest(text, voice=self.voice)) if isinstance(p, bytes)
        ]
        sound = np.frombuffer(b"".join(found), "<i2").astype(np.float32) / 32768
        wanted = self.rate_hz * MS_PER_CHAR * len(text) // 1000  # type: ignore[attr-defined]
        stretched = soxr.resample(sound, len(sound), wanted)[:wanted]
        pcm = (np.clip(stretched, -1, 1) * 32767).astype("<i2").tobytes()
        step = self.rate_hz // 10 * 2  # type: ignore[attr-defined]
        for index, at in enumerate(range(0, len(pcm), step)):
            await self.pause(trouble, index)  # type: ignore[attr-defined]
            yield pcm[at : at + step]


class FirstVoice(Speaking, ElevenLabsTts):
    voice = "en-us+f2"


class SecondVoice(Speaking, Cartesia):
    voice = "en-gb+m3"


async def record(folder: Path) -> Path:
    Speaking.engine = plugins.build("tts", "espeak", {}, Env())
    await Speaking.engine.warm()
    parts = [DeepgramListen(), call.Mind(), call.SecondMind(), FirstVoice(), SecondVoice()]
    servers: list[LiveServer] = []

    def live(**settings: str) -> LiveServer:
        servers.append(LiveServer(folder, settings))
        return servers[-1]

    try:
        async with (
            parts[0].serving(),
            parts[1].serving(),
            parts[2].serving(),
            parts[3].serving(),
            parts[4].serving(),
        ):
            await call.test_the_caller_hears_one_conversation(call.Vendors(*parts), live)  # type: ignore[arg-type]
    finally:
        for server in servers:
            server.stop()
        await Speaking.engine.aclose()
    return next((folder / "audio_files").glob("*/conversation.mp3"))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        made = asyncio.run(record(Path(folder)))
        (ROOT / "docs" / "failover.mp3").write_bytes(made.read_bytes())
    print("docs/failover.mp3")
