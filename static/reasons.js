/**
 * Why the server did something, in plain words and in the page's language.
 *
 * The server gives its reasons as short English sentences with numbers. One that this page does not know is
 * shown as it came: a newer server may have new ones.
 */
import { t } from "./texts.js";

/** Each reason as the server words it, and the page's words for it. @type {[RegExp, string][]} */
const REASONS = [
  [/^(?<n>\d+) ms of silence: held open, (?<why>.+)$/, "held"],
  [/^(?<n>\d+) ms of silence: (?<why>.+)$/, "sooner"],
  [/^(?<n>\d+) ms of silence$/, "silence"],
  [/^(?<n>\d+) s without a pause$/, "long"],
  [/^the talk button was released$/, "released"],
  [/^typed$|^a message was typed/, "typed"],
  [/^(?<n>\d+) ms of speech$/, "speech"],
  [/^(?<n>\d+) words were recognized$/, "words"],
  [/^the talk button was pressed$/, "pressed"],
  [/^the client asked for it$/, "asked"],
  [/^the connection was lost$/, "lost"],
  [/^the server is restarting$/, "restarting"],
  [/^ended by the client$|^the session ended$/, "ended"],
];

/** Interruptions that were the user's doing. */
const BY_THE_USER = new Set(["typed", "speech", "words", "pressed", "asked"]);

/** @param {string} reason @returns {string} */
export function plainReason(reason) {
  for (const [pattern, name] of REASONS) {
    const found = pattern.exec(reason);
    if (found) return t(`reason.${name}`, found.groups);
  }
  return reason;
}

/** @param {string} reason of an interruption @returns {boolean} */
export function isByTheUser(reason) {
  return REASONS.some(([pattern, name]) => BY_THE_USER.has(name) && pattern.test(reason));
}
