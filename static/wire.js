/**
 * The words of the voice socket: what the page may say, and how it reads what it is told.
 *
 * No DOM, no socket. Every message is documented in docs/page.md's table and in the server's own protocol page.
 */

/** @typedef {{type: string, [field: string]: any}} Message */

/** Everything a client may say, as objects ready for `encode`. */
export const say = {
  /** @param {{mode: string, voice?: string, language?: string, response?: string}} wishes */
  start: ({ mode, voice, language, response }) => ({
    type: "start",
    mode,
    input_rate: 16000,
    output_rate: 24000,
    marks: true,
    ...(voice ? { voice } : {}),
    ...(language ? { language } : {}),
    ...(response ? { response } : {}),
  }),
  talkBegin: () => ({ type: "talk.begin" }),
  talkEnd: () => ({ type: "talk.end" }),
  /** @param {string} message */
  text: (message) => ({ type: "text_message", message }),
  interrupt: () => ({ type: "interrupt" }),
  /** @param {string} id @param {number} ms from the beginning of the reply */
  playback: (id, ms) => ({ type: "playback", response_id: id, played_ms: Math.round(ms) }),
  ping: () => ({ type: "ping" }),
  end: () => ({ type: "end" }),
};

/** @param {Message} message @returns {string} */
export function encode(message) {
  return JSON.stringify(message);
}

/**
 * Read one frame. Binary becomes {type: "audio", pcm}; text that is no message becomes null, because a newer
 * server may say things that this page does not know.
 * @param {string | ArrayBuffer} data
 * @returns {Message | null}
 */
export function decode(data) {
  if (typeof data !== "string") return { type: "audio", pcm: data };
  try {
    const message = JSON.parse(data);
    return message && typeof message.type === "string" ? message : null;
  } catch {
    return null;
  }
}

/**
 * @param {{protocol: string, host: string}} location of the page
 * @param {Record<string, string | null | undefined>} query empty values are left out
 * @returns {string}
 */
export function voiceUrl(location, query) {
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  const wanted = Object.entries(query).filter(([, value]) => value);
  const text = new URLSearchParams(/** @type {string[][]} */ (wanted)).toString();
  return `${scheme}//${location.host}/ws/voice${text ? `?${text}` : ""}`;
}

/**
 * What a closed socket means for the talk.
 * @param {number} code
 * @param {string} [reason]
 * @returns {"ended" | "idle" | "refused" | "taken-over" | "too-big" | "full" | "lost"} "lost" is worth another try
 */
export function closeMeaning(code, reason = "") {
  switch (code) {
    case 1000:
      return "ended";
    case 4408:
      return "idle";
    case 1008:
      return reason.startsWith("taken over") ? "taken-over" : "refused";
    case 1009:
      return "too-big";
    case 1013:
      return "full";
    default:
      return "lost"; // 1001 draining, 1006 no goodbye, 1011 and 1012 a server in trouble
  }
}
