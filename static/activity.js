/**
 * What is going on, in one word: the state that a person sees at a glance.
 *
 * A pure function of facts, so that no two flags can disagree about what the page shows.
 */

/**
 * @typedef {"idle" | "asking" | "connecting" | "listening" | "hearing" | "ready" | "muted" | "typing" | "thinking"
 *   | "speaking" | "interrupted" | "reconnecting" | "ending" | "ended" | "failed"} Activity
 */

/**
 * @typedef {object} Facts
 * @property {"idle" | "asking" | "connecting" | "live" | "reconnecting" | "ending" | "ended" | "failed"} phase
 * @property {"open-mic" | "hold-to-talk"} mode
 * @property {boolean} hasMic
 * @property {boolean} muted
 * @property {boolean} held the talk button is down
 * @property {boolean} userSpeaks by the server's ear
 * @property {boolean} waiting an answer is owed and has not begun to sound
 * @property {boolean} speaks the agent's voice is playing
 * @property {boolean} justInterrupted
 */

/** @param {Facts} facts @returns {Activity} */
export function activity(facts) {
  if (facts.phase !== "live") return facts.phase;
  if (facts.held) return "hearing";
  if (facts.justInterrupted) return "interrupted";
  if (facts.userSpeaks) return "hearing";
  if (facts.speaks) return "speaking";
  if (facts.waiting) return "thinking";
  if (!facts.hasMic) return "typing";
  if (facts.mode === "hold-to-talk") return "ready";
  return facts.muted ? "muted" : "listening";
}
