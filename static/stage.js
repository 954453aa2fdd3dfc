/**
 * The orb's words and what touching it does: always the one thing that gets the user the floor.
 *
 * Start when there is no talk, interrupt while the agent has the floor, be heard again when muted, hold to
 * talk where that is the mode. While the user already has the floor there is nothing to do, and it says so.
 */
import { byId } from "./dom.js";
import { t } from "./texts.js";

const COARSE = matchMedia("(pointer: coarse)");

/**
 * @typedef {"start" | "continue" | "interrupt" | "unmute" | "microphone" | "hold" | "again" | "retry" | "retryNow"
 *   | "none"} OrbAction
 */

/**
 * @param {import("./activity.js").Activity} activity
 * @param {import("./activity.js").Facts} facts
 * @param {boolean} canContinue a talk from before a reload is still open
 * @returns {OrbAction}
 */
export function orbAction(activity, facts, canContinue) {
  const holds = facts.phase === "live" && facts.mode === "hold-to-talk" && facts.hasMic;
  if (holds) return "hold";
  switch (activity) {
    case "idle":
      return canContinue ? "continue" : "start";
    case "ended":
      return "again";
    case "failed":
      return canContinue ? "continue" : "retry";
    case "reconnecting":
      return "retryNow";
    case "speaking":
    case "thinking":
      return "interrupt";
    case "muted":
      return "unmute";
    case "typing":
      return "microphone";
    default:
      return "none";
  }
}

const ACTION_LABELS = {
  start: "orb.start",
  continue: "orb.continue",
  interrupt: "orb.interrupt",
  unmute: "orb.unmute",
  microphone: "orb.unmute",
  hold: "orb.hold",
  again: "orb.again",
  retry: "orb.retry",
  retryNow: "action.retryNow",
};

/**
 * Show the state of the talk everywhere it shows.
 * @param {import("./call.js").Call} call
 * @param {{talked: boolean, leftSeconds: number}} page `leftSeconds` > 0: a talk can be continued
 */
export function showStage(call, { talked, leftSeconds }) {
  const { activity, facts } = call;
  const canContinue = leftSeconds > 0 && !call.isOpen;
  const action = orbAction(activity, facts, canContinue);
  const body = document.body.dataset;
  body.activity = activity;
  body.open = String(call.isOpen);
  body.talked = String(talked);

  const state = canContinue ? t("orb.continue") : t(`state.${activity}`);
  put(byId("state"), state);
  put(byId("hint"), canContinue ? t("hint.resume", { seconds: leftSeconds }) : hint(activity, facts, call.attempt));
  document.title = call.isOpen ? `${state} · Parley` : "Parley";

  const orb = byId("orb");
  orb.setAttribute("aria-label", ACTION_LABELS[action] ? t(ACTION_LABELS[action]) : state);
  orb.setAttribute("aria-disabled", String(action === "none"));
  if (action === "hold") orb.setAttribute("aria-pressed", String(facts.held));
  else orb.removeAttribute("aria-pressed");

  const mute = byId("mute");
  mute.hidden = !(facts.hasMic && facts.mode === "open-mic");
  mute.setAttribute("aria-pressed", String(facts.muted));
  put(byId("mute-label"), t(facts.muted ? "action.unmute" : "action.mute"));

  byId("start-new").hidden = !canContinue;
  byId("type-instead").hidden = canContinue;
  byId("mode").hidden = canContinue;
  byId("send").disabled = facts.phase !== "live";
}

/** @returns {string} */
function hint(activity, facts, attempt) {
  const holds = facts.mode === "hold-to-talk";
  switch (activity) {
    case "hearing":
      return t(holds ? "hint.hearing.hold" : "hint.hearing");
    case "ready":
      return t(COARSE.matches ? "hint.ready.touch" : "hint.ready");
    case "speaking":
      if (holds && facts.hasMic) return t(COARSE.matches ? "hint.ready.touch" : "hint.ready");
      return t(facts.hasMic && !facts.muted ? "hint.speaking" : "hint.speaking.quiet");
    case "reconnecting":
      return t("hint.reconnecting", { attempt });
    case "connecting":
    case "ending":
      return "";
    default:
      return t(`hint.${activity}`);
  }
}

function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
