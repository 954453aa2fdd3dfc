/**
 * One reply of the agent: its text, its audio, and how far both have been heard.
 *
 * No DOM, no audio. The server's marks tie characters to milliseconds; between two marks, or without any,
 * characters are spread evenly over the time.
 */

/** Speech runs at about 15 characters a second; used only where neither a mark nor a length is known. */
const CHARS_PER_MS = 0.015;

/** @typedef {{textStart: number, textEnd: number, startMs: number}} Mark */

export class Reply {
  /** @param {string} id @param {number} turn @param {string} [key] unique on this page, where ids may recur */
  constructor(id, turn, key = id) {
    this.id = id;
    this.key = key;
    this.turn = turn;
    this.text = "";
    this.textFinal = false;
    /** @type {Mark[]} */
    this.marks = [];
    this.hasAudio = false;
    this.silent = false; // written only: nothing lies ahead
    /** @type {number | null} */
    this.durationMs = null;
    this.receivedMs = 0;
    this.playedMs = 0;
    this.done = false;
    /** @type {{heardText: string, reason: string, estimated: boolean} | null} */
    this.cut = null;
    /** @type {number | null} */
    this.firstByteAt = null;
    /** @type {number | null} */
    this.firstSoundMs = null;
  }

  /** @param {string} text @param {boolean} final a delta, or the whole */
  say(text, final) {
    if (final) {
      this.text = text || this.text;
      this.textFinal = true;
    } else if (!this.textFinal) {
      this.text += text;
    }
  }

  /** After a resume marks come again. @param {Mark} mark */
  mark(mark) {
    this.marks = this.marks.filter((old) => old.textStart !== mark.textStart);
    this.marks.push(mark);
    this.marks.sort((a, b) => a.startMs - b.startMs);
  }

  /** How many characters have been heard, rounded up to the end of the word being said. */
  get heardChars() {
    if (this.cut) return this.#cutAt(this.cut.heardText);
    if (this.done || this.silent) return this.text.length;
    if (this.playedMs <= 0) return 0;
    return this.#endOfWord(Math.min(this.positionAt(this.playedMs), this.text.length));
  }

  /** Something ties its text to time: marks, or a length to spread it over. */
  get isTimed() {
    return this.marks.length > 0 || this.durationMs !== null;
  }

  /** Which character sounds at a time of its sound. @param {number} ms @returns {number} */
  positionAt(ms) {
    return this.marks.length > 0 ? this.#byMarks(ms) : this.#byShare(ms);
  }

  /** @param {string} heard */
  #cutAt(heard) {
    return this.text.startsWith(heard) ? heard.length : this.#endOfWord(Math.min(heard.length, this.text.length));
  }

  #byMarks(ms) {
    const index = this.marks.findLastIndex((mark) => mark.startMs <= ms);
    if (index < 0) return 0;
    const mark = this.marks[index];
    const chars = mark.textEnd - mark.textStart;
    const until = this.marks[index + 1]?.startMs ?? this.durationMs;
    const since = ms - mark.startMs;
    const share = until === null || until <= mark.startMs ? (since * CHARS_PER_MS) / chars : since / (until - mark.startMs);
    return mark.textStart + Math.min(1, share) * chars;
  }

  #byShare(ms) {
    const whole = this.durationMs ?? Math.max(this.receivedMs, this.text.length / CHARS_PER_MS);
    return whole > 0 ? (this.text.length * ms) / whole : 0;
  }

  /** @param {number} position */
  #endOfWord(position) {
    const from = Math.floor(position);
    const gap = this.text.slice(from).search(/\s/);
    return gap < 0 ? this.text.length : from + gap;
  }
}
