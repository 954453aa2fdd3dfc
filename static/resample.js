/**
 * Turns a stream of samples at one rate into another, without a click between pieces.
 *
 * A polyphase windowed-sinc filter (Kaiser window) over a ring of input samples. Both worklets use it, so it
 * knows neither audio nodes nor ports. Output sample k lies at input time k * down / up; the filter reaches
 * `half` input samples to each side, so the last `half` samples wait for their successors or for `finish`.
 */

/** Sinc zero crossings on each side: 32 makes the transition band 8 % of the lower rate's Nyquist. */
const ZEROS = 32;
/** Kaiser's beta for 80 dB of stop band: 0.1102 * (80 - 8.7). */
const BETA = 7.857;
/** Where the pass band's edge sits, so that the stop band begins at Nyquist for ZEROS and BETA. */
const ROLL_OFF = 0.92;

/** @param {number} a @param {number} b @returns {number} */
function gcd(a, b) {
  return b === 0 ? a : gcd(b, a % b);
}

/** Modified Bessel function of the first kind, order 0, by its power series. @param {number} x */
function bessel0(x) {
  let sum = 1;
  let term = 1;
  for (let k = 1; term > sum * 1e-12; k += 1) {
    term *= (x / (2 * k)) ** 2;
    sum += term;
  }
  return sum;
}

/**
 * One row of taps for each of the `up` phases; every row sums to 1, so that a constant stays constant.
 * @param {number} up @param {number} down @param {number} half
 */
function makeTaps(up, down, half) {
  const width = 2 * half;
  const cut = Math.min(1, up / down) * ROLL_OFF;
  const taps = new Float32Array(up * width);
  for (let phase = 0; phase < up; phase += 1) {
    let sum = 0;
    for (let j = 0; j < width; j += 1) {
      const t = j - half + 1 - phase / up;
      const x = Math.PI * cut * t;
      const sinc = t === 0 ? 1 : Math.sin(x) / x;
      const edge = Math.max(0, 1 - (t / half) ** 2);
      taps[phase * width + j] = sinc * bessel0(BETA * Math.sqrt(edge));
      sum += taps[phase * width + j];
    }
    for (let j = 0; j < width; j += 1) taps[phase * width + j] /= sum;
  }
  return taps;
}

export class Resampler {
  /**
   * @param {number} inRate in Hz
   * @param {number} outRate in Hz
   * @param {number} [maxSeconds] how much unread input is kept at most
   */
  constructor(inRate, outRate, maxSeconds = 180) {
    const g = gcd(inRate, outRate);
    this.up = outRate / g;
    this.down = inRate / g;
    this.copy = inRate === outRate;
    this.half = this.copy ? 1 : Math.ceil(ZEROS * Math.max(1, this.down / this.up));
    this.taps = this.copy ? new Float32Array([1, 0]) : makeTaps(this.up, this.down, this.half);
    this.maxSamples = inRate * maxSeconds;
    this.ring = new Float32Array(8192);
    this.mask = this.ring.length - 1;
    this.written = 0;
    this.at = 0; // the input sample at or just before the next output sample
    this.phase = 0;
    this.finished = false;
  }

  /** Input samples that are not yet fully used. */
  get unread() {
    return Math.max(0, this.written - this.at);
  }

  /** How many output samples `read` can give now. */
  get readable() {
    // Without an end in sight the filter needs its right half; after `finish` that half is silence.
    const edge = this.finished ? this.written : this.written - (this.copy ? 0 : this.half);
    return Math.max(0, Math.ceil(((edge - this.at) * this.up - this.phase) / this.down));
  }

  /**
   * Take samples: floats in [-1, 1], or s16 when `scale` is 1 / 32768.
   * @param {Float32Array | Int16Array} samples
   * @param {number} [scale]
   * @returns {boolean} false when they did not fit and were dropped
   */
  write(samples, scale = 1) {
    if (!this.#makeRoom(samples.length)) return false;
    for (let i = 0; i < samples.length; i += 1) {
      this.ring[(this.written + i) & this.mask] = samples[i] * scale;
    }
    this.written += samples.length;
    return true;
  }

  /** No more input is coming: the rest becomes readable. */
  finish() {
    this.finished = true;
    this.#makeRoom(this.half + 1);
    // The silence after the end must not be what an earlier lap of the ring left there.
    for (let i = 0; i <= this.half; i += 1) this.ring[(this.written + i) & this.mask] = 0;
  }

  /**
   * Fill `out[from .. from + count)`; the caller asks for at most `readable`.
   * @param {Float32Array} out @param {number} from @param {number} count
   */
  read(out, from, count) {
    const { ring, mask, taps, half, up, down } = this;
    const width = 2 * half;
    for (let k = 0; k < count; k += 1) {
      const row = this.phase * width;
      const first = this.at - half + 1;
      let sum = 0;
      for (let j = 0; j < width; j += 1) sum += taps[row + j] * ring[(first + j) & mask];
      out[from + k] = sum;
      this.phase += down;
      this.at += Math.floor(this.phase / up);
      this.phase %= up;
    }
  }

  /** @param {number} count @returns {boolean} */
  #makeRoom(count) {
    const oldest = this.at - this.half + 1;
    const needed = this.written + count - oldest;
    if (needed <= this.ring.length) return true;
    if (needed > this.maxSamples) return false;
    let size = this.ring.length;
    while (size < needed) size *= 2;
    const ring = new Float32Array(size);
    for (let i = oldest; i < this.written; i += 1) ring[i & (size - 1)] = this.ring[i & this.mask];
    this.ring = ring;
    this.mask = size - 1;
    return true;
  }
}
