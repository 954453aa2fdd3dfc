/**
 * One talk: socket, microphone and voice brought together. No DOM.
 *
 * The page gives commands (start, press, type, end) and listens to events; everything that is shown follows
 * from `call.facts`, the `Reply` objects and the server's messages.
 *
 * While the connection is gone, microphone frames are dropped, not kept: words said into a gap would reach
 * the agent late and out of place. The agent's buffered voice plays on; what the server then repeats of it
 * is skipped to the sample.
 */
import { activity } from "./activity.js";
import { Agent } from "./agent.js";
import { Link } from "./link.js";
import { MicError, Microphone } from "./microphone.js";
import { say, voiceUrl } from "./wire.js";

const INTERRUPTED_SHOWN_MS = 1_200;
const ANSWER_OWED_MS = 15_000; // "thinking" is not shown longer than this with no sign from the server
const GREETING_DUE_MS = 800; // a server that greets does so at once; one that does not is listening
const END_PATIENCE_MS = 10_000;

/** @typedef {{mode: "open-mic" | "hold-to-talk", voice?: string, language?: string, response?: string,
 *   agent?: string, session?: string}} Wishes `agent` to talk to; `session` that was set up ahead */

export class Call extends EventTarget {
  constructor() {
    super();
    /** @type {import("./activity.js").Facts} */
    this.facts = {
      phase: "idle",
      mode: "open-mic",
      hasMic: false,
      muted: false,
      held: false,
      userSpeaks: false,
      waiting: false,
      speaks: false,
      justInterrupted: false,
    };
    this.sessionId = "";
    this.attempt = 0;
    this.micLevel = 0;
    this.owedBy = "";
    this.agent = new Agent({
      send: (message) => void this.link?.send(message),
      begun: (reply) => this.#owe(reply.key),
      changed: (reply) => this.#emit("reply", { reply }),
      speaks: (speaks) => this.#set(speaks ? { speaks, waiting: false } : { speaks }),
      closed: (reply) => this.#closed(reply),
    });
  }

  get activity() {
    return activity(this.facts);
  }

  /** How loud the agent's voice is now, 0..1. */
  get voiceLevel() {
    return this.agent.level;
  }

  /** The shape of the agent's lips now. */
  get lips() {
    return this.agent.lips;
  }

  /** True while there is a talk to end. */
  get isOpen() {
    return ["asking", "connecting", "live", "reconnecting"].includes(this.facts.phase);
  }

  // -- commands ------------------------------------------------------------------------------------------

  /**
   * Begin a talk. Call it from a user's gesture.
   * @param {Wishes} wishes
   * @param {{withMic: boolean, resumeToken?: string}} how
   */
  async start(wishes, { withMic, resumeToken = "" }) {
    this.wishes = wishes;
    this.#set({ phase: withMic ? "asking" : "connecting", mode: wishes.mode });
    this.agent.textOnly = wishes.response === "text";
    await this.agent.open();
    if (withMic && !(await this.openMic())) {
      this.agent.close();
      if (this.facts.phase === "asking") this.#set({ phase: "idle" });
      return;
    }
    if (!this.isOpen) return; // ended while the browser was asking
    this.#set({ phase: "connecting" });
    this.link = new Link((resume) => voiceUrl(globalThis.location, resume ? { resume } : { agent_id: wishes.agent, session_id: wishes.session }), {
      message: (message) => this.#receive(message),
      down: (attempt) => this.#down(attempt),
      over: (why) => this.#over(why),
    });
    this.link.open(resumeToken);
  }

  /** Turn the microphone on, also in mid-talk. Emits `problem` when it can't. @returns {Promise<boolean>} */
  async openMic() {
    const context = this.agent.player?.context;
    if (!context) return false;
    const events = {
      frame: (/** @type {ArrayBuffer} */ pcm, /** @type {number} */ level) => this.#micFrame(pcm, level),
      lost: () => this.#micLost(),
    };
    try {
      const mic = await Microphone.open(context, events);
      if (this.facts.phase === "ended" || this.facts.phase === "idle") {
        mic.close();
        return false;
      }
      this.mic = mic;
    } catch (error) {
      if (!(error instanceof MicError)) throw error;
      this.#emit("problem", { problem: error.problem });
      return false;
    }
    this.#set({ hasMic: true, muted: false });
    return true;
  }

  /** @param {string} text @returns {boolean} false when it could not be sent */
  type(text) {
    if (this.facts.phase !== "live" || !this.link?.send(say.text(text))) return false;
    this.#owe("user");
    return true;
  }

  press() {
    if (this.facts.mode !== "hold-to-talk" || this.facts.held || this.facts.phase !== "live" || !this.mic) return;
    this.agent.player?.pause("held");
    this.link?.send(say.talkBegin());
    this.#set({ held: true });
  }

  release() {
    if (!this.facts.held) return;
    this.link?.send(say.talkEnd());
    this.#set({ held: false });
    this.#owe("user");
    this.agent.player?.resume("held");
  }

  interrupt() {
    this.link?.send(say.interrupt());
  }

  /** @param {boolean} muted */
  setMuted(muted) {
    this.mic?.setEnabled(!muted);
    this.micLevel = 0;
    this.#set({ muted });
  }

  /** End the talk; `ended` follows when the server has written everything. */
  end() {
    if (!this.isOpen) return;
    this.#closeMic();
    this.agent.player?.flush();
    if (this.link?.send(say.end())) {
      this.#set({ phase: "ending", held: false });
      this.endTimer = setTimeout(() => this.#finish("unanswered"), END_PATIENCE_MS);
    } else {
      this.#finish(this.sessionId ? "abandoned" : "cancelled");
    }
  }

  /** Don't wait for the next try. */
  retryNow() {
    this.link?.retryNow();
  }

  /** The page became visible again, or was touched: sound may need a push. */
  wake() {
    this.agent.player?.wake();
  }

  // -- the microphone --------------------------------------------------------------------------------------

  #micFrame(pcm, level) {
    const { muted, mode, held } = this.facts;
    this.micLevel = muted ? 0 : level;
    if (!muted && (mode === "open-mic" || held)) this.link?.send(pcm);
  }

  #micLost() {
    this.release();
    this.#closeMic();
    this.#emit("problem", { problem: "mic-lost" });
  }

  #closeMic() {
    this.mic?.close();
    this.mic = undefined;
    this.micLevel = 0;
    this.#set({ hasMic: false, held: false });
  }

  // -- the server's messages -------------------------------------------------------------------------------

  #receive(message) {
    const handler = this.handlers[message.type] ?? this.agent.handlers[message.type];
    if (handler) handler(message);
  }

  /** @type {Record<string, (message: any) => void>} */
  handlers = {
    connected: (m) => this.#connected(m),
    "speech.started": () => this.#set({ userSpeaks: true }),
    "speech.stopped": () => this.#set({ userSpeaks: false }),
    transcription: (m) => this.#transcription(m),
    user_message: (m) => this.#emit("user", { turn: m.turn, text: m.text, final: true }),
    "tool.call": (m) => this.#emit("tool", { id: m.id, name: m.name, arguments: m.arguments }),
    "tool.progress": (m) => this.#emit("tool", { id: m.id, progress: m.message }),
    "tool.result": (m) => this.#emit("tool", { id: m.id, name: m.name, result: m.result, error: m.error }),
    "turn.metrics": (m) => this.#emit("metrics", m),
    avatar: (m) => this.#emit("avatar", { view: m.view ?? null }),
    "agent.changed": (m) => this.#emit("agent", { agent: m.agent }),
    summary: (m) => this.#emit("summary", m),
    ended: (m) => this.#ended(m),
    error: (m) => this.#failed(m),
  };

  #connected(message) {
    const back = this.facts.phase === "reconnecting";
    this.sessionId = message.session_id;
    this.attempt = 0;
    if (!message.resumed && this.wishes) this.link?.send(say.start(this.wishes));
    // A socket that was lost took the end of a held button with it.
    this.agent.player?.resume("duck");
    const mode = message.resumed && message.mode ? message.mode : this.facts.mode;
    this.#set({ phase: "live", mode, userSpeaks: false });
    this.#emit("connected", { ...message, back });
    if (message.response) this.agent.goOn(message.response);
    if (!message.resumed) this.#owe("greeting", GREETING_DUE_MS);
  }

  #transcription(message) {
    const text = (message.text || "").trim();
    this.#emit("user", { turn: message.turn, text, final: message.final });
    if (!message.final || message.corrected) return; // corrected: it is being answered already
    if (text) this.#owe("user");
    else this.#set({ waiting: false });
  }

  /**
   * An answer is due: show that it is being thought about, but not for ever.
   * @param {string} by "user" for a finished turn, "greeting", or the key of the reply that has begun
   */
  #owe(by, longestMs = ANSWER_OWED_MS) {
    this.owedBy = by;
    this.#set({ waiting: true, justInterrupted: false });
    clearTimeout(this.owedTimer);
    this.owedTimer = setTimeout(() => this.#set({ waiting: false }), longestMs);
  }

  /** A reply is over: heard to its end, without sound, or cut off. */
  #closed(reply) {
    if (this.closing && !this.agent.isSpeaking) {
      this.#finish(this.closing);
      return;
    }
    // Cut off by a typed message: the answer to that is owed now.
    const waiting = this.facts.waiting && reply.cut !== null && this.owedBy !== reply.key;
    this.#set({ waiting, justInterrupted: reply.cut !== null && !waiting });
    clearTimeout(this.interruptedTimer);
    this.interruptedTimer = setTimeout(() => this.#set({ justInterrupted: false }), INTERRUPTED_SHOWN_MS);
  }

  #failed({ code = "", message = "", fatal = false }) {
    this.#set({ waiting: false });
    this.#emit("error", { code, message, fatal });
  }

  /** The server said goodbye; when it was the agent's decision, its last words are played out first. */
  #ended(message) {
    this.sessionId = message.session_id || this.sessionId;
    this.closing = message.reason || "ended";
    clearTimeout(this.endTimer);
    if (this.facts.phase === "ending" || !this.agent.isSpeaking) this.#finish(this.closing);
    else this.#closeMic();
  }

  // -- connection and end ----------------------------------------------------------------------------------

  #down(attempt) {
    if (this.closing) return;
    if (this.facts.phase === "ending") {
      this.#finish("unanswered"); // the server heard the wish, or ends the talk by itself
      return;
    }
    this.attempt = attempt;
    if (this.facts.held) this.#set({ held: false });
    this.agent.player?.resume("held");
    this.#set({ phase: this.sessionId ? "reconnecting" : "connecting", userSpeaks: false, waiting: false });
  }

  #over(why) {
    if (this.closing) {
      // If the last words are still playing, `#closed` finishes the talk.
      if (!this.agent.isSpeaking) this.#finish(this.closing);
    } else if (why === "ended" || why === "idle") {
      this.#finish(why);
    } else {
      this.giveUp(why);
    }
  }

  /** @param {string} problem why there can be no talk, or no more of it */
  giveUp(problem) {
    this.#teardown();
    this.#set({ phase: "failed" });
    this.#emit("problem", { problem });
  }

  #finish(reason) {
    if (this.facts.phase === "ended") return;
    this.#teardown();
    this.#set({ phase: this.sessionId ? "ended" : "idle" });
    this.#emit("ended", { sessionId: this.sessionId, reason });
  }

  #teardown() {
    for (const timer of [this.endTimer, this.owedTimer, this.interruptedTimer]) clearTimeout(timer);
    this.link?.close();
    this.#closeMic();
    this.agent.close();
    this.#set({ speaks: false, waiting: false, userSpeaks: false, justInterrupted: false });
  }

  #set(changes) {
    const before = this.activity;
    const changed = Object.entries(changes).some(([key, value]) => this.facts[key] !== value);
    Object.assign(this.facts, changes);
    if (changed || this.activity !== before) this.#emit("change", {});
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
