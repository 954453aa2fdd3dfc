/** Times as people read them, in the page's language and the browser's time zone. */
import { pageLanguage } from "./words.js";

/** @param {string} iso @returns {string} "21 Nov 2026" */
export function day(iso) {
  return new Date(iso).toLocaleDateString(pageLanguage(), { dateStyle: "medium" });
}

/** @param {string} iso @returns {string} "21 Nov 2026, 11:40" */
export function moment(iso) {
  return new Date(iso).toLocaleString(pageLanguage(), { dateStyle: "medium", timeStyle: "short" });
}

/** @param {number} seconds @returns {string} "0:42", "1:02:05" */
export function length(seconds) {
  const whole = Math.round(seconds);
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const two = (/** @type {number} */ n) => String(n).padStart(2, "0");
  return h > 0 ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}

/** @param {number} cost in dollars @returns {string} */
export function money(cost) {
  return `$${cost.toFixed(cost >= 1 ? 2 : cost >= 0.01 ? 3 : 5)}`;
}
