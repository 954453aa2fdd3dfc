/**
 * How one answer came about: where its time went, as a waterfall, and why the agent acted when it did.
 *
 * Four spans come from the server and add up to its voice-to-voice time; the fifth, from the first audio's
 * arrival to its first sound out of the loudspeaker, is measured by the page.
 */
import { make, makeSvg } from "./dom.js";
import { plainReason } from "./reasons.js";
import { duration, t } from "./texts.js";

/** @typedef {{endpoint_ms?: number, stt_ms?: number, llm_ttft_ms?: number, tts_ttfb_ms?: number,
 *   voice_to_voice_ms?: number, reason?: string, speculated?: boolean, cost?: Record<string, number>}} Metrics */

const SPANS = [
  ["endpoint", "endpoint_ms"],
  ["stt", "stt_ms"],
  ["llm", "llm_ttft_ms"],
  ["tts", "tts_ttfb_ms"],
];

/**
 * @param {Metrics} metrics
 * @param {number | null} playMs
 * @returns {{name: string, ms: number, from: number}[]}
 */
export function spans(metrics, playMs) {
  let from = 0;
  const list = SPANS.map(([name, field]) => {
    const ms = Math.max(0, metrics[field] ?? 0);
    const span = { name, ms, from };
    from += ms;
    return span;
  });
  if (playMs !== null) list.push({ name: "play", ms: playMs, from });
  return list;
}

/**
 * The line under an answer that opens into its sheet.
 * @param {Metrics} metrics
 * @param {import("./reply.js").Reply | null} reply null: told later, when nobody knows when it was played
 * @returns {HTMLDetailsElement}
 */
export function waterfall(metrics, reply) {
  const playMs = reply?.firstSoundMs ?? null;
  const list = spans(metrics, playMs);
  const total = list.reduce((sum, { ms }) => sum + ms, 0);
  return make("details", { class: "metrics" }, [
    make("summary", { text: t("metrics.summary", { time: duration(total) }) }),
    make("div", { class: "sheet" }, [bars(list, total, reply !== null && playMs === null), why(metrics, reply)]),
  ]);
}

function bars(list, total, pending) {
  const row = (name, from, ms, time) =>
    make("div", { class: "fall" }, [
      make("span", { class: "name", text: t(`metrics.${name}`) }),
      bar(name, from / (total || 1), ms / (total || 1)),
      make("span", { class: "time", text: time }),
    ]);
  const rows = list.map(({ name, ms, from }) => row(name, from, ms, duration(ms)));
  if (pending) rows.push(row("play", 0, 0, t("metrics.pending")));
  rows.push(
    make("div", { class: "sum" }, [
      make("span", { text: t("metrics.total") }),
      make("span", { text: duration(total) }),
    ]),
  );
  return make("div", { class: "falls", role: "group", "aria-label": t("metrics.title") }, rows);
}

function bar(name, from, share) {
  const width = Math.max(share * 100, share > 0 ? 0.8 : 0);
  return makeSvg("svg", { "aria-hidden": "true", viewBox: "0 0 100 10", preserveAspectRatio: "none" }, [
    makeSvg("rect", { class: "track", width: 100, height: 10 }),
    makeSvg("rect", { class: `fill-${name}`, x: Math.min(from * 100, 100 - width), width, height: 10 }),
  ]);
}

function why(metrics, reply) {
  const rows = [];
  if (metrics.reason) rows.push(["metrics.reason", plainReason(metrics.reason)]);
  if (metrics.speculated) rows.push(["", t("metrics.speculated")]);
  if (reply?.cut?.reason) rows.push(["metrics.interrupted", plainReason(reply.cut.reason)]);
  const cost = metrics.cost?.total_cost ?? metrics.cost?.total;
  if (cost) rows.push(["metrics.cost", `$${cost.toFixed(cost < 0.01 ? 5 : 3)}`]);
  return make(
    "dl",
    { class: "why" },
    rows.map(([key, text]) =>
      make("div", {}, [...(key ? [make("dt", { text: t(key) })] : []), make("dd", { text })]),
    ),
  );
}
