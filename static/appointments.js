/** The week: what is free, what is mine (an administrator's: everybody's); booking, moving, cancelling. */
import { announceState } from "./announce.js";
import { ApiError, api, withQuery } from "./ask.js";
import { byId, make } from "./dom.js";
import { clearOutcome, confirmed, onSubmit, showProblem } from "./form.js";
import { pageLanguage, t } from "./words.js";

const DAYS = 5;
const HOURS = ["09:00", "10:00", "11:00", "12:00", "13:00", "14:00", "15:00"];
const MOST = 100; // of one answer; a week has 35 slots
const DAY_MS = 86_400_000;

const booking = byId("booking");
const changing = byId("changing");
/** Of the week that is shown, in UTC: only the calendar's days count, no time of day. */
let monday = mondayOf(new URLSearchParams(location.search).get("week") ?? "");
let asked = 0;
/** @type {{date: string, time: string}} the slot that is being booked */
let wanted = { date: "", time: "" };
/** @type {any} the appointment that is being changed */
let chosen = null;

/** @param {string} text a day: its week; anything else: this week, on weekends the next one */
function mondayOf(text) {
  const known = /^\d{4}-\d{2}-\d{2}$/.test(text) && !Number.isNaN(Date.parse(text));
  const now = new Date();
  const day = known ? new Date(`${text}T00:00Z`) : new Date(Date.UTC(now.getFullYear(), now.getMonth(), now.getDate()));
  const weekday = (day.getUTCDay() + 6) % 7;
  const ahead = !known && weekday >= DAYS ? 7 : 0;
  return new Date(day.getTime() + (ahead - weekday) * DAY_MS);
}

const iso = (/** @type {Date} */ day) => day.toISOString().slice(0, 10);
const told = (/** @type {string} */ day, /** @type {Intl.DateTimeFormatOptions} */ how) =>
  new Date(`${day}T00:00Z`).toLocaleDateString(pageLanguage(), { timeZone: "UTC", ...how });
const wholeDay = (/** @type {string} */ day) => told(day, { weekday: "long", day: "numeric", month: "long" });
const days = () => Array.from({ length: DAYS }, (_, n) => iso(new Date(monday.getTime() + n * DAY_MS)));

// -- the week -------------------------------------------------------------------------------------------------

/** Ask again and draw; say what there is, unless something was done. @param {string} [focus] the slot that gets the focus, as `data-slot` has it */
async function load(focus = "") {
  const mine = (asked += 1);
  const week = days();
  const [first, last] = [week[0], week[DAYS - 1]];
  const title = t("appointments.week", { from: told(first, { day: "numeric", month: "short" }), to: told(last, { dateStyle: "medium" }) });
  byId("week-title").textContent = title;
  byId("week").setAttribute("aria-busy", "true");
  try {
    const [{ items: booked }, ...free] = await Promise.all([
      api("GET", withQuery("/api/appointments", { from: first, to: last, limit: MOST })),
      ...week.map((date) => freeOn(date)),
    ]);
    if (mine !== asked) return; // another week is wanted by now
    byId("trouble").hidden = true;
    draw(week, booked, free);
    if (!focus) announceState(t("appointments.found", { week: title, free: free.flat().length, booked: booked.length }));
    if (focus) (byId("week").querySelector(`[data-slot="${focus}"]`) ?? byId("heading")).focus();
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    byId("trouble").hidden = false;
    byId("trouble").textContent = error.message;
  } finally {
    byId("week").removeAttribute("aria-busy");
  }
}

/** @param {string} date @returns {Promise<string[]>} */
async function freeOn(date) {
  return (await api("GET", withQuery("/api/appointments/slots", { date }))).slots;
}

/** What was done, seen and said. @param {string} text */
function tell(text) {
  byId("done").hidden = false;
  byId("done").textContent = text;
}

function draw(week, booked, free) {
  const at = new Map(booked.map((one) => [`${one.date} ${one.time}`, one]));
  const head = make("tr", {}, [
    make("th", { scope: "col" }, [make("span", { class: "hidden", text: t("appointments.time") })]),
    ...week.map((date) =>
      make("th", { scope: "col" }, [
        make("span", { class: "weekday", text: told(date, { weekday: "short" }) }),
        make("span", { class: "day-number", text: told(date, { day: "numeric" }) }),
      ]),
    ),
  ]);
  const rows = HOURS.map((time) =>
    make("tr", {}, [
      make("th", { scope: "row", text: time }),
      ...week.map((date, n) => make("td", {}, [cell(date, time, at.get(`${date} ${time}`), free[n].includes(time))])),
    ]),
  );
  const caption = make("caption", { class: "hidden", text: byId("week-title").textContent });
  byId("week").replaceChildren(make("table", { class: "week" }, [caption, make("thead", {}, [head]), make("tbody", {}, rows)]));
}

function cell(date, time, own, isFree) {
  const when = { day: wholeDay(date), time };
  const slot = `${date} ${time}`;
  if (own) {
    const who = own.name || own.phone_number;
    const label = t("appointments.own.label", { ...when, name: who });
    return make("button", { class: "slot own", type: "button", "data-slot": slot, "aria-label": label, text: who, onclick: () => void openChange(own) });
  }
  if (isFree) {
    const label = t("appointments.free.label", when);
    return make("button", { class: "slot free", type: "button", "data-slot": slot, "aria-label": label, text: t("appointments.free"), onclick: () => openBooking(date, time) });
  }
  return make("span", { class: "slot gone" }, [make("span", { class: "hidden", text: t("appointments.gone") })]);
}

function go(weeks) {
  byId("done").hidden = true;
  monday = new Date(monday.getTime() + weeks * 7 * DAY_MS);
  history.replaceState(null, "", withQuery(location.pathname, { week: iso(monday) }));
  void load();
}

byId("earlier").addEventListener("click", () => go(-1));
byId("later").addEventListener("click", () => go(1));

// -- booking --------------------------------------------------------------------------------------------------

function openBooking(date, time) {
  wanted = { date, time };
  clearOutcome(byId("book"));
  byId("booking-title").textContent = t("appointments.book.title");
  byId("booking-when").textContent = t("appointments.when", { day: wholeDay(date), time });
  booking.showModal();
}

onSubmit(byId("book"), async ({ phone_number, name }) => {
  const body = { phone_number, ...wanted, ...(name.trim() ? { name: name.trim() } : {}) };
  const made = await changed(() => api("POST", "/api/appointments", body));
  booking.close();
  await load(`${made.date} ${made.time}`);
  tell(t("appointments.booked", { day: wholeDay(made.date), time: made.time, code: made.appointment_id }));
});

// -- moving and cancelling --------------------------------------------------------------------------------------

async function openChange(own) {
  chosen = own;
  const form = byId("change");
  clearOutcome(form);
  byId("changing-title").textContent = t("appointments.when", { day: wholeDay(own.date), time: own.time });
  byId("changing-who").textContent = [own.name, own.phone_number].filter(Boolean).join(", ");
  byId("changing-code").textContent = own.appointment_id;
  byId("date").value = own.date;
  byId("time").replaceChildren(new Option(own.time, own.time));
  changing.showModal();
  await offerTimes();
}

/** The times of the day that is chosen: what is free, and what the appointment has. */
async function offerTimes() {
  const date = byId("date").value;
  const select = byId("time");
  if (!date) return;
  try {
    const free = await freeOn(date);
    if (date !== byId("date").value) return;
    const times = HOURS.filter((time) => free.includes(time) || (date === chosen.date && time === chosen.time));
    const kept = times.includes(select.value) ? select.value : times.includes(chosen.time) ? chosen.time : times[0];
    select.replaceChildren(...times.map((time) => new Option(time, time)));
    clearOutcome(byId("change"));
    if (kept) select.value = kept;
    else showProblem(byId("change"), t("appointments.none"), byId("date"));
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    showProblem(byId("change"), error.message);
  }
}

byId("date").addEventListener("change", () => void offerTimes());

onSubmit(byId("change"), async ({ date, time }) => {
  if (!time) {
    showProblem(byId("change"), t("appointments.none"), byId("date"));
    return;
  }
  const moved = await changed(() => api("PATCH", `/api/appointments/${chosen.id}`, { date, time }));
  changing.close();
  monday = mondayOf(moved.date);
  await load(`${moved.date} ${moved.time}`);
  tell(t("appointments.moved", { day: wholeDay(moved.date), time: moved.time }));
});

byId("cancel").addEventListener("click", async () => {
  const when = { day: wholeDay(chosen.date), time: chosen.time };
  const sure = await confirmed(byId("cancel"), { title: t("appointments.cancel.title"), text: t("appointments.cancel.text", when), action: t("appointments.cancel") });
  if (!sure) return;
  try {
    await changed(() => api("DELETE", `/api/appointments/${chosen.id}`));
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    showProblem(byId("change"), error.message);
    return;
  }
  changing.close();
  await load(`${chosen.date} ${chosen.time}`);
  tell(t("appointments.cancelled", when));
});

/** Change something; if somebody was quicker, the week behind the dialog shows it. */
async function changed(change) {
  byId("done").hidden = true;
  try {
    return await change();
  } catch (error) {
    if (error instanceof ApiError && error.status === 409) void load();
    throw error;
  }
}

for (const dialog of [booking, changing]) dialog.querySelector("[data-close]").addEventListener("click", () => dialog.close());

void load();
