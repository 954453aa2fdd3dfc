/**
 * The talk in writing: one line for each thing said, kept in step with what was really heard.
 *
 * Text is only ever set as text. The newest line stays in view unless the reader has scrolled up; then a
 * button leads back.
 */
import { byId, make } from "./dom.js";
import { isByTheUser } from "./reasons.js";
import { t } from "./texts.js";
import { waterfall } from "./waterfall.js";

const NEAR_END_PX = 60;

export class Conversation {
  constructor() {
    this.lines = byId("lines");
    this.scroll = byId("scroll");
    this.latest = byId("latest");
    /** @type {Map<string, any>} "you3" or a response id or a tool call's id */
    this.known = new Map();
    /** @type {Map<number, any>} metrics that came before or after their reply */
    this.metrics = new Map();
    this.follow = true;
    this.scroll.addEventListener("scroll", () => this.#scrolled());
    this.latest.addEventListener("click", () => this.toEnd(true));
    new ResizeObserver(() => this.toEnd(false)).observe(this.scroll);
  }

  get isEmpty() {
    return this.lines.childElementCount === 0;
  }

  /** @param {boolean} always also when the reader is elsewhere */
  toEnd(always) {
    if (!always && !this.follow) return;
    this.follow = true;
    this.latest.hidden = true;
    this.scroll.scrollTop = this.scroll.scrollHeight;
  }

  clear() {
    this.lines.replaceChildren();
    this.known.clear();
    this.metrics.clear();
  }

  /** What the user said or wrote. Empty and final: it was nothing. @param {{turn: number, text: string, final: boolean}} said */
  user({ turn, text, final }) {
    const id = `you${turn}`;
    const old = this.known.get(id);
    if (!text) {
      if (final && old) {
        old.item.remove();
        this.known.delete(id);
      }
      return;
    }
    const line = old || this.#add(id, "you", t("talk.you"));
    line.item.classList.toggle("partial", !final);
    setText(line.words, text);
    this.toEnd(false);
  }

  /** @param {import("./reply.js").Reply} reply */
  reply(reply) {
    if (!reply.text && !reply.cut) return;
    const line = this.known.get(reply.key) || this.#addReply(reply);
    line.reply = reply;
    const at = reply.heardChars;
    setText(line.said, reply.text.slice(0, at));
    setText(line.ahead, reply.text.slice(at));
    if (reply.cut && !line.cut) this.#cut(line, reply.text.slice(at).trim() !== "", at > 0);
    if (line.playMs !== reply.firstSoundMs) this.#measure(line);
    this.toEnd(false);
  }

  /** @param {any} metrics the server's message */
  measured(metrics) {
    this.metrics.set(metrics.turn, metrics);
    const lines = [...this.known.values()].filter((line) => line.reply?.turn === metrics.turn);
    const last = lines.at(-1);
    if (last) this.#measure(last);
  }

  /** @param {{id: string, name?: string, arguments?: any, progress?: string, result?: any, error?: any}} call */
  tool(call) {
    const line = this.known.get(call.id) || this.#addTool(call);
    if (call.progress) line.summary.textContent = `${line.name}: ${call.progress}`;
    const done = call.result !== undefined || call.error !== undefined;
    if (!done) return;
    const failed = call.error !== undefined && call.error !== null;
    line.item.classList.remove("running");
    line.item.classList.toggle("failed", failed);
    line.summary.textContent = t(failed ? "talk.tool.failed" : "talk.tool.done", { name: line.name });
    line.list.append(make("dt", { text: t("talk.tool.result") }), make("dd", { text: readable(call.error ?? call.result) }));
    this.toEnd(false);
  }

  /** @param {string} text something about the talk, not in it */
  note(text) {
    this.lines.append(make("li", { class: "line note", text }));
    this.toEnd(false);
  }

  /** Draw a talk that began before this page did. @param {any[]} messages */
  history(messages) {
    this.clear();
    messages.forEach((message, index) => {
      if (message.role === "user") this.user({ turn: message.turn ?? -1 - index, text: message.content, final: true });
      else if (message.role === "assistant") this.#past(message, `past${index}`);
      else if (message.role === "tool") this.tool({ id: `past${index}`, ...message, result: message.result ?? null });
    });
    this.toEnd(true);
  }

  #past(message, key) {
    const line = this.#addReply({ key });
    const heard = message.interrupted ? (message.heard ?? "") : message.content;
    const at = message.content.startsWith(heard) ? heard.length : Math.min(heard.length, message.content.length);
    setText(line.said, message.content.slice(0, at));
    setText(line.ahead, message.content.slice(at));
    if (message.interrupted) this.#cut(line, at < message.content.length, at > 0);
  }

  #add(id, kind, speaker) {
    const words = make("span", { class: "words" });
    const item = make("li", { class: `line ${kind}` }, [make("span", { class: "hidden", text: `${speaker}: ` }), words]);
    this.lines.append(item);
    const line = { item, words };
    this.known.set(id, line);
    return line;
  }

  #addReply(reply) {
    const line = this.#add(reply.key, "agent", t("talk.agent"));
    line.said = make("span", { class: "said" });
    line.ahead = make("span", { class: "ahead" });
    line.words.append(line.said, line.ahead);
    line.playMs = null;
    if (this.metrics.has(reply.turn)) {
      line.reply = reply;
      this.#measure(line);
    }
    return line;
  }

  #addTool({ id, name = "", arguments: given }) {
    const spoken = name.replaceAll("_", " ");
    const summary = make("summary", { text: t("talk.tool.running", { name: spoken }) });
    const list = make("dl");
    if (given && Object.keys(given).length > 0) {
      list.append(make("dt", { text: t("talk.tool.arguments") }), make("dd", { text: readable(given) }));
    }
    const item = make("li", { class: "line tool running" }, [make("details", {}, [summary, list])]);
    this.lines.append(item);
    const line = { item, summary, list, name: spoken };
    this.known.set(id, line);
    this.toEnd(false);
    return line;
  }

  #cut(line, lost, heard) {
    line.cut = true;
    line.ahead.className = "unheard";
    if (lost) line.ahead.before(make("span", { class: "hidden", text: ` (${t("talk.unheard")}: ` }));
    if (lost) line.ahead.after(make("span", { class: "hidden", text: ")" }));
    const what = !lost ? "end" : heard ? "part" : "none";
    const who = isByTheUser(line.reply?.cut?.reason ?? "") ? "you" : "other";
    const aside = make("p", { class: "aside", text: t(`talk.cut.${who}.${what}`) });
    if (line.details) line.details.before(aside);
    else line.item.append(aside);
    if (line.reply) this.#measure(line);
  }

  #measure(line) {
    const metrics = this.metrics.get(line.reply.turn);
    if (!metrics) return;
    line.playMs = line.reply.firstSoundMs ?? null;
    const details = waterfall(metrics, line.reply);
    details.open = line.details?.open ?? false;
    details.addEventListener("toggle", () => this.toEnd(false));
    if (line.details) line.details.replaceWith(details);
    else line.item.append(details);
    line.details = details;
    this.toEnd(false);
  }

  #scrolled() {
    const below = this.scroll.scrollHeight - this.scroll.scrollTop - this.scroll.clientHeight;
    this.follow = below < NEAR_END_PX;
    this.latest.hidden = this.follow;
  }
}

/** Touch the document only when something changes: this runs 25 times a second. */
function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function readable(value) {
  if (typeof value === "string") return value;
  if (value && typeof value.message === "string" && Object.keys(value).length <= 2) return value.message;
  return JSON.stringify(value, null, 1);
}

