"""The codec of our own wire: bytes and JSON in, events out, and back."""

import base64
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.audio import Framer, write_wav
from server.wire.voice import MAX_BINARY_BYTES, BadMessage, TooBig, Voice


def tone(rate_hz: int, ms: int, hz: float = 440) -> bytes:
    t = np.arange(rate_hz * ms // 1000) / rate_hz
    return bytes((np.sin(2 * np.pi * hz * t) * 8000).astype("<i2").tobytes())


@given(st.binary(max_size=4000), st.lists(st.integers(0, 700), max_size=12))
def test_any_split_of_the_same_bytes_gives_the_same_frames(data: bytes, cuts: list[int]) -> None:
    whole = list(Framer().push(data))
    framer, codec, pieces, at = Framer(), Voice(), [], 0
    for cut in [*cuts, len(data)]:
        pieces += list(framer.push(codec.audio(data[at : at + cut])))
        at += cut
    expected = [whole[i] for i in range(len(whole))]
    assert pieces[: len(expected)] == expected[: len(pieces)]
    assert all(len(p) == 640 for p in pieces)


def test_a_sample_cut_in_two_is_put_together() -> None:
    codec = Voice()
    assert codec.audio(b"\x01") == b""
    assert codec.audio(b"\x02\x03\x04") == b"\x01\x02\x03\x04"


@pytest.mark.parametrize("rate_hz", [8000, 24000, 48000])
def test_every_input_rate_arrives_as_16_khz(rate_hz: int) -> None:
    codec = Voice()
    codec.follow(rate_hz, base64_mode=False)
    pcm = tone(rate_hz, 1000)
    step = rate_hz // 50 * 2
    out = b"".join(codec.audio(pcm[i : i + step]) for i in range(0, len(pcm), step))
    samples = np.frombuffer(out, "<i2").astype(float)
    assert 15_000 <= len(samples) <= 16_000  # what is missing is still in the resampler
    spectrum = np.abs(np.fft.rfft(samples[2000:14000]))
    assert abs(np.argmax(spectrum) * 16_000 / 12_000 - 440) < 3


def test_more_than_64_kib_in_one_message_is_too_big() -> None:
    assert Voice().audio(bytes(MAX_BINARY_BYTES)) == bytes(MAX_BINARY_BYTES)
    with pytest.raises(TooBig):
        Voice().audio(bytes(MAX_BINARY_BYTES + 2))


def test_base64_audio_is_taken_as_pcm_and_as_wav() -> None:
    pcm = tone(16_000, 40)
    chunk = {"type": "audio_chunk", "audio_data": base64.b64encode(pcm).decode(), "format": "pcm"}
    assert Voice().decode(json.dumps(chunk)) == {"type": "audio", "pcm": pcm}
    wav = {"type": "audio_chunk", "format": "wav"}
    wav["audio_data"] = base64.b64encode(write_wav(pcm, 16_000)).decode()
    assert Voice().decode(json.dumps(wav))["pcm"] == pcm
    wav["audio_data"] = base64.b64encode(write_wav(tone(8000, 40), 8000)).decode()
    assert len(Voice().decode(json.dumps(wav))["pcm"]) == len(pcm)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '"start"',
        "{}",
        '{"type": 7}',
        '{"type": "nonsense"}',
        '{"type": "start", "mode": "shout"}',
        '{"type": "start", "input_rate": 11025}',
        '{"type": "start", "input_rate": true}',
        '{"type": "start", "base64": "yes"}',
        '{"type": "start", "response": {}}',
        '{"type": "text_message"}',
        '{"type": "text_message", "message": "  "}',
        '{"type": "text_message", "message": ["hi"]}',
        '{"type": "audio_chunk"}',
        '{"type": "audio_chunk", "audio_data": "%%%"}',
        '{"type": "audio_chunk", "audio_data": "AAAA", "format": "flac"}',
        '{"type": "audio_chunk", "audio_data": "AAAA", "format": "wav"}',
        '{"type": "playback", "response_id": "r1"}',
        '{"type": "playback", "response_id": "r1", "played_ms": -1}',
        '{"type": "playback", "response_id": "r1", "played_ms": NaN}',
        '{"type": "playback", "response_id": "r1", "played_ms": Infinity}',
        '{"type": "update_prompt", "prompt": 3}',
        r'{"type": "update_prompt", "prompt": "\ud800"}',
        r'{"type": "text_message", "message": "\ud800 lone"}',
        r'{"type": "start", "voice": "\udfff"}',
        "[" * 100_000,
    ],
)
def test_what_cannot_be_used_gets_a_sentence(text: str) -> None:
    with pytest.raises(BadMessage) as error:
        Voice().decode(text)
    assert str(error.value).endswith(".")
    assert "Traceback" not in str(error.value)


@given(st.text(max_size=200))
def test_no_text_breaks_the_codec(text: str) -> None:
    try:
        Voice().decode(text)
    except BadMessage:
        pass


def test_text_input_is_text_message() -> None:
    assert Voice().decode('{"type": "text_input", "text": " hi "}') == {
        "type": "text_message",
        "message": "hi",
    }


def test_audio_goes_out_binary_or_as_base64_with_its_reply() -> None:
    assert Voice().encode(b"\0\0") == ({"type": "websocket.send", "bytes": b"\0\0"},)
    codec = Voice()
    codec.follow(16_000, base64_mode=True)
    codec.encode({"type": "audio.begin", "response_id": "r7", "rate": 24000})
    (message,) = codec.encode(b"\1\2")
    sent = json.loads(message["text"])
    assert sent == {"type": "audio_response", "response_id": "r7", "audio_base64": "AQI="}
