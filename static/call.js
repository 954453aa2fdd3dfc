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
import { Link } from "./link.js";
import { MicError, Microphone } from "./microphone.js";
import { Player } from "./player.js";
import { Reply } from "./reply.js";
import { say, voiceUrl } from "./wire.js";

const REPORT_EVERY_MS = 200;
const INTERRUPTED_SHOWN_MS = 1_200;
const ANSWER_OWED_MS = 15_000; // "thinking" is not shown longer than this with no sign from the server
const TEXT_ONLY_AFTER_MS = 4_000; // a whole text and still no sound: this reply has no voice
const END_PATIENCE_MS = 10_000;

/** @typedef {{mode: "open-mic" | "hold-to-talk", voice?: string, language?: string, response?: string}} Wishes */

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
    this.underruns = 0;
    this.micLevel = 0;
    this.voiceLevel = 0;
    /** @type {Map<string, Reply>} */
    this.replies = new Map();
    /** @type {Reply | null} the one whose audio is arriving */
    this.sounding = null;
    this.reportedAt = 0;
    this.begun = 0; // replies so far: a server that was restarted counts its ids anew
    this.owedBy = "";
  }

  get activity() {
    return activity(this.facts);
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
    this.player ??= await Player.open(this.#playerEvents());
    if (withMic && !(await this.openMic())) {
      if (this.facts.phase === "asking") this.#set({ phase: "idle" });
      return;
    }
    if (!this.isOpen) return; // ended while the browser was asking
    this.#set({ phase: "connecting" });
    this.link = new Link((resume) => voiceUrl(globalThis.location, { resume }), {
      message: (message) => this.#receive(message),
      down: (attempt) => this.#down(attempt),
      over: (why) => this.#over(why),
    });
    this.link.open(resumeToken);
  }

  /** Turn the microphone on, also in mid-talk. Emits `problem` when it can't. @returns {Promise<boolean>} */
  async openMic() {
    if (!this.player) return false;
    const events = {
      frame: (/** @type {ArrayBuffer} */ pcm, /** @type {number} */ level) => this.#micFrame(pcm, level),
      lost: () => this.#micLost(),
    };
    try {
      const mic = await Microphone.open(this.player.context, events);
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
    this.player?.pause("held");
    this.link?.send(say.talkBegin());
    this.#set({ held: true });
  }

  release() {
    if (!this.facts.held) return;
    this.link?.send(say.talkEnd());
    this.#set({ held: false });
    this.#owe("user");
    this.player?.resume("held");
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
    this.player?.flush();
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
    this.player?.wake();
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

  // -- the agent's voice -----------------------------------------------------------------------------------

  /** @returns {import("./player.js").PlayerEvents} */
  #playerEvents() {
    return {
      started: (id, atMs) => this.#firstSound(id, atMs),
      progress: (id, playedMs, level) => this.#played(id, playedMs, level),
      paused: (id, playedMs) => this.#report(id, playedMs),
      drained: (id, playedMs) => this.#drained(id, playedMs),
      underrun: (underruns) => {
        this.underruns = underruns;
      },
    };
  }

  #firstSound(id, atMs) {
    const reply = this.replies.get(id);
    if (!reply) return;
    if (reply.firstByteAt !== null) reply.firstSoundMs ??= Math.max(0, Math.round(atMs - reply.firstByteAt));
    this.#set({ speaks: true, waiting: false });
    this.#emit("reply", { reply });
  }

  #played(id, playedMs, level) {
    const reply = this.replies.get(id);
    this.voiceLevel = this.player?.isPaused ? 0 : level;
    if (!reply || reply.done) return;
    reply.playedMs = playedMs;
    this.#emit("reply", { reply });
    if (performance.now() - this.reportedAt >= REPORT_EVERY_MS) this.#report(id, playedMs);
  }

  #report(id, playedMs) {
    const reply = this.replies.get(id);
    if (!reply || reply.done) return;
    reply.playedMs = playedMs;
    this.reportedAt = performance.now();
    this.link?.send(say.playback(id, playedMs));
  }

  #drained(id, playedMs) {
    const reply = this.replies.get(id);
    this.voiceLevel = 0;
    if (!reply || reply.done) return;
    // Rounding of rates must not leave the last word unheard: the whole was played.
    this.#report(id, Math.max(playedMs, reply.durationMs ?? 0));
    this.#close(reply);
    if (this.closing) this.#finish(this.closing);
  }

  #close(reply) {
    reply.done = true;
    if (this.sounding === reply) this.sounding = null;
    clearTimeout(reply.voiceTimer);
    const others = [...this.replies.values()].some((one) => one.hasAudio && !one.done);
    // Cut off by a typed message: the answer to that is owed now.
    const waiting = this.facts.waiting && reply.cut !== null && this.owedBy !== reply.key;
    this.#set({ speaks: others && this.facts.speaks, waiting });
    this.#emit("reply", { reply });
  }

  // -- the server's messages -------------------------------------------------------------------------------

  #receive(message) {
    const handler = this.handlers[message.type];
    if (handler) handler(message);
  }

  /** @type {Record<string, (message: any) => void>} */
  handlers = {
    connected: (m) => this.#connected(m),
    "speech.started": () => this.#set({ userSpeaks: true }),
    "speech.stopped": () => this.#set({ userSpeaks: false }),
    transcription: (m) => this.#transcription(m),
    user_message: (m) => this.#emit("user", { turn: m.turn, text: m.text, final: true }),
    "response.begin": (m) => this.#begin(m.response_id, m.turn),
    agent_response: (m) => this.#agentText(m),
    "audio.begin": (m) => this.#audioBegin(m),
    "audio.mark": (m) => this.#mark(m),
    audio: (m) => this.#audio(m.pcm),
    "audio.end": (m) => this.#audioEnd(m),
    duck: () => this.player?.pause("duck"),
    unduck: () => this.player?.resume("duck"),
    interrupted: (m) => this.#interrupted(m),
    "tool.call": (m) => this.#emit("tool", { id: m.id, name: m.name, arguments: m.arguments }),
    "tool.result": (m) => this.#emit("tool", { id: m.id, name: m.name, result: m.result, error: m.error }),
    "turn.metrics": (m) => this.#emit("metrics", m),
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
    this.player?.resume("duck");
    const mode = message.resumed && message.mode ? message.mode : this.facts.mode;
    this.#set({ phase: "live", mode, userSpeaks: false });
    this.#emit("connected", { ...message, back });
    if (message.response) this.#goOn(message.response);
  }

  /** The reply that was under way when the connection went. */
  #goOn({ response_id: id, turn, text, final }) {
    if (this.replies.has(id)) return; // this page knows it; what it missed follows as messages
    this.#begin(id, turn);
    this.#agentText({ response_id: id, turn, text, final });
  }

  #transcription(message) {
    const text = (message.text || "").trim();
    this.#emit("user", { turn: message.turn, text, final: message.final });
    if (!message.final) return;
    if (text) this.#owe("user");
    else this.#set({ waiting: false });
  }

  /**
   * An answer is due: show that it is being thought about, but not for ever.
   * @param {string} by "user" for a finished turn, or the key of the reply that has begun
   */
  #owe(by) {
    this.owedBy = by;
    this.#set({ waiting: true, justInterrupted: false });
    clearTimeout(this.owedTimer);
    this.owedTimer = setTimeout(() => this.#set({ waiting: false }), ANSWER_OWED_MS);
  }

  #begin(id, turn) {
    const reply = new Reply(id, turn, `${id}/${(this.begun += 1)}`);
    this.replies.set(id, reply);
    this.#owe(reply.key);
    return reply;
  }

  #reply(id, turn) {
    return this.replies.get(id) ?? this.#begin(id, turn);
  }

  #agentText(message) {
    const reply = this.#reply(message.response_id, message.turn);
    if (reply.done && reply.cut) return;
    reply.say(message.text || "", message.final === true);
    if (reply.textFinal && !reply.hasAudio && !reply.done) {
      const patience = this.wishes?.response === "text" ? 0 : TEXT_ONLY_AFTER_MS;
      reply.voiceTimer = setTimeout(() => {
        if (!reply.hasAudio && !reply.done) this.#close(reply);
      }, patience);
    }
    this.#emit("reply", { reply });
  }

  #audioBegin(message) {
    const reply = this.#reply(message.response_id, message.turn ?? 0);
    const offset = message.offset_ms || 0;
    clearTimeout(reply.voiceTimer);
    reply.hasAudio = true;
    reply.receivedMs = offset;
    this.sounding = reply.cut ? null : reply;
    this.soundingRate = message.rate;
    if (!reply.cut) this.player?.begin(reply.id, message.rate, offset, Math.max(0, reply.playedMs - offset));
  }

  #mark(message) {
    const { response_id: id, text_start: textStart, text_end: textEnd, start_ms: startMs } = message;
    this.replies.get(id)?.mark({ textStart, textEnd, startMs });
  }

  #audio(pcm) {
    const reply = this.sounding;
    if (!reply) return; // what is left of an interrupted reply
    reply.firstByteAt ??= performance.now();
    reply.receivedMs += (pcm.byteLength / 2 / this.soundingRate) * 1000;
    this.player?.push(reply.id, pcm);
  }

  #audioEnd(message) {
    const reply = this.replies.get(message.response_id);
    if (!reply || reply.done) return;
    reply.durationMs = message.duration_ms ?? reply.receivedMs;
    this.player?.end(reply.id);
  }

  #interrupted(message) {
    const reply = this.replies.get(message.response_id);
    this.player?.flush(message.response_id);
    this.player?.resume("duck");
    if (!reply || reply.cut) return;
    reply.cut = {
      heardText: message.heard_text || "",
      reason: message.reason || "",
      estimated: message.estimated === true,
    };
    this.voiceLevel = 0;
    this.#close(reply);
    if (this.closing) {
      this.#finish(this.closing);
      return;
    }
    this.#set({ justInterrupted: !this.facts.waiting, speaks: false });
    clearTimeout(this.interruptedTimer);
    this.interruptedTimer = setTimeout(() => this.#set({ justInterrupted: false }), INTERRUPTED_SHOWN_MS);
  }

  #failed({ code = "", message = "", fatal = false }) {
    this.#set({ waiting: false });
    this.#emit("error", { code, message, fatal });
  }

  /** The server said goodbye; when it was the agent's decision, its last words are played out first. */
  #ended(message) {
    const speaking = [...this.replies.values()].some((one) => one.hasAudio && !one.done);
    this.sessionId = message.session_id || this.sessionId;
    this.closing = message.reason || "ended";
    clearTimeout(this.endTimer);
    if (this.facts.phase === "ending" || !speaking) this.#finish(this.closing);
    else this.#closeMic();
  }

  // -- connection and end ----------------------------------------------------------------------------------

  #down(attempt) {
    if (this.closing) return;
    this.attempt = attempt;
    if (this.facts.held) this.#set({ held: false });
    this.player?.resume("held");
    this.#set({ phase: this.sessionId ? "reconnecting" : "connecting", userSpeaks: false, waiting: false });
  }

  #over(why) {
    if (this.closing) {
      // The last words are still playing; `#drained` finishes the talk.
      const speaking = [...this.replies.values()].some((one) => one.hasAudio && !one.done);
      if (!speaking) this.#finish(this.closing);
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
    this.#set({ phase: "ended" });
    this.#emit("ended", { sessionId: this.sessionId, reason });
  }

  #teardown() {
    for (const timer of [this.endTimer, this.owedTimer, this.interruptedTimer]) clearTimeout(timer);
    for (const reply of this.replies.values()) clearTimeout(reply.voiceTimer);
    this.link?.close();
    this.#closeMic();
    void this.player?.close();
    this.player = undefined;
    this.voiceLevel = 0;
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
