/** The account page: who I am, what my talks are like, how I get in, and leaving. */
import { ApiError, all, api } from "./ask.js";
import { byId, make } from "./dom.js";
import { busy, clearOutcome, confirmed, fillForm, lines, onSubmit, showDone, showProblem } from "./form.js";
import { forgetLanguage } from "./texts.js";
import { day } from "./times.js";
import { fillVoices } from "./voices.js";
import { t } from "./words.js";

/** The server's names of fields that may be emptied; an empty text means "none". */
const orNone = (/** @type {string} */ text) => text.trim() || null;

// -- who I am ------------------------------------------------------------------------------------------------

const account = byId("account");
const email = account.elements.namedItem("email");
email.addEventListener("input", () => {
  byId("email-check").hidden = email.value === email.defaultValue || !byId("password");
});

onSubmit(account, async ({ current_password: password, ...values }) => {
  const before = (name) => account.elements.namedItem(name).defaultValue;
  const changed = Object.entries(values).filter(([name, value]) => value.trim() !== before(name));
  const body = Object.fromEntries(changed.map(([name, value]) => [name, orNone(value)]));
  const profile = await api("PATCH", "/api/users/profile", { ...body, ...(password ? { current_password: password } : {}) });
  for (const name of Object.keys(values)) {
    const field = account.elements.namedItem(name);
    field.value = field.defaultValue = profile[name] ?? "";
  }
  account.elements.namedItem("current_password").value = "";
  byId("email-check").hidden = true;
  for (const shown of document.querySelectorAll(".me-name")) {
    shown.textContent = profile.display_name || profile.username || profile.email.split("@")[0];
  }
  return t("done.saved");
});

if (byId("unverified")) {
  onSubmit(byId("unverified"), async () => {
    const { detail } = await api("POST", "/api/auth/verify/request");
    return detail.includes("log") ? t("forgot.log") : t("profile.unverified.sent");
  });
}

// -- what my talks are like ------------------------------------------------------------------------------------

const preferences = byId("preferences");
const RANGES = ["speech_speed", "speech_pitch"];

function showRange(name) {
  const field = preferences.elements.namedItem(name);
  const text = `${Number(field.value).toFixed(2)}×`;
  field.parentElement.querySelector("output").textContent = text;
  field.setAttribute("aria-valuetext", text);
}

for (const name of RANGES) preferences.elements.namedItem(name).addEventListener("input", () => showRange(name));

async function loadPreferences() {
  const [profile, voices] = await Promise.all([api("GET", "/api/users/profile"), fillVoices(preferences, "preferred_language", "preferred_voice")]);
  const { preferred_language: language, preferred_voice: voice, ...wishes } = profile.preferences;
  voices.show(language ?? "", voice ?? "");
  fillForm(preferences, { ...wishes, speech_speed: wishes.speech_speed ?? 1, speech_pitch: wishes.speech_pitch ?? 1 });
  RANGES.forEach(showRange);
}

onSubmit(preferences, async (values) => {
  await api("PUT", "/api/users/preferences", {
    preferred_language: orNone(values.preferred_language),
    preferred_voice: orNone(values.preferred_voice),
    speech_speed: natural(values.speech_speed),
    speech_pitch: natural(values.speech_pitch),
    favorite_topics: lines(values.favorite_topics),
    system_prompt_override: orNone(values.system_prompt_override),
  });
  const shown = document.documentElement.lang;
  forgetLanguage();
  if (values.preferred_language && !values.preferred_language.startsWith(shown)) {
    location.reload(); // the page is drawn in that language, if it speaks it
    return undefined;
  }
  return t("done.saved");
});

/** The voice's own speed or pitch is no wish. @param {string} text */
function natural(text) {
  return Number(text) === 1 ? null : Number(text);
}

// -- how I get in ----------------------------------------------------------------------------------------------

if (byId("password")) {
  onSubmit(byId("password"), async (values) => {
    const { current_password, new_password } = values;
    await api("POST", "/api/users/change-password", { current_password, new_password });
    byId("password").reset();
    await Promise.all([listKeys(), listLogins()]);
    return t("profile.password.done");
  });
}

async function listKeys() {
  const items = await all("/api/users/api-keys");
  byId("key-list").replaceChildren(
    ...items.map((key) =>
      row(key.label || t("profile.keys.nameless"), until(key), t("profile.keys.revoke"), async () => {
        await api("DELETE", `/api/users/api-keys/${key.id}`);
        await listKeys();
      }),
    ),
  );
}

onSubmit(byId("new-key"), async ({ label, days }) => {
  const made = await api("POST", "/api/users/api-keys", { label, days: days ? Number(days) : null });
  byId("new-key").reset();
  await listKeys();
  const done = byId("new-key").querySelector(".done");
  showDone(byId("new-key"), t("profile.keys.made"));
  done.append(make("code", { class: "code", text: made.key }));
});

async function listLogins() {
  const items = await all("/api/users/logins");
  byId("end-others").hidden = items.length < 2;
  byId("login-list").replaceChildren(
    ...items.map((login) => {
      const kind = t(`profile.logins.${login.kind}`);
      const name = login.label ? `${kind} · ${browserOf(login.label)}` : kind;
      if (login.is_current) return row(name, `${until(login)} · ${t("profile.logins.this")}`);
      return row(name, until(login), t("profile.logins.one"), async () => {
        await api("DELETE", `/api/users/logins/${login.id}`);
        await listLogins();
      });
    }),
  );
}

byId("end-others").addEventListener("click", async () => {
  const sure = await confirmed(byId("end-others"), {
    title: t("profile.logins.end"),
    text: t("profile.logins.sure"),
    action: t("profile.logins.end"),
  });
  if (!sure) return;
  clearOutcome(byId("logins"));
  await busy(byId("logins"), async () => {
    await api("DELETE", "/api/users/logins?others=true");
    await listLogins();
  });
});

/** A browser's User-Agent as people call it; anything else as it is. @param {string} label */
function browserOf(label) {
  const named = (/** @type {[RegExp, string][]} */ names) => names.find(([pattern]) => pattern.test(label))?.[1];
  const browser = named([[/Edg\//, "Edge"], [/OPR\//, "Opera"], [/Firefox\//, "Firefox"], [/Chrom(e|ium)\//, "Chrome"], [/Safari\//, "Safari"]]);
  const system = named([[/iPhone|iPad/, "iOS"], [/Android/, "Android"], [/Windows/, "Windows"], [/Mac OS X/, "macOS"], [/Linux/, "Linux"]]);
  return [browser, system].filter(Boolean).join(", ") || label;
}

function until({ created_at: from, expires_at: to }) {
  return to ? t("profile.until", { from: day(from), to: day(to) }) : t("profile.since", { from: day(from) });
}

/** A line of a list, with what ends it. */
function row(name, facts, action = "", run = async () => {}) {
  const item = make("li", { class: "item" }, [make("h3", { text: name }), make("p", { class: "facts", text: facts })]);
  if (!action) return item;
  const button = make("button", { class: "button quiet", type: "button", text: action, "aria-label": `${action}: ${name}` });
  button.addEventListener("click", () => {
    const section = /** @type {HTMLElement} */ (item.closest("section"));
    clearOutcome(section);
    void busy(section, run);
  });
  item.append(make("div", { class: "row" }, [button]));
  return item;
}

// -- leaving -----------------------------------------------------------------------------------------------------

const leave = byId("leave");
onSubmit(leave, async ({ typed, password }) => {
  if (typed.trim().toLowerCase() !== leave.dataset.email.toLowerCase()) {
    showProblem(leave, t("profile.leave.differs"), leave.elements.namedItem("typed"));
    return;
  }
  await api("DELETE", "/api/users/me", password === undefined ? { email: typed.trim() } : { password });
  location.assign("/");
});

for (const [load, section] of [[loadPreferences, preferences], [listKeys, byId("keys")], [listLogins, byId("logins")]]) {
  load().catch((error) => {
    if (!(error instanceof ApiError)) throw error;
    showProblem(section, error.message);
  });
}
