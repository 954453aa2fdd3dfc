/**
 * A talk told again: what both said, what of it was heard, and its sound, playable from any word.
 *
 * The history page and a shared link's page show the same; the latter knows less.
 */
import { byId, make, makeSvg } from "./dom.js";
import { gist } from "./gist.js";
import { length, moment } from "./times.js";
import { waterfall } from "./waterfall.js";
import { t } from "./words.js";

/** @typedef {{role: string, content: string, audio_url?: string, words?: [number, number, number][], interrupted?: boolean,
 *   heard?: string, turn?: number, start_ms?: number, end_ms?: number, type?: string, name?: string, arguments?: any,
 *   result?: any, error?: any}} Message */

const player = new Audio();
/** @type {{button: HTMLElement, words: {element: HTMLElement, ms: number}[]} | null} what is being played */
let playing = null;

/**
 * @param {{messages: Message[], turns?: any[], audio_url: string | null, summary: string,
 *   appointments_discussed?: any[], preferences_mentioned?: string[]}} talk
 * @param {[string, string][]} facts names and values, shown below the title
 */
export function tell(talk, facts) {
  byId("facts").replaceChildren(
    ...facts.map(([name, value]) => make("div", {}, [make("dt", { text: `${name} ` }), make("dd", { text: value })])),
  );
  byId("summary").hidden = !talk.summary;
  byId("summary").textContent = talk.summary;
  for (const old of document.querySelectorAll(".gist")) old.remove();
  byId("summary").after(...gist(talk, t));
  const turns = new Map((talk.turns ?? []).map((turn) => [turn.turn, turn]));
  const last = new Map(); // the last answer of each turn carries its times
  for (const message of talk.messages) {
    if (message.role === "assistant" && message.turn !== undefined) last.set(message.turn, message);
  }
  const told = talk.messages.map((message) => line(message, last.get(message.turn) === message ? turns.get(message.turn) : undefined));
  byId("told").removeAttribute("aria-busy");
  byId("told").replaceChildren(
    ...(talk.audio_url ? [whole(talk.audio_url)] : []),
    told.length > 0 ? make("ol", { class: "told-lines" }, told) : make("p", { class: "nothing", text: t("told.nothing") }),
  );
}

/** @param {{start_time: string | null, duration_seconds: number}} talk @returns {[string, string][]} */
export function plainFacts(talk) {
  return [
    ...(talk.start_time ? [/** @type {[string, string]} */ ([t("told.began"), moment(talk.start_time)])] : []),
    [t("told.length"), length(talk.duration_seconds)],
  ];
}

function whole(url) {
  return make("div", { class: "card whole" }, [
    make("h2", { text: t("ended.whole") }),
    make("audio", { controls: true, preload: "none", src: url, "aria-label": t("ended.whole"), onplay: stop }),
  ]);
}

/** @param {Message} message @param {any} turn its times */
function line(message, turn) {
  if (message.role === "tool") return tool(message);
  const mine = message.role === "user";
  const words = make("span", { class: "words" });
  const item = make("li", { class: `line ${mine ? "you" : "agent"}`, "data-turn": message.turn }, [
    make("span", { class: "hidden", text: `${t(mine ? "talk.you" : "talk.agent")}: ` }),
    words,
  ]);
  const button = message.audio_url ? playButton(message) : null;
  const marked = write(words, message, button);
  if (button) {
    button.addEventListener("click", () => toggle(button, message, marked));
    item.append(make("div", { class: "sound" }, [button, ...lengthOf(message)]));
  }
  if (message.interrupted) item.append(make("p", { class: "aside", text: cutText(message) }));
  if (turn) item.append(waterfall(turn, null));
  return item;
}

function lengthOf({ start_ms: from, end_ms: to }) {
  return from === undefined || from === null || to === undefined || to === null ? [] : [make("span", { text: length((to - from) / 1000) })];
}

/** Text, its unheard end in grey; where word times are known each word plays from there. */
function write(words, message, button) {
  const { content } = message;
  const heard = heardChars(message);
  const marked = [];
  const put = (from, to, parent) => parent.append(content.slice(from, to));
  const said = make("span", { class: "said" });
  words.append(said);
  let at = 0;
  for (const [from, to, ms] of button ? (message.words ?? []) : []) {
    if (from < at || to > heard) continue; // a word that was not heard has no sound
    put(at, from, said);
    const element = make("span", { class: "word", text: content.slice(from, to) });
    element.addEventListener("click", () => play(button, message, marked, ms));
    said.append(element);
    marked.push({ element, ms });
    at = to;
  }
  put(at, heard, said);
  if (heard >= content.length) return marked;
  words.append(
    make("span", { class: "hidden", text: ` (${t("talk.unheard")}: ` }),
    make("span", { class: "unheard", text: content.slice(heard) }),
    make("span", { class: "hidden", text: ")" }),
  );
  return marked;
}

/** @param {Message} message */
function heardChars({ content, interrupted, heard }) {
  if (!interrupted) return content.length;
  const words = heard ?? "";
  return content.startsWith(words) ? words.length : Math.min(words.length, content.length);
}

/** @param {Message} message */
function cutText(message) {
  const at = heardChars(message);
  if (at === 0) return t("talk.cut.other.none");
  return t(message.content.slice(at).trim() ? "talk.cut.other.part" : "talk.cut.other.end");
}

/** @param {Message} message */
function tool({ name = "", arguments: given, result, error }) {
  const spoken = name.replaceAll("_", " ");
  const failed = error !== undefined && error !== null;
  const list = make("dl");
  for (const [key, value] of [["talk.tool.arguments", given], ["talk.tool.result", error ?? result]]) {
    if (value === undefined || value === null) continue;
    const text = typeof value === "string" ? value : JSON.stringify(value, null, 1);
    list.append(make("dt", { text: t(key) }), make("dd", { text }));
  }
  const summary = make("summary", { text: t(failed ? "talk.tool.failed" : "talk.tool.done", { name: spoken }) });
  return make("li", { class: failed ? "line tool failed" : "line tool" }, [make("details", {}, [summary, list])]);
}

// -- sound -----------------------------------------------------------------------------------------------------

function playButton(message) {
  const icon = (kind, d) => makeSvg("svg", { class: kind, viewBox: "0 0 24 24", "aria-hidden": "true" }, [makeSvg("path", { d })]);
  const label = t(message.role === "user" ? "told.play.you" : "told.play.agent", { text: message.content.slice(0, 40) });
  return make("button", { class: "play", type: "button", "aria-pressed": "false", "aria-label": label }, [
    icon("when-off", "M8 5v14l11-7z"),
    icon("when-on", "M7 5h4v14H7zM13 5h4v14h-4z"),
  ]);
}

function toggle(button, message, marked) {
  if (playing?.button === button) stop();
  else play(button, message, marked, 0);
}

/** @param {HTMLElement} button @param {Message} message @param {any[]} marked @param {number} ms where from */
function play(button, message, marked, ms) {
  stop();
  for (const other of document.querySelectorAll("audio")) other.pause();
  playing = { button, words: marked };
  button.setAttribute("aria-pressed", "true");
  player.src = /** @type {string} */ (message.audio_url);
  player.currentTime = ms / 1000; // where it begins, once it is there
  player.play().catch(() => stop()); // the sound is gone, or the browser wants a gesture first
}

function stop() {
  if (!playing) return;
  playing.button.setAttribute("aria-pressed", "false");
  for (const { element } of playing.words) element.classList.remove("now");
  playing = null;
  player.pause();
}

function follow() {
  if (player.seeking) return;
  const ms = player.currentTime * 1000 + 60; // the eye may be a little ahead of the ear
  const now = playing?.words.findLast((word) => word.ms <= ms);
  for (const word of playing?.words ?? []) word.element.classList.toggle("now", word === now);
}

player.addEventListener("timeupdate", follow);
player.addEventListener("ended", stop);
