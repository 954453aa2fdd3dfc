/**
 * Forms that are sent by the page: one request at a time, the button says that it is busy, and what went wrong is
 * said at the form, where the focus then is.
 */
import { ApiError } from "./ask.js";
import { announceState } from "./announce.js";
import { t } from "./words.js";

/**
 * @param {HTMLFormElement} form with the `outcome` of fields.html
 * @param {(values: Record<string, string>) => Promise<string | void>} run what to say when it went well
 */
export function onSubmit(form, run) {
  form.noValidate = true; // the browser's bubbles vanish; what is said below stays
  // Sent by the browser itself, before this is here, a form would lead to nowhere.
  for (const button of form.querySelectorAll("[type=submit]")) button.removeAttribute("disabled");
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (form.getAttribute("aria-busy") === "true") return;
    clearOutcome(form);
    const wrong = firstInvalid(form);
    if (wrong) {
      showProblem(form, wrong.validationMessage, wrong);
      return;
    }
    const values = Object.fromEntries([...new FormData(form)].map(([name, value]) => [name, String(value)]));
    await busy(form, async () => {
      const said = await run(values);
      if (said) showDone(form, said);
    });
  });
}

/**
 * Run something with the form's buttons at rest; an error that is meant for people is shown at the form.
 * @param {HTMLElement} form @param {() => Promise<void>} run
 */
export async function busy(form, run) {
  const buttons = /** @type {HTMLButtonElement[]} */ ([...form.querySelectorAll("button")]);
  form.setAttribute("aria-busy", "true");
  for (const button of buttons) button.setAttribute("aria-disabled", "true");
  try {
    await run();
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    showProblem(form, error.message);
  } finally {
    form.removeAttribute("aria-busy");
    for (const button of buttons) button.removeAttribute("aria-disabled");
  }
}

/** @param {HTMLElement} form @param {string} text @param {HTMLElement} [at] the field that is wrong */
export function showProblem(form, text, at) {
  const problem = /** @type {HTMLElement | null} */ (form.querySelector(".problem"));
  if (!problem) {
    announceState(text);
    return;
  }
  problem.hidden = false;
  problem.textContent = at ? `${labelOf(at)}: ${text}` : text;
  if (at) at.setAttribute("aria-invalid", "true");
  (at ?? problem).focus();
}

/** @param {HTMLElement} form @param {string} text */
export function showDone(form, text) {
  const done = /** @type {HTMLElement | null} */ (form.querySelector(".done"));
  if (!done) {
    announceState(text);
    return;
  }
  done.hidden = false;
  done.textContent = text;
}

/** @param {HTMLElement} form */
export function clearOutcome(form) {
  for (const part of form.querySelectorAll(".problem, .done")) {
    part.textContent = "";
    part.setAttribute("hidden", "");
  }
  for (const field of form.querySelectorAll("[aria-invalid]")) field.removeAttribute("aria-invalid");
}

/** @param {HTMLFormElement} form @returns {any} */
function firstInvalid(form) {
  return [...form.elements].find((field) => "validity" in field && !(/** @type {any} */ (field).validity.valid));
}

function labelOf(field) {
  return field.labels?.[0]?.textContent?.trim() ?? "";
}

/**
 * Put values into the form's fields of those names.
 * @param {HTMLFormElement} form @param {Record<string, any>} values
 */
export function fillForm(form, values) {
  for (const [name, value] of Object.entries(values)) {
    const field = /** @type {any} */ (form.elements.namedItem(name));
    if (!field) continue;
    if (field.type === "checkbox") field.checked = Boolean(value);
    else if (field.tagName === "SELECT") choose(field, value ?? "");
    else field.value = Array.isArray(value) ? value.join("\n") : (value ?? "");
  }
}

/** A choice that the list does not have (any more) is added: saving must not change it unseen.
 * @param {HTMLSelectElement} select @param {string} value */
export function choose(select, value) {
  const wanted = String(value);
  if (![...select.options].some((option) => option.value === wanted)) select.append(new Option(wanted, wanted));
  select.value = wanted;
}

/** @param {string} text one to a line @returns {string[]} */
export function lines(text) {
  return text.split("\n").map((line) => line.trim()).filter(Boolean);
}

/** A question before something that cannot be taken back. @param {HTMLElement} asker gets the focus back
 * @param {{title: string, text: string, action: string}} question @returns {Promise<boolean>} */
export function confirmed(asker, { title, text, action }) {
  const dialog = document.createElement("dialog");
  dialog.className = "settings ask";
  dialog.setAttribute("aria-labelledby", "ask-title");
  const heading = Object.assign(document.createElement("h2"), { id: "ask-title", textContent: title });
  const words = Object.assign(document.createElement("p"), { textContent: text });
  const no = Object.assign(document.createElement("button"), { className: "button", type: "button", textContent: t("action.cancel") });
  const yes = Object.assign(document.createElement("button"), { className: "button bad", type: "button", textContent: action });
  const row = document.createElement("div");
  row.className = "row end";
  row.append(no, yes);
  dialog.append(heading, words, row);
  document.body.append(dialog);
  return new Promise((resolve) => {
    no.addEventListener("click", () => dialog.close());
    yes.addEventListener("click", () => dialog.close("yes"));
    dialog.addEventListener("close", () => {
      dialog.remove();
      asker.focus();
      resolve(dialog.returnValue === "yes");
    });
    dialog.showModal();
  });
}
