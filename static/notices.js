/** Problems, said clearly above the conversation, each with the way out. One notice for each kind at a time. */
import { announceState } from "./announce.js";
import { byId, make, makeSvg } from "./dom.js";
import { t } from "./texts.js";

/** @type {Map<string, HTMLElement>} */
const shown = new Map();

/**
 * @typedef {object} Notice
 * @property {string} kind
 * @property {string} title
 * @property {string} [text]
 * @property {boolean} [calm] it mends itself
 * @property {{label: string, run: () => void}} [action]
 */

/** @param {Notice} notice */
export function notify({ kind, title, text = "", calm = false, action }) {
  clear(kind);
  const cross = makeSvg("svg", { viewBox: "0 0 24 24", "aria-hidden": "true" }, [
    makeSvg("path", { d: "M7 7l10 10M17 7L7 17" }),
  ]);
  const element = make("div", { class: calm ? "notice calm" : "notice", "data-kind": kind }, [
    make("div", { class: "what" }, [make("strong", { text: title }), ...(text ? [make("p", { text })] : [])]),
    ...(action ? [make("button", { class: "button", type: "button", text: action.label, onclick: action.run })] : []),
    make("button", { class: "icon-button", type: "button", "aria-label": t("action.dismiss"), onclick: () => clear(kind) }, [
      cross,
    ]),
  ]);
  shown.set(kind, element);
  byId("notices").append(element);
  announceState(`${title}. ${text}`);
}

/** @param {string} [kind] all kinds when absent */
export function clear(kind) {
  for (const [name, element] of shown) {
    if (kind !== undefined && name !== kind) continue;
    element.remove();
    shown.delete(name);
  }
}

/** @param {string} kind @returns {boolean} */
export function isShown(kind) {
  return shown.has(kind);
}
