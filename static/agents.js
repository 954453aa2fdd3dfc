/** My agents: making, changing and deleting them, and talking to them. */
import { ApiError, api } from "./ask.js";
import { byId, make } from "./dom.js";
import { clearOutcome, confirmed, fillForm, lines, onSubmit, showProblem } from "./form.js";
import { List } from "./lists.js";
import { fillVoices } from "./voices.js";
import { t } from "./words.js";

const form = byId("agent");
const editor = byId("editor");
const NEW = { name: "", initial_prompt: "", context_prompts: [], greeting: "", language: "", voice: "", response_type: "both", voice_enabled: true, text_enabled: true };
/** @type {any} the agent that is being changed; null: a new one */
let edited = null;
let opener = byId("new");
const voices = fillVoices(form, "language", "voice");

const list = new List("/agents/", { draw: item, nothing: () => t("agents.nothing") });

function item(agent) {
  const edit = make("button", { class: "button quiet", type: "button", text: t("agents.edit"), "aria-label": `${t("agents.edit")}: ${agent.name}` });
  edit.addEventListener("click", () => void open(agent, edit));
  const remove = make("button", { class: "button quiet", type: "button", text: t("agents.delete"), "aria-label": `${t("agents.delete")}: ${agent.name}` });
  remove.addEventListener("click", () => void gone(agent, remove));
  return make("li", { class: "item" }, [
    make("h2", { text: agent.name }),
    make("p", { class: "text", text: agent.initial_prompt || t("agents.plain") }),
    make("div", { class: "row" }, [
      make("a", { class: "button strong", href: `/chat?agent=${encodeURIComponent(agent.id)}`, text: t("agents.talk"), "aria-label": `${t("agents.talk")}: ${agent.name}` }),
      edit,
      remove,
    ]),
  ]);
}

async function open(agent, from) {
  edited = agent;
  opener = from;
  clearOutcome(form);
  byId("editor-title").textContent = t(agent ? "agents.edit.title" : "agents.new");
  const values = agent ?? NEW;
  fillForm(form, { ...NEW, ...values, context_prompts: values.context_prompts.join("\n\n") });
  editor.showModal();
  (await voices).show(values.language ?? "", values.voice ?? "");
}

byId("new").addEventListener("click", () => void open(null, byId("new")));
byId("cancel").addEventListener("click", () => editor.close());
editor.addEventListener("close", () => opener.focus());

onSubmit(form, async (values) => {
  const context = values.context_prompts.split(/\n\s*\n/).map((text) => text.trim()).filter(Boolean);
  const body = {
    name: values.name.trim(),
    initial_prompt: values.initial_prompt,
    context_prompts: context,
    greeting: lines(values.greeting).join(" ") || null,
    language: values.language || null,
    voice: values.voice || null,
    response_type: values.response_type,
    voice_enabled: values.voice_enabled === "on",
    text_enabled: values.text_enabled === "on",
  };
  if (edited) await api("PUT", `/agents/${edited.id}`, body);
  else await api("POST", "/agents/", body);
  editor.close();
  await list.load();
});

async function gone(agent, from) {
  const sure = await confirmed(from, { title: t("agents.delete.title", { name: agent.name }), text: t("agents.delete.text"), action: t("agents.delete") });
  if (!sure) return;
  try {
    await api("DELETE", `/agents/${agent.id}`);
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    showProblem(byId("list"), error.message);
  }
  await list.load();
  byId("new").focus();
}

void list.load();
