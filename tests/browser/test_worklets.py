"""The worklets' arithmetic, measured in the browser's own audio engine, off line: no clock, no device."""

from typing import Any

import pytest
from playwright.sync_api import Page

pytestmark = pytest.mark.browser

RESAMPLE = """
async ({inRate, outRate, hz, seconds, piece}) => {
  const { Resampler } = await import("/static/resample.js");
  const resampler = new Resampler(inRate, outRate);
  const out = [];
  const total = inRate * seconds;
  for (let start = 0; start < total; start += piece) {
    const input = new Float32Array(Math.min(piece, total - start));
    for (let i = 0; i < input.length; i++) input[i] = 0.5 * Math.sin(2 * Math.PI * hz * (start + i) / inRate);
    resampler.write(input);
    const chunk = new Float32Array(resampler.readable);
    resampler.read(chunk, 0, chunk.length);
    out.push(...chunk);
  }
  resampler.finish();
  const rest = new Float32Array(resampler.readable);
  resampler.read(rest, 0, rest.length);
  out.push(...rest);
  // Power of the tone itself, of everything, and the worst difference from the ideal sine.
  const edge = Math.floor(outRate * 0.05);
  const middle = out.slice(edge, -edge);
  let re = 0, im = 0, power = 0, worst = 0;
  middle.forEach((value, i) => {
    const phase = 2 * Math.PI * hz * (i + edge) / outRate;
    re += value * Math.cos(phase); im += value * Math.sin(phase); power += value * value;
    worst = Math.max(worst, Math.abs(value - 0.5 * Math.sin(phase)));
  });
  return {count: out.length, tone: 2 * Math.hypot(re, im) / middle.length,
          rms: Math.sqrt(power / middle.length), worst};
}
"""


def resample(page: Page, in_rate: int, out_rate: int, hz: float, piece: int = 128) -> dict[str, float]:
    asked = {"inRate": in_rate, "outRate": out_rate, "hz": hz, "seconds": 0.5, "piece": piece}
    result: dict[str, float] = page.evaluate(RESAMPLE, asked)
    return result


@pytest.mark.parametrize("rate", [48_000, 44_100, 96_000, 16_000, 8_000])
def test_a_1_khz_tone_reaches_16_khz_unharmed(modules: Page, rate: int) -> None:
    got = resample(modules, rate, 16_000, 1000)
    assert got["count"] == 8000
    assert got["worst"] < 0.001


@pytest.mark.parametrize("rate", [48_000, 44_100])
def test_what_16_khz_cannot_hold_is_gone_by_more_than_60_db(modules: Page, rate: int) -> None:
    for hz in (8_200, 10_000, 15_000):
        assert resample(modules, rate, 16_000, hz)["rms"] < 0.5 / 2**0.5 / 1000


@pytest.mark.parametrize("rate", [48_000, 44_100])
@pytest.mark.parametrize("hz", [300, 3000, 9000])
def test_the_voice_reaches_the_device_rate_without_images(modules: Page, rate: int, hz: int) -> None:
    got = resample(modules, 24_000, rate, hz)
    assert got["count"] == rate // 2
    assert got["worst"] < 0.002


def test_pieces_of_any_size_give_the_same_samples(modules: Page) -> None:
    whole = resample(modules, 44_100, 16_000, 440, piece=22_050)
    assert resample(modules, 44_100, 16_000, 440, piece=1) == whole
    assert resample(modules, 44_100, 16_000, 440, piece=777) == whole


PLAYOUT = """
async ({script, seconds, rate}) => {
  const context = new OfflineAudioContext(1, rate * seconds, rate);
  await context.audioWorklet.addModule("/static/playout.worklet.js");
  const node = new AudioWorkletNode(context, "parley-playout", {numberOfInputs: 0, outputChannelCount: [1]});
  const heard = [];
  node.port.onmessage = ({data}) => heard.push(data);
  node.connect(context.destination);
  const tone = (ms, level) => {
    const pcm = new Int16Array(24 * ms);
    for (let i = 0; i < pcm.length; i++) pcm[i] = level * 32767 * Math.sin(2 * Math.PI * 440 * i / 24000);
    return pcm.buffer;
  };
  const post = (message) => {
    const {toneMs, ...rest} = message;
    node.port.postMessage(toneMs ? {...rest, pcm: tone(toneMs, 0.5)} : rest);
  };
  // A port has no order with the renderer: ask it something and wait for the answer, so that what was
  // posted before has arrived.
  const settled = () => new Promise((resolve) => setTimeout(resolve, 30));
  for (const [at, messages] of script) {
    const run = async () => { messages.forEach(post); await settled(); };
    if (at === 0) await run();
    else context.suspend(at).then(run).then(() => context.resume());
  }
  const buffer = await context.startRendering();
  await settled();
  const data = buffer.getChannelData(0);
  const quanta = [];
  for (let start = 0; start + 128 <= data.length; start += 128) {
    let peak = 0;
    for (let i = start; i < start + 128; i++) peak = Math.max(peak, Math.abs(data[i]));
    quanta.push(peak);
  }
  let step = 0;
  for (let i = 1; i < data.length; i++) step = Math.max(step, Math.abs(data[i] - data[i - 1]));
  return {heard, quanta, step};
}
"""

QUANTUM_S = 128 / 48_000


def play(page: Page, seconds: float, *script: tuple[float, list[dict[str, Any]]]) -> dict[str, Any]:
    """Run messages at given times (rounded up to quanta) and return what was rendered and reported."""
    result: dict[str, Any] = page.evaluate(
        PLAYOUT, {"script": [list(s) for s in script], "seconds": seconds, "rate": 48_000}
    )
    return result


def begin(name: str = "r1", base_ms: int = 0, skip_ms: int = 0) -> dict[str, Any]:
    return {"type": "begin", "id": name, "rate": 24_000, "baseMs": base_ms, "skipMs": skip_ms}


def chunk(ms: int, name: str = "r1") -> dict[str, Any]:
    return {"type": "chunk", "id": name, "toneMs": ms}


def end(name: str = "r1") -> dict[str, Any]:
    return {"type": "end", "id": name}


def of_type(result: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [m for m in result["heard"] if m["type"] == kind]


def test_a_reply_is_played_whole_and_reported_to_the_sample(modules: Page) -> None:
    result = play(modules, 1, (0, [begin(), chunk(500), end()]))
    assert of_type(result, "drained") == [{"type": "drained", "id": "r1", "playedMs": 500}]
    assert of_type(result, "started")[0]["at"] == 0
    positions = [m["playedMs"] for m in of_type(result, "progress")]
    assert len(positions) >= 10
    assert positions == sorted(positions)
    sounding = [i for i, peak in enumerate(result["quanta"]) if peak > 0.1]
    assert (sounding[0], sounding[-1]) == (0, 187)  # 24000 samples are 187.5 quanta


def test_nothing_plays_before_the_jitter_buffer_is_filled(modules: Page) -> None:
    result = play(modules, 0.5, (0, [begin(), chunk(60)]), (0.2, [chunk(20)]))
    assert of_type(result, "started")[0]["at"] == pytest.approx(0.2, abs=QUANTUM_S)


def test_a_short_reply_does_not_wait_for_a_full_buffer(modules: Page) -> None:
    result = play(modules, 0.5, (0, [begin(), chunk(30), end()]))
    assert of_type(result, "drained")[0]["playedMs"] == pytest.approx(30)


def test_a_flush_is_silent_after_one_quantum_and_does_not_click(modules: Page) -> None:
    result = play(modules, 1, (0, [begin(), chunk(800)]), (0.3, [{"type": "flush", "id": "r1"}]))
    at = round(0.3 / QUANTUM_S + 0.5)
    assert result["quanta"][at - 2] > 0.4
    assert max(result["quanta"][at + 1 :]) == 0
    # The steepest a 440 Hz tone of level 0.5 gets is 0.029 a sample; a cut would jump by up to 0.5.
    assert result["step"] < 0.06
    assert of_type(result, "drained") == []


def test_a_duck_pauses_at_once_and_goes_on_at_the_same_sample(modules: Page) -> None:
    result = play(
        modules,
        1.5,
        (0, [begin(), chunk(800), end()]),
        (0.2, [{"type": "pause"}]),
        (0.7, [{"type": "resume"}]),
    )
    paused = of_type(result, "paused")[0]["playedMs"]
    assert paused == pytest.approx(200, abs=6)
    start, stop = round(0.2 / QUANTUM_S) + 3, round(0.7 / QUANTUM_S) - 3
    assert max(result["quanta"][start:stop]) == 0
    assert of_type(result, "drained")[0]["playedMs"] == 800
    assert sum(1 for peak in result["quanta"] if peak > 0.05) == pytest.approx(300, abs=3)  # 800 ms in all


def test_an_underrun_is_counted_and_makes_the_buffer_wait_longer(modules: Page) -> None:
    result = play(modules, 1, (0, [begin(), chunk(100)]), (0.3, [chunk(80)]), (0.6, [chunk(40), end()]))
    assert [m["underruns"] for m in of_type(result, "underrun")] == [1]
    # 80 ms would have been enough for the first start (70 ms), but no longer (105 ms): it waits for the end.
    assert result["quanta"][round(0.5 / QUANTUM_S)] == 0
    assert of_type(result, "drained")[0]["playedMs"] == 220


def test_what_the_server_repeats_after_a_reconnect_is_not_heard_twice(modules: Page) -> None:
    again = [begin(base_ms=200, skip_ms=100), chunk(400), end()]
    result = play(modules, 1.5, (0, [begin(), chunk(300)]), (0.5, again))
    assert of_type(result, "drained")[0]["playedMs"] == 600
    assert sum(1 for peak in result["quanta"] if peak > 0.05) == pytest.approx(225, abs=4)  # 300 + 300 ms


def test_replies_queue_and_a_flush_of_one_leaves_the_other(modules: Page) -> None:
    two = [begin("r1"), chunk(400, "r1"), end("r1"), begin("r2"), chunk(200, "r2"), end("r2")]
    result = play(modules, 1.5, (0, two), (0.1, [{"type": "flush", "id": "r1"}]))
    assert of_type(result, "drained") == [{"type": "drained", "id": "r2", "playedMs": 200}]


CAPTURE = """
async ({rate, hz}) => {
  const context = new OfflineAudioContext(1, rate, rate);
  await context.audioWorklet.addModule("/static/capture.worklet.js");
  const node = new AudioWorkletNode(context, "parley-capture", {numberOfOutputs: 1});
  const frames = [];
  node.port.onmessage = ({data}) => frames.push(data);
  const source = new OscillatorNode(context, {frequency: hz});
  source.connect(node).connect(context.destination);
  source.start();
  await context.startRendering();
  await new Promise((resolve) => setTimeout(resolve, 50));
  const samples = frames.flatMap(({pcm}) => [...new Int16Array(pcm)]);
  const middle = samples.slice(1600, -1600);
  const rms = Math.sqrt(middle.reduce((sum, value) => sum + value * value, 0) / middle.length) / 32767;
  return {sizes: [...new Set(frames.map(({pcm}) => pcm.byteLength))], count: frames.length, rms,
          level: frames[frames.length >> 1].level};
}
"""


@pytest.mark.parametrize("rate", [48_000, 44_100])
def test_the_microphone_becomes_20_ms_frames_of_16_khz(modules: Page, rate: int) -> None:
    got = modules.evaluate(CAPTURE, {"rate": rate, "hz": 1000})
    assert got["sizes"] == [640]
    assert got["count"] == 49  # the filter holds the last milliseconds back
    assert got["rms"] == pytest.approx(2**-0.5, abs=0.01)
    assert got["level"] == pytest.approx(2**-0.5, abs=0.02)


def test_the_microphone_is_filtered_before_it_is_decimated(modules: Page) -> None:
    assert modules.evaluate(CAPTURE, {"rate": 48_000, "hz": 10_000})["rms"] < 0.001
