/**
 * A voice socket that comes back by itself.
 *
 * Owns one WebSocket at a time: keep-alive, the decision that a silent server is lost, and reconnecting with
 * the resume token until the server's window for it has passed. Knows nothing of what the messages mean,
 * apart from `connected` (which carries the token) and `pong`.
 */
import { closeMeaning, decode, encode, say } from "./wire.js";

const PING_EVERY_MS = 15_000;
const LOST_AFTER_MS = 40_000; // two pings and their answers missed
const FIRST_RETRY_MS = 250;
const LAST_RETRY_MS = 5_000;
const STABLE_AFTER_MS = 5_000; // a connection that lived this long starts the back-off anew
const DEFAULT_WINDOW_MS = 60_000;

/**
 * How long to wait before a try: doubling, capped, with jitter so that a restarted server is not stormed.
 * @param {number} attempt from 0 @param {number} chance in [0, 1)
 */
export function backoffMs(attempt, chance) {
  return Math.min(LAST_RETRY_MS, FIRST_RETRY_MS * 2 ** attempt) * (0.5 + chance / 2);
}

/**
 * @typedef {object} LinkEvents
 * @property {(message: import("./wire.js").Message) => void} message
 * @property {(attempt: number) => void} down the connection is gone; another try follows
 * @property {(why: "ended" | "idle" | "refused" | "taken-over" | "too-big" | "full" | "unreachable"
 *   | "expired") => void} over
 */

export class Link {
  /**
   * @param {(resumeToken: string) => string} url where to connect
   * @param {LinkEvents} events
   */
  constructor(url, events) {
    this.url = url;
    this.events = events;
    this.token = "";
    this.windowMs = DEFAULT_WINDOW_MS;
    this.attempt = 0;
    this.resuming = false;
    this.closed = false;
    /** @type {WebSocket | null} */
    this.socket = null;
    this.ready = false;
    this.retryNow = this.retryNow.bind(this);
  }

  /** @param {string} [resumeToken] of an earlier connection, to go on with its session */
  open(resumeToken = "") {
    this.token = resumeToken;
    this.resuming = resumeToken !== "";
    globalThis.addEventListener("online", this.retryNow);
    this.#connect();
  }

  /**
   * @param {import("./wire.js").Message | ArrayBuffer} message
   * @returns {boolean} false when there is no connection; the message is dropped
   */
  send(message) {
    if (!this.ready || this.socket?.readyState !== WebSocket.OPEN) return false;
    this.socket.send(message instanceof ArrayBuffer ? message : encode(message));
    return true;
  }

  /** Stop for good; no event follows. */
  close() {
    this.closed = true;
    globalThis.removeEventListener("online", this.retryNow);
    this.#drop();
    clearTimeout(this.retryTimer);
  }

  /** The network is back, or the user is impatient: don't wait for the next try. */
  retryNow() {
    if (this.closed || this.socket || !this.resuming) return;
    clearTimeout(this.retryTimer);
    this.#connect();
  }

  #connect() {
    const socket = new WebSocket(this.url(this.token));
    socket.binaryType = "arraybuffer";
    this.socket = socket;
    this.heardAt = performance.now();
    socket.onmessage = (event) => this.#receive(event.data);
    socket.onclose = (event) => this.#lost(closeMeaning(event.code, event.reason));
    this.pingTimer = setInterval(() => this.#keepAlive(), PING_EVERY_MS / 3);
    this.pingedAt = this.heardAt;
  }

  #receive(data) {
    this.heardAt = performance.now();
    const message = decode(data);
    if (!message || message.type === "pong") return;
    if (message.type === "connected") this.#connected(message);
    this.events.message(message);
  }

  #connected(message) {
    this.ready = true;
    this.resuming = false;
    this.token = message.resume_token || this.token;
    if (message.resume_window_s) this.windowMs = message.resume_window_s * 1000;
    this.stableTimer = setTimeout(() => {
      this.attempt = 0;
    }, STABLE_AFTER_MS);
  }

  #keepAlive() {
    const now = performance.now();
    if (now - this.heardAt > LOST_AFTER_MS) {
      this.#lost("lost"); // closing a dead socket can take minutes; don't wait for its event
    } else if (now - this.pingedAt >= PING_EVERY_MS - 1) {
      this.pingedAt = now;
      this.send(say.ping());
    }
  }

  #lost(meaning) {
    const wasUp = this.ready;
    this.#drop();
    if (this.closed) return;
    if (wasUp) this.lostAt = performance.now();
    const canRetry = this.token !== "" && (meaning === "lost" || (meaning === "full" && this.resuming));
    if (canRetry) this.#retry();
    else this.#over(this.#reason(meaning));
  }

  #reason(meaning) {
    if (meaning === "lost") return "unreachable";
    if (meaning === "refused" && this.resuming) return "expired";
    return meaning;
  }

  #retry() {
    this.lostAt ??= performance.now(); // a reloaded page: its window began before it did; the server decides
    this.resuming = true;
    if (performance.now() - this.lostAt > this.windowMs) {
      this.#over("expired");
      return;
    }
    this.events.down(this.attempt + 1);
    this.retryTimer = setTimeout(() => this.#connect(), backoffMs(this.attempt, Math.random()));
    this.attempt += 1;
  }

  #over(why) {
    this.close();
    this.events.over(why);
  }

  #drop() {
    this.ready = false;
    clearInterval(this.pingTimer);
    clearTimeout(this.stableTimer);
    if (!this.socket) return;
    this.socket.onmessage = null;
    this.socket.onclose = null;
    this.socket.close();
    this.socket = null;
  }
}
