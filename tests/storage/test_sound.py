"""Spool and MP3: where each sample comes out."""

import subprocess
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from storage import sound
from storage.journal import Placed, Run
from storage.sound import Mix, Mp3, bit_rate, joined, render_reply, render_utterance
from storage.spool import Piece, Spool, Tape

Floats = NDArray[np.float32]


def user(start: int, samples: NDArray[np.int16]) -> Piece:
    return Piece("", 16_000, start, start, samples.astype("<i2").tobytes())


def agent(reply_id: str, rate_hz: int, offset: int, samples: NDArray[np.int16], position: int = 0) -> Piece:
    return Piece(reply_id, rate_hz, offset, position, samples.astype("<i2").tobytes())


def click(length: int, at: int) -> NDArray[np.int16]:
    samples = np.zeros(length, np.int16)
    samples[at] = 20_000
    return samples


def mixed(spool: Spool, placed: list[Placed]) -> Floats:
    with closing(Tape(spool)) as tape:
        return np.concatenate([np.zeros((0, 2), np.float32), *Mix(tape, spool, placed).blocks()])


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 22_050, 24_000, 44_100, 48_000])
def test_a_click_comes_out_where_it_was_within_two_samples(tmp_path: Path, rate_hz: int) -> None:
    spool = Spool(tmp_path / "spool")
    said = click(16_000 * 7, 80_003)
    spool.append(user(at, said[at : at + 320]) for at in range(0, len(said), 320))
    spool.append([agent("r", rate_hz, 0, click(4 * rate_hz, 3 * rate_hz))])
    # Played for two seconds, held back for 50 ms, then to the end: the click is 3.05 s after the start.
    runs = (Run(0, 2 * rate_hz, 16_001), Run(2 * rate_hz, 2 * rate_hz, 16_001 + 32_000 + 800))
    stereo = mixed(spool, [Placed("r", "0001_agent.mp3", rate_hz, runs)])
    assert len(stereo) == 7 * 24_000
    left, right = np.abs(stereo).argmax(axis=0)
    assert abs(left - 80_003 * 1.5) <= 2
    assert abs(right - (16_001 + 48_000 + 800) * 1.5) <= 2


def test_gaps_are_silent_and_the_later_of_two_overlapping_pieces_is_heard(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    ones = np.ones(1000, np.int16)
    spool.append([user(500, ones), user(1000, 2 * ones), user(5000, 3 * ones)])
    with closing(Tape(spool)) as tape:
        heard = tape.user().read(0, 7000)
    assert [int(heard[at]) for at in (0, 499, 500, 999, 1000, 1999, 2000, 4999, 5000, 5999, 6000)] == [
        *(0, 0, 1, 1, 2, 2, 0, 0, 3, 3, 0),
    ]


def test_overlapping_replies_neither_crash_nor_move(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    level = np.full(24_000 * 4, 8_000, np.int16)
    spool.append([agent("a", 24_000, 0, level), agent("b", 24_000, 0, 2 * level)])
    placed = [
        Placed("a", "0001_agent.mp3", 24_000, (Run(0, 96_000, 0),)),
        Placed("b", "0002_agent.mp3", 24_000, (Run(0, 24_000, 32_000),)),
    ]
    right = mixed(spool, placed)[:, 1]
    assert len(right) == 96_000
    assert [round(float(right[at]) * 32_768) for at in (0, 47_999, 48_000, 71_999, 72_000, 95_999)] == [
        *(8_000, 8_000, 16_000, 16_000, 8_000, 8_000),
    ]


def test_runs_longer_than_what_was_spooled_are_cut(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    spool.append([agent("r", 24_000, 0, np.ones(2400, np.int16))])
    placed = Placed("r", "0001_agent.mp3", 24_000, (Run(0, 10**9, 16_000), Run(10**9, 5, 17_000)))
    assert len(mixed(spool, [placed])) == 24_000 + 2400
    list(render_reply(tmp_path / "a.mp3", spool, placed))
    assert soundfile.info(tmp_path / "a.mp3").frames == 2400
    unheard = Placed("other", "0002_agent.mp3", 24_000, (Run(0, 10, 0),))
    list(render_reply(tmp_path / "b.mp3", spool, unheard))
    list(render_utterance(tmp_path / "b.mp3", spool, 0, 1000))
    assert not (tmp_path / "b.mp3").exists()


def test_reports_of_one_playing_join_without_ever_drifting() -> None:
    reports = [Run(at, 480, 100 + round(at * 2 / 3)) for at in range(0, 48_000, 480)]
    assert joined(reports, 24_000) == [Run(0, 48_000, 100)]
    # A player whose clock is off by 0.1 %: each step fits, but the sum must not.
    slow = [Run(at, 480, 100 + round(at * 2 / 3 * 1.001)) for at in range(0, 480_000, 480)]
    pieces = joined(slow, 24_000)
    assert sum(run.count for run in pieces) == 480_000
    for run in pieces:
        assert abs(run.position - (100 + run.offset * 2 / 3 * 1.001)) <= 1
        end = run.offset + run.count
        assert abs(run.position + run.count * 2 / 3 - (100 + end * 2 / 3 * 1.001)) <= 10


@pytest.mark.parametrize("cut", [1, 2, 3, 100, 639, 640, 641, 650, 663, 664])
def test_a_torn_record_keeps_its_whole_samples_and_can_be_appended_to(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "spool"
    spool = Spool(path)
    spool.append([user(0, np.full(320, 1, np.int16)), user(320, np.full(320, 2, np.int16))])
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.truncate(size - cut)
    for _ in range(2):  # mending a mended file changes nothing
        again = Spool(path)
        again.load()
        assert again.user_end == 320 + max(0, 320 - -(-cut // 2))
    again.append([user(640, np.full(320, 3, np.int16)), agent("r", 24_000, 7, np.ones(5, np.int16), 99)])
    third = Spool(path)
    third.load()
    assert third.user_end == 960
    assert (third.replies["r"].position, third.replies["r"].extents[0].start) == (99, 7)
    with closing(Tape(third)) as tape:
        assert tape.user().read(639, 2).tolist() == [0, 3]
        assert tape.user().read(319, 1).tolist() == [1]


def test_damage_in_the_middle_of_a_spool_keeps_what_is_before_it(tmp_path: Path) -> None:
    path = tmp_path / "spool"
    spool = Spool(path)
    spool.append(user(at, np.ones(320, np.int16)) for at in range(0, 3200, 320))
    data = bytearray(path.read_bytes())
    data[5 * (24 + 640) + 3] ^= 0xFF
    path.write_bytes(data)
    again = Spool(path)
    again.load()
    assert again.user_end == 5 * 320


@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000])
def test_every_decoder_can_take_the_codecs_delay_back(tmp_path: Path, rate_hz: int) -> None:
    """Bit rates are the lowest whose frames have room for LAME's tag; with it, place and length are exact."""
    path = tmp_path / "x.mp3"
    t = np.arange(3 * rate_hz + 77) / rate_hz
    wave = (np.sin(2 * np.pi * 700 * t) * np.exp(-(((t - 1.5) / 0.01) ** 2))).astype(np.float32)
    mp3 = Mp3(path, rate_hz, 1)
    mp3.write(wave)
    mp3.commit()
    assert b"Info" in path.read_bytes()[:200]
    decoded, _ = soundfile.read(path, dtype="float32")
    assert len(decoded) == len(wave)
    spectrum = np.fft.rfft(decoded, 2 * len(wave)) * np.conj(np.fft.rfft(wave, 2 * len(wave)))
    assert int(np.argmax(np.fft.irfft(spectrum))) == 0
    assert bit_rate(rate_hz) <= 64


def test_stereo_mp3_sounds_like_what_went_in(tmp_path: Path) -> None:
    t = np.arange(48_000) / 24_000
    tones = [np.sin(2 * np.pi * hz * t) / 2 for hz in (440, 1000)]
    wave = np.stack(tones, axis=1).astype(np.float32)
    mp3 = Mp3(tmp_path / "x.mp3", 24_000, 2)
    mp3.write(wave)
    mp3.commit()
    decoded, _ = soundfile.read(tmp_path / "x.mp3", dtype="float32")
    assert len(decoded) == len(wave)
    for channel in (0, 1):
        assert np.corrcoef(decoded[:, channel], wave[:, channel])[0, 1] > 0.99


def test_rendering_left_in_the_middle_leaves_no_file(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    spool.append([user(0, np.ones(16_000 * 10, np.int16))])
    steps = sound.render_conversation(tmp_path / "conversation.mp3", spool, [])
    next(steps)
    steps.close()
    assert [path.name for path in tmp_path.iterdir()] == ["spool"]


def test_a_long_talk_is_not_held_in_memory(tmp_path: Path) -> None:
    """Ten minutes of sound are 19 MB as 16-bit samples; a child that mixes them stays far below that."""
    code = f"""
import resource, numpy as np
from pathlib import Path
from storage.journal import Placed, Run
from storage.sound import Mix, render_conversation
from storage.spool import Piece, Spool, Tape
spool = Spool(Path({str(tmp_path / "spool")!r}))
second = bytes(32_000)
for at in range(600):
    spool.append([Piece("", 16_000, at * 16_000, at * 16_000, second)])
    spool.append([Piece("r", 24_000, at * 24_000, 0, bytes(48_000))])
mix = Mix(Tape(spool), spool, [Placed("r", "0001_agent.mp3", 24_000, (Run(0, 600 * 24_000, 0),))])
blocks = mix.blocks(); next(blocks)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
count = 1 + sum(1 for _ in blocks)
print(count, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    import sys

    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True
    )
    blocks, kib = map(int, done.stdout.split())
    assert blocks == 300
    assert kib < 4096
