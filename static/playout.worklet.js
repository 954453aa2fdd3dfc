/**
 * Plays the agent's voice: a jitter buffer that knows to the sample what was heard.
 *
 * In (all have `type`): begin {id, rate, baseMs, skipMs}, chunk {id, pcm}, end {id}, pause, resume, flush {id?}.
 * Out: started {id, at}, progress {id, playedMs, level}, drained {id, playedMs}, underrun {id, underruns},
 * paused {id, playedMs}, overflow {id}.
 *
 * Replies queue up and play one after another. `playedMs` counts from the beginning of the reply:
 * baseMs (where this audio starts within the reply) plus what was rendered here. `skipMs` of the audio is
 * thrown away first: after a reconnect the server repeats what it does not know to have been played.
 * Pause and flush take effect in the next render quantum (128 samples), with a ramp inside that quantum so
 * that neither clicks.
 */
import { Resampler } from "./resample.js";

const START_MS = 70; // hides the jitter of a good network, still below what is noticed as delay
const MAX_START_MS = 400; // on a bad network, waiting longer hurts more than another gap
const GROWTH = 1.5;
const REPORT_EVERY_S = 0.04; // 25 times a second is enough for the eye and for the transcript

class Stream {
  /** @param {{id: string, rate: number, baseMs: number, skipMs: number}} begin */
  constructor({ id, rate, baseMs, skipMs }) {
    this.id = id;
    this.rate = rate;
    this.startMs = baseMs + skipMs;
    this.skip = Math.round((skipMs * rate) / 1000);
    this.resampler = new Resampler(rate, sampleRate);
    this.rendered = 0;
    this.ended = false;
    this.waiting = true;
    this.announced = false;
  }

  get playedMs() {
    return this.startMs + (this.rendered * 1000) / sampleRate;
  }

  get bufferedMs() {
    return (this.resampler.unread * 1000) / this.rate;
  }

  /** @param {ArrayBuffer} pcm s16le @returns {boolean} false when the buffer is full */
  push(pcm) {
    const samples = new Int16Array(pcm);
    const skipped = Math.min(this.skip, samples.length);
    this.skip -= skipped;
    return this.resampler.write(samples.subarray(skipped), 1 / 32768);
  }

  end() {
    this.ended = true;
    this.resampler.finish();
  }
}

class Playout extends AudioWorkletProcessor {
  constructor() {
    super();
    /** @type {Stream[]} */
    this.streams = [];
    this.paused = false;
    this.gain = 1;
    this.tail = null;
    this.startMs = START_MS;
    this.underruns = 0;
    this.energy = 0;
    this.counted = 0;
    this.port.onmessage = ({ data }) => this.#hear(data);
  }

  #hear(message) {
    const stream = this.streams.find((one) => one.id === message.id);
    switch (message.type) {
      case "begin":
        this.#begin(message, stream);
        break;
      case "chunk":
        if (stream && !stream.push(message.pcm)) this.port.postMessage({ type: "overflow", id: stream.id });
        break;
      case "end":
        stream?.end();
        break;
      case "pause":
        this.#pause();
        break;
      case "resume":
        this.paused = false;
        break;
      case "flush":
        this.#flush(message.id);
        break;
    }
  }

  #begin(message, old) {
    const stream = new Stream(message);
    if (old) this.streams[this.streams.indexOf(old)] = stream;
    else this.streams.push(stream);
  }

  #pause() {
    this.paused = true;
    const [stream] = this.streams;
    if (stream) this.port.postMessage({ type: "paused", id: stream.id, playedMs: stream.playedMs });
  }

  /** @param {string | undefined} id one reply, or all of them */
  #flush(id) {
    const [playing] = this.streams;
    if (playing && (id === undefined || id === playing.id)) this.#fade(playing);
    this.streams = id === undefined ? [] : this.streams.filter((one) => one.id !== id);
  }

  /** Keep a few samples that lead from the present value to silence. @param {Stream} stream */
  #fade(stream) {
    if (stream.waiting || this.gain === 0) return;
    const count = Math.min(64, stream.resampler.readable);
    this.tail = new Float32Array(count);
    stream.resampler.read(this.tail, 0, count);
    for (let i = 0; i < count; i += 1) this.tail[i] *= 1 - (i + 1) / count;
  }

  /** @param {Float32Array[][]} _inputs @param {Float32Array[][]} outputs @returns {boolean} */
  process(_inputs, outputs) {
    const [first, ...others] = outputs[0];
    if (this.tail) {
      first.set(this.tail);
      this.tail = null;
    } else {
      this.#play(first);
    }
    for (const other of others) other.set(first);
    return true;
  }

  /** @param {Float32Array} out */
  #play(out) {
    const [stream] = this.streams;
    if (!stream || (this.paused && this.gain === 0)) return;
    if (stream.waiting) {
      if (!stream.ended && stream.bufferedMs < this.startMs) return;
      stream.waiting = false;
    }
    const count = Math.min(out.length, stream.resampler.readable);
    if (count > 0 && !stream.announced) {
      stream.announced = true;
      this.port.postMessage({ type: "started", id: stream.id, at: currentTime });
    }
    stream.resampler.read(out, 0, count);
    stream.rendered += count;
    this.#ramp(out);
    this.#report(stream, out);
    if (stream.ended && stream.resampler.readable === 0) this.#finish(stream);
    else if (count < out.length) this.#runDry(stream);
  }

  /** @param {Stream} stream */
  #finish(stream) {
    this.streams.shift();
    this.port.postMessage({ type: "drained", id: stream.id, playedMs: stream.playedMs });
  }

  /** @param {Stream} stream */
  #runDry(stream) {
    stream.waiting = true;
    this.underruns += 1;
    this.startMs = Math.min(MAX_START_MS, this.startMs * GROWTH);
    this.port.postMessage({ type: "underrun", id: stream.id, underruns: this.underruns });
  }

  /** Down to silence when paused, up again after it: within this quantum. @param {Float32Array} out */
  #ramp(out) {
    const target = this.paused ? 0 : 1;
    if (this.gain === target) return;
    const step = (target - this.gain) / out.length;
    for (let i = 0; i < out.length; i += 1) out[i] *= this.gain + step * (i + 1);
    this.gain = target;
  }

  /** @param {Stream} stream @param {Float32Array} out */
  #report(stream, out) {
    for (let i = 0; i < out.length; i += 1) this.energy += out[i] * out[i];
    this.counted += out.length;
    if (this.counted < REPORT_EVERY_S * sampleRate) return;
    const level = Math.sqrt(this.energy / this.counted);
    this.port.postMessage({ type: "progress", id: stream.id, playedMs: stream.playedMs, level });
    this.energy = 0;
    this.counted = 0;
  }
}

registerProcessor("parley-playout", Playout);
