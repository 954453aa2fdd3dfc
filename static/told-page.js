/** One talk of mine: told again, shared, exported, deleted. */
import { ApiError, api } from "./ask.js";
import { byId, make } from "./dom.js";
import { clearOutcome, confirmed, onSubmit, showDone, showProblem } from "./form.js";
import { moment, money } from "./times.js";
import { plainFacts, tell } from "./told.js";
import { t } from "./words.js";

const id = document.body.dataset.session;
const path = `/api/users/history/${id}`;
const main = byId("main");

async function load() {
  const talk = await api("GET", path);
  const cost = talk.cost_breakdown.total_cost;
  tell(talk, [
    ...plainFacts(talk),
    ...(talk.agent_name ? [[t("talk.agent"), talk.agent_name]] : []),
    ...(cost ? [[t("metrics.cost"), money(cost)]] : []),
    ...(talk.is_live ? [[t("told.state"), t("history.live")]] : []),
  ]);
  byId("tools").hidden = false;
  document.querySelector("[data-format=mp3]").closest("li").hidden = !talk.audio_url;
  showShared(talk.shared_until, talk.shared_opened);
  goTo(new URLSearchParams(location.search).get("turn"));
}

/** To one turn of it, ready to be heard. @param {string | null} turn */
function goTo(turn) {
  const line = turn && document.querySelector(`.line[data-turn="${CSS.escape(turn)}"]`);
  if (!line) return;
  line.classList.add("here");
  line.scrollIntoView({ block: "center" });
  line.querySelector(".play")?.focus({ preventScroll: true });
}

let timesOpened = 0;

function showShared(until, opened = timesOpened) {
  timesOpened = opened;
  byId("unshare").hidden = !until;
  if (until) showDone(byId("share-card"), t("told.share.until", { time: moment(until), count: opened }));
}

byId("share").addEventListener("click", () => {
  const card = byId("share-card");
  card.hidden = !card.hidden;
  byId("share").setAttribute("aria-expanded", String(!card.hidden));
  if (!card.hidden) byId("hours").focus();
});

onSubmit(byId("share-card"), async ({ hours }) => {
  const { url, expires_at: until } = await api("POST", `${path}/share`, { hours: Number(hours) });
  showShared(until);
  const done = byId("share-card").querySelector(".done");
  done.append(make("code", { class: "code", id: "share-url", text: url }));
  const copy = make("button", { class: "button", type: "button", text: t("told.share.copy") });
  copy.addEventListener("click", async () => {
    await navigator.clipboard.writeText(url);
    copy.textContent = t("told.share.copied");
  });
  if (navigator.clipboard) done.append(copy);
});

byId("exports").addEventListener("click", (event) => {
  if (event.target.closest("a")) byId("exports").open = false;
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") byId("exports").open = false;
});

byId("unshare").addEventListener("click", async () => {
  const card = byId("share-card");
  clearOutcome(card);
  try {
    await api("DELETE", `${path}/share`);
    showShared(null, 0);
    showDone(card, t("told.share.ended"));
    byId("hours").focus();
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    showProblem(card, error.message);
  }
});

byId("delete").addEventListener("click", async () => {
  const sure = await confirmed(byId("delete"), { title: t("told.delete.title"), text: t("told.delete.text"), action: t("told.delete") });
  if (!sure) return;
  try {
    await api("DELETE", path);
    location.assign("/history");
  } catch (error) {
    trouble(error);
  }
});

function trouble(error) {
  if (!(error instanceof ApiError)) throw error;
  byId("told").removeAttribute("aria-busy");
  showProblem(byId("trouble").parentElement ?? main, error.message);
}

load().catch(trouble);
