/** For administrators: who is here, what goes on, what it costs. Never what anybody said. */
import { ApiError, api, withQuery } from "./ask.js";
import { byId, make } from "./dom.js";
import { confirmed, showProblem } from "./form.js";
import { List } from "./lists.js";
import { day, length, moment, money } from "./times.js";
import { pageLanguage, t } from "./words.js";

const value = (/** @type {string} */ id) => byId(id).value.trim();
const number = (/** @type {number} */ n) => n.toLocaleString(pageLanguage(), { maximumFractionDigits: 1 });

// -- users ---------------------------------------------------------------------------------------------------

const users = new List("/api/admin/users", { box: byId("users"), draw: userItem, nothing: () => t("admin.nobody"), query: () => ({ q: value("q") }) });

function userItem(user) {
  const name = user.display_name || user.username || user.email;
  const facts = [
    make("span", { text: user.email || user.username }),
    make("span", { text: t("profile.since", { from: day(user.created_at) }) }),
    ...(user.last_login_at ? [make("span", { text: t("admin.seen", { time: moment(user.last_login_at) }) })] : []),
    ...(user.live_talks ? [make("span", { class: "badge on", text: t("history.live") })] : []),
    ...(user.is_admin ? [make("span", { class: "badge", text: t("admin.admin") })] : []),
    ...(user.is_disabled ? [make("span", { class: "badge off", text: t("admin.disabled") })] : []),
  ];
  const tool = (key, change, warning = "") => {
    const button = make("button", { class: "button quiet", type: "button", text: t(key), "aria-label": `${t(key)}: ${name}` });
    button.addEventListener("click", () => void changed(button, user, change, warning && { title: name, text: t(warning), action: t(key) }));
    return button;
  };
  return make("li", { class: "item" }, [
    make("h3", { text: name }),
    make("p", { class: "facts" }, facts),
    make("div", { class: "row" }, [
      user.is_disabled ? tool("admin.enable", { is_disabled: false }) : tool("admin.disable", { is_disabled: true }, "admin.disable.sure"),
      user.is_admin ? tool("admin.unmake", { is_admin: false }, "admin.unmake.sure") : tool("admin.make", { is_admin: true }, "admin.make.sure"),
    ]),
  ]);
}

/** @param {HTMLElement} button @param {any} question asked before, where there is one */
async function changed(button, user, change, question) {
  byId("trouble").hidden = true;
  if (question && !(await confirmed(button, question))) return;
  try {
    await api("PATCH", `/api/admin/users/${user.id}`, change);
    if (user.id === document.body.dataset.user) location.reload(); // I may be less than I was
    else await users.load({ told: true });
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    showProblem(byId("main"), error.message);
  }
}

byId("find").addEventListener("submit", (event) => {
  event.preventDefault();
  users.offset = 0;
  void users.load({ told: true });
});

// -- sessions ------------------------------------------------------------------------------------------------

const seen = new List("/api/admin/sessions", {
  box: byId("seen"),
  draw: sessionItem,
  nothing: () => t("sessions.nothing"),
  loaded: ({ live, attached }) => (byId("live").textContent = t("admin.live", { live, attached })),
});

function sessionItem(session) {
  return make("li", { class: "item" }, [
    make("h3", { text: session.email || session.room_name || t("admin.guest") }),
    make("p", { class: "facts" }, [
      make("span", { class: session.state === "live" ? "badge on" : "badge", text: t(`admin.state.${session.state}`) }),
      make("span", { text: moment(session.created_at) }),
      make("span", { text: length(session.duration_seconds) }),
      make("span", { text: t(session.turns === 1 ? "history.turn" : "history.turns", { n: session.turns }) }),
      ...(session.total_cost ? [make("span", { text: money(session.total_cost) })] : []),
    ]),
  ]);
}

// -- usage ---------------------------------------------------------------------------------------------------

async function usage() {
  try {
    const found = await api("GET", withQuery("/api/admin/usage", { from: value("from"), to: value("to"), limit: 100 }));
    table("providers", ["admin.provider", "admin.model", "admin.requests", "admin.failed", "metrics.cost"], found.providers, (one) => [
      `${one.provider} (${one.stage})`,
      one.model,
      number(one.requests),
      number(one.failed),
      money(one.price),
    ]);
    table("days", ["admin.day", "admin.who", "admin.talks", "admin.minutes", "metrics.cost"], found.items, (one) => [
      day(one.date),
      one.email ?? t("admin.guests"),
      number(one.talks),
      number(one.minutes),
      money(one.cost),
    ]);
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    for (const id of ["providers", "days"]) byId(id).removeAttribute("aria-busy");
    byId("providers").replaceChildren(make("p", { class: "problem", role: "alert", text: error.message }));
  }
}

/** The last three columns are numbers. */
function table(id, heads, rows, cells) {
  const numeric = (/** @type {number} */ at) => (at >= heads.length - 3 ? "number" : undefined);
  const box = byId(id);
  box.removeAttribute("aria-busy");
  if (rows.length === 0) {
    box.replaceChildren(make("p", { class: "nothing", text: t("admin.nothing") }));
    return;
  }
  const head = make("tr", {}, heads.map((key, at) => make("th", { scope: "col", class: numeric(at), text: t(key) })));
  const body = rows.map((row) => make("tr", {}, cells(row).map((text, at) => make("td", { class: numeric(at), text }))));
  box.replaceChildren(
    make("div", { class: "table-box", role: "group", tabindex: "0", "aria-label": box.previousElementSibling.textContent }, [
      make("table", {}, [make("thead", {}, [head]), make("tbody", {}, body)]),
    ]),
  );
}

// -- webhooks ------------------------------------------------------------------------------------------------

const dead = new List("/api/admin/webhooks", {
  box: byId("dead"),
  draw: deadItem,
  nothing: () => t("admin.webhooks.nothing"),
  query: () => ({ state: "dead" }),
  loaded: ({ receivers, total }) => {
    byId("webhooks").hidden = receivers.length === 0 && total === 0; // nobody is to be told anything here
    byId("receivers").replaceChildren(
      ...receivers.map((one) => make("p", { text: t(one.is_off ? "admin.webhooks.off" : "admin.webhooks.counts", one) })),
    );
  },
});

function deadItem(delivery) {
  const name = `${delivery.event}, ${delivery.receiver}`;
  const again = make("button", { class: "button quiet", type: "button", text: t("admin.webhooks.again"), "aria-label": `${t("admin.webhooks.again")}: ${name}` });
  again.addEventListener("click", async () => {
    again.disabled = true;
    try {
      await api("POST", `/api/admin/webhooks/${delivery.id}/retry`);
      await dead.load({ told: true });
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      showProblem(byId("main"), error.message);
    }
  });
  return make("li", { class: "item" }, [
    make("h3", { text: name }),
    make("p", { class: "facts" }, [make("span", { text: moment(delivery.created_at) }), make("span", { text: delivery.error })]),
    make("div", { class: "row" }, [again]),
  ]);
}

byId("span").addEventListener("submit", (event) => {
  event.preventDefault();
  void usage();
});

void users.load();
void seen.load();
void dead.load();
void usage();
