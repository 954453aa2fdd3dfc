/** The list of my talks. The filter is in the page's address, so that Back and bookmarks find it again. */
import { withQuery } from "./ask.js";
import { byId, make } from "./dom.js";
import { fillForm } from "./form.js";
import { List } from "./lists.js";
import { length, moment, money } from "./times.js";
import { t } from "./words.js";

const form = byId("filter");
const FIELDS = ["q", "from", "to"];

const chosen = () => Object.fromEntries(FIELDS.map((name) => [name, form.elements.namedItem(name).value.trim()]));

const list = new List("/api/users/history", {
  draw: item,
  query: chosen,
  nothing: () => t(Object.values(chosen()).some(Boolean) ? "history.nothing-found" : "history.nothing"),
  moved: (offset) => history.pushState(null, "", withQuery("/history", { ...chosen(), offset: offset || undefined })),
});

function item(talk) {
  const title = make("a", { href: `/history/${talk.session_id}`, text: moment(talk.start_time) });
  const facts = [
    make("span", { text: length(talk.duration_seconds) }),
    make("span", { text: t(talk.turns === 1 ? "history.turn" : "history.turns", { n: talk.turns }) }),
    ...(talk.total_cost ? [make("span", { text: money(talk.total_cost) })] : []),
    ...(talk.is_live ? [make("span", { class: "badge on", text: t("history.live") })] : []),
  ];
  const text = talk.snippet.length > 0 ? talk.snippet.map(piece) : [talk.summary || t("history.silent")];
  return make("li", { class: "item leads" }, [
    make("h2", {}, [title]),
    make("p", { class: "facts" }, facts),
    make("p", { class: "text" }, text),
  ]);
}

/** @param {{text: string, hit: boolean}} part of what was said */
function piece({ text, hit }) {
  return hit ? make("mark", { text }) : text;
}

/** Take the filter from the page's address. */
function read() {
  const asked = new URLSearchParams(location.search);
  fillForm(form, Object.fromEntries(FIELDS.map((name) => [name, asked.get(name) ?? ""])));
  list.offset = Math.max(0, Number(asked.get("offset")) || 0);
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  list.offset = 0;
  list.moved(0);
  void list.load({ told: true });
});

globalThis.addEventListener("popstate", () => {
  read();
  void list.load();
});

if (location.search) read(); // what was typed before this was loaded stays
void list.load();
