/**
 * The agent's mouth, as numbers: what is coming out of the loudspeaker at a moment, and which shape lips have
 * for it. No DOM, no clock: time is an argument.
 *
 * How far the mouth opens follows the loudness of what is really being played; which shape it has follows the
 * letters being said, by the marks that tie characters to time. A mouth without letters only opens and closes.
 */

/** A level older than this says nothing any more: play-out has stopped, whoever stopped it. */
const STALE_MS = 120;
/** Levels that were rendered and are not heard yet: half a second of a slow wireless loudspeaker. */
const MOST_AHEAD = 16;
const QUIET = 0.1; // of `visible`: about -48 dB, below the softest sound of speech

/** @typedef {{open: number, width: number}} Shape `open` 0 shut..1, `width` 0 pursed..1 drawn wide */

export const SHUT = Object.freeze({ open: 0, width: 0.5 });

/** Shapes by what the lips do, coarser than sounds are: the eye tells these apart, and hardly more. */
const SHAPES = {
  shut: { open: 0, width: 0.5 },
  teeth: { open: 0.2, width: 0.62 },
  tongue: { open: 0.32, width: 0.58 },
  sharp: { open: 0.24, width: 0.8 },
  hush: { open: 0.3, width: 0.3 },
  wide: { open: 0.42, width: 0.95 },
  ah: { open: 1, width: 0.66 },
  oh: { open: 0.75, width: 0.3 },
  oo: { open: 0.42, width: 0.05 },
};
const UNKNOWN = { open: 0.8, width: 0.6 }; // a script whose letters do not show in a small table

/** The letters of English and Spanish, which say most about European languages. The longest match counts. */
const LETTERS = new Map(
  Object.entries({
    shut: "m b p mm bb pp",
    teeth: "f v ff ph",
    tongue: "d t n l r g k c q x h j ñ th dd tt nn ll rr gg ck",
    sharp: "s z ss tz ts ce ci",
    hush: "sh ch zh sch",
    wide: "e i y ee ea ei ie ey ay ai",
    ah: "a aa au ah",
    oh: "o oa oh ou ow",
    oo: "u w oo ue qu gu",
  }).flatMap(([shape, spelt]) => spelt.split(" ").map((letters) => [letters, SHAPES[shape]])),
);
const LONGEST = 3;

/**
 * The shape for the letters at a place in a text; null where none is spoken (marks, the end). Between two words
 * of a phrase lips do not rest: they are on their way to the next letter.
 * @param {string} text @param {number} position in characters, may lie within one @returns {Shape | null}
 */
export function letterShape(text, position) {
  let at = Math.floor(position);
  if (text[at] === " " && /[\p{L}\p{N}]/u.test(text[at - 1] ?? "")) at += 1;
  const letter = plain(text[at] ?? "");
  if (!/[\p{L}\p{N}]/u.test(letter)) return null;
  // A group of letters has one shape from its first to its last: look for the longest that this one is in.
  for (let length = LONGEST; length > 1; length -= 1) {
    for (let from = Math.max(0, at - length + 1); from <= at; from += 1) {
      const shape = LETTERS.get(plain(text.slice(from, from + length)));
      if (shape) return shape;
    }
  }
  return LETTERS.get(letter) ?? UNKNOWN;
}

/** Lower case without accents: é is spoken like e as far as lips go. @param {string} text */
function plain(text) {
  return text.toLowerCase().normalize("NFD").replace(/[\u0300-\u036f]/g, (mark) => (mark === "\u0303" ? mark : "")).normalize("NFC");
}

/** Loudness to eye: speech at -40 dB is already visible, full scale is 1. @param {number} level */
export function visible(level) {
  return Math.min(1, Math.max(0, (20 * Math.log10(level + 1e-6) + 52) / 40));
}

/**
 * What the lips are to do for a sound as loud as `level`.
 * @param {number} level 0..1 @param {Shape | null | undefined} letters undefined: nobody knows what is said
 * @returns {Shape}
 */
export function lips(level, letters) {
  const loud = visible(level);
  if (loud <= QUIET || letters === null) return SHUT;
  const shape = letters ?? UNKNOWN;
  return { open: shape.open * (0.3 + 0.7 * loud), width: shape.width };
}

/** What is coming out of the loudspeaker: reports of play-out, put at the time at which they are heard. */
export class Sounding {
  constructor() {
    /** @type {{id: string, playedMs: number, level: number, atMs: number}[]} */
    this.reports = [];
  }

  /** @param {string} id @param {number} playedMs @param {number} level @param {number} atMs when it is heard */
  hear(id, playedMs, level, atMs) {
    if (this.reports.length >= MOST_AHEAD) this.reports.shift();
    this.reports.push({ id, playedMs, level, atMs });
  }

  /** Paused, cut off or over: silent from now on. */
  hush() {
    this.reports.length = 0;
  }

  /** @param {number} now @returns {{id: string, playedMs: number, level: number} | null} null: nothing sounds */
  at(now) {
    const { reports } = this;
    while (reports.length > 1 && reports[1].atMs <= now) reports.shift();
    const report = reports[0];
    if (!report || report.atMs > now || now - report.atMs > STALE_MS) return null;
    return { id: report.id, playedMs: report.playedMs + now - report.atMs, level: report.level };
  }
}

/** Lips that have weight: they reach a shape within some 50 ms, and shut at once when there is silence. */
export class Mouth {
  constructor() {
    /** @type {Shape} */
    this.shape = { ...SHUT };
  }

  /**
   * @param {Shape} to @param {number} elapsedS since the last time
   * @param {boolean} still no motion is wished for: one shape for all speech
   */
  follow(to, elapsedS, still = false) {
    const { shape } = this;
    if (still || to === SHUT) {
      shape.open = to === SHUT ? 0 : 0.45;
      shape.width = still ? 0.6 : shape.width;
      return shape;
    }
    const share = 1 - Math.exp(-elapsedS * 28);
    shape.open += (to.open - shape.open) * share;
    shape.width += (to.width - shape.width) * share;
    return shape;
  }
}
