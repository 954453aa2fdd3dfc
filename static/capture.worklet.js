/**
 * Hears the microphone: device rate in, 20 ms frames of s16le 16 kHz mono out, with a level for the eye.
 *
 * Sends {pcm: ArrayBuffer of 640 bytes, level: 0..1} for each frame. It never decides whether a frame is
 * wanted; the page does.
 */
import { Resampler } from "./resample.js";

const RATE_HZ = 16000;
const FRAME_SAMPLES = 320;

class Capture extends AudioWorkletProcessor {
  constructor() {
    super();
    this.resampler = new Resampler(sampleRate, RATE_HZ, 1);
    this.frame = new Float32Array(FRAME_SAMPLES);
    this.mono = new Float32Array(128);
  }

  /** @param {Float32Array[][]} inputs @returns {boolean} */
  process(inputs) {
    const channels = inputs[0];
    if (channels.length === 0) return true; // the track is not connected yet
    this.resampler.write(channels.length === 1 ? channels[0] : this.#mix(channels));
    while (this.resampler.readable >= FRAME_SAMPLES) {
      this.resampler.read(this.frame, 0, FRAME_SAMPLES);
      this.#post();
    }
    return true;
  }

  /** @param {Float32Array[]} channels */
  #mix(channels) {
    const size = channels[0].length;
    if (this.mono.length !== size) this.mono = new Float32Array(size);
    for (let i = 0; i < size; i += 1) {
      let sum = 0;
      for (const channel of channels) sum += channel[i];
      this.mono[i] = sum / channels.length;
    }
    return this.mono;
  }

  #post() {
    const pcm = new DataView(new ArrayBuffer(FRAME_SAMPLES * 2));
    let energy = 0;
    for (let i = 0; i < FRAME_SAMPLES; i += 1) {
      const sample = Math.max(-1, Math.min(1, this.frame[i]));
      energy += sample * sample;
      pcm.setInt16(i * 2, Math.round(sample * 32767), true);
    }
    this.port.postMessage({ pcm: pcm.buffer, level: Math.sqrt(energy / FRAME_SAMPLES) }, [pcm.buffer]);
  }
}

registerProcessor("parley-capture", Capture);
