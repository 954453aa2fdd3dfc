"""The telephone's sound, against libsndfile's."""

import io

import numpy as np
import pytest
import soundfile

from server.wire import g711
from server.wire.g711 import Law

LAWS: list[tuple[Law, str]] = [("mu", "ULAW"), ("a", "ALAW")]
EVERY = np.arange(-32768, 32768).astype("<i2")


@pytest.mark.parametrize(("law", "subtype"), LAWS)
def test_every_code_is_decoded_as_elsewhere(law: Law, subtype: str) -> None:
    codes = bytes(range(256))
    sound, _ = soundfile.read(
        io.BytesIO(codes), dtype="int16", channels=1, samplerate=8000, format="RAW", subtype=subtype
    )
    assert g711.decode(codes, law) == sound.astype("<i2").tobytes()


@pytest.mark.parametrize(("law", "subtype"), LAWS)
def test_every_sample_becomes_the_nearest_that_there_is(law: Law, subtype: str) -> None:
    del subtype
    there = np.frombuffer(g711.decode(bytes(range(256)), law), "<i2").astype(int)
    back = np.frombuffer(g711.decode(g711.encode(EVERY.tobytes(), law), law), "<i2").astype(int)
    off = np.abs(back - EVERY)
    for sample in (-32768, -5000, -1, 0, 7, 300, 32767):
        assert off[sample + 32768] == np.abs(there - sample).min()
    assert (off <= np.maximum(np.abs(EVERY.astype(int)) // 16, 16)).all()


@pytest.mark.parametrize(("law", "subtype"), LAWS)
def test_what_was_encoded_once_stays_as_it_is(law: Law, subtype: str) -> None:
    del subtype
    once = g711.decode(g711.encode(EVERY.tobytes(), law), law)
    assert g711.decode(g711.encode(once, law), law) == once
