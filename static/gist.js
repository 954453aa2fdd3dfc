/** What a talk came to, beside its sentences: the appointments that came up, and what the caller likes. */
import { make } from "./dom.js";

const ACTIONS = new Set(["booked", "modified", "cancelled", "viewed"]);

/**
 * @param {{appointments_discussed?: any[], preferences_mentioned?: string[]}} talk a summary, or a talk that has one
 * @param {(key: string) => string} t
 * @returns {HTMLElement[]} a list of terms, if there is anything to tell
 */
export function gist({ appointments_discussed: appointments = [], preferences_mentioned: preferences = [] }, t) {
  const terms = [
    ...part(t("gist.appointments"), appointments.map((one) => appointment(one, t))),
    ...part(t("gist.preferences"), preferences),
  ];
  return terms.length > 0 ? [make("dl", { class: "gist" }, terms)] : [];
}

function part(title, texts) {
  return texts.length > 0 ? [make("dt", { text: title }), ...texts.map((text) => make("dd", { text }))] : [];
}

/** Times are the business's own, so they are shown as they are. */
function appointment({ action, date, time, appointment_id: code }, t) {
  const what = ACTIONS.has(action) ? t(`gist.${action}`) : action;
  return `${what}: ${[date, time].filter(Boolean).join(" ")}${code ? ` (${code})` : ""}`;
}
