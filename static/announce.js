/**
 * Tells a screen reader what matters, and only that: finished sentences, and changes of state that a person
 * has to know. Partials and the quick listening-thinking-speaking rhythm stay silent; the agent's voice is
 * there to be heard.
 */
import { byId, make } from "./dom.js";

const KEPT = 20; // a log that grows for an hour slows some screen readers down

/** @param {string} text a state or a problem; replaces the one before */
export function announceState(text) {
  byId("say-state").textContent = text;
}

/** @param {string} text one finished sentence of the talk */
export function announceTalk(text) {
  const log = byId("say-talk");
  log.append(make("p", { text }));
  while (log.children.length > KEPT) log.firstChild.remove();
}
