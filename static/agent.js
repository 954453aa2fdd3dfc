/**
 * The agent's side of a talk: its replies as they arrive, are played, are heard, and are cut off.
 *
 * It ties the server's messages about a reply to the play-out worklet and to the `Reply` that the page
 * shows, and reports to the server what was really played. It knows nothing of the microphone or the socket.
 */
import { letterShape, lips, SHUT, Sounding } from "./mouth.js";
import { Player } from "./player.js";
import { Reply } from "./reply.js";
import { say } from "./wire.js";

const REPORT_EVERY_MS = 200;
const TEXT_ONLY_AFTER_MS = 4_000; // a whole text and still no sound: this reply has no voice

/**
 * @typedef {object} AgentEvents
 * @property {(message: import("./wire.js").Message) => void} send to the server
 * @property {(reply: Reply) => void} begun a reply is under way
 * @property {(reply: Reply) => void} changed more of it was written, played, or cut off
 * @property {(speaks: boolean) => void} speaks the voice starts or stops sounding
 * @property {(reply: Reply) => void} closed nothing more will be heard of it
 */

export class Agent {
  /** @param {AgentEvents} events */
  constructor(events) {
    this.events = events;
    this.sounding = new Sounding();
    this.underruns = 0;
    /** Replies will have no sound at all. */
    this.textOnly = false;
    /** @type {Map<string, Reply>} */
    this.replies = new Map();
    this.count = 0;
    /** @type {Reply | null} the one whose audio is arriving */
    this.arriving = null;
    this.reportedAt = 0;
    /** @type {Player | undefined} */
    this.player = undefined;
  }

  /** Get ready to be heard. Call it from a user's gesture. */
  async open() {
    this.player ??= await Player.open({
      started: (id, atMs) => this.#firstSound(id, atMs),
      progress: (id, playedMs, level, atMs) => this.#played(id, playedMs, level, atMs),
      paused: (id, playedMs) => this.#report(id, playedMs),
      drained: (id, playedMs) => this.#drained(id, playedMs),
      underrun: (underruns) => {
        this.underruns = underruns;
        this.sounding.hush();
      },
    });
  }

  /** Some of a voiced reply is still to be heard. */
  get isSpeaking() {
    return [...this.replies.values()].some((reply) => reply.hasAudio && !reply.done);
  }

  /** What comes out of the loudspeaker at this moment; null when that is nothing. */
  get #now() {
    return this.player && !this.player.isPaused ? this.sounding.at(performance.now()) : null;
  }

  /** How loud the voice is now, 0..1. */
  get level() {
    return this.#now?.level ?? 0;
  }

  /** What the lips do now: by what is heard and, where marks or a length tell, by the letters being said. */
  get lips() {
    const now = this.#now;
    if (!now) return SHUT;
    const reply = this.replies.get(now.id);
    return lips(now.level, reply?.isTimed ? letterShape(reply.text, reply.positionAt(now.playedMs)) : undefined);
  }

  /** Go on with the reply that was under way when the connection went. */
  goOn({ response_id: id, turn, text, final }) {
    if (this.replies.has(id)) return; // this page knows it; what it missed follows as messages
    this.#begin(id, turn);
    this.#text({ response_id: id, turn, text, final });
  }

  close() {
    for (const reply of this.replies.values()) clearTimeout(reply.voiceTimer);
    void this.player?.close();
    this.player = undefined;
    this.sounding.hush();
  }

  /** @type {Record<string, (message: any) => void>} by the type of the server's message */
  handlers = {
    "response.begin": (m) => this.#begin(m.response_id, m.turn),
    agent_response: (m) => this.#text(m),
    "audio.begin": (m) => this.#audioBegin(m),
    "audio.mark": (m) => this.#mark(m),
    audio: (m) => this.#audio(m.pcm),
    "audio.end": (m) => this.#audioEnd(m),
    duck: () => this.#duck(),
    unduck: () => this.player?.resume("duck"),
    interrupted: (m) => this.#interrupted(m),
  };

  // -- text and audio as they arrive ---------------------------------------------------------------------

  /** Ids may recur: a server that was restarted counts them anew. */
  #begin(id, turn) {
    this.count += 1;
    const reply = new Reply(id, turn, `${id}/${this.count}`);
    reply.silent = this.textOnly;
    this.replies.set(id, reply);
    this.events.begun(reply);
    return reply;
  }

  #reply(id, turn) {
    return this.replies.get(id) ?? this.#begin(id, turn);
  }

  #text(message) {
    const reply = this.#reply(message.response_id, message.turn);
    if (reply.cut) return;
    reply.say(message.text || "", message.final === true);
    if (reply.textFinal && !reply.hasAudio && !reply.done) {
      const silent = () => reply.hasAudio || reply.done || this.#close(reply);
      reply.voiceTimer = setTimeout(silent, reply.silent ? 0 : TEXT_ONLY_AFTER_MS);
    }
    this.events.changed(reply);
  }

  #audioBegin(message) {
    const reply = this.#reply(message.response_id, message.turn ?? 0);
    const offset = message.offset_ms || 0;
    clearTimeout(reply.voiceTimer);
    this.arriving = reply.cut ? null : reply;
    if (reply.cut) return;
    reply.hasAudio = true;
    reply.done = false; // it was taken for a silent one
    reply.receivedMs = offset;
    this.rate = message.rate;
    this.player?.begin(reply.id, message.rate, offset, Math.max(0, reply.playedMs - offset));
  }

  #mark({ response_id: id, text_start: textStart, text_end: textEnd, start_ms: startMs }) {
    this.replies.get(id)?.mark({ textStart, textEnd, startMs });
  }

  #audio(pcm) {
    const reply = this.arriving;
    if (!reply) return; // what is left of an interrupted reply
    reply.firstByteAt ??= performance.now();
    reply.receivedMs += (pcm.byteLength / 2 / this.rate) * 1000;
    this.player?.push(reply.id, pcm);
  }

  #audioEnd(message) {
    const reply = this.replies.get(message.response_id);
    if (!reply || reply.done) return;
    reply.durationMs = message.duration_ms ?? reply.receivedMs;
    this.player?.end(reply.id);
  }

  // -- sound as it is heard --------------------------------------------------------------------------------

  #firstSound(id, atMs) {
    const reply = this.replies.get(id);
    if (!reply || reply.done) return;
    if (reply.firstByteAt !== null) reply.firstSoundMs ??= Math.max(0, Math.round(atMs - reply.firstByteAt));
    this.events.speaks(true);
    this.events.changed(reply);
  }

  #played(id, playedMs, level, atMs) {
    const reply = this.replies.get(id);
    if (!reply || reply.done) return; // what was under way when it was cut off
    if (!this.player?.isPaused) this.sounding.hear(id, playedMs, level, atMs);
    reply.playedMs = playedMs;
    this.events.changed(reply);
    if (performance.now() - this.reportedAt >= REPORT_EVERY_MS) this.#report(id, playedMs);
  }

  #report(id, playedMs) {
    const reply = this.replies.get(id);
    if (!reply || reply.done) return;
    reply.playedMs = playedMs;
    this.reportedAt = performance.now();
    this.events.send(say.playback(id, playedMs));
  }

  #drained(id, playedMs) {
    const reply = this.replies.get(id);
    this.sounding.hush();
    if (!reply || reply.done) return;
    // Rounding of rates must not leave the last word unheard: the whole was played.
    this.#report(id, Math.max(playedMs, reply.durationMs ?? 0));
    this.#close(reply);
  }

  #duck() {
    this.player?.pause("duck");
    this.sounding.hush();
  }

  #interrupted(message) {
    const reply = this.replies.get(message.response_id);
    this.player?.flush(message.response_id);
    this.sounding.hush();
    this.player?.resume("duck");
    if (!reply || reply.cut) return;
    reply.cut = {
      heardText: message.heard_text || "",
      reason: message.reason || "",
      estimated: message.estimated === true,
    };
    this.#close(reply);
  }

  #close(reply) {
    reply.done = true;
    if (this.arriving === reply) this.arriving = null;
    clearTimeout(reply.voiceTimer);
    if (!this.isSpeaking) this.events.speaks(false);
    this.events.closed(reply);
    this.events.changed(reply);
  }
}
