/**
 * Talks to a server's `/v1/realtime` with OpenAI's JavaScript SDK (`openai`), unmodified.
 *
 *     npm install openai ws                             in any folder; then, in that folder:
 *     node .../openai_sdk.mjs http://127.0.0.1:8123     a spoken turn, a tool, a written turn
 *     node .../openai_sdk.mjs http://127.0.0.1:8123 --barge-in
 *
 * The last speaks into a reply (which must be long). For the first the model should call the function
 * `weather` once in each turn. Prints one JSON object; exits 0 if all that it checks holds.
 * The SDK always speaks TLS; for an http URL this gives it plain sockets.
 */

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { connect } from "node:net";

const require = createRequire(`${process.cwd()}/`);
const { OpenAI } = require("openai");
const { OpenAIRealtimeWS } = require("openai/realtime/ws");

const SPEECH_S = 2.4;
const CHUNK_MS = 100;
const CHUNK_BYTES = 24 * 2 * CHUNK_MS;
const WEATHER = {
  type: "function",
  name: "weather",
  description: "The weather at a place.",
  parameters: { type: "object", properties: { place: { type: "string" } }, required: ["place"] },
};

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

/** A connection, a microphone that is always open, and what came of it. */
class Talk {
  events = [];
  errors = [];
  firstAudioS = [];
  #say = Buffer.alloc(0);
  #spokeUntil = 0;

  constructor(rt) {
    this.rt = rt;
    rt.on("event", (event) => {
      this.events.push(event);
      if (event.type === "response.output_audio.delta" && this.#spokeUntil) {
        this.firstAudioS.push(Math.round((Date.now() - this.#spokeUntil) / 10) / 100);
        this.#spokeUntil = 0;
      }
    });
    rt.on("error", (error) => this.errors.push(error.error?.code ?? error.message));
  }

  async open() {
    await new Promise((resolve) => this.rt.socket.on("open", resolve));
    const start = Date.now();
    let n = 0;
    const send = () => {
      const chunk = Buffer.alloc(CHUNK_BYTES);
      const said = this.#say.copy(chunk);
      this.#say = this.#say.subarray(CHUNK_BYTES);
      if (said && !this.#say.length) this.#spokeUntil = Date.now();
      this.rt.send({ type: "input_audio_buffer.append", audio: chunk.toString("base64") });
      n += 1;
      this.timer = setTimeout(send, Math.max(0, start + n * CHUNK_MS - Date.now()));
    };
    send();
  }

  close() {
    clearTimeout(this.timer);
    this.rt.close();
  }

  say(pcm) {
    this.#say = Buffer.concat([this.#say, pcm]);
  }

  all(type, since = 0) {
    return this.events.slice(since).filter((event) => event.type === type);
  }

  soundMs(since = 0) {
    const deltas = this.all("response.output_audio.delta", since);
    return deltas.reduce((ms, event) => ms + Buffer.from(event.delta, "base64").length / 48, 0);
  }

  async until(holds, withinMs = 15000) {
    for (const end = Date.now() + withinMs; Date.now() < end; await pause(20)) {
      if (holds()) return true;
    }
    return Boolean(holds());
  }
}

async function begin(talk) {
  const checks = { session_created: await talk.until(() => talk.all("session.created").length) };
  talk.rt.send({
    type: "session.update",
    session: {
      type: "realtime",
      instructions: "Be brief.",
      tools: [WEATHER],
      audio: { input: { transcription: { model: "whisper-1" }, turn_detection: { type: "server_vad" } } },
    },
  });
  checks.session_updated = await talk.until(() => talk.all("session.updated").length);
  const session = talk.all("session.updated").at(-1)?.session;
  checks.instructions_kept = session?.instructions === "Be brief.";
  checks.tool_kept = session?.tools?.[0]?.name === "weather";
  return checks;
}

/** A spoken turn with a tool in it, then a written one. */
async function turns(talk) {
  const checks = await begin(talk);
  const calls = "response.function_call_arguments.done";
  talk.say(speech());
  checks.tool_called = await talk.until(() => talk.all(calls).length);
  const heard = talk.all("conversation.item.input_audio_transcription.completed");
  checks.user_transcribed = Boolean(heard[0]?.transcript.trim());
  await talk.until(() => talk.all("response.done").length);
  if (checks.tool_called) {
    const call = talk.all(calls)[0];
    checks.tool_arguments = JSON.parse(call.arguments).place === "Rome";
    const at = talk.events.length;
    const item = { type: "function_call_output", call_id: call.call_id, output: "Sunny, 31 degrees." };
    talk.rt.send({ type: "conversation.item.create", item });
    talk.rt.send({ type: "response.create" });
    checks.answered_after_tool = await talk.until(() => talk.all("response.done", at).length);
    checks.answer_audio_ms = Math.round(talk.soundMs(at));
    checks.answer_audio = checks.answer_audio_ms > 0;
    checks.answer_text = Boolean(talk.all("response.output_audio_transcript.done", at)[0]?.transcript);
  }
  const at = talk.events.length;
  const content = [{ type: "input_text", text: "And you?" }];
  talk.rt.send({ type: "conversation.item.create", item: { type: "message", role: "user", content } });
  talk.rt.send({ type: "response.create", response: { tool_choice: "none" } });
  checks.written_answered = await talk.until(() => talk.all("response.done", at).length);
  checks.written_audio = talk.soundMs(at) > 0;
  return checks;
}

/** Speak while the reply is being sent. */
async function bargeIn(talk) {
  const checks = await begin(talk);
  talk.say(speech());
  checks.answering = await talk.until(() => talk.soundMs() > 0);
  await pause(1500);
  const at = talk.events.length;
  talk.say(speech());
  checks.speech_started = await talk.until(() => talk.all("input_audio_buffer.speech_started", at).length);
  checks.cancelled = await talk.until(() => talk.all("response.done", at).length);
  const response = talk.all("response.done", at)[0]?.response;
  checks.turn_detected = response?.status_details?.reason === "turn_detected";
  const item = response?.output[0];
  const cut = { item_id: item?.id, content_index: 0, audio_end_ms: 1500 };
  talk.rt.send({ type: "conversation.item.truncate", ...cut });
  checks.truncated = await talk.until(() => talk.all("conversation.item.truncated").length);
  talk.rt.send({ type: "conversation.item.retrieve", item_id: item?.id });
  checks.retrieved = await talk.until(() => talk.all("conversation.item.retrieved").length);
  const text = talk.all("conversation.item.retrieved")[0]?.item.content[0].transcript ?? "";
  checks.text_after_truncation = text;
  checks.text_cut = text.length > 0 && text.length < item?.content[0].transcript.length;
  const position = talk.events.length;
  checks.answers_the_next_turn = await talk.until(() => talk.soundMs(position) > 0);
  return checks;
}

const [url, mode] = process.argv.slice(2);
const baseURL = `${url.replace(/\/$/, "")}/v1`;
const client = new OpenAI({ baseURL, apiKey: process.env.API_KEY ?? "any" });
const options = url.startsWith("http:") ? { createConnection: (to) => connect(to.port, to.host) } : undefined;
const talk = new Talk(new OpenAIRealtimeWS({ model: "gpt-realtime", options }, client));
await talk.open();
const checks = await (mode === "--barge-in" ? bargeIn(talk) : turns(talk));
talk.close();
checks.no_errors = talk.errors.length === 0;
const passed = Object.values(checks).every((value) => value !== false);
const result = { client: "openai-node", passed, ...checks, first_audio_s: talk.firstAudioS };
console.log(JSON.stringify({ ...result, errors: talk.errors }));
process.exit(passed ? 0 : 1);
