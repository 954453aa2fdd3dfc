/**
 * A face on the orb: eyes that listen, think, blink and sleep, and the mouth. Drawn with a few curves; it knows
 * nothing of sound. With reduced motion it does not blink or look around, and the mouth is open or shut.
 */
import { Mouth, SHUT } from "./mouth.js";

/** @typedef {{lids: number, brow: number, smile: number, x: number, y: number}} Pose */

/** How open the eyes are, brows, corners of the mouth, and where it looks (parts of an eye). */
const POSES = {
  idle: { lids: 0.9, brow: 0, smile: 0.8, x: 0, y: 0.1 },
  asking: { lids: 1, brow: 0.5, smile: 0.3, x: 0, y: -0.6 },
  connecting: { lids: 0.85, brow: 0.2, smile: 0.3, x: 0.5, y: -0.2 },
  listening: { lids: 1, brow: 0.15, smile: 0.6, x: 0, y: 0 },
  hearing: { lids: 1.12, brow: 0.55, smile: 0.45, x: 0, y: 0.05 },
  ready: { lids: 1, brow: 0.15, smile: 0.6, x: 0, y: 0.3 },
  muted: { lids: 0.5, brow: -0.1, smile: 0.15, x: 0, y: 0.3 },
  typing: { lids: 0.95, brow: 0.1, smile: 0.6, x: 0, y: 0.35 },
  thinking: { lids: 0.85, brow: 0.35, smile: 0.05, x: 0.55, y: -0.6 },
  speaking: { lids: 1, brow: 0.2, smile: 0.5, x: 0, y: 0 },
  interrupted: { lids: 1.15, brow: 0.9, smile: 0, x: 0, y: 0 },
  reconnecting: { lids: 0.75, brow: -0.4, smile: -0.3, x: -0.5, y: 0.2 },
  ending: { lids: 0.6, brow: 0, smile: 0.5, x: 0, y: 0.4 },
  ended: { lids: 0, brow: 0, smile: 0.7, x: 0, y: 0.4 },
  failed: { lids: 0.6, brow: -0.6, smile: -0.6, x: 0, y: 0.5 },
};

const INK = "#22142e";
const WHITE = "#ffffff";
const TONGUE = "#e2748a";
const BLINK_S = 0.16;
/** Seconds between two blinks: people blink every two to six. */
const BLINK_EVERY = [2, 6];
const GLANCE_EVERY = [1.2, 3.2];

const between = ([least, most]) => least + Math.random() * (most - least);

export class Face {
  constructor() {
    this.mouth = new Mouth();
    /** @type {Pose} */
    this.pose = { ...POSES.idle };
    this.glance = { x: 0, y: 0 };
    this.blinkIn = between(BLINK_EVERY);
    this.glanceIn = between(GLANCE_EVERY);
    this.nod = 0;
  }

  /**
   * @param {{activity: string, mouth?: import("./mouth.js").Shape}} seen
   * @param {{mic: number, voice: number}} levels as the eye takes them @param {number} elapsedS @param {boolean} still
   */
  follow({ activity, mouth = SHUT }, levels, elapsedS, still) {
    const to = POSES[activity];
    const share = still ? 1 : 1 - Math.exp(-elapsedS * 9);
    for (const key of Object.keys(this.pose)) this.pose[key] += (to[key] - this.pose[key]) * share;
    this.mouth.follow(mouth, elapsedS, still);
    if (still) {
      this.glance.x = this.glance.y = this.nod = 0;
      this.blinkIn = BLINK_EVERY[1];
      return;
    }
    this.blinkIn -= elapsedS;
    if (this.blinkIn < -BLINK_S) this.blinkIn = between(BLINK_EVERY);
    this.glanceIn -= elapsedS;
    if (this.glanceIn < 0) {
      this.glanceIn = between(GLANCE_EVERY);
      const reach = activity === "thinking" ? 0.35 : 0.14;
      this.glance = { x: (Math.random() * 2 - 1) * reach, y: (Math.random() * 2 - 1) * reach * 0.6 };
    }
    this.nod += (levels.mic * 0.5 + levels.voice - this.nod) * share;
  }

  /** @param {CanvasRenderingContext2D} brush with its origin in the middle of the head @param {number} radius */
  paint(brush, radius) {
    const { pose, glance } = this;
    const x = pose.x + glance.x;
    const y = pose.y + glance.y;
    brush.save();
    brush.translate(x * radius * 0.07, y * radius * 0.06 - this.nod * radius * 0.025);
    brush.lineCap = "round";
    for (const side of [-1, 1]) this.#eye(brush, side * radius * 0.33, -radius * 0.14, radius, x, y, side);
    this.#lips(brush, radius);
    brush.restore();
  }

  /** How far the lids are open now, with a blink in them. */
  get lids() {
    const into = -this.blinkIn / BLINK_S;
    const blink = into > 0 && into < 1 ? Math.abs(into * 2 - 1) : 1;
    return Math.max(0, this.pose.lids * blink);
  }

  #eye(brush, cx, cy, radius, x, y, side) {
    const { pose, lids } = this;
    const wide = radius * 0.145;
    const high = radius * 0.19 * lids;
    brush.fillStyle = WHITE;
    brush.strokeStyle = INK;
    if (lids < 0.12) {
      brush.lineWidth = radius * 0.045; // shut: a lash
      brush.beginPath();
      brush.arc(cx, cy - wide * 0.3, wide, Math.PI * 0.15, Math.PI * 0.85);
      brush.stroke();
    } else {
      brush.beginPath();
      brush.ellipse(cx, cy, wide, high, 0, 0, Math.PI * 2);
      brush.fill();
      brush.save();
      brush.clip();
      const px = cx + x * wide * 0.5;
      const py = cy + y * wide * 0.5;
      dot(brush, INK, px, py, radius * 0.088);
      dot(brush, WHITE, px + radius * 0.03, py - radius * 0.035, radius * 0.026);
      brush.restore();
    }
    const up = cy - radius * (0.27 + pose.brow * 0.06);
    const worry = radius * (0.02 + 0.06 * Math.max(0, -pose.brow)); // its outer end hangs
    brush.lineWidth = radius * 0.035;
    brush.beginPath();
    brush.moveTo(cx - side * wide, up);
    brush.quadraticCurveTo(cx, up - radius * 0.05, cx + side * wide, up + worry);
    brush.stroke();
  }

  #lips(brush, radius) {
    const { pose, mouth } = this;
    const { open, width } = mouth.shape;
    const y = radius * 0.4;
    const reach = radius * (0.13 + 0.16 * (open > 0.02 ? width : 0.75));
    const drop = radius * 0.07 * pose.smile;
    brush.fillStyle = INK;
    brush.strokeStyle = INK;
    if (open < 0.04) {
      brush.lineWidth = radius * 0.045;
      brush.beginPath();
      brush.moveTo(-reach, y);
      brush.quadraticCurveTo(0, y + drop * 2, reach, y);
      brush.stroke();
      return;
    }
    const high = radius * (0.035 + 0.2 * open);
    brush.beginPath();
    brush.ellipse(0, y + high * 0.35, reach, high, 0, 0, Math.PI * 2);
    brush.fill();
    if (open < 0.3) return;
    brush.save();
    brush.clip();
    brush.fillStyle = TONGUE;
    brush.beginPath();
    brush.ellipse(0, y + high * 1.35, reach * 0.75, high * 0.62, 0, 0, Math.PI * 2);
    brush.fill();
    brush.fillStyle = WHITE;
    brush.fillRect(-reach * 0.7, y - high * 0.85, reach * 1.4, high * 0.38);
    brush.restore();
  }
}

function dot(brush, colour, x, y, radius) {
  brush.fillStyle = colour;
  brush.beginPath();
  brush.arc(x, y, radius, 0, Math.PI * 2);
  brush.fill();
}
