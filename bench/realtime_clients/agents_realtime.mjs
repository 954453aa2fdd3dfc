/**
 * Talks to a server's `/v1/realtime` with OpenAI's Agents SDK for JavaScript (`@openai/agents-realtime`),
 * unmodified.
 *
 *     npm install @openai/agents-realtime                    in any folder; then, in that folder:
 *     node .../agents_realtime.mjs http://127.0.0.1:8123     a spoken turn, a tool, a written turn
 *     node .../agents_realtime.mjs http://127.0.0.1:8123 --barge-in
 *
 * The last speaks into a reply (which must be long). For the first the model should call the function
 * `weather` once in each turn. Prints one JSON object; exits 0 if all that it checks holds.
 */

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const require = createRequire(`${process.cwd()}/`);
const { OpenAIRealtimeWebSocket, RealtimeAgent, RealtimeSession, tool } =
  require("@openai/agents-realtime");

const SPEECH_S = 2.4;
const CHUNK_MS = 100;
const CHUNK_BYTES = 24 * 2 * CHUNK_MS;

const complaints = [];
for (const level of ["warn", "error"]) {
  console[level] = (...told) => complaints.push(told.map(String).join(" ").slice(0, 300));
}
process.on("uncaughtException", (error) => complaints.push(`uncaught: ${error}`.slice(0, 300)));
process.on("unhandledRejection", (error) => complaints.push(`unhandled: ${error}`.slice(0, 300)));

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** The recording (16 kHz) as PCM16 at 24 kHz, up to where its last word ends. */
function speech() {
  const wav = readFileSync(new URL("../../tests/data/goforward.wav", import.meta.url));
  const at = wav.indexOf("data") + 8;
  const from = new Int16Array(wav.buffer.slice(wav.byteOffset + at, wav.byteOffset + at + SPEECH_S * 32_000));
  const to = new Int16Array(Math.floor((from.length - 1) * 1.5));
  for (let n = 0; n < to.length; n++) {
    const left = Math.floor(n / 1.5);
    const share = n / 1.5 - left;
    to[n] = Math.round(from[left] * (1 - share) + from[left + 1] * share);
  }
  return Buffer.from(to.buffer);
}

/** A session, a microphone that is always open, and what came of it. */
class Talk {
  askedFor = [];
  events = [];
  errors = [];
  interruptions = 0;
  soundMs = 0;
  firstAudioS = [];
  #say = Buffer.alloc(0);
  #spokeUntil = 0;

  constructor(url) {
    const weather = tool({
      name: "weather",
      description: "The weather at a place.",
      strict: false,
      parameters: {
        type: "object",
        properties: { place: { type: "string" } },
        required: ["place"],
        additionalProperties: true,
      },
      execute: ({ place }) => {
        this.askedFor.push(place);
        return `Sunny in ${place}, 31 degrees.`;
      },
    });
    const agent = new RealtimeAgent({ name: "Assistant", instructions: "Be brief.", tools: [weather] });
    const transport = new OpenAIRealtimeWebSocket({
      url: `${url.replace("http", "ws").replace(/\/$/, "")}/v1/realtime?model=gpt-realtime`,
    });
    this.session = new RealtimeSession(agent, {
      transport,
      config: { audio: { input: { transcription: { model: "gpt-4o-mini-transcribe" } } } },
    });
    this.session.on("audio", (event) => {
      this.soundMs += event.data.byteLength / 48;
      if (this.#spokeUntil) {
        this.firstAudioS.push(Math.round((Date.now() - this.#spokeUntil) / 10) / 100);
        this.#spokeUntil = 0;
      }
    });
    this.session.on("audio_interrupted", () => (this.interruptions += 1));
    this.session.on("error", (error) => this.errors.push(JSON.stringify(error.error ?? error).slice(0, 300)));
    this.session.on("transport_event", (event) => this.events.push(event));
  }

  async open() {
    await this.session.connect({ apiKey: process.env.API_KEY ?? "any" });
    const start = Date.now();
    let n = 0;
    const send = () => {
      const chunk = Buffer.alloc(CHUNK_BYTES);
      const said = this.#say.copy(chunk);
      this.#say = this.#say.subarray(CHUNK_BYTES);
      if (said && !this.#say.length) this.#spokeUntil = Date.now();
      this.session.sendAudio(chunk.buffer.slice(chunk.byteOffset, chunk.byteOffset + CHUNK_BYTES));
      n += 1;
      this.timer = setTimeout(send, Math.max(0, start + n * CHUNK_MS - Date.now()));
    };
    send();
  }

  close() {
    clearTimeout(this.timer);
    this.session.close();
  }

  say(pcm) {
    this.#say = Buffer.concat([this.#say, pcm]);
  }

  all(type, since = 0) {
    return this.events.slice(since).filter((event) => event.type === type);
  }

  /** What the SDK remembers: role, text and status of each message. */
  history() {
    const messages = this.session.history.filter((item) => item.type === "message");
    return messages.map((item) => [
      item.role,
      item.content.map((part) => part.transcript ?? part.text ?? "").join(" "),
      item.status,
    ]);
  }

  said() {
    return this.history().filter(([role, text]) => role === "assistant" && text.trim());
  }

  async until(holds, withinMs = 15000) {
    for (const end = Date.now() + withinMs; Date.now() < end; await pause(20)) {
      if (holds()) return true;
    }
    return Boolean(holds());
  }
}

/** A spoken turn with a tool in it, then a written one. */
async function turns(talk) {
  const checks = { session_updated: await talk.until(() => talk.all("session.updated").length) };
  const session = talk.all("session.updated").at(-1)?.session;
  checks.instructions_kept = session?.instructions === "Be brief.";
  checks.tool_kept = session?.tools?.[0]?.name === "weather";
  talk.say(speech());
  checks.tool_ran = await talk.until(() => talk.askedFor.length === 1 && talk.askedFor[0] === "Rome");
  checks.answer_in_history = await talk.until(() => talk.said().length === 1);
  checks.answer_audio_ms = Math.round(talk.soundMs);
  checks.answer_audio = talk.soundMs > 0;
  checks.user_in_history = talk.history().some(([role, text]) => role === "user" && text.trim());
  await talk.until(() => talk.all("response.done").length > 1);

  const before = talk.soundMs;
  talk.session.sendMessage("And what can you tell me?");
  checks.written_tool_ran = await talk.until(() => talk.askedFor.length === 2);
  checks.written_answered = await talk.until(() => talk.said().length === 2);
  checks.written_audio = await talk.until(() => talk.soundMs > before);
  await talk.until(() => talk.all("response.done").length > 3, 5000);
  checks.history = talk.history();
  const roles = checks.history.map(([role]) => role).join(" ");
  checks.history_order = roles === "user assistant user assistant";
  checks.all_completed = checks.history.every(([, , status]) => status === "completed");
  return checks;
}

/** Speak while the reply is being sent. */
async function bargeIn(talk) {
  const checks = { session_updated: await talk.until(() => talk.all("session.updated").length) };
  talk.say(speech());
  checks.answering = await talk.until(() => talk.soundMs > 0);
  await pause(2000);
  const at = talk.events.length;
  talk.say(speech());
  checks.interrupted = await talk.until(() => talk.interruptions > 0);
  checks.truncated = await talk.until(() => talk.all("conversation.item.truncated", at).length);
  checks.heard_ms = talk.all("conversation.item.truncated", at)[0]?.audio_end_ms;
  const done = talk.all("response.done", at)[0]?.response;
  checks.turn_detected = done?.status_details?.reason === "turn_detected";
  checks.sent_chars = done?.output[0]?.content[0].transcript.length ?? 0;
  const position = talk.soundMs;
  checks.answers_the_next_turn = await talk.until(() => talk.soundMs > position);
  checks.history_after = talk.history();
  const text = talk.said()[0]?.[1] ?? "";
  checks.history_truncated = text.length > 0 && text.length < checks.sent_chars;
  checks.user_in_history = talk.history().some(([role, told]) => role === "user" && told.trim());
  return checks;
}

const [url, mode] = process.argv.slice(2);
const talk = new Talk(url);
await talk.open();
const checks = await (mode === "--barge-in" ? bargeIn(talk) : turns(talk));
talk.close();
checks.no_errors = talk.errors.length === 0;
checks.no_complaints = complaints.length === 0;
const passed = Object.values(checks).every((value) => value !== false);
const result = { client: "openai-agents-js", passed, ...checks, first_audio_s: talk.firstAudioS };
console.log(JSON.stringify({ ...result, errors: talk.errors, complaints }));
process.exit(passed ? 0 : 1);
