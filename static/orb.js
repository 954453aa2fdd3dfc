/**
 * The orb: the state of the talk as colour, shape and motion.
 *
 * The body breathes with the agent's voice, the ring of ticks around it with the microphone; both are always
 * drawn, so that talking over the agent is seen as it happens. With reduced motion nothing turns or wobbles:
 * colour, ticks and size remain.
 *
 * It may wear a face. Its size is told by an observer: no picture asks for layout.
 */
import { Face } from "./face.js";
import { visible } from "./mouth.js";

/** @typedef {import("./activity.js").Activity} Activity */

/** Two colours of the body, how lively it is, and what circles around it. */
const LOOKS = {
  idle: { a: "#4fc3b0", b: "#1d6f78", wobble: 0.035, speed: 0.5, ring: "none" },
  asking: { a: "#9ab8b4", b: "#557a7c", wobble: 0.03, speed: 0.5, ring: "dashes" },
  connecting: { a: "#8fb5b1", b: "#46777a", wobble: 0.03, speed: 0.8, ring: "comet" },
  listening: { a: "#52c9b2", b: "#1a7a7d", wobble: 0.045, speed: 0.7, ring: "ticks" },
  hearing: { a: "#7be0a6", b: "#12888a", wobble: 0.06, speed: 1.3, ring: "ticks" },
  ready: { a: "#4fc3b0", b: "#1d6f78", wobble: 0.03, speed: 0.5, ring: "none" },
  muted: { a: "#a9b0b3", b: "#6d767b", wobble: 0.02, speed: 0.3, ring: "none" },
  typing: { a: "#7fb4c9", b: "#3d6d8c", wobble: 0.03, speed: 0.5, ring: "none" },
  thinking: { a: "#a99af2", b: "#5b4cc0", wobble: 0.05, speed: 1.5, ring: "comet" },
  speaking: { a: "#72a9f5", b: "#2b55c8", wobble: 0.05, speed: 1.1, ring: "ticks" },
  interrupted: { a: "#f6c069", b: "#cf7a1c", wobble: 0.02, speed: 0.6, ring: "ticks" },
  reconnecting: { a: "#e2c391", b: "#9b7440", wobble: 0.02, speed: 0.4, ring: "dashes" },
  ending: { a: "#9fb4b2", b: "#5c7779", wobble: 0.02, speed: 0.5, ring: "comet" },
  ended: { a: "#8fb5b1", b: "#46777a", wobble: 0.025, speed: 0.4, ring: "none" },
  failed: { a: "#d99a8f", b: "#9a4a41", wobble: 0.015, speed: 0.3, ring: "none" },
};

const TICKS = 72;
const CANVAS_SCALE = 1.7; // the canvas is this much wider than the orb: layout.css

/** @param {string} hex @returns {number[]} */
const rgb = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
/** @param {number[]} c @param {number} [alpha] */
const css = (c, alpha = 1) => `rgb(${c.map(Math.round).join(" ")} / ${alpha})`;
const mix = (from, to, share) => from + (to - from) * share;

/** What the page can draw; an avatar that it does not know is given a face. */
export const DRAWN = ["orb", "face", "none"];
/** Where nothing happens, half as many pictures do. */
const CALM = new Set(["idle", "ready", "muted", "typing", "ended", "failed"]);

export class Orb {
  /**
   * @param {HTMLCanvasElement} canvas
   * @param {() => {activity: Activity, mic: number, voice: number, mouth?: import("./mouth.js").Shape}} read
   *   asked before each picture
   */
  constructor(canvas, read) {
    this.canvas = canvas;
    this.read = read;
    this.brush = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    this.still = matchMedia("(prefers-reduced-motion: reduce)");
    this.systemDark = matchMedia("(prefers-color-scheme: dark)");
    this.dark = false;
    this.levels = new Float32Array(TICKS / 2);
    this.look = { a: rgb(LOOKS.idle.a), b: rgb(LOOKS.idle.b), wobble: 0.03, speed: 0.5 };
    this.rings = { none: 0, ticks: 0, comet: 0, dashes: 0 };
    this.mic = 0;
    this.voice = 0;
    this.turn = 0;
    this.then = 0;
    this.size = canvas.clientWidth;
    this.resized = new ResizeObserver(([{ contentRect }]) => {
      this.size = contentRect.width;
    });
    this.resized.observe(canvas);
    /** @type {Face | null} */
    this.face = null;
    this.frame = 0;
    this.draw = this.draw.bind(this);
  }

  /** @param {string} name one of DRAWN; "none" draws nothing at all */
  wear(name) {
    cancelAnimationFrame(this.frame);
    this.face = name === "face" ? (this.face ?? new Face()) : null;
    if (name !== "none") this.frame = requestAnimationFrame(this.draw);
  }

  /** @param {number} now */
  draw(now) {
    this.frame = requestAnimationFrame(this.draw);
    const elapsed = Math.min(0.1, (now - this.then) / 1000);
    // Nobody counts frames of a calm thing: half the pictures on a fast display, and less battery.
    const seen = this.read();
    if (elapsed < (CALM.has(seen.activity) ? 0.03 : 0.015)) return;
    this.then = now;
    this.#follow(seen, elapsed);
    this.#fit();
    this.#paint();
  }

  #follow(seen, elapsed) {
    const { activity, mic, voice } = seen;
    const theme = document.documentElement.dataset.theme;
    this.dark = theme ? theme === "dark" : this.systemDark.matches;
    const to = LOOKS[activity];
    const share = 1 - Math.exp(-elapsed * 6);
    const a = rgb(to.a);
    const b = rgb(to.b);
    this.look.a = this.look.a.map((value, at) => mix(value, a[at], share));
    this.look.b = this.look.b.map((value, at) => mix(value, b[at], share));
    this.look.wobble = mix(this.look.wobble, to.wobble, share);
    this.look.speed = mix(this.look.speed, to.speed, share);
    for (const name of Object.keys(this.rings)) this.rings[name] = mix(this.rings[name], name === to.ring ? 1 : 0, share);
    // Up at once, down slowly: how loudness meters please the eye.
    const rise = (from, level) => mix(from, level, level > from ? 0.55 : 1 - Math.exp(-elapsed * 7));
    this.mic = rise(this.mic, visible(mic));
    this.voice = rise(this.voice, visible(voice));
    this.levels.copyWithin(1, 0);
    this.levels[0] = this.mic;
    if (!this.still.matches) this.turn += elapsed * this.look.speed;
    this.face?.follow(seen, { mic: this.mic, voice: this.voice }, elapsed, this.still.matches);
  }

  #fit() {
    const pixels = Math.round(this.size * Math.min(3, devicePixelRatio));
    if (this.canvas.width !== pixels) this.canvas.width = this.canvas.height = pixels;
    if (this.size) this.brush.setTransform(pixels / this.size, 0, 0, pixels / this.size, 0, 0);
  }

  #paint() {
    const { brush, size } = this;
    brush.clearRect(0, 0, size, size);
    if (!size) return;
    brush.save();
    brush.translate(size / 2, size / 2);
    const radius = (size / CANVAS_SCALE / 2) * 0.94;
    this.#glow(radius);
    this.#body(radius * (1 + this.voice * 0.05));
    this.face?.paint(brush, radius);
    this.#ticks(radius * 1.16);
    this.#comet(radius * 1.16);
    this.#dashes(radius * 1.16);
    brush.restore();
  }

  /** What is drawn around the body has to stand out against the page. */
  get line() {
    return this.dark ? this.look.a : this.look.b;
  }

  #glow(radius) {
    const reach = radius * (1.35 + this.voice * 0.25 + this.mic * 0.1);
    const glow = this.brush.createRadialGradient(0, 0, radius * 0.7, 0, 0, reach);
    glow.addColorStop(0, css(this.look.a, 0.34 + this.voice * 0.2));
    glow.addColorStop(1, css(this.look.a, 0));
    this.brush.fillStyle = glow;
    this.brush.fillRect(-this.size / 2, -this.size / 2, this.size, this.size);
  }

  #body(radius) {
    const { brush, look } = this;
    const lively = look.wobble + this.voice * 0.08 + this.mic * 0.025;
    const swing = this.still.matches ? 0 : lively * (this.face ? 0.3 : 1); // a head keeps its shape
    for (const [layer, alpha] of [[2, 0.3], [1, 0.45], [0, 1]]) {
      const fill = brush.createLinearGradient(-radius * 0.7, -radius, radius * 0.7, radius);
      fill.addColorStop(0, css(look.a, alpha));
      fill.addColorStop(1, css(look.b, alpha));
      brush.fillStyle = fill;
      this.#blob(radius * (0.93 + layer * 0.035), swing * (0.5 + layer * 0.55), layer * 2.1);
    }
    const shine = brush.createRadialGradient(-radius * 0.3, -radius * 0.45, 0, -radius * 0.3, -radius * 0.45, radius * 1.1);
    shine.addColorStop(0, "rgb(255 255 255 / 0.42)");
    shine.addColorStop(0.6, "rgb(255 255 255 / 0.04)");
    shine.addColorStop(1, "rgb(255 255 255 / 0)");
    brush.fillStyle = shine;
    this.#blob(radius * 0.93, swing * 0.5, 0);
  }

  /** A closed curve around the circle: three slow sines make it alive without ever repeating visibly. */
  #blob(radius, swing, shift) {
    const { brush, turn } = this;
    const points = 72;
    brush.beginPath();
    for (let i = 0; i <= points; i += 1) {
      const angle = (i / points) * Math.PI * 2;
      const wave =
        Math.sin(angle * 2 + turn * 1.3 + shift) * 0.5 +
        Math.sin(angle * 3 - turn * 1.1 + shift * 1.7) * 0.35 +
        Math.sin(angle * 5 + turn * 1.9 - shift) * 0.15;
      const r = radius * (1 + wave * swing);
      brush.lineTo(Math.cos(angle) * r, Math.sin(angle) * r);
    }
    brush.closePath();
    brush.fill();
  }

  /** The microphone: the newest level at the bottom, running up both sides as it grows old. */
  #ticks(radius) {
    const shown = this.rings.ticks;
    if (shown < 0.02) return;
    const { brush } = this;
    const unit = Math.max(1.4, radius * 0.018);
    brush.lineCap = "round";
    brush.lineWidth = unit;
    for (let i = 0; i < TICKS; i += 1) {
      const age = i < TICKS / 2 ? i : TICKS - 1 - i;
      const level = this.still.matches ? this.mic : this.levels[age];
      const angle = Math.PI / 2 + ((i + 0.5) / TICKS) * Math.PI * 2;
      const fade = 1 - (age / (TICKS / 2)) * 0.55;
      const from = radius;
      const to = radius + unit * 0.3 + radius * 0.2 * level * fade;
      brush.strokeStyle = css(this.line, shown * (0.22 + 0.7 * level) * fade);
      brush.beginPath();
      brush.moveTo(Math.cos(angle) * from, Math.sin(angle) * from);
      brush.lineTo(Math.cos(angle) * to, Math.sin(angle) * to);
      brush.stroke();
    }
  }

  #comet(radius) {
    const shown = this.rings.comet;
    if (shown < 0.02) return;
    const { brush } = this;
    const head = this.still.matches ? -Math.PI / 2 : this.turn * 2.2;
    const length = Math.PI * 1.1;
    const trail = brush.createConicGradient(head - length, 0, 0);
    trail.addColorStop(0, css(this.line, 0));
    trail.addColorStop(length / (Math.PI * 2), css(this.line, shown * 0.9));
    trail.addColorStop(1, css(this.line, 0));
    brush.lineCap = "round";
    brush.lineWidth = Math.max(2, radius * 0.028);
    brush.strokeStyle = trail;
    brush.beginPath();
    brush.arc(0, 0, radius, head - length, head - 0.02);
    brush.stroke();
  }

  #dashes(radius) {
    const shown = this.rings.dashes;
    if (shown < 0.02) return;
    const { brush } = this;
    brush.lineCap = "round";
    brush.lineWidth = Math.max(2, radius * 0.025);
    brush.strokeStyle = css(this.line, shown * 0.75);
    const start = this.still.matches ? 0 : this.turn * 0.9;
    for (let i = 0; i < 10; i += 1) {
      const angle = start + (i / 10) * Math.PI * 2;
      brush.beginPath();
      brush.arc(0, 0, radius, angle, angle + Math.PI * 0.1);
      brush.stroke();
    }
  }
}
