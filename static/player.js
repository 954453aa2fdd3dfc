/**
 * The agent's voice, from frames to loudspeaker: the page's side of the play-out worklet.
 *
 * Owns one AudioContext. Pausing has reasons (the server ducks, the user holds to talk); sound runs only
 * while there is none.
 */

/**
 * @typedef {object} PlayerEvents
 * @property {(id: string, atMs: number) => void} started first sound, on performance.now()'s clock
 * @property {(id: string, playedMs: number, level: number, atMs: number) => void} progress `atMs`: when it is heard
 * @property {(id: string, playedMs: number) => void} paused
 * @property {(id: string, playedMs: number) => void} drained the last sample of a reply was rendered
 * @property {(underruns: number) => void} underrun
 */

export class Player {
  /**
   * Must be called from a user's gesture, else browsers keep the context silent.
   * @param {PlayerEvents} events
   * @returns {Promise<Player>}
   */
  static async open(events) {
    const context = new AudioContext({ latencyHint: "interactive" });
    const resumed = context.resume();
    await context.audioWorklet.addModule(new URL("./playout.worklet.js", import.meta.url));
    // Where sound is not allowed yet, `resume` stays pending; the talk must not wait for it.
    resumed.catch(() => undefined);
    return new Player(context, events);
  }

  /** @param {AudioContext} context @param {PlayerEvents} events */
  constructor(context, events) {
    this.context = context;
    this.events = events;
    this.reasons = new Set();
    this.node = new AudioWorkletNode(context, "parley-playout", { numberOfInputs: 0, outputChannelCount: [2] });
    this.node.port.onmessage = ({ data }) => this.#hear(data);
    this.volume = new GainNode(context);
    this.node.connect(this.volume).connect(context.destination);
  }

  /** @param {string} id @param {number} rate @param {number} baseMs @param {number} skipMs */
  begin(id, rate, baseMs = 0, skipMs = 0) {
    this.node.port.postMessage({ type: "begin", id, rate, baseMs, skipMs });
  }

  /** @param {string} id @param {ArrayBuffer} pcm given away */
  push(id, pcm) {
    this.node.port.postMessage({ type: "chunk", id, pcm }, [pcm]);
  }

  /** @param {string} id no more audio of it will come */
  end(id) {
    this.node.port.postMessage({ type: "end", id });
  }

  /** @param {string} [id] one reply, or everything */
  flush(id) {
    this.node.port.postMessage({ type: "flush", id });
  }

  /** @param {string} reason */
  pause(reason) {
    if (this.reasons.size === 0) this.node.port.postMessage({ type: "pause" });
    this.reasons.add(reason);
  }

  /** @param {string} reason of an earlier pause */
  resume(reason) {
    if (this.reasons.delete(reason) && this.reasons.size === 0) this.node.port.postMessage({ type: "resume" });
  }

  get isPaused() {
    return this.reasons.size > 0;
  }

  /** Play on unheard, and go on counting: an avatar from elsewhere speaks instead. @param {boolean} muted */
  mute(muted) {
    this.volume.gain.value = muted ? 0 : 1;
  }

  /** Milliseconds from a sample's rendering to the ear, as far as the browser knows. */
  get #delayMs() {
    return (this.context.outputLatency || this.context.baseLatency || 0) * 1000;
  }

  /** Sound may have been stopped by the system (a phone call, a locked screen). */
  wake() {
    if (this.context.state !== "running" && this.context.state !== "closed") void this.context.resume();
  }

  async close() {
    this.node.port.onmessage = null;
    if (this.context.state !== "closed") await this.context.close();
  }

  #hear(message) {
    switch (message.type) {
      case "started": {
        const aheadMs = (message.at - this.context.currentTime) * 1000 + this.#delayMs;
        this.events.started(message.id, performance.now() + aheadMs);
        break;
      }
      case "progress":
        this.events.progress(message.id, message.playedMs, message.level, performance.now() + this.#delayMs);
        break;
      case "paused":
        this.events.paused(message.id, message.playedMs);
        break;
      case "drained":
        this.events.drained(message.id, message.playedMs);
        break;
      case "underrun":
        this.events.underrun(message.underruns);
        break;
      case "overflow":
        console.warn("Parley: the play-out buffer is full; audio was dropped.");
        break;
    }
  }
}
