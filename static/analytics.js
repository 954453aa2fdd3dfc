/** How the talks went: what `/api/analytics` says, drawn and in tables. The days are in the page's address. */
import { announceState } from "./announce.js";
import { ApiError, api, withQuery } from "./ask.js";
import { chart, everyDay } from "./charts.js";
import { byId, make } from "./dom.js";
import { day, moment, money } from "./times.js";
import { pageLanguage, t } from "./words.js";

const form = byId("span");
const FIELDS = ["from", "to", "whose"];
const MOST_DAYS = 400; // drawn with their gaps; of more, only those on which somebody talked
const STAGES = { endpoint: "metrics.endpoint", stt: "metrics.stt", llm: "metrics.llm", tts: "metrics.tts" };
let asked = 0;

const number = (/** @type {number} */ n) => n.toLocaleString(pageLanguage(), { maximumFractionDigits: 1 });
const ms = (/** @type {number | null} */ n) => (n === null ? "–" : `${number(Math.round(n))} ms`);
const share = (/** @type {number | null} */ part) => (part === null ? "–" : part.toLocaleString(pageLanguage(), { style: "percent", maximumFractionDigits: 1 }));
const stage = (/** @type {string | null} */ name) => (name ? t(STAGES[name]) : "–");
const field = (name) => form.elements.namedItem(name);
const chosen = () => Object.fromEntries(FIELDS.filter((name) => field(name)).map((name) => [name, field(name).value]));

/** The same for the server. */
function query() {
  const { from, to, whose } = chosen();
  return { from, to, user_id: whose === "mine" ? document.body.dataset.user : undefined };
}

async function load({ told = false } = {}) {
  const mine = (asked += 1);
  byId("report").setAttribute("aria-busy", "true");
  byId("trouble").hidden = true;
  for (const link of document.querySelectorAll("a[data-table]")) link.href = withQuery("/api/analytics.csv", { table: link.dataset.table, ...query() });
  try {
    const found = await api("GET", withQuery("/api/analytics", query()));
    if (mine !== asked) return;
    show(found);
    if (told) announceState(t("analytics.told", { n: found.talks }));
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    byId("trouble").textContent = error.message;
    byId("trouble").hidden = false;
  } finally {
    byId("report").removeAttribute("aria-busy");
  }
}

function show(found) {
  const empty = found.talks === 0 && found.providers.length === 0;
  byId("nothing").hidden = !empty;
  byId("figures").hidden = empty;
  for (const part of document.querySelectorAll(".part")) part.hidden = empty;
  if (empty) return;
  figures(found);
  overDays(found);
  byProvider(found.providers);
  byTool(found.tools);
  byAgent(found.agents);
  if (byId("users")) byUser(found.users);
  turns("slowest", found.slowest, ["analytics.most-of-it", "analytics.answered-in"], (one) => [stage(one.dominant), ms(one.voice_to_voice_ms)]);
  turns("dearest", found.dearest, ["metrics.cost"], (one) => [money(one.cost)]);
}

function figures({ talks, minutes, turns: answered, latency, interruptions, failed_turns: failed, tools, cost }) {
  const calls = tools.reduce((sum, one) => sum + one.calls - one.asked, 0);
  const good = tools.reduce((sum, one) => sum + one.ok, 0);
  const facts = [
    ["admin.talks", number(talks)],
    ["admin.minutes", number(minutes)],
    ["analytics.turns", number(answered)],
    ["analytics.median", ms(latency.p50_ms)],
    ["analytics.interruptions", number(interruptions)],
    ["analytics.failed", number(failed)],
    ["analytics.tool-success", share(calls > 0 ? good / calls : null)],
    ["metrics.cost", money(cost)],
  ];
  byId("figures").replaceChildren(...facts.map(([key, text]) => make("div", {}, [make("dt", { text: t(key) }), make("dd", { text })])));
}

// -- over days -----------------------------------------------------------------------------------------------

function overDays(found) {
  const told = new Map(found.days.map((one) => [one.date, one]));
  const last = new Date(Date.parse(found.to) - 1).toISOString().slice(0, 10);
  const between = (Date.parse(last) - Date.parse(found.from)) / 86_400_000;
  const days = between <= MOST_DAYS ? everyDay(found.from.slice(0, 10), last) : [...told.keys()];
  const of = (name, nothing = 0) => days.map((date) => told.get(date)?.[name] ?? nothing);
  const draw = (part, series) => chart(byId(part).querySelector(".chart"), days, series);
  draw("talks", [
    { label: t("admin.talks"), values: of("talks"), ink: "tts", bars: true },
    { label: t("admin.minutes"), values: of("minutes"), ink: "play", scale: "minutes" },
  ]);
  draw("speed", [
    { label: t("analytics.p50"), values: of("p50_ms", null), ink: "tts", write: ms },
    { label: t("analytics.p90"), values: of("p90_ms", null), ink: "stt", write: ms },
    { label: t("analytics.p99"), values: of("p99_ms", null), ink: "llm", write: ms },
  ]);
  draw("troubles", [
    { label: t("analytics.interruptions"), values: of("interruptions"), ink: "play" },
    { label: t("analytics.failed"), values: of("failed_turns"), ink: "bad" },
    { label: t("analytics.tools-failed"), values: of("tools_failed"), ink: "llm" },
  ]);
  draw("spent", [{ label: t("metrics.cost"), values: of("cost"), ink: "stt", bars: true, write: (cost) => (cost ? money(cost) : "$0") }]);
  const rows = found.days.toReversed();
  table("talks", ["admin.day", "admin.talks", "analytics.turns", "admin.minutes"], 1, rows, (one) => [day(one.date), number(one.talks), number(one.turns), number(one.minutes)]);
  table("speed", ["admin.day", "analytics.most-of-it", "analytics.p50", "analytics.p90", "analytics.p99"], 2, rows, (one) => [day(one.date), stage(one.dominant), ms(one.p50_ms), ms(one.p90_ms), ms(one.p99_ms)]);
  table("troubles", ["admin.day", "analytics.interruptions", "analytics.failed", "analytics.tool-calls", "analytics.tools-failed"], 1, rows, (one) => [day(one.date), ...[one.interruptions, one.failed_turns, one.tool_calls, one.tools_failed].map(number)]);
  table("spent", ["admin.day", "metrics.cost"], 1, rows, (one) => [day(one.date), money(one.cost)]);
  note("speed", dominating(found.latency));
  note("spent", found.wasted > 0 ? t("analytics.wasted", { cost: money(found.wasted) }) : "");
}

/** In words: how long an answer takes, and on what. */
function dominating({ p50_ms: half, p90_ms: most, dominant, stages_ms: spans }) {
  if (half === null) return t("analytics.unspoken");
  return t("analytics.dominant", { half: ms(half), most: ms(most), stage: stage(dominant), time: ms(spans[dominant]) });
}

function note(part, text) {
  const line = byId(part).querySelector(".note");
  line.hidden = !text;
  line.textContent = text;
}

// -- tables --------------------------------------------------------------------------------------------------

function byProvider(rows) {
  table("providers", ["admin.provider", "admin.model", "admin.requests", "admin.failed", "metrics.cost"], 2, rows, (one) => [
    `${one.provider} (${one.stage})`,
    one.model,
    number(one.requests),
    number(one.failed),
    money(one.cost),
  ]);
}

function byTool(rows) {
  byId("tools").hidden = rows.length === 0;
  table("tools", ["analytics.tool", "analytics.calls", "analytics.refused", "admin.failed", "analytics.success"], 1, rows, (one) => [one.name.replaceAll("_", " "), number(one.calls), number(one.refused), number(one.failed), share(one.success)]);
}

function byAgent(rows) {
  byId("agents").hidden = !rows.some((one) => one.agent_id);
  const name = (one) => one.name ?? (one.agent_id ? t("analytics.unnamed") : "Parley");
  table("agents", ["talk.agent", "admin.talks", "admin.minutes", "metrics.cost"], 1, rows, (one) => [name(one), number(one.talks), number(one.minutes), money(one.cost)]);
}

function byUser(rows) {
  const name = (one) => one.email || one.display_name || t(one.user_id ? "analytics.unnamed" : "admin.guests");
  table("users", ["admin.who", "admin.talks", "admin.minutes", "metrics.cost"], 1, rows, (one) => [name(one), number(one.talks), number(one.minutes), money(one.cost)]);
}

/** Single turns, each leading to where it can be heard. */
function turns(part, rows, heads, cells) {
  byId(part).hidden = rows.length === 0;
  table(part, ["analytics.when", "analytics.hear", ...heads], heads.length + 1, rows, (one) => [one.time ? moment(one.time) : "–", listen(one), ...cells(one)]);
}

/** Mine are told in whole; of others' an administrator hears the sound, if there is one. */
function listen({ session_id: id, user_id: user, turn, audio, time }) {
  const mine = user === document.body.dataset.user;
  const href = mine ? withQuery(`/history/${id}`, { turn }) : `/api/audio/${id}/${audio}`;
  if (!id || !(mine || audio)) return t("analytics.closed");
  const link = make("a", { href, text: t("analytics.turn", { n: turn ?? 0 }) });
  if (time) link.append(make("span", { class: "hidden", text: `, ${moment(time)}` }));
  return link;
}

/** @param {string} part @param {string[]} heads @param {number} words how many columns are not numbers */
function table(part, heads, words, rows, cells) {
  const kind = (/** @type {number} */ at) => (at >= words ? "number" : undefined);
  const head = make("tr", {}, heads.map((key, at) => make("th", { scope: "col", class: kind(at), text: t(key) })));
  const body = rows.map((row) => make("tr", {}, cells(row).map((cell, at) => make("td", { class: kind(at) }, [cell]))));
  const label = byId(`${part}-title`).textContent;
  byId(part).querySelector(".table").replaceChildren(
    make("div", { class: "table-box", role: "group", tabindex: "0", "aria-label": label }, [make("table", {}, [make("thead", {}, [head]), make("tbody", {}, body)])]),
  );
}

// -- the days ------------------------------------------------------------------------------------------------

function read() {
  const wanted = new URLSearchParams(location.search);
  for (const name of FIELDS.filter((one) => field(one))) field(name).value = wanted.get(name) ?? (name === "whose" ? "all" : "");
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  history.pushState(null, "", withQuery("/analytics", { ...chosen(), whose: chosen().whose === "mine" ? "mine" : undefined }));
  void load({ told: true });
});
globalThis.addEventListener("popstate", () => {
  read();
  void load();
});

if (location.search) read(); // what was typed before this was loaded stays
void load();
