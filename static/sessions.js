/** Sessions that were made ahead of a talk, by a program or for a room: opening and ending them. */
import { ApiError, all, api } from "./ask.js";
import { byId, make } from "./dom.js";
import { showProblem } from "./form.js";
import { List } from "./lists.js";
import { moment } from "./times.js";
import { t } from "./words.js";

/** @type {Map<string, string>} */
let names = new Map();
const list = new List("/sessions/", { draw: item, nothing: () => t("sessions.nothing") });

function item(session) {
  const title = session.room_name || names.get(session.agent_id) || t("sessions.one");
  const facts = [
    make("span", { class: session.is_active ? "badge on" : "badge", text: t(session.is_active ? "sessions.open" : "sessions.ended") }),
    make("span", { text: moment(session.created_at) }),
    make("span", { text: t(`sessions.mode.${session.mode}`) }),
    ...(session.room_name && names.has(session.agent_id) ? [make("span", { text: names.get(session.agent_id) })] : []),
  ];
  return make("li", { class: "item" }, [
    make("h2", { text: title }),
    make("p", { class: "facts" }, facts),
    ...(session.session_prompt ? [make("p", { class: "text", text: session.session_prompt })] : []),
    make("div", { class: "row" }, session.is_active ? openTools(session, title) : []),
  ]);
}

function openTools(session, title) {
  const end = make("button", { class: "button quiet", type: "button", text: t("sessions.end"), "aria-label": `${t("sessions.end")}: ${title}` });
  end.addEventListener("click", async () => {
    byId("trouble").hidden = true;
    try {
      await api("POST", `/sessions/${session.id}/end`);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      showProblem(byId("main"), error.message);
    }
    await list.load();
    byId("main").focus();
  });
  const href = `/chat?session=${encodeURIComponent(session.id)}`;
  return [make("a", { class: "button strong", href, text: t("sessions.talk"), "aria-label": `${t("sessions.talk")}: ${title}` }), end];
}

async function load() {
  try {
    names = new Map((await all("/agents/")).map((agent) => [agent.id, agent.name]));
  } catch (error) {
    if (!(error instanceof ApiError)) throw error; // the names are an extra
  }
  await list.load();
}

void load();
