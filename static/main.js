/**
 * The talk page: wires one `Call` at a time to what is seen, and people's gestures to the call.
 */
import { announceState, announceTalk } from "./announce.js";
import { Call } from "./call.js";
import { Conversation } from "./conversation.js";
import { byId, translate } from "./dom.js";
import { hideDownloads, showDownloads } from "./downloads.js";
import { Embedded } from "./embedded.js";
import { holdToTalk } from "./hold.js";
import { keepTalk, keptTalk, prefer, preference, talkLeftMs } from "./keep.js";
import { clear, notify } from "./notices.js";
import { DRAWN, Orb } from "./orb.js";
import { Settings } from "./settings.js";
import { orbAction, showStage } from "./stage.js";
import { pageLanguage, t } from "./texts.js";

/** States that a screen reader is told of; the quick rhythm in between would drown the talk. */
const TOLD = new Set(["asking", "connecting", "interrupted", "reconnecting", "ending"]);
const KEEP_EVERY_MS = 5_000;

class Page {
  constructor() {
    this.conversation = new Conversation();
    this.settings = new Settings({
      changed: () => {
        this.#relabel();
        this.#dress();
      },
    });
    this.call = new Call();
    this.kept = keptTalk();
    this.talked = false;
    const asked = new URLSearchParams(location.search);
    /** What the page's address asks for. @type {{agent?: string, session?: string}} */
    this.asked = { agent: asked.get("agent") ?? undefined, session: asked.get("session") ?? undefined };
    this.withMic = true;
    /** @type {any} what the talk came to */
    this.summary = {};
    this.orb = new Orb(byId("orb-canvas"), () => ({
      activity: this.call.activity,
      mic: this.call.micLevel,
      voice: this.call.voiceLevel,
      mouth: this.call.lips,
    }));
    /** @type {import("./embedded.js").View | null} an avatar from elsewhere, in this talk */
    this.view = null;
    this.embedded = new Embedded(byId("orb-box"), {
      playing: (playing) => (document.body.dataset.embedded = String(playing)),
      sounds: (sounds) => this.call.agent.player?.mute(sounds),
      isBusy: () => this.call.agent.isSpeaking,
    });
    this.#gestures();
    this.#relabel();
    this.#dress();
    void this.settings.load();
    if (this.kept) this.#countDown();
  }

  // -- talks -------------------------------------------------------------------------------------------------

  /** @param {{withMic: boolean, resume?: boolean}} how */
  async #start({ withMic, resume = false }) {
    if (this.call.isOpen) return;
    const kept = resume ? this.kept : null;
    const wishes = /** @type {import("./call.js").Wishes} */ (kept?.wishes || { ...this.settings.wishes, ...this.asked });
    delete this.asked.session; // it can be opened once; after that a talk is a new one
    this.withMic = withMic;
    this.summary = {};
    this.kept = null;
    clear();
    hideDownloads();
    this.conversation.clear();
    this.#listen(new Call());
    try {
      await this.call.start(wishes, { withMic, resumeToken: kept?.token });
    } catch (error) {
      // No AudioContext at all, or its worklet could not be fetched: then the server is not there.
      console.warn("Parley: no sound:", error);
      this.call.giveUp("AudioWorkletNode" in globalThis ? "unreachable" : "sound");
    }
  }

  /** @param {Call} call */
  #listen(call) {
    this.call = call;
    let told = "";
    const on = (type, run) => call.addEventListener(type, (event) => run(/** @type {CustomEvent} */ (event).detail));
    on("change", () => {
      if (call.facts.phase === "live") this.talked = true;
      this.#show();
      this.embedded.settle();
      if (call.activity === told) return;
      told = call.activity;
      if (TOLD.has(told)) announceState(t(`state.${told}`));
    });
    on("connected", (detail) => this.#connected(detail));
    on("user", (said) => {
      this.conversation.user(said);
      clear("error");
      if (said.final && said.text) announceTalk(t("say.you", { text: said.text }));
    });
    on("reply", ({ reply }) => this.#reply(reply));
    on("tool", (tool) => this.conversation.tool(tool));
    on("avatar", ({ view }) => this.#seat(view));
    on("metrics", (metrics) => this.conversation.measured(metrics));
    on("summary", (summary) => (this.summary = summary));
    on("agent", ({ agent }) => this.#handedOver(agent));
    on("problem", ({ problem }) => this.#problem(problem));
    on("error", (error) => this.#error(error));
    on("ended", (detail) => this.#ended(detail));
  }

  #connected({ back, resumed, messages, agent, avatar, resume_token: token, session_id: sessionId, resume_window_s: window = 60 }) {
    clear();
    if (agent?.avatar) prefer("agent-avatar", agent.avatar);
    this.worn = agent?.avatar;
    this.#seat(avatar ?? null);
    // After a reload there is nothing to lose; in an open page the talk on the screen knows more (what was
    // heard, how long it took), so it stays and goes on.
    if (resumed && Array.isArray(messages) && this.conversation.isEmpty) this.conversation.history(messages);
    if (back) this.conversation.note(t("talk.reconnected"));
    else if (resumed) this.conversation.note(t("talk.resumed"));
    announceState(back ? t("talk.reconnected") : t("say.connected"));
    this.open = { token, sessionId, at: Date.now(), windowMs: window * 1000, wishes: this.call.wishes, withMic: this.withMic };
    this.#keep();
    if (!this.withMic && !back) byId("message").focus();
  }

  /** Somebody else talks from here on. */
  #handedOver(agent) {
    const told = t("talk.handed", { name: agent.name });
    this.conversation.note(told);
    announceState(told);
    prefer("agent-avatar", agent.avatar);
    // A picture from elsewhere is of whoever it came with.
    this.#seat(agent.avatar === this.worn ? this.view : null);
    this.worn = agent.avatar;
  }

  #reply(reply) {
    this.conversation.reply(reply);
    if (!reply.textFinal || reply.announced) return;
    reply.announced = true;
    announceTalk(t("say.agent", { text: reply.text }));
  }

  #problem(problem) {
    const retry = { label: t("action.retry"), run: () => void this.#start({ withMic: this.withMic }) };
    const again = { label: t("action.retry"), run: () => this.#microphone() };
    const microphone = problem.startsWith("mic-");
    if (!microphone) {
      this.#forget();
      this.#seat(null);
    }
    notify({
      kind: microphone ? "microphone" : "connection",
      title: t(`problem.${problem}`),
      text: t(`problem.${problem}.text`),
      action: microphone && this.call.isOpen && this.call.facts.phase === "live" ? again : retry,
    });
    this.#show();
  }

  /** Something failed on the server. What passes by itself is said calmly, and until the user goes on. */
  #error({ code, message, fatal }) {
    if (code === "nothing_heard") notify({ kind: "error", title: t("problem.nothing_heard"), text: t("problem.nothing_heard.text"), calm: true });
    else notify({ kind: "error", title: t("problem.error"), text: message, calm: !fatal });
  }

  async #microphone() {
    if (await this.call.openMic()) {
      this.withMic = true;
      clear("microphone");
    }
  }

  #ended({ sessionId, reason }) {
    this.#seat(null);
    this.#forget();
    clear("connection");
    this.#show();
    byId("orb").focus(); // the button that ended it is gone
    if (!sessionId) return; // called off before it began
    announceState(t("say.ended"));
    const said = !this.conversation.isEmpty;
    void showDownloads({ sessionId, reason, summary: this.summary, said }).then(() => this.conversation.toEnd(true));
  }

  // -- a reloaded page -----------------------------------------------------------------------------------------

  #keep() {
    if (!this.open || !this.call.isOpen) return;
    // While the connection is gone the server's clock is running: the time of the last contact counts.
    if (this.call.facts.phase === "live") this.open.at = Date.now();
    keepTalk(this.open);
  }

  #forget() {
    this.open = null;
    this.kept = null;
    keepTalk(null);
  }

  #countDown() {
    this.#show();
    if (!this.kept) return;
    if (talkLeftMs(this.kept) <= 0) {
      this.#forget();
      this.#show();
    } else {
      setTimeout(() => this.#countDown(), 1000);
    }
  }

  // -- gestures ------------------------------------------------------------------------------------------------

  #gestures() {
    const orb = byId("orb");
    orb.addEventListener("click", () => this.#touchOrb());
    holdToTalk(orb, {
      wanted: () => this.#action() === "hold",
      press: () => this.call.press(),
      release: () => this.call.release(),
    });
    byId("type-instead").addEventListener("click", () => {
      void this.#start({ withMic: false });
    });
    byId("start-new").addEventListener("click", () => void this.#start({ withMic: true }));
    byId("end").addEventListener("click", () => this.call.end());
    byId("mute").addEventListener("click", () => {
      this.call.setMuted(!this.call.facts.muted);
      announceState(t(this.call.facts.muted ? "say.muted" : "say.unmuted"));
    });
    this.#composer();
    // Until here a press would have been lost.
    for (const id of ["orb", "type-instead"]) byId(id).disabled = false;
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && !byId("settings").open && this.call.activity === "speaking") this.call.interrupt();
    });
    document.addEventListener("pointerdown", () => this.call.wake());
    document.addEventListener("visibilitychange", () => document.hidden || this.call.wake());
    globalThis.addEventListener("pagehide", () => this.#keep());
    setInterval(() => this.#keep(), KEEP_EVERY_MS);
  }

  #composer() {
    const message = byId("message");
    const send = () => {
      const text = message.value.trim();
      if (text && this.call.type(text)) message.value = "";
    };
    byId("composer").addEventListener("submit", (event) => {
      event.preventDefault();
      send();
      message.focus();
    });
    message.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      send();
    });
  }

  #touchOrb() {
    switch (this.#action()) {
      case "start":
      case "again":
        return void this.#start({ withMic: true });
      case "retry":
        return void this.#start({ withMic: this.withMic });
      case "continue":
        return void this.#start({ withMic: /** @type {any} */ (this.kept).withMic !== false, resume: true });
      case "interrupt":
        return this.call.interrupt();
      case "unmute":
        return this.call.setMuted(false);
      case "microphone":
        return void this.#microphone();
      case "retryNow":
        return this.call.retryNow();
      default:
        return undefined;
    }
  }

  #action() {
    return orbAction(this.call.activity, this.call.facts, this.kept !== null);
  }

  // -- what is seen ----------------------------------------------------------------------------------------------

  #show() {
    const reconnecting = this.call.facts.phase === "reconnecting";
    if (reconnecting && !this.noticed) {
      notify({ kind: "connection", title: t("problem.reconnecting"), text: t("problem.reconnecting.text"), calm: true });
    }
    this.noticed = reconnecting;
    const leftSeconds = this.kept ? Math.max(0, Math.ceil(talkLeftMs(this.kept) / 1000)) : 0;
    showStage(this.call, { talked: this.talked, leftSeconds });
    // A way to another page must not end the talk: whoever signs up in mid-talk keeps it.
    for (const link of document.querySelectorAll(".bar li a")) link.target = this.call.isOpen ? "_blank" : "";
  }

  /** Put on what the user wishes, else what the agent wears, else (before the first talk) what it last wore. */
  #dress() {
    const name = preference("avatar") || preference("agent-avatar") || "orb";
    // What it cannot draw gets a face, also while a picture from elsewhere is not there; an address is no name.
    const worn = DRAWN.includes(name) ? name : name.includes("/") ? "orb" : "face";
    document.body.dataset.avatar = worn;
    this.orb.wear(worn);
    this.embedded.show(preference("avatar") ? null : this.view); // one's own wish goes before
  }

  /** An avatar from elsewhere takes the orb's place, or leaves it. */
  #seat(view) {
    this.view = view;
    this.#dress();
  }

  #relabel() {
    document.documentElement.lang = pageLanguage();
    translate();
    this.#show();
  }
}

new Page();
