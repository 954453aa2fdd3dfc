/** What a talk leaves behind: the whole of it to hear and keep, its parts, and the transcript. */
import { byId, make } from "./dom.js";
import { gist } from "./gist.js";
import { clock, t } from "./texts.js";

const TRIES = 5;
const WHOLE = "conversation.mp3";

/**
 * Show the card below the conversation. Never throws: what cannot be had is said on the card.
 * @param {{sessionId: string, reason: string, summary: any, said: boolean}} talk
 */
export async function showDownloads({ sessionId, reason, summary, said }) {
  const files = make("div", {}, [make("p", { class: "told", text: t("ended.loading") })]);
  const told = [summary.summary, reasonText(reason)].filter(Boolean).map((text) => make("p", { class: "told", text }));
  const card = make("section", { class: "keep", "aria-labelledby": "keep-title" }, [
    make("h3", { id: "keep-title", text: t("ended.title") }),
    ...told,
    ...gist(summary, t),
    files,
  ]);
  byId("after").replaceChildren(card);
  if (!said) {
    files.replaceChildren(make("p", { class: "told", text: t("ended.none") }));
    return;
  }
  const items = await recordings(sessionId);
  files.replaceWith(...contents(sessionId, items));
}

export function hideDownloads() {
  byId("after").replaceChildren();
}

function reasonText(reason) {
  const key = `ended.reason.${reason}`;
  const text = t(key);
  return text === key ? "" : text;
}

/** @returns {Promise<any[] | null>} null when the server would not say */
async function recordings(sessionId) {
  for (let attempt = 0; attempt < TRIES; attempt += 1) {
    try {
      const answer = await fetch(`/api/audio/${encodeURIComponent(sessionId)}`);
      if (answer.ok) return (await answer.json()).items;
      if (answer.status !== 404 && answer.status < 500) return null;
    } catch {
      // The server may be restarting: the next try tells.
    }
    await new Promise((resolve) => setTimeout(resolve, 300 * 2 ** attempt));
  }
  return null;
}

function contents(sessionId, items) {
  const id = encodeURIComponent(sessionId);
  const json = make("div", { class: "file" }, [
    make("span", { class: "name", text: t("ended.json") }),
    link(`/api/download/${id}`, `${sessionId}.json`, t("ended.download"), t("ended.download.of", { name: t("ended.json") })),
  ]);
  if (items === null) return [make("p", { class: "told", text: t("ended.failed") }), json];
  const whole = items.find((item) => item.filename === WHOLE);
  const pieces = items.filter((item) => item.filename !== WHOLE);
  return [
    ...(whole ? [file(id, whole, t("ended.whole"))] : []),
    json,
    ...(pieces.length > 0 ? [piecesList(id, pieces)] : []),
  ];
}

function piecesList(id, pieces) {
  const rows = pieces.map((item) => make("li", {}, [file(id, item, speaker(item))]));
  return make("details", {}, [
    make("summary", { text: `${t("ended.pieces")} (${pieces.length})` }),
    make("ul", {}, rows),
  ]);
}

function speaker(item) {
  return `${t(item.role === "user" ? "talk.you" : "talk.agent")} · ${parseInt(item.filename, 10)}`;
}

function file(id, item, name) {
  const url = `/api/audio/${id}/${encodeURIComponent(item.filename)}`;
  const length = item.duration_ms ? ` ${clock(item.duration_ms)}` : "";
  return make("div", { class: "file" }, [
    make("span", { class: "name" }, [name, make("span", { class: "length", text: length })]),
    link(url, item.filename, t("ended.download"), t("ended.download.of", { name })),
    make("audio", { controls: true, preload: "none", src: url, "aria-label": name }),
  ]);
}

function link(href, filename, text, label) {
  return make("a", { class: "button", href, download: filename, text, "aria-label": label });
}
